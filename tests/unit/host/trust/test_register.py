"""Members of a fleet out of the certificates that were issued."""

from __future__ import annotations

from edgectl_host.trust.register import Holding, Member, members_of


def test_renewals_of_a_device_are_one_member_with_the_certificate_that_holds_longest():
    first, second = (Holding(str(at), "orin", "device", at, at + 100, "id-1") for at in (0, 60))
    assert members_of((first, second), 70) == (Member(second, 2, 0),)


def test_what_holds_is_never_hidden_behind_what_is_over_or_revoked_or_another_right():
    long = Holding("1", "bob", "admin", 0, 1000)
    short = Holding("2", "bob", "admin", 10, 20)
    revoked = Holding("3", "bob", "admin", 20, 2000, revoked_s=30)
    view = Holding("4", "bob", "view", 40, 3000)
    assert members_of((long, short, revoked, view), 50) == (Member(long, 3, 1), Member(view, 1, 0))


def test_a_device_that_was_enrolled_anew_is_another_member():
    old, new = (Holding(serial, "orin", "device", 0, 100, serial, int(serial == "a")) for serial in "ab")
    assert members_of((old, new), 50) == (Member(old, 1, 1), Member(new, 1, 0))
