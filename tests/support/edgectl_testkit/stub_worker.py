"""A worker that computes nothing: it speaks the frames and does what the release's `stub.json` says.

Run as a script by an agent under test. Keys of `stub.json`, all optional: `precisions` (of components as loaded),
`forget` (a component that is not loaded), `parity_error` (rmse, in parts of the scale), `fail` ({request: [reason,
message]}), `die_in` (request), `killed_in` (request; as the kernel does when memory runs out), `hang_in` (request),
`run_s` (how long a run measures), `steps` (how far a build says it is, one after the other), `writes` (whether a
build writes anything), `leaves` (a build leaves a process, whose number is in the file of this name). The provider of
a component is the interpreter that it is lent by, or `none`. A build is a double of one: it copies. It is bound to
what $EDGECTL_STUB_VERSION says, or 1.0. Only the standard library and the protocol are imported, so that it is up in
a tenth of a second.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

from edgectl_protos.codec.document import from_bytes
from edgectl_protos.domain.artifact import Digest, precision_of
from edgectl_protos.domain.bundle import MANIFEST_NAME, Manifest
from edgectl_protos.domain.deployment import Failure
from edgectl_protos.domain.device import ComponentFacts, RuntimeFacts
from edgectl_protos.domain.loop import LoopSpec
from edgectl_protos.domain.parity import DimensionFigure, ParityFigure, ParityReport
from edgectl_protos.domain.run import (
    ColdStart,
    Misses,
    Percentiles,
    Rates,
    RunPhase,
    RunSummary,
    WarmUp,
)
from edgectl_protos.worker import messages
from edgectl_protos.worker.derived import key_of, source_of
from edgectl_protos.worker.framing import read_frame, write_frame

RUNTIMES = ("stub", "side")


def bound_to() -> dict[str, str]:
    """What the double's builds are bound to."""
    return {"version": os.environ.get("EDGECTL_STUB_VERSION", "1.0")}


class Stub:
    """The state between requests."""

    def __init__(self, replies: BinaryIO) -> None:
        self._replies = replies
        self._release = Path()
        self._wishes: dict[str, Any] = {}
        self._components: tuple[ComponentFacts, ...] = ()

    def answer(self, request: Any) -> Any:
        name = type(request).__name__
        if isinstance(request, messages.Load):
            self._open(Path(request.release_dir))
        if isinstance(request, messages.Build):
            self._open(Path(request.artifact).parents[2])
        print("stub:", name, flush=True)
        if self._wishes.get("die_in") == name:
            print("stub: dying as I was told", flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        if self._wishes.get("killed_in") == name:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._wishes.get("hang_in") == name:
            time.sleep(600)
        if name in self._wishes.get("fail", {}):
            reason, message = self._wishes["fail"][name]
            return Failure(reason, message, "the stub's hint")
        return getattr(self, f"_{name.lower()}")(request)

    def _probe(self, _: messages.Probe) -> messages.ProbeReply:
        working = [RuntimeFacts(name, "1.0", ("none",), ("fp32", "int8")) for name in RUNTIMES]
        broken = RuntimeFacts("broken", "", (), (), problem="its library does not load")
        return messages.ProbeReply((*working, broken))

    def _open(self, release: Path) -> None:
        self._release = release
        self._wishes = json.loads((release / "stub.json").read_text())

    def _boundto(self, request: messages.BoundTo) -> messages.BoundToReply:
        return messages.BoundToReply(bound_to())

    def _build(self, request: messages.Build) -> messages.Built:
        out = Path(request.out) / "engine.bin"
        if self._wishes.get("writes", True):
            out.write_bytes(b"built from " + Path(request.artifact).read_bytes())
        if told := self._wishes.get("leaves", ""):
            self._leave(out, Path(told))
        for step in self._wishes.get("steps", ()):
            write_frame(self._replies, messages.Progress(RunPhase.LOADING, step))
        return messages.Built("engine.bin", {"fp32": 2})

    def _leave(self, out: Path, told: Path) -> None:
        """A process that has what was built open for writing until somebody ends it, and tells its number."""
        ready, say = os.pipe()
        if os.fork() == 0:
            file = out.open("ab")
            told.write_text(str(os.getpid()))
            os.write(say, b"1")
            while file:
                signal.pause()
        os.read(ready, 1)

    def _check_built(self, derived: Path) -> Failure | None:
        """As the real worker: what is to be built must be there for the device as it is now."""
        manifest = self._manifest
        for component in manifest.components:
            if component.recipe is not None:
                folder = derived / key_of(source_of(component, manifest), bound_to()).hex
                if not (folder / "engine.bin").exists():
                    return Failure("runtime_missing", f"{component.name!r} is not built for this device as it is now")
        return None

    def _load(self, request: messages.Load) -> messages.Loaded | Failure:
        if failure := self._check_built(Path(request.derived_dir)):
            return failure
        precisions = self._wishes.get("precisions", {})
        self._components = tuple(
            ComponentFacts(
                name=component.name,
                runtime=component.runtime,
                runtime_version="1.0",
                scheme=component.scheme,
                precision=precisions.get(component.name, precision_of(component.scheme)),
                provider=request.interpreters.get(component.runtime, "none"),
            )
            for component in self._manifest.components
            if component.name != self._wishes.get("forget")
        )
        return messages.Loaded(self._components, 0.01, 0.01)

    def _parity(self, _: messages.Parity) -> messages.ParityReply:
        golden = self._manifest.golden
        if golden is None:
            return messages.ParityReply(None)
        error = self._wishes.get("parity_error", 0.0)
        figure = ParityFigure("executed", "rmse", error, self._manifest.tolerance.rmse, "action[0]")
        dimension = DimensionFigure("action[0]", error, error, 1.0, 1.0)
        return messages.ParityReply(ParityReport(golden.count, (figure,), (dimension,)))

    def _smoke(self, _: messages.Smoke) -> messages.SmokeReply:
        return messages.SmokeReply(3)

    def _run(self, request: messages.Run) -> messages.RunReply:
        write_frame(self._replies, messages.Progress(RunPhase.WARMING_UP, 0.1))
        write_frame(self._replies, messages.Progress(RunPhase.MEASURING, 0.2))
        time.sleep(self._wishes.get("run_s", 0.0))
        Path(request.spool_path).write_bytes(b"PK samples of " + request.run_id.encode())
        manifest_bytes = (self._release / MANIFEST_NAME).read_bytes()
        loop = from_bytes(LoopSpec, (self._release / self._manifest.loop).read_bytes(), what="loop")
        none = Percentiles(0)
        return messages.RunReply(
            RunSummary(
                run_id=request.run_id,
                deployment_id=request.deployment_id,
                release=Digest(self._release.name),
                name=from_bytes(Manifest, manifest_bytes, what=MANIFEST_NAME).name,
                loop=request.overrides.apply(loop),
                facts=request.facts,
                components=self._components,
                threads=1,
                started_s=0.0,
                measured_s=0.0,
                ticks=0,
                inferences=0,
                warm_up=WarmUp(0, 0.0, False),
                cold_start=ColdStart(0.0, 0.0, 0.0, 0.0),
                response=none,
                service=none,
                wake=none,
                jitter=none,
                age=none,
                misses=Misses(0, 0.0, 0, 0),
                starved_slots=0,
                rates=Rates(0.0, 0.0, 0.0, 0.0),
                spans=(),
                overhead_share=0.0,
                peak_rss_bytes=0,
                cpu_utilisation=0.0,
                temperature_start_c=None,
                temperature_max_c=None,
                samples_bytes=0,
            )
        )

    @property
    def _manifest(self) -> Manifest:
        return from_bytes(Manifest, (self._release / MANIFEST_NAME).read_bytes(), what=MANIFEST_NAME)


def main() -> int:
    """Answer requests until the daemon hangs up."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--reply-fd", type=int, required=True)
    return serve_pipes(0, 1, parser.parse_args().reply_fd)


def serve_pipes(requests_fd: int, log_fd: int, reply_fd: int) -> int:
    """The same on these descriptors; the exit status."""
    if log_fd != 1:
        os.dup2(log_fd, 1)
        os.dup2(log_fd, 2)
    with os.fdopen(requests_fd, "rb") as requests, os.fdopen(reply_fd, "wb") as replies:
        stub = Stub(replies)
        while (request := read_frame(requests)) is not None:
            write_frame(replies, stub.answer(request))
    return 0


if __name__ == "__main__":
    sys.exit(main())
