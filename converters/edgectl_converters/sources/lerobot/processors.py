"""LeRobot's normalisation as arrays: y = (x - offset) / scale before the policy, y = x * scale + offset after it.

Facts: a vector's range begins at -1 by a shift after the division, as LeRobot computes, so that a range of nothing
gives what it gives there in float32 too; forward and inverse are not symmetric (mean/std divides by std + eps and
multiplies by std alone; the other modes replace a range of nothing by eps both ways). A tensor `<feature>.<statistic>`
is split at the last dot. A caller of LeRobot divides frames by 255; here frames stay bytes, so their offset and scale
are 255 times as large. LeRobot leaves a feature without statistics as it is, in silence; here that is an error.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgectl_converters.sources.lerobot.buffers import has_buffers, pipeline_of_buffers
from edgectl_converters.sources.lerobot.config import Config
from edgectl_converters.sources.lerobot.foreign import read_tensors
from edgectl_converters.sources.lerobot.pipeline import (
    POSTPROCESSOR,
    PREPROCESSOR,
    STATISTICS,
    Pipeline,
    Prompting,
    read_pipeline,
)
from edgectl_protos.domain.errors import CheckpointError, ProcessorError, StatisticsError
from edgectl_protos.domain.policy import Feature, FeatureKind

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Arrays = dict[str, npt.NDArray[np.float32]]

__all__ = ["IDENTITY", "WEIGHTS", "Observed", "Processing", "processing_arrays", "read_processing", "state_files"]

IDENTITY = "IDENTITY"
WEIGHTS = "model.safetensors"
_RANGES = tuple(mode for mode in STATISTICS if mode != "MEAN_STD")


@dataclass(frozen=True, slots=True)
class Observed:
    """One observation: as the robot has it, as the policy calls it, and what its tensors and arrays are called here.

    `mode` is LeRobot's name of its normalisation.
    """

    feature: Feature
    policy_name: str
    short: str
    mode: str

    @property
    def visual(self) -> bool:
        """Whether it is a camera's frame."""
        return self.feature.kind is FeatureKind.VISUAL


@dataclass(frozen=True, slots=True)
class Processing:
    """What the two pipelines do. `prompting` is there exactly where the policy takes an instruction."""

    observed: tuple[Observed, ...]
    action_mode: str
    prompting: Prompting | None


def read_processing(path: Path, config: Config) -> Processing:
    """Which features are normalised how; every statistic that will be needed is checked to be there.

    A pipeline that lacks a normalisation which `config.normalization` asks for is refused.

    Raises:
        ProcessorError: a step is unknown or custom, or does not fit the policy.
        StatisticsError: a feature lacks its statistics.
        CheckpointError: a pipeline is missing or malformed.
    """
    before, after = (_pipeline(path, name, config) for name in (PREPROCESSOR, POSTPROCESSOR))
    if config.takes_instruction and before.prompting is None:
        raise ProcessorError(
            f"{PREPROCESSOR} has no tokenizer_processor, and {config.type} takes an instruction",
            hint="save the policy together with its own processors",
        )
    if not config.takes_instruction and before.prompting is not None:
        raise ProcessorError(f"{PREPROCESSOR} makes tokens of an instruction, which {config.type} does not take")
    observed = []
    for feature, short in zip(config.observations, _short_names(config.observations), strict=True):
        raw = replace(feature, name=before.raw_name(feature.name))
        mode = _mode(before, feature, config.normalization)
        if config.takes_instruction and feature.kind is FeatureKind.VISUAL and mode != IDENTITY:
            raise ProcessorError(
                f"{PREPROCESSOR} normalises {feature.name} by {mode}; {config.type} takes frames as they are",
                hint="set VISUAL to IDENTITY in norm_map and in normalization_mapping, as LeRobot does",
            )
        observed.append(Observed(raw, feature.name, short, mode))
    names = [one.feature.name for one in observed]
    if len(set(names)) != len(names):
        raise CheckpointError(f"the renamed observations have one name twice: {', '.join(sorted(names))}")
    found = Processing(tuple(observed), _mode(after, config.action, config.normalization), before.prompting)
    processing_arrays(path, config, found)
    return found


def processing_arrays(path: Path, config: Config, processing: Processing) -> Arrays:
    """`<short>.offset/.scale` for each normalised observation, `.shift` where there is one, and `action.offset/.scale`,
    computed in float64.

    Raises:
        StatisticsError: a statistic is missing, has another size, or is not finite.
    """
    import numpy as np

    arrays: Arrays = {}
    before = _pipeline(path, PREPROCESSOR, config)
    for one in processing.observed:
        shape = one.feature.shape
        if one.visual and config.takes_instruction:
            # -1..1, as the vision towers take it.
            _put(arrays, one.short, np.full(shape[-1], 127.5), np.full(shape[-1], 127.5))
            continue
        size = shape[-1] if one.visual else int(np.prod(shape))
        low, high, eps = _statistics(before, one.policy_name, one.mode, size)
        offset, scale = _forward(one.mode, low, high, eps)
        if one.visual:
            offset, scale = offset * 255, scale * 255
        elif one.mode in _RANGES:
            offset = low
            arrays[f"{one.short}.shift"] = np.full(size, -1, np.float32)
        _put(arrays, one.short, offset, scale)
    if processing.action_mode != IDENTITY:
        after = _pipeline(path, POSTPROCESSOR, config)
        name, size = config.action.name, int(np.prod(config.action.shape))
        offset, scale = _inverse(processing.action_mode, *_statistics(after, name, processing.action_mode, size))
        _put(arrays, "action", offset, scale)
    return arrays


def state_files(path: Path, config: Config) -> list[Path]:
    """The files that hold the statistics, as the pipelines name them."""
    found = (_pipeline(path, name, config).normaliser for name in (PREPROCESSOR, POSTPROCESSOR))
    return [normaliser.state_file for normaliser in found if normaliser and normaliser.state_file]


def _pipeline(path: Path, name: str, config: Config) -> Pipeline:
    weights = path / WEIGHTS
    return pipeline_of_buffers(weights, name, config) if has_buffers(path, weights) else read_pipeline(path, name)


def _short_names(features: tuple[Feature, ...]) -> list[str]:
    """Names for people: without LeRobot's prefixes where that leaves them different."""
    short = [
        feature.name.removeprefix("observation.").removeprefix("images.").replace(".", "_") or feature.name
        for feature in features
    ]
    taken = {"action", "task", "noise"}
    if len(set(short)) == len(short) and not taken & set(short):
        return short
    return [f"o{index}_{name}" for index, name in enumerate(short)]


def _mode(pipeline: Pipeline, feature: Feature, mapping: dict[str, str]) -> str:
    normaliser, kind = pipeline.normaliser, feature.kind.value
    asked = mapping.get(kind, IDENTITY)
    touched = normaliser is not None and (feature.kind is FeatureKind.ACTION or feature.name in normaliser.features)
    if normaliser is None or not touched:
        if asked == IDENTITY:
            return IDENTITY
        step = "un-normalises" if pipeline.name == POSTPROCESSOR else "normalises"
        raise ProcessorError(
            f"config.json asks for {asked} on {feature.name}, but no normalizer_processor of {pipeline.name} {step} it",
            hint="save the policy together with its own processors",
        )
    if feature.kind is not FeatureKind.ACTION:
        # LeRobot goes by the kind that the step itself records.
        kind = normaliser.features[feature.name]
    return normaliser.norm_map.get(kind, IDENTITY)


def _put(arrays: dict[str, Any], name: str, offset: Any, scale: Any) -> None:
    import numpy as np

    for part, values in (("offset", offset), ("scale", scale)):
        with np.errstate(over="ignore"):
            flat = np.asarray(values).astype(np.float32)
        if not np.isfinite(flat).all() or (part == "scale" and name != "action" and not flat.all()):
            raise StatisticsError(f"the statistics of {name} give values that are not finite")
        arrays[f"{name}.{part}"] = flat


def _forward(mode: str, low: Any, high: Any, eps: float) -> tuple[Any, Any]:
    """Offset and scale of y = (x - offset) / scale."""
    if mode == IDENTITY:
        return low, high
    if mode == "MEAN_STD":
        return low, high + eps
    span = _span(low, high, eps)
    return low + span / 2, span / 2


def _inverse(mode: str, low: Any, high: Any, eps: float) -> tuple[Any, Any]:
    """Offset and scale of y = x * scale + offset."""
    if mode == "MEAN_STD":
        return low, high
    span = _span(low, high, eps)
    return low + span / 2, span / 2


def _span(low: Any, high: Any, eps: float) -> Any:
    import numpy as np

    return np.where(high - low == 0, eps, high - low)


def _statistics(pipeline: Pipeline, feature: str, mode: str, size: int) -> tuple[Any, Any, float]:
    """The two statistics of a mode as flat float64 arrays, and eps; 0 and 1 for a mode of nothing."""
    import numpy as np

    normaliser = pipeline.normaliser
    if mode == IDENTITY or normaliser is None:
        return np.zeros(size), np.ones(size), 0.0
    if normaliser.state_file is None:
        raise StatisticsError(f"{pipeline.name}: {feature} is normalised by {mode}, but the step names no state_file")
    file, keys = normaliser.state_file, normaliser.keys
    tensors = read_tensors(file, None if keys is None else keys.values())
    if keys is not None:
        tensors = {key: tensors[name] for key, name in keys.items()}
    pair = []
    for statistic in STATISTICS[mode]:
        key = f"{feature}.{statistic}"
        if key not in tensors:
            has = sorted({name.rsplit(".", 1)[0] for name in tensors})
            raise StatisticsError(
                f"{file.name} has no {key}, which {mode} needs; it has statistics for: {', '.join(has) or 'nothing'}",
                hint="LeRobot would skip this normalisation in silence; "
                "save the policy with its own dataset's statistics",
            )
        flat = np.asarray(tensors[key], np.float64).reshape(-1)
        if flat.size not in (1, size):
            raise StatisticsError(f"{file.name}: {key} has {flat.size} values, {feature} has {size}")
        pair.append(np.broadcast_to(flat, size))
    return pair[0], pair[1], normaliser.eps
