"""Which releases a device takes: those that its fleet signed, and none that is older than what it took before.

A device that was never enrolled, the embedded agent among them, takes what its own user gives it.
"""

from __future__ import annotations

from dataclasses import replace

from edgectl_agent.core.trust.folder import Accepted, TrustFolder
from edgectl_agent.core.trust.keyring import Keyring, signature_of
from edgectl_agent.core.trust.tasks import Signature
from edgectl_protos.codec.document import from_bytes
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.errors import EdgectlError, ReleaseTrustError
from edgectl_protos.domain.trust import Purpose, ReleaseKey, ReleaseRecord, SignedRelease

__all__ = ["Admission"]

_HINT = "deploy it from a host that has the fleet's release key: edgectl deploy"
_MAX_RECORD_BYTES = 64 << 10


class Admission:
    """Takes or refuses releases."""

    def __init__(self, folder: TrustFolder, keyring: Keyring) -> None:
        self._folder = folder
        self._keyring = keyring

    def admit(self, release: Digest, signed: bytes) -> None:
        """Take note that this release may be installed now; durable when this returns.

        Raises:
            ReleaseTrustError: it is not signed, or not by the fleet, or older than the last one.
            TrustError: signatures cannot be checked here.
        """
        if self._folder.identity() is None:
            return
        if not signed:
            raise ReleaseTrustError(f"release {release.short} is not signed, and this device was enrolled", hint=_HINT)
        if len(signed) > _MAX_RECORD_BYTES:
            raise ReleaseTrustError(f"the signature has {len(signed):,} bytes", hint=_HINT)
        try:
            document = from_bytes(SignedRelease, signed, what="signed release")
            record = from_bytes(ReleaseRecord, document.record.payload.encode(), what="release record")
            changes = [(from_bytes(ReleaseKey, key.payload.encode(), what="release key"), key) for key in document.keys]
        except EdgectlError as exc:
            raise ReleaseTrustError(f"the signature cannot be read: {exc.message}", hint=_HINT) from exc
        with self._folder.locked():
            accepted = self._folder.accepted()
            key, checks = accepted.release_key, list[Signature]()
            for change, by in sorted(changes, key=lambda pair: pair[0].generation):
                if change.generation == key.generation + 1:
                    checks.append(signature_of(by, Purpose.RELEASE_KEY, key.public))
                    key = change
            checks.append(signature_of(document.record, Purpose.RELEASE, key.public))
            wrong = self._keyring.check(tuple(checks))
            if wrong:
                raise ReleaseTrustError(
                    f"the fleet did not sign release {release.short}: {wrong} (key generation {key.generation})",
                    hint=_HINT,
                )
            _compare(record, release, accepted)
            self._folder.save(
                replace(
                    accepted,
                    release_key=key,
                    release_counter=record.counter,
                    release=str(release),
                    time_s=max(accepted.time_s, record.signed_s),
                )
            )


def _compare(record: ReleaseRecord, release: Digest, accepted: Accepted) -> None:
    if record.release != release:
        raise ReleaseTrustError(f"the signature is of release {record.release.short}, not {release.short}", hint=_HINT)
    again = record.counter == accepted.release_counter and str(release) == accepted.release
    if record.counter <= accepted.release_counter and not again:
        raise ReleaseTrustError(
            f"the signature of release {release.short} has the number {record.counter}; this device has taken "
            f"{accepted.release_counter} already",
            hint="a person who wants the older one back signs it anew: edgectl rollback, or edgectl deploy",
        )
