"""What a run must print, computed from stamps that edgectl did not make (`truth_worker.py`).

Nothing of edgectl's own statistics is used here. A stamp taken outside is a few microseconds from the one taken inside,
so counts of what is over a limit come as a range: without and with those that are near it. Where the thread lost its
CPU between the two stamps, or a virtual machine its own, they may be anything apart: a third stamp, after edgectl's,
tells. Such ticks are known, and doubtful; a run with many of them is made again.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgectl_protos.codec.document import canonical_bytes
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.bundle import Component, folder_of
from edgectl_protos.domain.loop import LoopOverrides, LoopSpec, OnEnd, SourceKind, SourceSpec
from edgectl_protos.domain.parity import Tolerance
from edgectl_protos.domain.policy import Feature, FeatureKind, Policy
from edgectl_protos.domain.program import Call, Program
from edgectl_protos.domain.run import Percentiles, RunSummary
from edgectl_protos.worker import messages
from edgectl_protos.worker.process import WorkerProcess
from edgectl_testkit import truth_worker
from edgectl_testkit.bundles import npz_bytes, release_dir
from edgectl_testkit.runs import device_facts
from edgectl_testkit.stub_bundles import write_bundle

__all__ = ["NEAR_S", "Truth", "agrees", "measured", "nearest_rank", "numbered", "scripted_release"]

NEAR_S = 50e-6
_MOST_DOUBTFUL = 0.1
_ATTEMPTS = 4
_FEATURE = "observation.state"
_Times = npt.NDArray[np.float64]


def numbered(**changes: object) -> SourceSpec:
    """A source whose frames are their own numbers."""
    return SourceSpec(_FEATURE, SourceKind.RECORDED, "frames.npy", on_end=OnEnd.FAIL, **changes)  # type: ignore[arg-type]


def scripted_release(folder: Path, loop: LoopSpec, sleeps_s: Sequence[float], *, chunk: int = 1) -> Path:
    """A release as it lies on a device, whose inferences take these times."""
    x, y = TensorSpec("x", DType.FLOAT32, (1, 1)), TensorSpec("y", DType.FLOAT32, (chunk, 2))
    component = Component("full", "scripted", "fp32", "script.json", (x,), (y,), Tolerance(5e-3, 2.5e-2, 5e-3, 0.0))
    state = Feature(_FEATURE, FeatureKind.STATE, DType.FLOAT32, (1,))
    action = Feature("action", FeatureKind.ACTION, DType.FLOAT32, (2,))
    script = {"warm_s": float(np.median(sleeps_s)), "measured_s": list(sleeps_s)}
    frames = np.arange(20_000, dtype=np.float32)[:, None]
    np.save(folder / "frames.npy", frames)
    files = {
        f"{folder_of('full')}/script.json": json.dumps(script).encode(),
        "frames.npy": (folder / "frames.npy").read_bytes(),
        "golden.npz": npz_bytes({}),
        "loop.json": canonical_bytes(loop),
    }
    bundle = folder / "bundle"
    write_bundle(
        bundle,
        files,
        name="scripted",
        policy=Policy("scripted", (state,), action, chunk, 1),
        program=Program(
            (TensorSpec("action", DType.FLOAT32, (chunk, 2)),),
            (Call("full", "full", {"x": _FEATURE}, {"y": "action"}),),
            "action",
        ),
        components=[component],
        golden=None,
    )
    return release_dir(bundle, folder / "release")


def measured(folder: Path, release: Path) -> tuple[RunSummary, Truth]:
    """A run of the release in a real worker process: what it says, and what was seen. The last of few attempts."""
    for _ in range(_ATTEMPTS):
        summary, truth = _attempt(folder, release)
        if truth.disturbed.mean() < _MOST_DOUBTFUL:
            break
    return summary, truth


def _attempt(folder: Path, release: Path) -> tuple[RunSummary, Truth]:
    stamps = folder / "stamps.npy"
    command = [sys.executable, str(Path(truth_worker.__file__).resolve()), str(stamps)]
    worker = WorkerProcess(command, folder / "worker.log", stop_s=5.0)
    try:
        worker.ask(messages.Load(str(release), threads=1), messages.Loaded, timeout_s=60)
        request = messages.Run("r", "d", LoopOverrides(), device_facts(), str(folder / "samples.npz"))
        summary = worker.ask(request, messages.RunReply, timeout_s=120).summary
    finally:
        worker.stop()
    return summary, Truth.of(np.load(stamps), summary.loop)


@dataclass(frozen=True, slots=True)
class Truth:
    """What happened, tick by tick: `slot` ascending, the rest beside it. `end_s`: when the run's last slot was over."""

    loop: LoopSpec
    published_before: int
    t0_s: float
    end_s: float
    slot: npt.NDArray[np.int64]
    woke: _Times
    published: _Times
    frame: _Times
    infer_s: _Times
    """How long each inference took."""
    inferring: npt.NDArray[np.bool_]
    """Which ticks inferred."""
    disturbed: npt.NDArray[np.bool_]
    """Ticks in which a stamp of edgectl may be far from ours: there the thread lost its CPU, or much time went by."""

    @classmethod
    def of(cls, rows: _Times, loop: LoopSpec) -> Truth:
        """From the table of `truth_worker`."""
        # Only paced ticks sleep: the first sleep is that for the first slot, and what is published before it warms up.
        begin = int(np.flatnonzero(rows[:, 0] == truth_worker.SLEEP)[0])
        warming, rows = rows[:begin], rows[begin:]
        sleeps = rows[rows[:, 0] == truth_worker.SLEEP]
        t0 = float(sleeps[0, 1])
        slot: list[int] = []
        disturbed: list[bool] = []
        woke, published, frame, infer, inferring = [], [], [], [], []
        used, last_sleep, fresh, lost_inside, late_wake = math.nan, sleeps[0], False, 0.0, False
        for before, row in pairwise(rows):
            kind, a, _, start, stop, lost_start, lost_stop = row
            if kind == truth_worker.SLEEP:
                if slot:
                    # Between the sleeps the thread lost its CPU, and not only within the inference.
                    disturbed[-1] |= lost_start - last_sleep[6] > lost_inside
                last_sleep, lost_inside = row, 0.0
            elif kind == truth_worker.STAMP:
                late = start - before[4] > NEAR_S
                if before[0] == truth_worker.SLEEP:
                    late_wake = late
                else:
                    disturbed[-1] |= late
            elif kind == truth_worker.INFERENCE:
                used, fresh, lost_inside = a, True, lost_stop - lost_start
                infer.append(stop - start)
            else:
                slot.append(round((last_sleep[1] - t0) * loop.rate_hz))
                woke.append(last_sleep[4])
                published.append(start)
                frame.append(used)
                inferring.append(fresh)
                disturbed.append(late_wake)
                fresh = False
        due = t0 + np.array(slot) / loop.rate_hz
        asked = sleeps[1 : len(slot) + 1, 1]
        assert np.abs(asked - due).max() < 1e-6, "the schedule is not absolute"
        assert list(rows[rows[:, 0] == truth_worker.PUBLISH, 2]) == [
            index % loop.execution.use for index in range(len(slot))
        ], "actions of a chunk are not executed in order"
        return cls(
            loop,
            int((warming[:, 0] == truth_worker.PUBLISH).sum()),
            t0,
            float(sleeps[-1, 4]),
            np.array(slot),
            np.array(woke),
            np.array(published),
            np.array(frame),
            np.array(infer),
            np.array(inferring),
            np.array(disturbed),
        )

    @property
    def slots(self) -> int:
        """How many slots the run has."""
        return max(1, round(self.loop.measure_s * self.loop.rate_hz))

    @property
    def due(self) -> _Times:
        """When each tick was due."""
        return self.t0_s + self.slot / self.loop.rate_hz

    @property
    def lost(self) -> npt.NDArray[np.int64]:
        """Slots without a tick of their own."""
        return np.setdiff1d(np.arange(self.slots), self.slot)

    @property
    def responses(self) -> _Times:
        """Of every slot: to the action of the next tick that ran; where none did, to the end of the run at least."""
        later = np.searchsorted(self.slot, np.arange(self.slots))
        until = np.append(self.published, self.end_s)[later]
        found: _Times = until - (self.t0_s + np.arange(self.slots) / self.loop.rate_hz)
        return found

    @property
    def doubtful(self) -> npt.NDArray[np.bool_]:
        """Slots whose response ends in a tick that was disturbed."""
        later = np.searchsorted(self.slot, np.arange(self.slots))
        found: npt.NDArray[np.bool_] = np.append(self.disturbed, False)[later]
        return found

    def late(self, limit_s: float) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Slots that responded after this time: those that did for sure, and those that may have."""
        sure = (self.responses > limit_s + NEAR_S) & ~self.doubtful
        return sure, (self.responses > limit_s - NEAR_S) | self.doubtful

    def starved(self) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Slots that had no action of their own while they lasted, for sure and maybe."""
        found = self.late(self.loop.period_s)
        for mask in found:
            mask[self.lost] = True
        return found

    @property
    def stamps(self) -> _Times:
        """When the frame that each action is from was taken, by a camera that ran before the loop did."""
        source = self.loop.sources[0]
        fps = source.fps or self.loop.rate_hz
        begin = self.t0_s + source.phase_s % (1 / fps)
        # The frame of number 0 is the one that was there when the first tick woke.
        first = math.floor((self.woke[0] - begin) * fps)
        found: _Times = begin + (first + self.frame) / fps - source.delay_s
        return found

    @property
    def wall_s(self) -> float:
        """From the first slot to the end of the last."""
        return self.end_s - self.t0_s


def longest_run(missed: npt.NDArray[np.bool_]) -> int:
    """The longest run of true values."""
    best = run = 0
    for value in missed:
        run = run + 1 if value else 0
        best = max(best, run)
    return best


def nearest_rank(samples: _Times, fraction: float) -> float:
    """The smallest sample that at least this fraction of all does not exceed."""
    return float(np.sort(samples)[math.ceil(fraction * len(samples)) - 1])


def agrees(printed: float | None, truth: float) -> bool:
    """Within 1 % or 50 µs."""
    return printed is not None and abs(printed - truth) <= max(0.01 * abs(truth), NEAR_S)


def differences(name: str, printed: Percentiles, samples: _Times, *, doubtful: int = 0) -> list[str]:
    """Where percentiles differ from those of the samples; those with too few samples must not be there.

    Of the samples, `doubtful` may be any other value: a percentile is then that of a rank so many places away, at most.
    """
    wanted = {"p50": (0.5, 30), "p90": (0.9, 64), "p95": (0.95, 90), "p99": (0.99, 459), "max": (1.0, 1)}
    n, ordered = len(samples), np.concatenate([[-math.inf], np.sort(samples), [math.inf]])
    found = [] if printed.n == n else [f"{name}: {printed.n} samples, seen {n}"]
    for percentile, (fraction, floor) in wanted.items():
        value, rank = getattr(printed, percentile), math.ceil(fraction * n)
        low, high = (float(ordered[min(max(rank + step, 0), n + 1)]) for step in (-doubtful, doubtful))
        if n < floor:
            fits = value is None
        else:
            fits = value is not None and (low <= value <= high or agrees(value, low) or agrees(value, high))
        if not fits:
            found.append(f"{name} {percentile}: printed {value}, seen {low} to {high} in {n}")
    return found
