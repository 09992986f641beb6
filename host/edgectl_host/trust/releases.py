"""The release key: what a device wants to see before it takes a release. Ed25519, apart from the authority's key."""

from __future__ import annotations

import time
from dataclasses import dataclass

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from edgectl_host.trust.folder import TrustFolder
from edgectl_protos.codec.document import canonical_bytes
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.errors import ReleaseTrustError, TrustError
from edgectl_protos.domain.trust import Purpose, ReleaseKey, ReleaseRecord, Signed, SignedRelease

__all__ = ["ReleaseKeyFile", "ReleaseSigner"]

_FILE = "release-key.json"


@dataclass(frozen=True, slots=True)
class ReleaseKeyFile:
    """The key in use (`private`: 32 bytes in hex) and every change that led to it, each signed by the key before."""

    private: str
    current: ReleaseKey
    changes: tuple[Signed, ...] = ()


class ReleaseSigner:
    """Signs releases, and the next key."""

    def __init__(self, folder: TrustFolder) -> None:
        self._folder = folder

    def init(self) -> ReleaseKey:
        """Make the first key. Only while locked."""
        file = _made(1)
        self._folder.save(file, _FILE)
        return file.current

    def take(self, given: ReleaseKeyFile) -> None:
        """Take over the fleet's key, unless the one here is newer. Only while locked."""
        here = self._folder.load(ReleaseKeyFile, _FILE)
        if here is None or here.current.generation <= given.current.generation:
            self._folder.save(given, _FILE)

    @property
    def current(self) -> ReleaseKey:
        """The key by which devices know releases."""
        return self.file().current

    def file(self) -> ReleaseKeyFile:
        """The key and its history.

        Raises:
            TrustError: this host has none.
        """
        file = self._folder.load(ReleaseKeyFile, _FILE)
        if file is None:
            raise TrustError(
                "this host has no release key, and the device takes only signed releases",
                hint="ask the fleet's administrator: edgectl trust issue NAME --role deploy",
            )
        return file

    def sign(self, release: Digest, *, above: int, generation: int) -> bytes:
        """Leave to install a release on devices that took `above` last and know this generation of the key.

        Raises:
            TrustError: this host has no release key.
            ReleaseTrustError: its key was replaced by a newer one.
        """
        file = self.file()
        if generation > file.current.generation:
            raise ReleaseTrustError(
                f"the device knows release key {generation}, this host has {file.current.generation}",
                hint="ask the fleet's administrator for the new one: edgectl trust issue NAME --role deploy",
            )
        record = ReleaseRecord(release, above + 1, int(time.time()))
        return canonical_bytes(SignedRelease(_sign(file, record, Purpose.RELEASE), file.changes))

    def rotate(self) -> ReleaseKey:
        """Replace the key; devices take the new one with the next release. Only while locked."""
        old = self.file()
        new = _made(old.current.generation + 1)
        change = _sign(old, new.current, Purpose.RELEASE_KEY)
        self._folder.save(ReleaseKeyFile(new.private, new.current, (*old.changes, change)), _FILE)
        return new.current


def _made(generation: int) -> ReleaseKeyFile:
    key = ed25519.Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw).hex()
    return ReleaseKeyFile(key.private_bytes_raw().hex(), ReleaseKey(public, generation))


def _sign(file: ReleaseKeyFile, value: object, purpose: Purpose) -> Signed:
    unsigned = Signed(canonical_bytes(value).decode(), "")
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(file.private))
    return Signed(unsigned.payload, key.sign(unsigned.message(purpose)).hex())
