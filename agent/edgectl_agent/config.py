"""What an agent is told at its start. Read once, frozen, and passed down from `app.py`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgectl_protos.version import VERSION

__all__ = [
    "DEFAULT_RESERVE_BYTES",
    "MIB",
    "PROTOCOL_MAX",
    "PROTOCOL_MIN",
    "TLS_1_3_ONLY_CIPHERS",
    "VERSION",
    "AgentConfig",
    "SandboxConfig",
    "default_board",
    "default_device",
]


PROTOCOL_MIN = 1
PROTOCOL_MAX = 1

TLS_1_3_ONLY_CIPHERS = "ECDHE-RSA-AES256-GCM-SHA384"
"""For GRPC_SSL_CIPHER_SUITES, which gRPC reads when it is imported: it has no setting for the version of TLS. It names
the suites of 1.2 (those of 1.3 are fixed), and the one that it names cannot be used with the ECDSA keys of a fleet:
1.2 finds nothing to agree on. `server/callers.py` refuses 1.2 once more."""

MIB = 1 << 20
DEFAULT_RESERVE_BYTES = 64 * MIB


def default_device() -> str:
    """The name of this device when none is given."""
    return os.uname().nodename


def default_board() -> str:
    """The board profile that any machine of this architecture fits."""
    return f"generic-{os.uname().machine}"


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """`user` runs the workers of an agent that is root; empty: `edgectl-worker` where there is one, else `nobody`.

    `memory_bytes` bounds what a worker allocates; 0: nine tenths of the machine's. `file_bytes` bounds one file,
    `processes` all of that user, threads included.
    """

    active: bool = True
    user: str = ""
    memory_bytes: int = 0
    file_bytes: int = 16 << 30
    processes: int = 4096


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """One agent.

    `interpreters` maps a runtime to the Python that holds it, and so does `interpreters_file`, which is read whenever
    it is needed; the others are looked for in `interpreter`.
    Each interpreter must have edgectl-agent installed. `worker_arguments` start the worker in one of them.
    """

    state_dir: Path
    listen: tuple[str, ...]
    """`unix:PATH`, `tls:HOST:PORT`, or one of each."""
    device: str = field(default_factory=default_device)
    board: str = field(default_factory=default_board)
    stand_in_for: str = ""

    interpreter: str = sys.executable
    interpreters: Mapping[str, str] = field(default_factory=dict)
    interpreters_file: Path | None = None
    worker_arguments: tuple[str, ...] = ("-m", "edgectl_agent.worker")
    sandbox: SandboxConfig = SandboxConfig()

    rpc_threads: int = 52
    """One per concurrent call; each is started when first needed. Streams and calls that wait for a process may hold 48
    of them (`server/limits.py`).
    """
    stop_grace_s: float = 2.0

    reserve_bytes: int = DEFAULT_RESERVE_BYTES
    """Left free on the disk by every installation: for the journal, the samples, and everybody else."""
    sync_every_bytes: int = 32 * MIB
    """Uploaded bytes that one fsync makes durable together: as much as a cut may cost."""
    sync_every_s: float = 1.0
    """And no later than this, so that a slow upload loses little either, and shows how far it is."""

    lease_s: float = 30.0
    """A staging deployment whose host was silent for this long may be superseded."""
    staging_deadline_s: float = 3600.0
    """A staging deployment whose host was silent for this long fails by itself."""
    cancel_wait_s: float = 10.0

    keys_timeout_s: float = 60.0
    """What the process that checks signatures may take, on a small board that has just started."""
    probe_timeout_s: float = 180.0
    load_timeout_s: float = 600.0
    build_timeout_s: float = 7200.0
    """A builder that works on one component for longer is ended."""
    build_spare_bytes: int = 256 * MIB
    """A builder is ended before it leaves the machine less memory than this: a loop may be running beside it."""
    parity_timeout_s: float = 1800.0
    smoke_timeout_s: float = 300.0
    run_margin_s: float = 900.0
    """Time a run may take beyond what it measures: load, warm-up, summary."""
    worker_stop_s: float = 3.0

    releases_kept: int = 4
    """Installed last, on the disk while there is room, so that they are compared without being sent again. The
    installed one and the one before it always stay."""
    deployments_kept: int = 50
    events_kept: int = 1000
    runs_kept: int = 20
    worker_logs_kept: int = 10
