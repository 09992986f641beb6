"""From a checkpoint to a bundle: card → export → build with gates → bundle, every step cached.

The manifest holds neither a time nor a host name: the same conversion gives the same release digest.
"""

from __future__ import annotations

import functools
import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgectl_converters.bundle import add_files, read_manifest, write_manifest
from edgectl_converters.card import CheckpointCard, digest_of_files
from edgectl_converters.digests import FileDigests
from edgectl_converters.gates import TOLERANCES
from edgectl_converters.inspect import inspect
from edgectl_converters.loop_file import derive_loop, load_loop
from edgectl_converters.observations import check_footage
from edgectl_converters.sources import lerobot
from edgectl_converters.sources.carried_export import carried_export_digest, write_carried_export
from edgectl_converters.steps import FinishedSteps, StepMissing, StepOutput, Steps, key_of, run_in_toolchain
from edgectl_converters.targets.registry import target
from edgectl_converters.toolchain import Toolchain, Toolchains
from edgectl_protos.codec.document import canonical_bytes, from_document, to_document
from edgectl_protos.domain.artifact import Digest, DType, Precision, TensorSpec
from edgectl_protos.domain.bundle import Component, GateResult, Golden, Manifest, Provenance, Step
from edgectl_protos.domain.errors import RouteError
from edgectl_protos.domain.loop import LoopSpec, Op, Policy, Processing

__all__ = ["ConvertRequest", "ConvertResult", "convert", "copy_bundle", "export_checkpoint", "find_conversion"]

GOLDEN_CASES = 8
CALIBRATION_CASES = 32
_GOLDEN_SEED, _CALIBRATION_SEED = 20_261, 20_262

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ConvertRequest:
    """What to convert, for which runtime at which precision. `footage` and `loop_file` are optional."""

    checkpoint: Path
    runtime: str
    precision: Precision
    footage: Path | None = None
    loop_file: Path | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class ConvertResult:
    """The bundle in the cache. `cached`: nothing had to be done."""

    bundle_dir: Path
    manifest: Manifest
    release: Digest
    cached: bool
    seconds: float


def convert(request: ConvertRequest, *, cache_dir: Path, config_dir: Path, progress: Progress) -> ConvertResult:
    """Convert, or find the conversion in the cache.

    Raises:
        CheckpointError: the checkpoint is not readable as what it claims to be.
        RouteError: the target cannot build this precision.
        GateError: a gate said no.
        ToolchainError: a toolchain is missing or its process failed.
    """
    digests = FileDigests(cache_dir)
    return _convert(request, Toolchains(cache_dir, config_dir), Steps(cache_dir), digests, progress)


def find_conversion(request: ConvertRequest, *, cache_dir: Path, config_dir: Path) -> ConvertResult | None:
    """The conversion, if the cache holds every step of it. Converts nothing and makes no toolchain.

    Raises:
        CheckpointError: the checkpoint is not readable as what it claims to be.
        RouteError: the target cannot build this precision.
    """
    toolchains, digests = Toolchains(cache_dir, config_dir), FileDigests(cache_dir)
    ready = {toolchain.name for toolchain in toolchains.list() if toolchain.lock}
    if inspect(request.checkpoint, digests).toolchain not in ready:
        return None
    try:
        return _convert(request, toolchains, FinishedSteps(cache_dir), digests, lambda text: None)
    except StepMissing:
        return None


def _convert(
    request: ConvertRequest, toolchains: Toolchains, steps: Steps, digests: FileDigests, progress: Progress
) -> ConvertResult:
    started = time.monotonic()
    chosen = target(request.runtime)
    if request.precision not in chosen.precisions:
        has = ", ".join(precision.value for precision in chosen.precisions)
        raise RouteError(
            f"edgectl builds no {request.precision.value} for {request.runtime}; it builds: {has}",
            hint=f"--precision {chosen.precisions[0].value}",
        )
    card = inspect(request.checkpoint, digests)
    footage = _footage_files(card, request.footage)
    loop = load_loop(request.loop_file, card.policy) if request.loop_file else derive_loop(card.policy, request.footage)
    footage_digest = str(digest_of_files(request.footage, footage.values(), digests)) if request.footage else ""
    digests.save()

    @functools.cache
    def check() -> None:
        """Before anything long is begun; a cached conversion has been checked."""
        if request.footage is not None and not loop.has(Op.RESIZE):
            check_footage(card.policy.observations, request.footage)

    host = toolchains.host()
    exported = _export(card, request.footage, footage_digest, toolchains, steps, progress)
    built_lock = key_of(**{package: host.versions.get(package, "") for package in chosen.packages})
    build_key = key_of(
        step="build", code=_code(), export=exported.folder.name, runtime=request.runtime,
        precision=request.precision.value, lock=built_lock, footage=footage_digest,
    )  # fmt: skip

    def build(out: Path) -> dict[str, Any]:
        check()
        return _build(out, card, request, exported, host, progress)

    built = steps.make(build_key, build)
    name = request.name or card.name
    bundle_key = key_of(step="bundle", code=_code(), build=build_key, loop=to_document(loop), name=name)

    def write(out: Path) -> dict[str, Any]:
        check()
        manifest = _write_bundle(out, name, card, request, exported, built, built_lock, loop, footage)
        return {"name": manifest.name}

    bundle = steps.make(bundle_key, write)
    manifest, data = read_manifest(bundle.folder)
    release = Digest(hashlib.sha256(data).hexdigest())
    return ConvertResult(bundle.folder, manifest, release, bundle.cached, time.monotonic() - started)


def export_checkpoint(
    checkpoint: Path, *, footage: Path | None, cache_dir: Path, config_dir: Path, progress: Progress
) -> Path:
    """Write the export into a LeRobot checkpoint, so that it converts where no torch is; the folder written.

    Raises:
        RouteError: the checkpoint needs no toolchain anyway.
    """
    card = inspect(checkpoint)
    if card.format != "lerobot":
        raise RouteError(f"{checkpoint} is {card.format}: it converts without a toolchain as it is")
    files = _footage_files(card, footage)
    digest = str(digest_of_files(footage, files.values())) if footage else ""
    toolchains = Toolchains(cache_dir, config_dir)
    exported = _export_by_lerobot(card, footage, digest, toolchains, Steps(cache_dir), progress)
    weights = checkpoint / lerobot.WEIGHTS
    return write_carried_export(exported.folder, checkpoint, weights, lerobot.checkpoint_files(checkpoint))


@functools.cache
def _code() -> str:
    """The digest of this package's own code: a step is done anew when what does it has changed."""
    root = Path(__file__).parent
    return str(digest_of_files(root, root.rglob("*.py")))


# --- export


def _export(
    card: CheckpointCard, footage: Path | None, footage_digest: str, toolchains: Toolchains, steps: Steps,
    progress: Progress,
) -> StepOutput:  # fmt: skip
    if card.format == "lerobot" and card.toolchain == "lerobot":
        return _export_by_lerobot(card, footage, footage_digest, toolchains, steps, progress)
    if card.format == "lerobot":
        key = key_of(
            step="restore", code=_code(), checkpoint=str(card.digest), export=str(carried_export_digest(card.path))
        )
        return steps.make(key, lambda out: lerobot.restore_export(card.path, out, progress))
    host = toolchains.host()
    lock = key_of(onnx=host.versions["onnx"])
    key = key_of(step="export.onnx", code=_code(), checkpoint=str(card.digest), footage=footage_digest, lock=lock)

    def export(out: Path) -> dict[str, Any]:
        body = _observations(out, card.policy, {}, footage) | {"lock": lock, "features": _tensor_shapes(card)}
        body |= {"checkpoint": str(card.path.absolute()), "out": str(out)}
        return run_in_toolchain(host, "onnx.export", body, progress)

    return steps.make(key, export)


def _export_by_lerobot(
    card: CheckpointCard, footage: Path | None, footage_digest: str, toolchains: Toolchains, steps: Steps,
    progress: Progress,
) -> StepOutput:  # fmt: skip
    toolchain = toolchains.get("lerobot", progress)
    key = key_of(
        step="export.lerobot",
        code=_code(),
        checkpoint=str(card.digest),
        footage=footage_digest,
        lock=toolchain.lock,
    )

    def export(out: Path) -> dict[str, Any]:
        body = _observations(out, card.policy, _arrays(card), footage)
        body |= {
            "checkpoint": str(card.path.absolute()),
            "out": str(out),
            "lock": toolchain.lock,
            "features": lerobot.export_features(card.path, card.policy),
        }
        return run_in_toolchain(toolchain, "lerobot.export", body, progress)

    return steps.make(key, export)


def _observations(out: Path, policy: Policy, arrays: dict[str, Any], footage: Path | None) -> dict[str, Any]:
    """Golden observations in a file of the step; the request's part about them."""
    import numpy as np

    from edgectl_converters.observations import observe

    raw: Any = observe(policy.observations, footage, arrays, count=GOLDEN_CASES, seed=_GOLDEN_SEED)
    path = out / "observations.npz"
    np.savez(path, **raw)
    return {"observations": str(path), "inputs_kind": "recorded" if footage else "synthetic"}


def _tensor_shapes(card: CheckpointCard) -> list[dict[str, Any]]:
    from edgectl_converters.sources.onnx import input_shapes

    shapes = input_shapes(card.path)
    return [
        {"name": feature.name, "tensor": feature.tensor, "tensor_shape": shapes[feature.tensor]}
        for feature in card.policy.observations
    ]


# --- build and bundle


def _arrays(card: CheckpointCard) -> dict[str, Any]:
    if card.format != "lerobot" or not card.policy.arrays:
        return {}
    return lerobot.policy_arrays(card.path, card.policy)


def _build(
    out: Path,
    card: CheckpointCard,
    request: ConvertRequest,
    exported: StepOutput,
    host: Toolchain,
    progress: Progress,
) -> dict[str, Any]:
    import numpy as np

    from edgectl_converters.observations import observe

    arrays = _arrays(card)
    arrays_path = out / lerobot.ARRAYS_NAME
    if arrays:
        np.savez(arrays_path, **arrays)
    with tempfile.TemporaryDirectory(prefix="edgectl-") as folder:
        calibration = Path(folder) / "calibration.npz"
        if request.precision is Precision.INT8:
            policy = card.policy
            raw: Any = observe(
                policy.observations, request.footage, arrays, count=CALIBRATION_CASES, seed=_CALIBRATION_SEED
            )
            np.savez(calibration, **raw)
        body = {
            "export": str(exported.folder),
            "out": str(out),
            "policy": to_document(card.policy),
            "runtime": request.runtime,
            "precision": request.precision.value,
            "arrays": str(arrays_path) if arrays else "",
            "calibration": str(calibration),
        }
        return run_in_toolchain(host, "build", body, progress)


def _write_bundle(
    out: Path, name: str, card: CheckpointCard, request: ConvertRequest, exported: StepOutput, built: StepOutput,
    built_lock: str, loop: LoopSpec, footage: dict[str, Path],
) -> Manifest:  # fmt: skip
    result = built.result
    artifact = Path(result["artifact"])
    files = {path.name: path for path in built.folder.glob(f"{artifact.stem}.*")}
    if card.policy.arrays:
        files[card.policy.arrays] = built.folder / card.policy.arrays
    files["golden.npz"] = exported.folder / "golden.npz"
    used = {source.path for source in loop.sources if source.path}
    files |= {path: source for path, source in footage.items() if path in used}
    missing = used - set(files)
    if missing:
        raise RouteError(f"the loop reads {sorted(missing)[0]!r}, which is not in the footage", hint="--footage DIR")
    loop_path = out / "loop.json"
    loop_path.write_bytes(canonical_bytes(loop))
    files["loop.json"] = loop_path
    entries = add_files(out, files, owned=out.parent)
    loop_path.unlink()
    folded = set(result["folded"])
    pre = tuple(Processing(step.feature, step.mode, step.feature in folded) for step in card.policy.pre)
    manifest = Manifest(
        name=name,
        components=(_component(request, result),),
        files=entries,
        policy=replace(card.policy, pre=pre),
        loop="loop.json",
        golden=Golden(
            path="golden.npz",
            count=result["cases"],
            reference=exported.result["reference"],
            inputs_kind=exported.result["inputs_kind"],
            tolerance=TOLERANCES[request.precision],
        ),
        gates=tuple(from_document(GateResult, gate, what="gate") for gate in result["gates"]),
        provenance=_provenance(card, request, exported, built_lock, result),
    )
    write_manifest(out, manifest)
    return manifest


def _component(request: ConvertRequest, result: dict[str, Any]) -> Component:
    def specs(kind: str) -> tuple[TensorSpec, ...]:
        entries = result["specs"][kind].items()
        return tuple(TensorSpec(name, DType(e["dtype"]), tuple(e["shape"])) for name, e in entries)

    return Component(
        name="full",
        runtime=request.runtime,
        precision=request.precision,
        artifact=result["artifact"],
        inputs=specs("inputs"),
        outputs=specs("outputs"),
        options=result["options"],
    )


def _provenance(
    card: CheckpointCard,
    request: ConvertRequest,
    exported: StepOutput,
    built_lock: str,
    result: dict[str, Any],
) -> Provenance:
    versions = {name: str(version) for name, version in exported.result["versions"].items()}
    export = Step("export", card.format, versions, exported.result["toolchain"], exported.result["lock"])
    build = Step(
        "build",
        request.runtime,
        {"precision": request.precision.value, **result["settings"]},
        "host",
        built_lock,
    )
    return Provenance(card.digest, card.format, card.policy.type, (export, build))


def _footage_files(card: CheckpointCard, footage: Path | None) -> dict[str, Path]:
    """Files of the footage that hold a feature of the policy, by their path in the release."""
    if footage is None:
        return {}
    from edgectl_converters.observations import find_footage

    found = (find_footage(footage, feature.name) for feature in card.policy.observations)
    return {file.name: file for file, _ in filter(None, found)}


def copy_bundle(bundle: Path, out: Path) -> None:
    """Copy a cached bundle to where the user wants it.

    Raises:
        RouteError: something is there already.
    """
    if out.exists():
        raise RouteError(f"{out} exists already", hint="name another folder: --output DIR")
    shutil.copytree(bundle, out, ignore=shutil.ignore_patterns("result.json"))
