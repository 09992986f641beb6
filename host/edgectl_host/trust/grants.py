"""How another operator comes into a fleet: one file with a certificate, its key, and where it may, the release key."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from edgectl_host.trust.authority import Grant, belongs
from edgectl_host.trust.certificates import load_certificate, load_key
from edgectl_host.trust.folder import OWN_FILE, TrustFolder
from edgectl_protos.codec.document import canonical_bytes, from_bytes
from edgectl_protos.domain.errors import TrustError, UsageError
from edgectl_protos.domain.trust import MAX_TRUST_DOCUMENT_BYTES

__all__ = ["join_fleet", "write_grant"]


def write_grant(grant: Grant, path: Path) -> Path:
    """Write a grant for its operator alone; where it lies.

    Raises:
        UsageError: there is a file already.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as exc:
        raise UsageError(f"{path} is there already", hint="choose another: -o FILE") from exc
    with os.fdopen(fd, "wb") as file:
        file.write(canonical_bytes(grant))
    return path


def join_fleet(folder: TrustFolder, file: BinaryIO) -> None:
    """Take over a grant; a newer one of the same fleet replaces the older.

    Raises:
        TrustError: it is none, or this host is in another fleet.
    """
    grant = from_bytes(Grant, file.read(MAX_TRUST_DOCUMENT_BYTES), what="the file")
    certificate = load_certificate(grant.own.certificate.encode())
    if certificate.public_key() != load_key(grant.own.key.encode()).public_key():
        raise TrustError("certificate and key of the file do not belong together")
    with folder.locked():
        if belongs(folder) and folder.credentials().authority != grant.own.authority:
            raise TrustError(
                f"this host is in another fleet: {folder.path}",
                hint="each fleet has a home of its own: export EDGECTL_HOME=DIR",
            )
        if grant.release_key is not None:
            folder.save(grant.release_key, "release-key.json")
        folder.save(grant.own, OWN_FILE)
