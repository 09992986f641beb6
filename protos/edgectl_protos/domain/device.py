"""What a device is and can do: facts are read on it, profiles are known about it."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["ComponentFacts", "DeviceFacts", "HelloReply", "RuntimeFacts", "jetpack_words"]

_JETPACK_OF_L4T = {
    "35.4.1": "5.1.2",
    "36.3.0": "6.0",
    "36.4.0": "6.1",
    "36.4.3": "6.2",
    "36.4.4": "6.2.1",
    "38.2.0": "7.0",
}


def jetpack_words(release: str) -> str:
    """`JetPack 6.2` for the first line of /etc/nv_tegra_release, `L4T 36.5.0` where that is not known, else nothing."""
    found = re.search(r"R(\d+) .*REVISION: ([\d.]+)", release)
    if found is None:
        return ""
    l4t = f"{found[1]}.{found[2]}"
    l4t += ".0" if l4t.count(".") == 1 else ""
    return f"JetPack {_JETPACK_OF_L4T[l4t]}" if l4t in _JETPACK_OF_L4T else f"L4T {l4t}"


@dataclass(frozen=True, slots=True)
class RuntimeFacts:
    """One runtime found on the device, probed by loading it in a worker.

    `precisions` (fp32, fp16, bf16, int8 …) are those with real kernels on this processor; `problem` says why it cannot
    be used.
    """

    name: str
    version: str
    providers: tuple[str, ...]
    precisions: tuple[str, ...]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ComponentFacts:
    """One component as it was loaded: what was asked for, and what its runtime really uses, read back from it.

    `simulated`: the processor that it is for is simulated here, so that values are evidence and times are none.
    """

    name: str
    runtime: str
    runtime_version: str
    scheme: str
    precision: str
    provider: str
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """The environment stamp of a device; every run carries one.

    `machine_id` is equal for agents that share a machine. `stand_in_for` names the board that this machine
    merely stands in for, and is shown in every output. `isolation` says what workers have no part in on this device
    (another user, the network, files), and what could not be taken from them: an entry that begins with `not:`.
    """

    device: str
    machine_id: str
    board: str
    arch: str
    os: str
    kernel: str
    libc: str
    python: str
    cpu_model: str
    cpu_count: int
    isa: tuple[str, ...]
    memory_bytes: int
    disk_free_bytes: int
    governor: str
    temperature_c: float | None
    load_1min: float
    preempt_rt: bool
    runtimes: tuple[RuntimeFacts, ...]
    stand_in_for: str = ""
    isolation: tuple[str, ...] = ()

    def runtime(self, name: str) -> RuntimeFacts | None:
        """The runtime of this name, if the device has it."""
        return next((runtime for runtime in self.runtimes if runtime.name == name), None)


@dataclass(frozen=True, slots=True)
class HelloReply:
    """Who answers, and in which protocol versions (inclusive range). `problems` says what keeps the agent from working
    as it should: a full or failing disk, state that cannot be read.
    """

    agent_version: str
    protocol_min: int
    protocol_max: int
    device: str
    boot_id: str
    capabilities: tuple[str, ...]
    problems: tuple[str, ...] = ()
