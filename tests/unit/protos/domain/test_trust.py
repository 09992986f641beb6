from __future__ import annotations

import pytest

from edgectl_protos.domain.errors import EnrolmentError, UsageError
from edgectl_protos.domain.trust import EnrolmentAnswer, Purpose, Role, Signed, check_member_name


def test_each_role_may_do_what_those_before_it_may():
    order = [Role.VIEW, Role.PROFILE, Role.DEPLOY, Role.ADMIN]
    for index, role in enumerate(order):
        assert [role.may(needed) for needed in order] == [True] * (index + 1) + [False] * (3 - index)


def test_a_signature_for_one_purpose_is_none_for_another():
    signed = Signed("{}", "")
    assert len({signed.message(purpose) for purpose in Purpose}) == len(Purpose)


@pytest.mark.parametrize("name", ["orin-1", "ada@laptop", "a", "x" * 63])
def test_names_of_devices_and_people_are_taken(name):
    assert check_member_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a b", "a/b", "x" * 64, "é", "a\n", "\ud800"])
def test_a_name_that_no_certificate_carries_is_refused(name):
    with pytest.raises(UsageError):
        check_member_name(name)


def test_an_answer_without_an_enrolment_is_a_refusal():
    with pytest.raises(EnrolmentError, match="was used"):
        EnrolmentAnswer(refusal="was used").granted()
