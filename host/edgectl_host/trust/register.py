"""What an authority has issued: to whom, which role, until when, and what is worth nothing any more."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from edgectl_host.trust.folder import TrustFolder

__all__ = ["Holding", "Member", "Register", "members_of", "renewal_due_s"]

_FILE = "issued.json"
DEVICE = "device"


@dataclass(frozen=True, slots=True)
class Holding:
    """One certificate. `role` is `device`, or a client's; `identity` is a device's, `serial` is in hex."""

    serial: str
    name: str
    role: str
    issued_s: int
    expires_s: int
    identity: str = ""
    revoked_s: int = 0

    @property
    def is_device(self) -> bool:
        """Whether it is a device's."""
        return self.role == DEVICE

    def holds(self, now_s: float) -> bool:
        """Whether it is worth anything now."""
        return not self.revoked_s and now_s < self.expires_s


@dataclass(frozen=True, slots=True)
class Member:
    """A device, or a name in one role. `holding` is its certificate that is worth something longest, among `issued`, of
    which `revoked` are worth nothing any more.
    """

    holding: Holding
    issued: int
    revoked: int


@dataclass(frozen=True, slots=True)
class _Holdings:
    holdings: tuple[Holding, ...] = ()


class Register:
    """The register of one authority."""

    def __init__(self, folder: TrustFolder) -> None:
        self._folder = folder

    def all(self) -> tuple[Holding, ...]:
        """Every certificate, oldest first."""
        return (self._folder.load(_Holdings, _FILE) or _Holdings()).holdings

    def held_by(self, name: str, now_s: float) -> tuple[Holding, ...]:
        """The certificates of a name that are worth anything now."""
        return tuple(each for each in self.all() if each.name == name and each.holds(now_s))

    def add(self, holding: Holding) -> None:
        """Remember a certificate before it is given away. Only while locked."""
        self._folder.save(_Holdings((*self.all(), holding)), _FILE)

    def newest_of(self, identity: str) -> Holding | None:
        """A device's newest certificate."""
        found = [each for each in self.all() if each.identity == identity]
        return max(found, key=lambda each: each.issued_s, default=None)

    def revoke(self, serials: Collection[str], now_s: int) -> None:
        """Mark certificates as worth nothing any more. Only while locked."""
        marked = (replace(each, revoked_s=now_s) if each.serial in serials else each for each in self.all())
        self._folder.save(_Holdings(tuple(marked)), _FILE)

    def is_revoked(self, identity: str) -> bool:
        """Whether a device was revoked."""
        return any(each.identity == identity and each.revoked_s for each in self.all())


def members_of(holdings: Iterable[Holding], now_s: float) -> tuple[Member, ...]:
    """The members of a fleet, in the order in which they came. Another role, or another identity of the same name, is
    another member, so that none that holds is hidden behind one that does not.
    """
    found: dict[tuple[str, str, str], list[Holding]] = {}
    for each in holdings:
        found.setdefault((each.name, each.role, each.identity), []).append(each)
    return tuple(
        Member(
            max(own, key=lambda each: (each.holds(now_s), each.expires_s)),
            len(own),
            sum(bool(each.revoked_s) for each in own),
        )
        for own in found.values()
    )


def renewal_due_s(newest: Holding) -> float:
    """When a device's newest certificate is to be renewed: after two thirds of its life and up to a ninth more.

    How much more is drawn from the identity, so that devices that were enrolled together do not all come at once.
    """
    share = int.from_bytes(hashlib.sha256(newest.identity.encode()).digest()[:4], "big") / (1 << 32)
    return newest.issued_s + (newest.expires_s - newest.issued_s) * (2 / 3 + share / 9)
