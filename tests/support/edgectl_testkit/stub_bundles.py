"""Bundles for the stub worker: a few small files, no numpy, no graph. What the worker does is in `stub.json`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgectl_protos.codec.document import canonical_bytes
from edgectl_protos.domain.artifact import Digest, DType, FileEntry, TensorSpec
from edgectl_protos.domain.bundle import (
    MANIFEST_NAME,
    BuildRecipe,
    Component,
    Golden,
    Manifest,
    Provenance,
    folder_of,
)
from edgectl_protos.domain.loop import Deadlines, Execution, LoopSpec, OnEnd, SourceKind, SourceSpec
from edgectl_protos.domain.parity import Tolerance
from edgectl_protos.domain.policy import Feature, FeatureKind, Policy
from edgectl_protos.domain.program import Call, Program, Repeat, Step

__all__ = ["Part", "stub_bundle", "stub_loop", "stub_policy", "stub_program", "write_blobs", "write_bundle"]


@dataclass(frozen=True, slots=True)
class Part:
    """One component of a stub release, called `passes` times in each inference."""

    name: str = "full"
    runtime: str = "stub"
    scheme: str = "fp32"
    passes: int = 1
    recipe: BuildRecipe | None = None


def stub_loop(*, measure_s: float = 0.1, use: int = 1) -> LoopSpec:
    """A loop that nothing runs."""
    return LoopSpec(
        name="stub",
        rate_hz=50.0,
        sources=(SourceSpec("observation.state", SourceKind.SYNTHETIC, on_end=OnEnd.REPEAT),),
        execution=Execution(use=use),
        deadlines=Deadlines.of_tick(0.02),
        measure_s=measure_s,
    )


def stub_policy() -> Policy:
    """Two numbers in, one action of two numbers out."""
    state = Feature("observation.state", FeatureKind.STATE, DType.FLOAT32, (2,))
    return Policy("stub", (state,), Feature("action", FeatureKind.ACTION, DType.FLOAT32, (2,)), 1, 1)


def stub_program(parts: tuple[Part, ...]) -> Program:
    """The components one after the other, from the state to the action."""
    steps: list[Step] = []
    source = "observation.state"
    for part in parts:
        target = "action" if part is parts[-1] else f"from.{part.name}"
        call = Call(part.name, part.name, {"x": source}, {"y": target})
        steps.append(call if part.passes == 1 else Repeat(f"loop.{part.name}", part.passes, (call,)))
        source = target
    names = [*(f"from.{part.name}" for part in parts[:-1]), "action"]
    return Program(tuple(TensorSpec(name, DType.FLOAT32, (1, 2)) for name in names), tuple(steps), "action")


def stub_bundle(
    folder: Path,
    *,
    name: str = "stub",
    runtime: str = "stub",
    scheme: str = "fp32",
    parts: tuple[Part, ...] = (),
    wishes: dict[str, Any] | None = None,
    golden: bool = True,
    loop: LoopSpec | None = None,
    extra: dict[str, bytes] | None = None,
) -> Path:
    """Write a bundle of `parts`, by default one; the directory.

    `name` is part of its bytes, so that each name is another release.
    """
    parts = parts or (Part(runtime=runtime, scheme=scheme),)
    files = {
        **{f"{folder_of(part.name)}/model.bin": f"{part.name} of {name}".encode() * 100 for part in parts},
        "golden.npz": b"golden cases",
        "loop.json": canonical_bytes(loop or stub_loop()),
        "stub.json": json.dumps(wishes or {}).encode(),
        **(extra or {}),
    }
    write_bundle(
        folder,
        files,
        name=name,
        policy=stub_policy(),
        program=stub_program(parts),
        components=[_component(part) for part in parts],
        golden=Golden("golden.npz", 3, "testkit", "synthetic") if golden else None,
    )
    return folder


def write_bundle(
    folder: Path,
    files: Mapping[str, bytes],
    *,
    name: str,
    policy: Policy,
    program: Program,
    components: Sequence[Component],
    golden: Golden | None,
) -> bytes:
    """Write a bundle of these files, `loop.json` among them; the bytes of its manifest."""
    manifest = Manifest(
        name=name,
        policy=policy,
        program=program,
        components=tuple(components),
        files=write_blobs(folder, files),
        loop="loop.json",
        golden=golden,
        gates=(),
        provenance=Provenance(Digest("0" * 64), "testkit", ()),
    )
    data = canonical_bytes(manifest)
    (folder / MANIFEST_NAME).write_bytes(data)
    return data


def write_blobs(folder: Path, files: Mapping[str, bytes]) -> tuple[FileEntry, ...]:
    """Write files as the blobs of a bundle; their entries in its manifest."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    entries = []
    for path, data in files.items():
        digest = Digest(hashlib.sha256(data).hexdigest())
        (blobs / digest.hex).write_bytes(data)
        entries.append(FileEntry(path, len(data), digest))
    return tuple(entries)


def _component(part: Part) -> Component:
    return Component(
        name=part.name,
        runtime=part.runtime,
        scheme=part.scheme,
        entry="model.bin",
        inputs=(TensorSpec("x", DType.FLOAT32, (1, 2)),),
        outputs=(TensorSpec("y", DType.FLOAT32, (1, 2)),),
        tolerance=Tolerance(5e-3, 2.5e-2, 5e-3, 0.0),
        recipe=part.recipe,
    )
