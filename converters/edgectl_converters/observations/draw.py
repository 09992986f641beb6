"""Draws observations: of each feature from the footage where it has it, else synthetic, and says which is which."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgectl_converters.observations.footage import find_footage, instruction, picked, recorded
from edgectl_converters.observations.synthetic import Range, Spread, is_frame, synthesise
from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.policy import Feature, FeatureKind, Policy

if TYPE_CHECKING:
    import numpy.typing as npt

    Arrays = dict[str, npt.NDArray[Any]]

__all__ = ["Observations", "Origin", "coinciding", "observe", "origins_of", "words_for"]

_EXAMPLES = (
    "pick up the red cube",
    "place the cup on the saucer",
    "open the top drawer",
    "fold the towel in half",
    "push the block to the left",
    "hand over the screwdriver",
    "stack the two bowls",
    "close the lid of the box",
)


class Origin(enum.Enum):
    """Where the values of a feature come from."""

    RECORDED = "recorded"
    SYNTHETIC = "synthetic"
    UNPROVED = "synthetic, unproved range"
    """Synthetic, and nothing says in which range the policy takes them."""


@dataclass(frozen=True, slots=True)
class Observations:
    """`arrays`: {feature: [count, *observed shape]} in the feature's own dtype, texts as unicode. `frames` is how many
    the footage of each recorded feature has.
    """

    arrays: Arrays
    frames: Mapping[str, int]


def observe(
    policy: Policy,
    footage: Path | None,
    spread: Mapping[str, Spread],
    *,
    count: int,
    seed: int,
    task: str = "",
    resized: frozenset[str] = frozenset(),
    ranges: Mapping[str, Range] | None = None,
) -> Observations:
    """`count` raw observations.

    Features for which the footage has no file are synthetic; `spread` says where their values lie, `ranges` those of
    frames. Recorded frames of the features in `resized` may have another size, and are resized as on the device.

    Raises:
        SourceError: a file of the footage cannot be read.
        ShapeError: it has another shape than the policy takes.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    text = instruction(footage, task)
    arrays: Arrays = {}
    frames = {}
    for feature in policy.observations:
        found = find_footage(footage, feature.name) if footage is not None else None
        if feature.kind is FeatureKind.LANGUAGE:
            texts = [text] * count if text else [_EXAMPLES[pick] for pick in rng.integers(0, len(_EXAMPLES), count)]
            arrays[feature.name] = np.array(texts, np.str_)
            continue
        if found is None:
            limits = (ranges or {}).get(feature.name)
            values = synthesise(feature, spread.get(feature.name), limits, count, policy.history, rng)
        else:
            resize = feature.name in resized
            values, frames[feature.name] = recorded(feature, *found, count, policy.history, resized=resize)
        arrays[feature.name] = values if policy.history > 1 else values[:, 0]
    return Observations(arrays, frames)


def origins_of(
    policy: Policy,
    recorded: Iterable[str],
    spread: Mapping[str, Spread],
    ranges: Mapping[str, Range],
    *,
    task: str = "",
) -> dict[str, Origin]:
    """Where the values of each feature come from, `recorded` being the features that the footage has."""
    there = set(recorded)

    def origin(feature: Feature) -> Origin:
        if feature.name in there or (feature.kind is FeatureKind.LANGUAGE and task):
            return Origin.RECORDED
        known = feature.name in (ranges if is_frame(feature) else spread)
        floats = feature.dtype in (DType.FLOAT16, DType.FLOAT32, DType.FLOAT64)
        guessed = floats or (is_frame(feature) and feature.dtype is DType.UINT16)
        if feature.kind is FeatureKind.TENSOR and guessed and not known:
            return Origin.UNPROVED
        return Origin.SYNTHETIC

    return {feature.name: origin(feature) for feature in policy.observations}


def words_for(origins: Mapping[str, Origin]) -> str:
    """`recorded`, or for features of several origins such as `top, wrist recorded; state synthetic`."""
    names: dict[Origin, list[str]] = {}
    for name, origin in origins.items():
        names.setdefault(origin, []).append(name.removeprefix("observation.").removeprefix("images."))
    if len(names) == 1:
        return next(iter(names)).value
    return "; ".join(f"{', '.join(names[origin])} {origin.value}" for origin in Origin if origin in names)


def coinciding(frames: int, one: int, other: int) -> bool:
    """Whether two draws of these counts have a frame of the footage in common."""
    return not set(picked(frames, one)).isdisjoint(picked(frames, other))
