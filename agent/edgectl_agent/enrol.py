"""`edgectl-agent enrol`: how a device comes into a fleet, in a process of its own. See docs/trust.md.

Over ssh the host runs `--request` and `--install` and nobody types anything. Without ssh a person copies a code: this
process connects to the host that printed it, checks by the fingerprint in the code that it is the host, proves that it
knows the code, and takes the certificate. The agent may run meanwhile; it uses the new certificate for the next
connection.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from edgectl_agent.core.store.atomic import Disk
from edgectl_agent.core.store.layout import Layout
from edgectl_agent.core.trust.audit import AuditLog
from edgectl_agent.core.trust.folder import TrustFolder
from edgectl_agent.core.trust.keyring import Keyring
from edgectl_agent.core.trust.membership import Membership
from edgectl_protos.codec.document import canonical_bytes, from_bytes
from edgectl_protos.domain.address import TlsAddress, parse_address
from edgectl_protos.domain.errors import DeviceError, EdgectlError, EnrolmentError
from edgectl_protos.domain.invitation import Invitation
from edgectl_protos.domain.trust import MAX_TRUST_DOCUMENT_BYTES, EnrolmentAnswer, EnrolmentRequest

__all__ = ["Enroller"]

_TIMEOUT_S = 20.0
_KEYS_TIMEOUT_S = 60.0


class Enroller:
    """Enrols the device of one state directory."""

    def __init__(self, state_dir: Path, *, disk: Disk | None = None) -> None:
        layout, disk = Layout(state_dir), disk or Disk()
        _check_owner(state_dir)
        try:
            layout.make()
        except OSError as exc:
            raise DeviceError(
                f"the state directory {state_dir} cannot be used: {exc.strerror}",
                hint="as the agent's own user: edgectl-agent enrol --state-dir DIR",
            ) from exc
        self._audit = AuditLog(layout.trust, disk)
        self._keyring = Keyring(sys.executable, timeout_s=_KEYS_TIMEOUT_S)
        self._membership = Membership(TrustFolder(layout.trust, disk), self._keyring, self._audit)

    def request(self, name: str) -> str:
        """Make a key; the request for its certificate, PEM."""
        return self._membership.request(name)

    def install(self, source: BinaryIO) -> str:
        """Take the certificate that a host sends; what to say about it."""
        with self._refusals_told("by --install"):
            return self._install(source.read(MAX_TRUST_DOCUMENT_BYTES + 1), "by --install")

    def join(self, code: str) -> str:
        """Get a certificate from the host that printed a code; what to say about it.

        Raises:
            EnrolmentError: the code is wrong, was used or is over; the host or the connection is not the one it names.
        """
        invitation = Invitation.parse(code)
        how = f"by a code of {invitation.address}"
        with self._refusals_told(how):
            return self._install(canonical_bytes(self._ask(invitation).granted()), how)

    def _install(self, data: bytes, how: str) -> str:
        self._membership.enrol(data)
        now = self._membership.describe()
        self._audit.changed("enrol", None, f"{how}, as {now.name}, {now.identity}")
        return f"enrolled as {now.name}, device {now.identity}"

    @contextlib.contextmanager
    def _refusals_told(self, how: str) -> Iterator[None]:
        try:
            yield
        except EdgectlError as exc:
            self._audit.refused("enrol", None, f"{how}: {exc.message}")
            raise

    def _ask(self, invitation: Invitation) -> EnrolmentAnswer:
        import ssl

        address = parse_address(invitation.address)
        assert isinstance(address, TlsAddress)
        csr = self._membership.request(invitation.name)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        # The authority is not known yet. It comes inside, its fingerprint is in the code, and what the host presented
        # here must be signed by it: see `_check_host`. Nothing is sent before.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            with (
                socket.create_connection((address.host, address.port), timeout=_TIMEOUT_S) as bare,
                context.wrap_socket(bare) as connection,
                connection.makefile("rwb") as stream,
            ):
                presented = connection.getpeercert(binary_form=True) or b""
                authority = stream.readline(MAX_TRUST_DOCUMENT_BYTES)
                self._check_host(invitation, presented, authority)
                proof = invitation.proof(host_certificate_der=presented, csr=csr)
                request = EnrolmentRequest(invitation.id, invitation.name, csr, proof)
                stream.write(canonical_bytes(request) + b"\n")
                stream.flush()
                return from_bytes(EnrolmentAnswer, stream.readline(MAX_TRUST_DOCUMENT_BYTES), what="the host's answer")
        except OSError as exc:
            raise EnrolmentError(
                f"nobody waits at {invitation.address} for this code: {exc}",
                hint="it was used, or is over, or the network is in the way; a new one: edgectl device invite NAME",
            ) from exc

    def _check_host(self, invitation: Invitation, presented: bytes, authority: bytes) -> None:
        """Refuse a host that is not the one which printed the code."""
        wrong = self._keyring.check_host(presented, _text(authority), invitation.fingerprint)
        if wrong:
            raise EnrolmentError(
                f"what answers at {invitation.address} is not the host that printed the code: {wrong}",
                hint="somebody may be between; ask for a new code: edgectl device invite NAME",
            )


def _check_owner(state_dir: Path) -> None:
    """Refuse to leave files in a state directory that its agent could not read: root often enrols for another."""
    try:
        owner = state_dir.stat().st_uid
    except OSError:
        return
    if owner != os.geteuid():
        raise DeviceError(
            f"the state directory {state_dir} belongs to user {owner}, and this is user {os.geteuid()}",
            hint=f"as its own user: sudo -u '#{owner}' edgectl-agent enrol … --state-dir {state_dir}",
        )


def _text(line: bytes) -> str:
    try:
        text = json.loads(line)
    except (ValueError, RecursionError):
        return ""
    return text if isinstance(text, str) else ""
