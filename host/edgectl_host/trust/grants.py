"""How another operator comes into a fleet: one file with a certificate, its key, and where it may, the release key."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from edgectl_host.trust.authority import Grant, belongs, has_authority
from edgectl_host.trust.certificates import load_certificate, load_key
from edgectl_host.trust.folder import OWN_FILE, TrustFolder
from edgectl_host.trust.releases import ReleaseSigner
from edgectl_protos.codec.document import canonical_bytes, from_bytes
from edgectl_protos.domain.errors import TrustError, UsageError
from edgectl_protos.domain.trust import MAX_TRUST_DOCUMENT_BYTES

__all__ = ["join_fleet", "write_grant"]

_OWN_HOME = "each operator of a fleet has a home of its own: export EDGECTL_HOME=DIR"


def write_grant(path: Path, issue: Callable[[], Grant]) -> Grant:
    """Issue a grant into a new file that its operator alone may read. What has no place to go is not issued.

    Raises:
        UsageError: there is a file already.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as exc:
        raise UsageError(f"{path} is there already", hint="choose another: -o FILE") from exc
    try:
        with os.fdopen(fd, "wb") as file:
            grant = issue()
            file.write(canonical_bytes(grant))
    except BaseException:
        path.unlink()
        raise
    return grant


def join_fleet(folder: TrustFolder, file: BinaryIO) -> None:
    """Take over a grant, in the place of one of the same fleet; a newer release key that is here stays.

    Raises:
        DocumentError: it is none.
        TrustError: its certificate and its key do not belong together.
        UsageError: this host has the authority of a fleet, or is in another one.
    """
    grant = from_bytes(Grant, file.read(MAX_TRUST_DOCUMENT_BYTES), what="the file")
    certificate = load_certificate(grant.own.certificate.encode())
    if certificate.public_key() != load_key(grant.own.key.encode()).public_key():
        raise TrustError("certificate and key of the file do not belong together")
    with folder.locked():
        if has_authority(folder):
            # Its administrator would give up the role that manages the fleet for a lesser one.
            raise UsageError(f"this host has the authority of a fleet: {folder.path}", hint=_OWN_HOME)
        if belongs(folder) and folder.credentials().authority != grant.own.authority:
            raise UsageError(f"this host is in another fleet: {folder.path}", hint=_OWN_HOME)
        if grant.release_key is not None:
            ReleaseSigner(folder).take(grant.release_key)
        folder.save(grant.own, OWN_FILE)
