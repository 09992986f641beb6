"""What this device is: pure parsers of /proc, /sys and os-release, and the reader that feeds them.

A file that is missing gives an empty fact or None, never a guess. What changes while the agent runs (disk,
temperature, load, governor) is in `telemetry.py`; which runtimes there are is asked of workers, once.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from blake3 import blake3

from edgectl_agent.core.device.probe import Probe
from edgectl_agent.core.device.telemetry import Telemetry, read_text
from edgectl_protos.domain.device import DeviceFacts, RuntimeFacts, jetpack_words

__all__ = [
    "Facts",
    "Identity",
    "parse_cpu_model",
    "parse_isa",
    "parse_memory_bytes",
    "parse_os_name",
    "parse_preempt_rt",
    "read_boot_id",
]

ISA_OF_INTEREST = frozenset(
    {
        *("sse4_2", "avx", "avx2", "f16c", "fma", "avx_vnni", "avx512f", "avx512bw", "avx512vl"),
        *("avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16"),
        *("asimd", "asimdhp", "asimddp", "fphp", "i8mm", "bf16", "sve", "sve2", "neon", "rvv"),
    }
)
"""Processor flags that decide which kernels a runtime has."""


def parse_cpu_model(cpuinfo: str) -> str:
    """The processor's name; on ARM boards, which have none there, the board's."""
    fields = _fields(cpuinfo)
    for key in ("model name", "Model", "Hardware", "cpu model", "uarch"):
        if fields.get(key):
            return fields[key]
    return ""


def parse_isa(cpuinfo: str) -> tuple[str, ...]:
    """Flags of interest, sorted; x86 calls them flags, ARM features."""
    fields = _fields(cpuinfo)
    found = set((fields.get("flags") or fields.get("Features") or "").split())
    return tuple(sorted(found & ISA_OF_INTEREST))


def parse_memory_bytes(meminfo: str) -> int:
    """All memory the kernel manages; 0 when unknown."""
    size = _fields(meminfo).get("MemTotal", "").split()
    return int(size[0]) * 1024 if len(size) == 2 and size[0].isdecimal() and size[1] == "kB" else 0


def parse_os_name(os_release: str) -> str:
    """The distribution as it calls itself."""
    for line in os_release.splitlines():
        key, _, value = line.partition("=")
        if key == "PRETTY_NAME":
            return value.strip().strip("\"'")
    return ""


def parse_preempt_rt(kernel_version: str, realtime: str) -> bool:
    """Whether the kernel is fully preemptible: it says so in one of two places."""
    return realtime.strip() == "1" or "PREEMPT_RT" in kernel_version


def _fields(text: str) -> dict[str, str]:
    """The first value of each `key : value` line."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            found.setdefault(key.strip(), value.strip())
    return found


def read_boot_id(root: Path = Path("/")) -> str:
    """Different after every boot of the machine."""
    return read_text(root / "proc/sys/kernel/random/boot_id").strip()


def read_machine_id(root: Path) -> str:
    """Equal for all agents of a machine; hashed, since the original is a secret of the machine."""
    secret = read_text(root / "etc/machine-id").strip() or read_boot_id(root) or os.uname().nodename
    return blake3(b"edgectl machine " + secret.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Identity:
    """What the agent was told about its device."""

    device: str
    board: str
    stand_in_for: str


class Facts:
    """The facts of this device. Runtimes are asked for on the first call, and where they live elsewhere since."""

    def __init__(
        self,
        identity: Identity,
        telemetry: Telemetry,
        probe: Probe,
        isolation: Callable[[], tuple[str, ...]],
        *,
        root: Path,
    ) -> None:
        self._identity = identity
        self._telemetry = telemetry
        self._probe = probe
        self._isolation = isolation
        self._root = root
        self._lock = threading.Lock()
        self._known: DeviceFacts | None = None

    def get(self, *, refresh: bool = False) -> DeviceFacts:
        """The facts; with `refresh`, what changes is read again.

        Raises:
            WorkerError: the process that looks for runtimes died.
        """
        with self._lock:
            if self._known is None:
                self._known = self._read(self._probe.runtimes())
            elif refresh:
                self._known = replace(self._known, runtimes=self._probe.runtimes(), **self._telemetry.sample())
            return self._known

    def runtimes(self) -> tuple[RuntimeFacts, ...]:
        """The runtimes of this device.

        Raises:
            WorkerError: the process that looks for them died.
        """
        return self.get().runtimes

    def _read(self, runtimes: tuple[RuntimeFacts, ...]) -> DeviceFacts:
        cpuinfo = read_text(self._root / "proc/cpuinfo")
        machine = os.uname()
        device_tree = read_text(self._root / "proc/device-tree/model").strip("\0 \n")
        return DeviceFacts(
            device=self._identity.device,
            machine_id=read_machine_id(self._root),
            board=self._identity.board,
            arch=machine.machine,
            os=" · ".join(filter(None, (parse_os_name(read_text(self._root / "etc/os-release")), self._jetpack()))),
            kernel=machine.release,
            libc=_libc(),
            python=".".join(str(part) for part in sys.version_info[:3]),
            cpu_model=parse_cpu_model(cpuinfo) or device_tree,
            cpu_count=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            isa=parse_isa(cpuinfo),
            memory_bytes=parse_memory_bytes(read_text(self._root / "proc/meminfo")),
            preempt_rt=parse_preempt_rt(machine.version, read_text(self._root / "sys/kernel/realtime")),
            runtimes=runtimes,
            stand_in_for=self._identity.stand_in_for,
            isolation=self._isolation(),
            **self._telemetry.sample(),
        )

    def _jetpack(self) -> str:
        return jetpack_words(read_text(self._root / "etc/nv_tegra_release").partition("\n")[0])


def _libc() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        return ""
