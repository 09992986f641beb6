"""Bundles for the stub worker: a few small files, no numpy, no graph. What the worker does is in `stub.json`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from edgectl_protos.codec.document import canonical_bytes
from edgectl_protos.domain.artifact import Digest, DType, FileEntry, Precision, TensorSpec
from edgectl_protos.domain.bundle import MANIFEST_NAME, Component, Golden, Manifest, Provenance, Tolerance
from edgectl_protos.domain.loop import (
    Deadlines,
    Execution,
    Feature,
    FeatureKind,
    LoopSpec,
    OnEnd,
    Op,
    Policy,
    SourceKind,
    SourceSpec,
    StageSpec,
)

__all__ = ["stub_bundle", "stub_loop"]


def stub_loop(*, measure_s: float = 0.1) -> LoopSpec:
    """A loop that nothing runs."""
    return LoopSpec(
        name="stub",
        rate_hz=50.0,
        sources=(SourceSpec("observation.state", SourceKind.SYNTHETIC, on_end=OnEnd.REPEAT),),
        stages=(StageSpec("act", Op.MODEL),),
        execution=Execution(chunk=1, use=1),
        deadlines=Deadlines(tick_s=0.02),
        measure_s=measure_s,
    )


def stub_bundle(
    folder: Path,
    *,
    name: str = "stub",
    runtime: str = "stub",
    precision: Precision = Precision.FP32,
    wishes: dict[str, Any] | None = None,
    golden: bool = True,
    extra: dict[str, bytes] | None = None,
) -> Path:
    """Write a bundle; the directory. `name` is part of its bytes, so that each name is another release."""
    files = {
        "full.bin": f"weights of {name}".encode() * 100,
        "golden.npz": b"golden cases",
        "loop.json": canonical_bytes(stub_loop()),
        "stub.json": json.dumps(wishes or {}).encode(),
        **(extra or {}),
    }
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    entries = []
    for path, data in files.items():
        digest = Digest(hashlib.sha256(data).hexdigest())
        (blobs / digest.hex).write_bytes(data)
        entries.append(FileEntry(path, len(data), digest))
    state = Feature("observation.state", FeatureKind.STATE, DType.FLOAT32, (2,), "state")
    action = Feature("action", FeatureKind.ACTION, DType.FLOAT32, (2,), "action")
    component = Component(
        name="full",
        runtime=runtime,
        precision=precision,
        artifact="full.bin",
        inputs=(TensorSpec("state", DType.FLOAT32, (1, 2)),),
        outputs=(TensorSpec("action", DType.FLOAT32, (1, 1, 2)),),
        options={},
    )
    manifest = Manifest(
        name=name,
        components=(component,),
        files=tuple(entries),
        policy=Policy("stub", (state,), action, 1, 1, (), (), ""),
        loop="loop.json",
        golden=Golden("golden.npz", 3, "testkit", "synthetic", Tolerance(1e-4, 0.999)) if golden else None,
        gates=(),
        provenance=Provenance(Digest("0" * 64), "testkit", "stub", ()),
    )
    (folder / MANIFEST_NAME).write_bytes(canonical_bytes(manifest))
    return folder
