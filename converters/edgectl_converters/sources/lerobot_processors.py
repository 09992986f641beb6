"""LeRobot's normalisation as arrays: everything is compiled to y = x * mul + add.

Facts: forward and inverse are not symmetric (mean/std divides by std + eps and multiplies by std alone; the other
modes replace a range of nothing by eps both ways). A tensor `<feature>.<statistic>` is split at the last dot. LeRobot
leaves a feature without statistics as it is, in silence; here that is an error.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgectl_converters.sources.lerobot_pipeline import (
    POSTPROCESSOR,
    PREPROCESSOR,
    STATISTICS,
    Normaliser,
    Pipeline,
    read_pipeline,
)
from edgectl_protos.domain.errors import CheckpointCorruptError, ProcessorError, StatisticsError
from edgectl_protos.domain.loop import Feature, FeatureKind, Processing

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Arrays = dict[str, npt.NDArray[np.float32]]

__all__ = [
    "POSTPROCESSOR",
    "PREPROCESSOR",
    "LeRobotProcessing",
    "processing_arrays",
    "read_processing",
    "state_files",
]


@dataclass(frozen=True, slots=True)
class LeRobotProcessing:
    """What the pipelines do: observations as the robot names them, and which features are normalised how."""

    observations: tuple[Feature, ...]
    action: Feature
    pre: tuple[Processing, ...]
    post: tuple[Processing, ...]


def read_processing(
    path: Path, observations: tuple[Feature, ...], action: Feature, mapping: dict[str, str]
) -> LeRobotProcessing:
    """Which features are normalised how; every statistic that will be needed is checked to be there.

    `mapping` is the policy's own `normalization_mapping`: a pipeline that lacks a normalisation it asks for is refused.

    Raises:
        ProcessorError: a step is unknown or custom, or the normalisation that the policy asks for is missing.
        StatisticsError: a feature lacks its statistics.
        CheckpointError: a pipeline is missing or malformed.
    """
    before, after = read_pipeline(path, PREPROCESSOR), read_pipeline(path, POSTPROCESSOR)
    pre = []
    for feature in observations:
        mode = _mode(before, feature, mapping)
        # Frames are divided by 255 in any case.
        if mode != "IDENTITY" or feature.kind is FeatureKind.VISUAL:
            pre.append(Processing(before.raw_name(feature.name), mode))
    mode = _mode(after, action, mapping)
    found = LeRobotProcessing(
        observations=tuple(replace(feature, name=before.raw_name(feature.name)) for feature in observations),
        action=action,
        pre=tuple(pre),
        post=() if mode == "IDENTITY" else (Processing(action.name, mode),),
    )
    processing_arrays(path, found)
    return found


def processing_arrays(path: Path, processing: LeRobotProcessing) -> Arrays:
    """`pre.<feature>.mul/.add` and `post.action.mul/.add` in float32, computed in float64.

    Raises:
        StatisticsError: a statistic is missing, has another size, or is not finite.
    """
    import numpy as np

    arrays: Arrays = {}
    before = read_pipeline(path, PREPROCESSOR)
    features = {feature.name: feature for feature in processing.observations}
    for entry in processing.pre:
        feature = features[entry.feature]
        frame = feature.kind is FeatureKind.VISUAL
        size = feature.shape[-1] if frame else int(np.prod(feature.shape))
        name = before.rename.get(entry.feature, entry.feature)
        mul, add = _forward(entry.mode, *_statistics(before, name, entry.mode, size))
        # A caller of LeRobot divides frames by 255 before the pipeline begins.
        _put(arrays, f"pre.{entry.feature}", mul / 255 if frame else mul, add)
    after = read_pipeline(path, POSTPROCESSOR)
    for entry in processing.post:
        size = int(np.prod(processing.action.shape))
        mul, add = _inverse(entry.mode, *_statistics(after, entry.feature, entry.mode, size))
        _put(arrays, f"post.{entry.feature}", mul, add)
    return arrays


def state_files(path: Path) -> list[Path]:
    """The files that hold the statistics, as the pipelines name them."""
    found = (read_pipeline(path, name).normaliser for name in (PREPROCESSOR, POSTPROCESSOR))
    return [normaliser.state_file for normaliser in found if normaliser and normaliser.state_file]


def _mode(pipeline: Pipeline, feature: Feature, mapping: dict[str, str]) -> str:
    normaliser, kind = pipeline.normaliser, feature.kind.value
    asked = mapping.get(kind, "IDENTITY")
    touched = normaliser is not None and (feature.kind is FeatureKind.ACTION or feature.name in normaliser.features)
    if normaliser is None or not touched:
        if asked == "IDENTITY":
            return "IDENTITY"
        step = "un-normalises" if pipeline.name == POSTPROCESSOR else "normalises"
        raise ProcessorError(
            f"config.json asks for {asked} on {feature.name}, but no normalizer_processor of {pipeline.name} {step} it",
            hint="save the policy together with its own processors",
        )
    if feature.kind is not FeatureKind.ACTION:
        # LeRobot goes by the kind that the step itself records.
        kind = normaliser.features[feature.name]
    return normaliser.norm_map.get(kind, "IDENTITY")


def _put(arrays: dict[str, Any], key: str, mul: Any, add: Any) -> None:
    import numpy as np

    for part, values in (("mul", mul), ("add", add)):
        flat = np.asarray(values).astype(np.float32)
        if not np.isfinite(flat).all():
            raise StatisticsError(f"the statistics of {key.split('.', 1)[1]} give values that are not finite")
        arrays[f"{key}.{part}"] = flat


def _forward(mode: str, low: Any, high: Any, eps: float) -> tuple[Any, Any]:
    if mode == "IDENTITY":
        return high, low
    if mode == "MEAN_STD":
        return 1 / (high + eps), -low / (high + eps)
    span = _span(low, high, eps)
    return 2 / span, -2 * low / span - 1


def _inverse(mode: str, low: Any, high: Any, eps: float) -> tuple[Any, Any]:
    if mode == "MEAN_STD":
        return high, low
    span = _span(low, high, eps)
    return span / 2, span / 2 + low


def _span(low: Any, high: Any, eps: float) -> Any:
    import numpy as np

    return np.where(high - low == 0, eps, high - low)


def _statistics(pipeline: Pipeline, feature: str, mode: str, size: int) -> tuple[Any, Any, float]:
    """The two statistics of a mode as flat float64 arrays, and eps."""
    import numpy as np

    normaliser = pipeline.normaliser
    if mode == "IDENTITY" or normaliser is None:
        return np.zeros(size), np.ones(size), 0.0
    tensors, file = _read_tensors(pipeline.name, normaliser, feature, mode)
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


def _read_tensors(pipeline: str, normaliser: Normaliser, feature: str, mode: str) -> tuple[dict[str, Any], Path]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    file = normaliser.state_file
    if file is None:
        raise StatisticsError(f"{pipeline}: {feature} is normalised by {mode}, but the step names no state_file")
    try:
        return dict(load_file(file)), file
    except (SafetensorError, OSError) as exc:
        raise CheckpointCorruptError(
            f"{file.name} is missing, truncated or damaged: {exc}", hint="copy the checkpoint again"
        ) from exc
