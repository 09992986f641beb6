"""How a device comes into a fleet and stays in it: enrolment, renewal, revocations, and what it says of itself.

Order of an enrolment: a key is made and kept → its request leaves → the certificate comes back, is checked, and
replaces the old one in one write. A renewal is the same with the identity that the device has. Nothing here deletes
anything because of a clock.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from edgectl_agent.core.trust.audit import AuditLog
from edgectl_agent.core.trust.folder import Accepted, Identity, Pending, TrustFolder
from edgectl_agent.core.trust.keyring import Keyring, signature_of
from edgectl_agent.core.trust.tasks import CheckCertificate
from edgectl_protos.codec.document import from_bytes
from edgectl_protos.domain.errors import DeviceError, EnrolmentError, StateError, TrustError
from edgectl_protos.domain.trust import (
    MAX_TRUST_DOCUMENT_BYTES,
    DeviceTrust,
    Enrolment,
    Purpose,
    Revocations,
    Signed,
    check_member_name,
)

__all__ = ["Membership"]

_LOG = logging.getLogger(__name__)

_AGAIN = "begin again, from the host: edgectl device add, or edgectl device invite NAME"


class Membership:
    """One device's place in its fleet."""

    def __init__(
        self, folder: TrustFolder, keyring: Keyring, audit: AuditLog, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._folder = folder
        self._keyring = keyring
        self._audit = audit
        self._clock = clock
        self._unkept_s = 0

    def describe(self) -> DeviceTrust:
        """What this device has accepted."""
        count, head = self._audit.head()
        identity = self._folder.identity()
        if identity is None:
            return DeviceTrust(audit_count=count, audit_head=head)
        accepted = self._folder.accepted()
        return DeviceTrust(
            identity.name,
            identity.identity,
            identity.expires_s,
            accepted.revocations.epoch,
            accepted.release_counter,
            accepted.release_key.generation,
            count,
            head,
        )

    def request(self, name: str) -> str:
        """Make a key for this name and keep it; the request for its certificate, PEM."""
        made = self._keyring.make_key(check_member_name(name))
        with self._folder.locked():
            self._folder.save(Pending(name, made.key))
        return made.csr

    def request_again(self) -> str:
        """The request of a device that was enrolled, for a new key.

        Raises:
            StateError: it was never enrolled.
        """
        return self.request(self._enrolled().name)

    def enrol(self, data: bytes) -> None:
        """Take the certificate of the key that was made last, from whichever fleet and as whichever device.

        Raises:
            EnrolmentError: it is not for that key or name, or what comes with it is not from its fleet.
        """
        self._take(data, lambda: None)

    def renew(self, data: bytes) -> None:
        """Take the certificate of the key that was made last, as the device that this one is.

        Raises:
            StateError: it was never enrolled.
            EnrolmentError: it is not for that key or name, or from another fleet, or for another device.
        """
        self._take(data, self._enrolled)

    def revoke(self, data: bytes) -> frozenset[str]:
        """Take a newer list of revoked certificates; those that it adds. An older list changes nothing.

        Raises:
            StateError: the device was never enrolled.
            EnrolmentError: the fleet's authority did not sign it.
        """
        identity = self._enrolled()
        if len(data) > MAX_TRUST_DOCUMENT_BYTES:
            raise EnrolmentError(f"the list has {len(data):,} bytes")
        revocations = self._checked(from_bytes(Signed, data, what="revocations"), identity.authority)
        with self._folder.locked():
            accepted = self._folder.accepted()
            if revocations.epoch <= accepted.revocations.epoch:
                return frozenset()
            self._folder.save(
                replace(accepted, revocations=revocations, time_s=max(accepted.time_s, revocations.issued_s))
            )
        return frozenset(revocations.serials) - frozenset(accepted.revocations.serials)

    def saw(self, issued_s: int) -> None:
        """A certificate that the fleet signed says that it is at least so late. Held in memory where the disk does not
        take it: a full disk must not keep a person from mending the device.
        """
        if issued_s <= max(self._unkept_s, self._folder.accepted().time_s):
            return
        try:
            with self._folder.locked():
                accepted = self._folder.accepted()
                self._folder.save(replace(accepted, time_s=max(accepted.time_s, issued_s)))
        except (OSError, DeviceError) as exc:
            self._unkept_s = issued_s
            _LOG.error("the time that the fleet signed cannot be kept: %s", exc)

    def now_s(self) -> float:
        """The time, never before what the fleet signed last: a clock that stands at 1970 makes nothing valid again."""
        return max(self._clock(), self._unkept_s, self._folder.accepted().time_s)

    def revoked(self) -> tuple[str, ...]:
        """Serial numbers that are worth nothing any more."""
        return self._folder.accepted().revocations.serials

    def _take(self, data: bytes, enrolled: Callable[[], Identity | None]) -> None:
        """`enrolled` is what the device must go on being."""
        if len(data) > MAX_TRUST_DOCUMENT_BYTES:
            raise EnrolmentError(f"the enrolment has {len(data):,} bytes", hint=_AGAIN)
        given = from_bytes(Enrolment, data, what="enrolment")
        with self._folder.locked():
            pending, known = self._folder.pending(), enrolled()
            if pending is None:
                raise EnrolmentError("no key waits for a certificate here", hint=_AGAIN)
            if given.name != pending.name:
                raise EnrolmentError(f"the certificate is for {given.name}, not for {pending.name}", hint=_AGAIN)
            if known is not None and (given.authority, given.identity) != (known.authority, known.identity):
                raise EnrolmentError("the certificate is from another fleet, or for another device", hint=_AGAIN)
            checked = self._keyring.check_certificate(
                CheckCertificate(pending.key, given.certificate, given.authority, known.identity if known else "")
            )
            if checked.wrong or checked.identity != given.identity:
                raise EnrolmentError(checked.wrong or "the certificate has another identity", hint=_AGAIN)
            accepted = self._folder.accepted() if known is not None else self._begin(given)
            # First what is accepted: an identity without it trusts nobody.
            self._folder.save(replace(accepted, time_s=max(accepted.time_s, given.issued_s)))
            self._folder.save(
                Identity(given.name, given.identity, pending.key, given.certificate, given.authority, given.expires_s)
            )
            self._folder.drop_pending()

    def _enrolled(self) -> Identity:
        identity = self._folder.identity()
        if identity is None:
            raise StateError("this device was never enrolled", hint=_AGAIN)
        return identity

    def _begin(self, given: Enrolment) -> Accepted:
        """What a device accepts that is enrolled, perhaps again: into the same fleet, its counter goes on."""
        revocations = Revocations()
        if given.revocations is not None:
            revocations = self._checked(given.revocations, given.authority)
        fresh = Accepted(given.release_key, given.issued_s, revocations=revocations)
        try:
            before = self._folder.identity()
            if before is None or before.authority != given.authority:
                return fresh
            held = self._folder.accepted()
        except TrustError:
            # Damaged: a person enrols it again just because of that.
            return fresh
        newer = max(held.revocations, revocations, key=lambda each: each.epoch)
        return replace(fresh, release_counter=held.release_counter, release=held.release, revocations=newer)

    def _checked(self, signed: Signed, authority: str) -> Revocations:
        wrong = self._keyring.check((signature_of(signed, Purpose.REVOCATIONS, authority),))
        if wrong:
            raise EnrolmentError("the list of revoked certificates is not signed by the fleet's authority")
        return from_bytes(Revocations, signed.payload.encode(), what="revocations")
