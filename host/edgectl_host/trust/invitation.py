"""Enrolling a device without ssh: print a code, wait for the one device that has it, give it a certificate.

Order inside one connection: TLS with a certificate of the authority → the authority itself → the device's request with
its proof → the answer. One invitation enrols one device and is then over; what was used or is over is remembered by
its id, so that whoever comes with it again is told, and so is the person who waits for another.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import secrets
import socket
import ssl
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from edgectl_host.quantities import long_words
from edgectl_host.trust import certificates
from edgectl_host.trust.authority import Authority, Issued
from edgectl_host.trust.folder import TrustFolder
from edgectl_protos.codec.document import canonical_bytes, from_bytes
from edgectl_protos.domain.address import TlsAddress
from edgectl_protos.domain.errors import AddressError, EdgectlError, EnrolmentError
from edgectl_protos.domain.invitation import Invitation
from edgectl_protos.domain.trust import (
    MAX_TRUST_DOCUMENT_BYTES,
    EnrolmentAnswer,
    EnrolmentRequest,
    check_member_name,
)

__all__ = ["Enrolled", "Invitations", "own_address"]

_REQUEST_TIMEOUT_S = 15.0
_LAST_WORD_S = 1.0
_CONNECTIONS = 8
_KEPT = 500
_FILE = "invitations.json"


@dataclass(frozen=True, slots=True)
class Enrolled:
    """The device that came, and from where."""

    issued: Issued
    peer: str


@dataclass(frozen=True, slots=True)
class _Past:
    id: str
    name: str
    ended_s: int
    how: str


@dataclass(frozen=True, slots=True)
class _PastOnes:
    invitations: tuple[_Past, ...] = ()


def own_address() -> str:
    """The address of this machine on its network, as far as it can tell. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # An address of documentation: routing alone is asked.
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


class Invitations:
    """Invitations of one authority. `said` is told what happens while one waits."""

    def __init__(
        self,
        folder: TrustFolder,
        authority: Authority,
        said: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._authority = authority
        self._said = said
        self._clock = clock

    async def invite(
        self, name: str, *, host: str, port: int, valid_s: float, show: Callable[[Invitation], None]
    ) -> Enrolled:
        """Wait for the device; `show` is called with the code once the port is open.

        Raises:
            EnrolmentError: nobody came in time.
            AddressError: the port cannot be used.
        """
        check_member_name(name)
        context, presented = self._context()
        with _listening(port) as listening:
            address = str(TlsAddress(host, listening.getsockname()[1]))
            invitation = Invitation(name, address, self._authority.fingerprint, secrets.token_bytes(16))
            waiting = _Waiting(self, invitation, presented)
            server = await asyncio.start_server(
                waiting.begin,
                sock=listening,
                ssl=context,
                limit=MAX_TRUST_DOCUMENT_BYTES,
                ssl_handshake_timeout=_REQUEST_TIMEOUT_S,
            )
            how = "was withdrawn"
            try:
                show(invitation)
                await asyncio.wait([waiting.enrolled], timeout=valid_s)
                how = "ran out"
            finally:
                server.close()
                await waiting.end()
                if not waiting.enrolled.done():
                    self._remember(invitation, how)
        if not waiting.enrolled.done():
            raise EnrolmentError(
                f"no device came with the code for {name} within {long_words(valid_s)}",
                hint=f"edgectl device invite {name}",
            )
        return waiting.enrolled.result()

    def _context(self) -> tuple[ssl.SSLContext, bytes]:
        """What speaks TLS while a device is waited for, and the certificate that it presents, DER."""
        key = certificates.new_key()
        made = certificates.enrolment_certificate(self._authority.signing(), key.public_key(), now_s=int(self._clock()))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        # The one way into an SSLContext is a file; it lives for this moment, in a folder of this user alone.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "enrolment-key.pem"
            path.write_bytes(certificates.key_pem(key) + certificates.pem(made.certificate).encode())
            context.load_cert_chain(path)
        return context, made.certificate.public_bytes(serialization.Encoding.DER)

    def authority_pem(self) -> str:
        """What a device checks against the fingerprint in its code."""
        return certificates.pem(self._authority.certificate)

    def check(self, waiting: Invitation, presented: bytes, request: EnrolmentRequest) -> None:
        """Refuse whoever does not know the secret.

        Raises:
            EnrolmentError: the code was used, is over, is another, or the proof is wrong.
        """
        if request.invitation != waiting.id:
            past = next((each for each in self._past() if each.id == request.invitation), None)
            if past is None:
                raise EnrolmentError("the code is not one of this host, or its secret is wrong")
            raise EnrolmentError(f"the code for {past.name} {past.how} {long_words(self._clock() - past.ended_s)} ago")
        proof = waiting.proof(host_certificate_der=presented, csr=request.csr)
        if request.name != waiting.name or not hmac.compare_digest(proof.encode(), request.proof.encode()):
            raise EnrolmentError("the proof is wrong: the request was made for another code, name or connection")

    def issue(self, waiting: Invitation, csr: str) -> Issued:
        """The certificate of the device that was waited for.

        Raises:
            EnrolmentError: the request is none.
        """
        # Before the certificate exists: whatever happens now, this code enrols nobody else.
        self._remember(waiting, "was used")
        return self._authority.issue_device(csr, waiting.name)

    def _past(self) -> tuple[_Past, ...]:
        return (self._folder.load(_PastOnes, _FILE) or _PastOnes()).invitations

    def _remember(self, invitation: Invitation, how: str) -> None:
        with self._folder.locked():
            past = _Past(invitation.id, invitation.name, int(self._clock()), how)
            self._folder.save(_PastOnes((*self._past(), past)[-_KEPT:]), _FILE)

    def refused(self, peer: str, why: str) -> None:
        """Tell the person who waits."""
        self._said(f"refused a device at {peer}: {why}")


def _listening(port: int) -> socket.socket:
    """One socket for IPv4 and IPv6, so that both have the one port that is in the code."""
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as exc:
        raise AddressError(f"cannot wait on port {port}: {exc.strerror}", hint="choose another: --port N") from exc


class _Waiting:
    """One invitation while its port is open. `enrolled` is settled by the one device that has its code."""

    def __init__(self, invitations: Invitations, invitation: Invitation, presented: bytes) -> None:
        self._invitations = invitations
        self._invitation = invitation
        self._presented = presented
        self._free = asyncio.Semaphore(_CONNECTIONS)
        self._tasks: set[asyncio.Task[None]] = set()
        self.enrolled: asyncio.Future[Enrolled] = asyncio.get_running_loop().create_future()

    def begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection comes in."""
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self) -> None:
        """The answer that is under way is finished; connections that say nothing are ended."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_LAST_WORD_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = str((writer.get_extra_info("peername") or ("unknown",))[0]).removeprefix("::ffff:")
        try:
            async with self._free, asyncio.timeout(_REQUEST_TIMEOUT_S):
                writer.write(canonical_bytes(self._invitations.authority_pem()) + b"\n")
                await writer.drain()
                line = await reader.readline()
            if line:
                writer.write(canonical_bytes(self._answer(peer, line)) + b"\n")
            else:
                self._invitations.refused(peer, "it went away, not taking this host for the one that its code names")
        except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError) as exc:
            # A scan, or a device that lost its network: nothing was given.
            self._invitations.refused(peer, f"it said nothing that can be understood ({type(exc).__name__})")
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _answer(self, peer: str, line: bytes) -> EnrolmentAnswer:
        """What a device is told. Nothing is awaited between the check of a code and its end."""
        try:
            request = from_bytes(EnrolmentRequest, line, what="request")
            self._invitations.check(self._invitation, self._presented, request)
            if self.enrolled.done():
                raise EnrolmentError(f"the code for {self._invitation.name} was used")
        except EdgectlError as exc:
            self._invitations.refused(peer, exc.message)
            return EnrolmentAnswer(refusal=exc.message)
        try:
            issued = self._invitations.issue(self._invitation, request.csr)
        except EdgectlError as exc:
            self.enrolled.set_exception(exc)
            return EnrolmentAnswer(refusal=exc.message)
        self.enrolled.set_result(Enrolled(issued, peer))
        return EnrolmentAnswer(issued.enrolment)
