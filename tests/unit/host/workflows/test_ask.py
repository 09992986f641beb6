"""Asking every device the same thing: status, rollback, and what their failures mean together."""

from __future__ import annotations

import pytest

from edgectl_host.workflows.ask import ask_all, error_of, exit_code_of_failures, failure_of
from edgectl_host.workflows.deploy import install
from edgectl_host.workflows.progress import silent
from edgectl_host.workflows.rollback import rollback_all
from edgectl_host.workflows.status import status_all
from edgectl_protos.domain.deployment import Failure
from edgectl_protos.domain.errors import ParityError
from edgectl_testkit.fake_device import IMPATIENT, FakeDevice

GONE = Failure("agent_unreachable", "no agent", "")
BUSY = Failure("device_busy", "busy", "")


async def device_of(client):
    return (await client.facts()).device


async def test_answers_are_in_the_order_of_the_devices_and_a_failure_is_one(bench):
    devices = bench(*(FakeDevice(name, gone=name == "b") for name in "abc"))
    answers = await ask_all(devices.devices, devices.connect, device_of)
    assert [answer.value for answer in answers] == ["a", None, "c"]
    assert answers[1].failure.reason == "agent_unreachable"


def test_an_error_survives_being_a_value():
    error = error_of(failure_of(ParityError("differs", hint="look")))
    assert (type(error), error.message, error.hint) == (ParityError, "differs", "look")


@pytest.mark.parametrize(
    ("failures", "code"),
    [
        ([None, None], 0),
        ([GONE, None], 4),
        ([GONE], 51),
        ([GONE, GONE], 51),
        ([GONE, BUSY], 4),
        ([], 0),
    ],
)
def test_failures_together_are_partial_unless_they_are_all_one(failures, code):
    assert exit_code_of_failures(failures) == code


async def test_status_tells_what_is_installed_and_what_was(bench, make_bundle):
    devices = bench(FakeDevice("a"))
    one, two = make_bundle("one"), make_bundle("two")
    async with await devices.fakes["a"].connect() as client:
        for bundle in (one, two):
            await install(client, bundle, owner="me", patience=IMPATIENT, progress=silent)
    (answer,) = await status_all(devices.devices, connect=devices.connect)
    status = answer.value
    assert (status.installed.current, status.installed.previous) == (two.digest, one.digest)
    assert status.deployment_of(one.digest).name == "one"
    assert status.last.name == "two"
    assert status.deployment_of(None) is None


async def test_rollback_answers_with_what_runs_again_or_why_not(bench, make_bundle):
    devices = bench(FakeDevice("a"), FakeDevice("b"))
    one = make_bundle("one")
    async with await devices.fakes["a"].connect() as client:
        for bundle in (one, make_bundle("two")):
            await install(client, bundle, owner="me", patience=IMPATIENT, progress=silent)
    answers = await rollback_all(devices.devices, connect=devices.connect, owner="me", progress=silent)
    assert answers[0].value.release == one.digest
    assert answers[1].failure.reason == "wrong_state"
