from __future__ import annotations

import pytest

from edgectl_agent.core.trust.callers import Caller, Presented, judge, read_names
from edgectl_protos.domain.errors import CallerError
from edgectl_protos.domain.trust import Role

NAMES = ["edgectl:role:deploy", "edgectl:serial:ab12", "edgectl:issued:100", "edgectl:expires:200"]
BOB = Presented("bob", Role.DEPLOY, "ab12", 100, 200)


def test_a_certificate_says_who_and_what_and_until_when():
    assert read_names(["bob"], NAMES) == BOB


@pytest.mark.parametrize("missing", range(4))
def test_a_certificate_that_lacks_a_word_is_none_of_a_client(missing):
    with pytest.raises(CallerError):
        read_names(["bob"], NAMES[:missing] + NAMES[missing + 1 :])


@pytest.mark.parametrize(
    ("common", "more"),
    [
        (["bob"], ["edgectl:role:admin"]),
        (["bob"], ["edgectl:expires:900"]),
        ([], []),
        (["bob", "ada"], []),
    ],
)
def test_a_certificate_that_says_two_things_is_refused(common, more):
    with pytest.raises(CallerError):
        read_names(common, NAMES + more)


@pytest.mark.parametrize("bad", ["edgectl:role:root", "edgectl:role:"])
def test_a_role_of_another_version_is_refused(bad):
    with pytest.raises(CallerError, match="not known here"):
        read_names(["bob"], [bad, *NAMES[1:]])


def test_a_certificate_holds_until_its_last_second():
    assert judge(BOB, now_s=199.9, revoked=()) == Caller("bob", Role.DEPLOY, "ab12")
    with pytest.raises(CallerError, match="expired"):
        judge(BOB, now_s=200, revoked=())


def test_a_revoked_certificate_does_not_hold():
    with pytest.raises(CallerError, match="revoked"):
        judge(BOB, now_s=150, revoked=("00", "ab12"))
