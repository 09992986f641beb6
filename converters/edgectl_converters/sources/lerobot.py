"""LeRobot policy directories: config.json, model.safetensors, and two processor pipelines.

Facts: `type` in config.json selects the policy; no LeRobot version is recorded. Features are as the policy sees
them (frames CHW); the robot hands frames over as uint8 HWC, and the caller, not the processor JSON, divides by 255.
ACT takes frames at their trained size and never resizes.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgectl_converters.card import CheckpointCard, Sha256, digest_of_files, sha256_of
from edgectl_converters.sources.carried_export import carried_export_problem, has_carried_export, restore
from edgectl_converters.sources.lerobot_processors import (
    POSTPROCESSOR,
    PREPROCESSOR,
    LeRobotProcessing,
    processing_arrays,
    read_processing,
    state_files,
)
from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.errors import CheckpointCorruptError, CheckpointError, CheckpointFormatError
from edgectl_protos.domain.loop import Feature, FeatureKind, Policy

__all__ = [
    "ARRAYS_NAME",
    "WEIGHTS",
    "card",
    "checkpoint_files",
    "export_features",
    "policy_arrays",
    "restore_export",
    "sniff",
]

WEIGHTS = "model.safetensors"
ARRAYS_NAME = "processing.npz"
_SUPPORTED = ("act",)
_KINDS = {"VISUAL": FeatureKind.VISUAL, "STATE": FeatureKind.STATE, "ENV": FeatureKind.ENV}


def sniff(path: Path) -> bool:
    """A directory with a config.json."""
    return path.is_dir() and (path / "config.json").exists()


def checkpoint_files(path: Path) -> list[Path]:
    """The files that decide what the policy computes."""
    names = ["config.json", WEIGHTS, PREPROCESSOR, POSTPROCESSOR]
    files = [path / name for name in names]
    files += state_files(path)
    return sorted({file for file in files if file.exists()})


def card(path: Path, sha256: Sha256 = sha256_of) -> CheckpointCard:
    """Read the directory's own description of itself."""
    config = _config(path)
    tensors = _tensors(path)
    policy = _policy(path, config)
    notes = []
    toolchain = "lerobot"
    if has_carried_export(path):
        problem = carried_export_problem(path, checkpoint_files(path), sha256)
        notes.append(f"carried export not used: {problem}" if problem else "carries its export: no torch needed")
        toolchain = toolchain if problem else "host"
    return CheckpointCard(
        path=path,
        format="lerobot",
        policy=policy,
        parameters=sum(math.prod(shape) for shape in tensors.values()),
        size_bytes=(path / WEIGHTS).stat().st_size,
        toolchain=toolchain,
        digest=digest_of_files(path, checkpoint_files(path), sha256),
        notes=tuple(notes),
    )


def tensor_name(feature: str) -> str:
    """The graph input of a feature: ONNX names without dots."""
    return feature.removeprefix("observation.").replace(".", "_")


def _config(path: Path) -> dict[str, Any]:
    file = path / "config.json"
    data = file.read_bytes()
    if not data.strip():
        raise CheckpointError(
            f"{file} is empty: a known result of LeRobot's migration script",
            hint="migrate the checkpoint again with a newer LeRobot, or save it anew with save_pretrained",
        )
    try:
        config = json.loads(data)
    except ValueError as exc:
        raise CheckpointCorruptError(f"{file} is not JSON: {exc}") from exc
    kind = config.get("type") if isinstance(config, dict) else None
    if not isinstance(kind, str):
        raise CheckpointFormatError(
            f"{file} has no `type`: it is not the config of a LeRobot policy",
            hint="point at the folder that LeRobot's save_pretrained wrote (…/pretrained_model)",
        )
    if kind not in _SUPPORTED:
        raise CheckpointFormatError(
            f"LeRobot policy type {kind!r} is not supported yet; supported: {', '.join(_SUPPORTED)}",
            hint="export it to ONNX yourself and deploy the .onnx file",
        )
    found: dict[str, Any] = config
    return found


def _policy(path: Path, config: dict[str, Any]) -> Policy:
    _refuse_what_is_not_carried_over(config)
    action_shape = _shape(config, "output_features", "action")
    observations = tuple(_observation(config, name) for name in _section(config, "input_features"))
    tensors = Counter(feature.tensor for feature in observations)
    for feature in observations:
        if tensors[feature.tensor] > 1:
            raise CheckpointError(
                f"two input features would both be the graph input {feature.tensor!r}, one is {feature.name!r}",
                hint="rename one of them in the policy",
            )
    mapping = config.get("normalization_mapping") or {}
    if not isinstance(mapping, dict):
        raise CheckpointError(f"config.json: normalization_mapping is {mapping!r}, not an object")
    action = Feature("action", FeatureKind.ACTION, DType.FLOAT32, action_shape, "action")
    processing = read_processing(path, observations, action, mapping)
    chunk, steps = config.get("chunk_size"), config.get("n_action_steps")
    if type(chunk) is not int or type(steps) is not int or not 1 <= steps <= chunk:
        raise CheckpointError(f"config.json: n_action_steps {steps!r} does not fit chunk_size {chunk!r}")
    return Policy(
        type=config["type"],
        observations=processing.observations,
        action=action,
        chunk_size=chunk,
        n_action_steps=steps,
        pre=processing.pre,
        post=processing.post,
        arrays=ARRAYS_NAME if processing.pre or processing.post else "",
    )


def _refuse_what_is_not_carried_over(config: dict[str, Any]) -> None:
    if config.get("use_peft"):
        raise CheckpointFormatError("an adapter (use_peft) is not supported yet", hint="merge it, then save again")
    if config.get("n_obs_steps", 1) != 1:
        raise CheckpointFormatError(f"n_obs_steps {config['n_obs_steps']} is not supported; ACT has 1")
    coefficient = config.get("temporal_ensemble_coeff")
    if coefficient is not None:
        raise CheckpointFormatError(
            f"temporal ensembling (temporal_ensemble_coeff {coefficient}) is not supported yet",
            hint="set it to null in config.json to run plain chunks",
        )


def _observation(config: dict[str, Any], name: str) -> Feature:
    shape = _shape(config, "input_features", name)
    stated = config["input_features"][name].get("type")
    kind = _KINDS.get(str(stated))
    if kind is None:
        raise CheckpointFormatError(f"input feature {name!r} has the unsupported type {stated!r}")
    if kind is not FeatureKind.VISUAL:
        return Feature(name, kind, DType.FLOAT32, shape, tensor_name(name))
    if len(shape) != 3 or shape[0] != 3:
        raise CheckpointError(f"frames of input feature {name!r} are {list(shape)}; expected [3, height, width]")
    return Feature(name, kind, DType.UINT8, (shape[1], shape[2], shape[0]), tensor_name(name))


def _section(config: dict[str, Any], name: str) -> dict[str, Any]:
    section = config.get(name)
    if not isinstance(section, dict) or not section:
        raise CheckpointError(f"config.json has no {name}", hint="save the policy again with its features")
    return section


def _shape(config: dict[str, Any], section: str, name: str) -> tuple[int, ...]:
    entry = _section(config, section).get(name)
    shape = entry.get("shape") if isinstance(entry, dict) else None
    if not isinstance(shape, list) or not all(isinstance(size, int) and size > 0 for size in shape):
        raise CheckpointError(f"config.json: {section} has no valid shape for {name!r}: {shape!r}")
    return tuple(shape)


def _tensors(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes from the header of model.safetensors, after checking that the file is whole."""
    file = path / WEIGHTS
    if (path / "adapter_config.json").exists() or (path / "adapter_model.safetensors").exists():
        raise CheckpointFormatError(
            f"{path} is an adapter, which is not supported yet", hint="merge it into the policy, then save again"
        )
    if not file.exists():
        hint = "LeRobot writes model.safetensors with save_pretrained; other checkpoint formats are not read"
        raise CheckpointError(f"{path} has no {WEIGHTS}", hint=hint)
    header = read_safetensors_header(file)
    old = [name for name in header if name.startswith(("normalize_inputs.buffer_", "unnormalize_outputs.buffer_"))]
    if old:
        raise CheckpointFormatError(
            f"{WEIGHTS} holds statistics as buffers ({old[0]}): it was written by LeRobot before 0.4",
            hint="migrate it: python -m lerobot.processor.migrate_policy_normalization --pretrained-path PATH",
        )
    return {name: tuple(entry["shape"]) for name, entry in header.items()}


def read_safetensors_header(file: Path) -> dict[str, Any]:
    """Tensor entries of a safetensors file, the file checked for length.

    Raises:
        CheckpointCorruptError: it is truncated, or its header or offsets are damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(file), framework="numpy") as tensors:
            names = list(tensors.keys())
            return {
                name: {
                    "shape": tensors.get_slice(name).get_shape(),
                    "dtype": tensors.get_slice(name).get_dtype(),
                }
                for name in names
            }
    except (SafetensorError, OSError) as exc:
        raise CheckpointCorruptError(
            f"{file.name} is truncated or damaged: {exc}",
            hint="copy the checkpoint again and compare checksums",
        ) from exc


def policy_arrays(path: Path, policy: Policy) -> dict[str, Any]:
    """The processing arrays of a policy that `card` has read."""
    processing = LeRobotProcessing(policy.observations, policy.action, policy.pre, policy.post)
    return dict(processing_arrays(path, processing))


def restore_export(checkpoint: Path, out: Path, progress: Callable[[str], None]) -> dict[str, Any]:
    """The export step where the checkpoint carries its export: no torch and no toolchain, only arrays."""
    progress("restoring the carried export")
    restore(checkpoint, checkpoint / WEIGHTS, out)
    document: dict[str, Any] = json.loads((out / "export.json").read_bytes())
    return document


def export_features(path: Path, policy: Policy) -> list[dict[str, Any]]:
    """What the export in the toolchain needs to know of each observation, in the policy's order."""
    names = list(_section(_config(path), "input_features"))
    return [
        {
            "name": feature.name,
            "policy_name": name,
            "tensor": feature.tensor,
            "visual": feature.kind is FeatureKind.VISUAL,
        }
        for name, feature in zip(names, policy.observations, strict=True)
    ]
