"""A fleet with its authority, devices that were enrolled into it, and the real agent process behind mutual TLS.

fleet = FleetTrust(tmp_path / "home")
identity = fleet.enrol(state, "bench")
with running_agent(state, "tls:127.0.0.1:0") as (process, addresses): ...
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from edgectl_agent.enrol import Enroller
from edgectl_host.trust.authority import Authority, Grant
from edgectl_host.trust.folder import Credentials, TrustFolder
from edgectl_protos.domain.trust import Role, server_name

__all__ = ["FleetTrust", "Running", "channel_to", "running_agent"]


class FleetTrust:
    """One authority in a folder."""

    def __init__(self, home: Path, *, owner: str = "ada@laptop", clock: Any = time.time) -> None:
        self.path = home / "trust"
        self.folder = TrustFolder(self.path)
        self.authority = Authority.init(self.path, owner=owner, clock=clock)

    @property
    def own(self) -> Credentials:
        """What the administrator's host presents."""
        return self.folder.credentials()

    def enrol(self, state_dir: Path, name: str) -> str:
        """Bring the device of a state directory into the fleet, as over ssh; its identity."""
        enroller = Enroller(state_dir)
        issued = self.authority.issue_device(enroller.request(name), name)
        enroller.install(io.BytesIO(issued.document))
        return issued.identity

    def grant(self, name: str, role: Role, **changes: Any) -> Grant:
        """What an operator of this role is given."""
        return self.authority.issue_client(name, role, **changes)

    def grant_that_is_over(self, name: str, role: Role) -> Grant:
        """One that was good for an hour, until a minute ago."""
        then = Authority(self.folder, clock=lambda: time.time() - 3660)
        return then.issue_client(name, role, life_s=3600)


def channel_to(address: str, identity: str, own: Credentials | None, *, authority: str = "") -> grpc.Channel:
    """A plain gRPC channel with these credentials; None: TLS without a certificate."""
    credentials = grpc.ssl_channel_credentials(
        (own.authority if own else authority).encode(),
        own.key.encode() if own else None,
        own.certificate.encode() if own else None,
    )
    options = [("grpc.ssl_target_name_override", server_name(identity)), ("grpc.enable_http_proxy", 0)]
    return grpc.secure_channel(address.removeprefix("tls:"), credentials, options=options)


@dataclass
class Running:
    """An agent process and where it listens."""

    process: subprocess.Popen[str]
    addresses: tuple[str, ...]
    log: Path


@contextlib.contextmanager
def running_agent(state_dir: Path, *listen: str, at: Sequence[str] = (), **environment: str) -> Iterator[Running]:
    """The agent as people start it, once it is ready. `at`: what the command begins with, to run elsewhere."""
    command = [*at, sys.executable, "-m", "edgectl_agent", "run", "--state-dir", str(state_dir), "--device", "bench"]
    for address in listen:
        command += ["--listen", address]
    log = state_dir.with_name(state_dir.name + ".log")
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=os.environ | environment
        )
    with process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("listening on "), log.read_text()
            yield Running(process, tuple(line.removeprefix("listening on ").strip().split(", ")), log)
        finally:
            process.kill()
