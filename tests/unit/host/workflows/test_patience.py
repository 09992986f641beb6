"""Asking a silent device again."""

from __future__ import annotations

import pytest

from edgectl_host.workflows.patience import Patience
from edgectl_host.workflows.progress import silent
from edgectl_protos.domain.errors import BusyError, UnreachableError

QUICK = Patience(silence_s=0.2, first_pause_s=0.001, longest_pause_s=0.004)


def failing(*outcomes):
    """An attempt that goes through these, one at a time."""
    left = list(outcomes)

    async def attempt(heard):
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return attempt


async def test_what_answers_in_the_end_is_the_answer_and_the_user_is_told_of_the_silence(updates):
    gone = UnreachableError("gone")
    patience = Patience(silence_s=60.0, first_pause_s=0.001)
    assert await patience.keep_asking("nuc", failing(gone, gone, "here"), updates.append) == "here"
    assert {(update.subject, update.text) for update in updates} == {
        ("nuc", "does not answer; asked again for up to 60 s")
    }


async def test_a_silence_that_lasts_is_the_error_it_began_with():
    async def attempt(heard):
        raise UnreachableError("gone")

    with pytest.raises(UnreachableError, match="gone"):
        await QUICK.keep_asking("nuc", attempt, silent)


async def test_without_patience_the_first_silence_is_the_last():
    with pytest.raises(UnreachableError):
        await Patience(0.0).keep_asking("nuc", failing(UnreachableError("gone"), "never"), silent)


async def test_a_refusal_is_no_silence():
    with pytest.raises(BusyError):
        await QUICK.keep_asking("nuc", failing(BusyError("busy"), "never"), silent)


async def test_a_device_that_is_heard_now_and_then_is_never_given_up():
    patience, rounds = Patience(silence_s=0.01, first_pause_s=0.002, longest_pause_s=0.002), 0

    async def attempt(heard):
        nonlocal rounds
        rounds += 1
        heard()
        if rounds < 30:
            raise UnreachableError("cut")
        return rounds

    assert await patience.keep_asking("nuc", attempt, silent) == 30
