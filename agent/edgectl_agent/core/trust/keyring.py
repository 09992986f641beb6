"""Questions about keys and signatures, each answered by a process that lives as long as the answer takes."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TypeVar

from edgectl_agent.core.trust.tasks import (
    CheckCertificate,
    Checked,
    CheckHost,
    CheckSignatures,
    KeyReply,
    KeyRequest,
    MadeKey,
    MakeKey,
    Signature,
)
from edgectl_protos.codec.document import canonical_bytes, from_bytes
from edgectl_protos.domain.errors import EdgectlError, TrustError
from edgectl_protos.domain.trust import Purpose, Signed

__all__ = ["Keyring", "signature_of"]

_Answer = TypeVar("_Answer", MadeKey, Checked)


def signature_of(signed: Signed, purpose: Purpose, key: str) -> Signature:
    """What is to be checked of a signed record: `key` is Ed25519 in hex, or the authority's certificate."""
    return Signature(key, signed.message(purpose).hex(), signed.signature)


class Keyring:
    """Asks; holds no key itself. `interpreter` has the distribution extra `edgectl-agent[trust]`."""

    def __init__(self, interpreter: str, *, timeout_s: float) -> None:
        self._command = [interpreter, "-m", "edgectl_agent.keys"]
        self._timeout_s = timeout_s

    def make_key(self, name: str) -> MadeKey:
        """A new key and a request for its certificate."""
        return self._ask(MakeKey(name), MadeKey)

    def check(self, signatures: tuple[Signature, ...]) -> str:
        """What is wrong with them; empty when nothing is."""
        return self._ask(CheckSignatures(signatures), Checked).wrong

    def check_certificate(self, ask: CheckCertificate) -> Checked:
        """Whether a certificate is the one that was asked for."""
        return self._ask(ask, Checked)

    def check_host(self, presented: bytes, authority: str, fingerprint: str) -> str:
        """What is wrong with the certificate (DER) of a host that enrols; empty when nothing is."""
        return self._ask(CheckHost(presented.hex(), authority, fingerprint), Checked).wrong

    def _ask(self, ask: CheckSignatures | MakeKey | CheckCertificate | CheckHost, answer: type[_Answer]) -> _Answer:
        try:
            done = subprocess.run(
                self._command,
                input=canonical_bytes(KeyRequest(ask)),
                capture_output=True,
                timeout=self._timeout_s,
                check=False,
                # `-m` puts the working directory first among the places of modules.
                cwd=Path("/"),
            )
            if done.returncode:
                raise TrustError(f"it ended with {done.returncode}: {_last_line(done.stderr)}")
            reply = from_bytes(KeyReply, done.stdout, what="answer").answer
            if not isinstance(reply, answer):
                raise TrustError(f"it answered with {type(reply).__name__}")
            return reply
        except (OSError, subprocess.TimeoutExpired, EdgectlError) as exc:
            raise TrustError(
                f"keys and signatures cannot be handled on this device: {exc}",
                hint="install what that takes, there: pip install 'edgectl-agent[trust]'",
            ) from exc


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"
