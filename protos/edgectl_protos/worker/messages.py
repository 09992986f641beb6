"""What is said to a worker and what it answers.

A request is one of the first group; the worker answers it with any number of `Progress` and then exactly one reply or
`Failure`. One request at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.deployment import Failure
from edgectl_protos.domain.device import ComponentFacts, DeviceFacts, RuntimeFacts
from edgectl_protos.domain.loop import LoopOverrides
from edgectl_protos.domain.parity import ParityReport
from edgectl_protos.domain.run import RunPhase, RunSummary

__all__ = [
    "MESSAGES",
    "BoundTo",
    "BoundToReply",
    "Build",
    "Built",
    "Capture",
    "CaptureReply",
    "GraphInferred",
    "GraphOpened",
    "InferGraph",
    "Load",
    "Loaded",
    "OpenGraph",
    "Parity",
    "ParityReply",
    "Probe",
    "ProbeReply",
    "Progress",
    "Run",
    "RunReply",
    "Smoke",
    "SmokeReply",
    "Trace",
    "TraceReply",
    "Unload",
    "Unloaded",
]


@dataclass(frozen=True, slots=True)
class Probe:
    """Which runtimes can be used here? Imports each one found."""


@dataclass(frozen=True, slots=True)
class ProbeReply:
    """The answer to `Probe`."""

    runtimes: tuple[RuntimeFacts, ...]


@dataclass(frozen=True, slots=True)
class Load:
    """Load the release in this directory; `threads` 0 means one per core.

    `interpreters` are the Pythons of those runtimes of the release that the worker's own does not hold. `derived_dir`
    is where the agent keeps what was built on this device; empty where nothing is.
    """

    release_dir: str
    threads: int
    interpreters: dict[str, str] = field(default_factory=dict)
    derived_dir: str = ""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The components as loaded: precision and provider are read back from their runtimes, not assumed."""

    components: tuple[ComponentFacts, ...]
    import_s: float
    load_s: float


@dataclass(frozen=True, slots=True)
class BoundTo:
    """To what is an artifact bound that this runtime builds here?"""

    runtime: str


@dataclass(frozen=True, slots=True)
class BoundToReply:
    """Everything of this device that decides whether it loads, by name: versions, the processor, the driver."""

    facts: dict[str, str]


@dataclass(frozen=True, slots=True)
class Build:
    """Build a component as its recipe says, from `artifact` into the empty folder `out`. `cache` is a folder in which
    the builder may keep what makes the next build faster.
    """

    component: Component
    artifact: str
    out: str
    cache: str


@dataclass(frozen=True, slots=True)
class Built:
    """`entry` is what the runtime opens, a path in the folder; `layers` how many nodes that carry weight are computed
    in each precision, as the builder says.
    """

    entry: str
    layers: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unload:
    """Drop what is loaded, and give back its memory."""


@dataclass(frozen=True, slots=True)
class Unloaded:
    """Nothing is loaded."""


@dataclass(frozen=True, slots=True)
class Parity:
    """Run the release's golden cases, raw observation to final action."""


@dataclass(frozen=True, slots=True)
class ParityReply:
    """What was compared; None when the release has no golden cases."""

    report: ParityReport | None


@dataclass(frozen=True, slots=True)
class Trace:
    """Run the release's golden cases as an oracle, and write to `out` (.npz) what happens inside the program, and the
    actions for other observations at equal noise: what a release of another runtime or scheme is compared with.
    """

    out: str


@dataclass(frozen=True, slots=True)
class TraceReply:
    """How far the oracle's own actions are from the golden ones."""

    report: ParityReport


@dataclass(frozen=True, slots=True)
class Capture:
    """Run the program on the observations of an .npz (`<feature>`, case first) and write what enters a component to
    `out`: an .npz with `<port>`, one row for each call of the component, at most `limit` of them, spread evenly.
    """

    component: str
    observations: str
    out: str
    limit: int


@dataclass(frozen=True, slots=True)
class CaptureReply:
    """How many calls were written."""

    calls: int


@dataclass(frozen=True, slots=True)
class OpenGraph:
    """Load one component for another worker, whose interpreter lacks the runtime; or, with `fork_of`, give a graph that
    is loaded a second set of buffers.

    Inputs, then outputs, stand in the file `memory`, which both map, in the order of the component, each aligned to 64
    bytes.
    """

    component: Component
    artifact: str
    threads: int
    alone: bool
    memory: str
    fork_of: int = -1


@dataclass(frozen=True, slots=True)
class GraphOpened:
    """The graph's number, and what its runtime really uses."""

    graph: int
    facts: ComponentFacts
    first_inference_s: float


@dataclass(frozen=True, slots=True)
class InferGraph:
    """Run a graph once on what stands in its memory."""

    graph: int


@dataclass(frozen=True, slots=True)
class GraphInferred:
    """The outputs stand in the memory."""


@dataclass(frozen=True, slots=True)
class Smoke:
    """Run the loop for a few ticks, every step of it, and check the actions."""


@dataclass(frozen=True, slots=True)
class SmokeReply:
    """The loop ran this many ticks."""

    ticks: int


@dataclass(frozen=True, slots=True)
class Run:
    """Measure the loop; samples are spooled to `spool_path` (.npz)."""

    run_id: str
    deployment_id: str
    overrides: LoopOverrides
    facts: DeviceFacts
    spool_path: str


@dataclass(frozen=True, slots=True)
class RunReply:
    """The finished run."""

    summary: RunSummary


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a `Run`, `Parity` or `Build` is, 0..1. At most a few a second, none while measuring."""

    phase: RunPhase
    progress: float


MESSAGES: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        *(
            Probe,
            ProbeReply,
            Load,
            Loaded,
            BoundTo,
            BoundToReply,
            Build,
            Built,
            Unload,
            Unloaded,
            Parity,
            ParityReply,
            Trace,
            TraceReply,
            Capture,
            CaptureReply,
        ),
        *(OpenGraph, GraphOpened, InferGraph, GraphInferred),
        *(Smoke, SmokeReply, Run, RunReply, Progress, Failure),
    )
}
