"""config.json of a LeRobot policy, read strictly: features, sizes, and what edgectl refuses to leave out.

Facts: `type` selects the policy. A setting that changes actions is honoured by the export or refused here by name;
settings of training alone are not looked at. ACT and Diffusion read `observation.state` and one environment state and
ignore other vectors; SmolVLA and π take cameras and `observation.state`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgectl_converters.sources.lerobot.foreign import read_json
from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.errors import CheckpointError, CheckpointFormatError
from edgectl_protos.domain.policy import Feature, FeatureKind

__all__ = ["COMPONENTS", "Config", "Sizes", "read_config"]

COMPONENTS = {
    "act": ("act",),
    "diffusion": ("encoder", "denoiser"),
    "smolvla": ("vision", "prefix", "step"),
    "pi0": ("vision", "prefix", "step"),
    "pi05": ("vision", "prefix", "step"),
}
"""The components of each type, in the order of their first use."""

STATE, ENVIRONMENT = "observation.state", "observation.environment_state"
_EMPTY_CAMERA = "observation.images.empty_camera_"
_FLOW = ("smolvla", "pi0", "pi05")
_KINDS = {"VISUAL": FeatureKind.VISUAL, "STATE": FeatureKind.STATE, "ENV": FeatureKind.ENV}

# key: (values that are followed, what to do about others). A missing key means the default, which is followed.
_FOLLOWED: dict[str, dict[str, tuple[tuple[Any, ...], str]]] = {
    "act": {"n_obs_steps": ((1,), "LeRobot's ACT takes one observation")},
    "diffusion": {
        "prediction_type": (("epsilon", "sample"), "LeRobot's Diffusion knows epsilon and sample"),
        "noise_scheduler_type": (("DDIM", "DDPM"), "LeRobot's Diffusion knows DDIM and DDPM"),
    },
    "smolvla": {
        "n_obs_steps": ((1,), "SmolVLA takes one observation"),
        "adapt_to_pi_aloha": ((False,), "turn it off, and adapt joints in the robot's own code"),
        "use_delta_joint_actions_aloha": ((False,), "LeRobot itself does not implement it"),
        "use_cache": ((True,), "set it to true in config.json: LeRobot computes the same, and faster"),
    },
    "pi0": {"n_obs_steps": ((1,), "π0 takes one observation")},
    "pi05": {"n_obs_steps": ((1,), "π0.5 takes one observation")},
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much one inference gives. `chunk` actions go to the queue, `execute` of them are run, `history` observations
    enter. `ensemble` is ACT's temporal_ensemble_coeff.
    """

    chunk: int
    execute: int
    history: int
    ensemble: float | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """A config.json that was found to be one of a supported type. `values` is the document as it is.

    `observations` and `action` are as the policy names them, frames uint8 HWC; `ignored` are features that LeRobot's
    policy never reads, `empty_cameras` how many cameras stand for frames that never come.
    """

    type: str
    values: dict[str, Any]
    observations: tuple[Feature, ...]
    action: Feature
    sizes: Sizes
    normalization: dict[str, str]
    ignored: tuple[str, ...] = ()
    empty_cameras: int = 0
    frame_size: tuple[int, int] | None = None
    """Height and width to which a model resizes its frames, ratio kept; None where it takes them as they are."""

    @property
    def takes_instruction(self) -> bool:
        """Whether the policy is told what to do."""
        return self.type in _FLOW

    def integer(self, key: str) -> int:
        """A positive integer of the document.

        Raises:
            CheckpointError: it is none.
        """
        return _integer(self.values, key)


def read_config(path: Path) -> Config:
    """Read `path`/config.json.

    Raises:
        CheckpointFormatError: the type, or a setting that decides what is computed, is not supported.
        CheckpointError: a value makes no sense.
    """
    values = _document(path / "config.json")
    kind = str(values["type"])
    _refuse_what_is_not_followed(kind, values)
    observations, ignored, empty = _observations(kind, values)
    mapping = values.get("normalization_mapping") or {}
    if not isinstance(mapping, dict) or not all(isinstance(mode, str) for mode in mapping.values()):
        raise CheckpointError(f"config.json: normalization_mapping is {mapping!r}, not an object of modes")
    action = Feature("action", FeatureKind.ACTION, DType.FLOAT32, _shape(values, "output_features", "action"))
    if len(action.shape) != 1:
        raise CheckpointError(f"config.json: an action of shape {list(action.shape)} is not a vector")
    return Config(
        type=kind,
        values=values,
        observations=observations,
        action=action,
        sizes=_sizes(kind, values),
        normalization=dict(mapping),
        ignored=ignored,
        empty_cameras=empty,
        frame_size=_frame_size(kind, values),
    )


def _document(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size == 0:
            raise CheckpointError(
                f"{file} is empty: a known result of LeRobot's migration script",
                hint="migrate the checkpoint again with a newer LeRobot, or save it anew with save_pretrained",
            )
        config = read_json(file)
    except OSError as exc:
        raise CheckpointError(f"{file} cannot be read: {exc}") from exc
    kind = config.get("type") if isinstance(config, dict) else None
    if not isinstance(kind, str):
        raise CheckpointFormatError(
            f"{file} has no `type`, as that of a LeRobot policy has, nor `architectures`, as a language model's",
            hint="point at the folder that save_pretrained wrote; LeRobot's is called pretrained_model",
        )
    if kind not in COMPONENTS:
        raise CheckpointFormatError(
            f"LeRobot policy type {kind[:80]!r} is not supported; supported: {', '.join(COMPONENTS)}",
            hint="these types are read, with your own code for them too; others: deploy an .onnx that you exported",
        )
    found: dict[str, Any] = config
    return found


def _refuse_what_is_not_followed(kind: str, values: dict[str, Any]) -> None:
    if values.get("use_peft"):
        raise CheckpointFormatError("an adapter (use_peft) is not supported yet", hint="merge it, then save again")
    for key, (followed, hint) in _FOLLOWED[kind].items():
        if key in values and not any(values[key] is value or values[key] == value for value in followed):
            raise CheckpointFormatError(f"{key} {values[key]!r} is not supported for {kind}", hint=hint)
    if values.get("use_relative_actions"):
        raise CheckpointFormatError(
            "relative actions (use_relative_actions) are not supported yet",
            hint="train with absolute actions, or run this policy in LeRobot",
        )
    rtc = values.get("rtc_config")
    if rtc and (not isinstance(rtc, dict) or rtc.get("enabled", True)):
        raise CheckpointFormatError(
            "real-time chunking (rtc_config) is not supported yet",
            hint="set rtc_config to null in config.json to run plain chunks",
        )


def _observations(kind: str, values: dict[str, Any]) -> tuple[tuple[Feature, ...], tuple[str, ...], int]:
    features, ignored = [], []
    empty = _empty_cameras(kind, values)
    for name in _section(values, "input_features"):
        if kind in _FLOW and name.startswith(_EMPTY_CAMERA):
            continue
        feature = _observation(values, name)
        if feature.kind is FeatureKind.VISUAL or name == STATE or (name == ENVIRONMENT and kind not in _FLOW):
            features.append(feature)
        else:
            ignored.append(name)
    has = {feature.name for feature in features}
    cameras = any(feature.kind is FeatureKind.VISUAL for feature in features)
    if STATE not in has:
        raise CheckpointError(
            f"input_features has no {STATE}: LeRobot's {kind} cannot run without it",
            hint="train with the robot's state, or export the net to ONNX yourself",
        )
    if not cameras and (kind in _FLOW or ENVIRONMENT not in has):
        wanted = "a camera" if kind in _FLOW else f"a camera or {ENVIRONMENT}"
        raise CheckpointError(f"input_features has neither: LeRobot's {kind} takes {wanted}")
    return tuple(features), tuple(ignored), empty


def _empty_cameras(kind: str, values: dict[str, Any]) -> int:
    declared = values.get("empty_cameras", 0)
    if kind not in _FLOW:
        return 0
    if type(declared) is not int or not 0 <= declared < 64:
        raise CheckpointError(f"config.json: empty_cameras is {declared!r}, not a number")
    listed = {name for name in _section(values, "input_features") if name.startswith(_EMPTY_CAMERA)}
    # LeRobot lists those it declares when it loads; SmolVLA fills up no more than these.
    listed |= {f"{_EMPTY_CAMERA}{index}" for index in range(declared)}
    return declared if kind == "smolvla" else len(listed)


def _observation(values: dict[str, Any], name: str) -> Feature:
    shape = _shape(values, "input_features", name)
    stated = values["input_features"][name].get("type")
    kind = _KINDS.get(str(stated))
    if kind is None:
        raise CheckpointFormatError(f"input feature {name!r} has the unsupported type {stated!r}")
    if kind is not FeatureKind.VISUAL:
        return Feature(name, kind, DType.FLOAT32, shape)
    flow = values["type"] in _FLOW
    channels = (3,) if flow else (1, 3)
    if len(shape) == 3 and shape[0] not in channels and shape[2] in channels:
        # As a dataset lists it; LeRobot's nets do not look at these numbers.
        return Feature(name, kind, DType.UINT8, shape)
    if len(shape) != 3 or shape[0] not in channels:
        taken = "[3, height, width]" if flow else "[3, height, width], or [1, height, width]"
        raise CheckpointError(f"frames of input feature {name!r} are {list(shape)}; expected {taken}")
    return Feature(name, kind, DType.UINT8, (shape[1], shape[2], shape[0]))


def _sizes(kind: str, values: dict[str, Any]) -> Sizes:
    execute = _integer(values, "n_action_steps")
    if kind == "diffusion":
        horizon, history = _integer(values, "horizon"), _integer(values, "n_obs_steps")
        if execute > horizon - history + 1:
            raise CheckpointError(
                f"config.json: n_action_steps {execute} does not fit horizon {horizon} and n_obs_steps {history}"
            )
        return Sizes(execute, execute, history)
    chunk = _integer(values, "chunk_size")
    if execute > chunk:
        raise CheckpointError(f"config.json: n_action_steps {execute} does not fit chunk_size {chunk}")
    coefficient = values.get("temporal_ensemble_coeff") if kind == "act" else None
    if coefficient is None:
        return Sizes(chunk, execute, 1)
    if isinstance(coefficient, bool) or not isinstance(coefficient, (int, float)) or not abs(coefficient) < 100:
        raise CheckpointError(f"config.json: temporal_ensemble_coeff is {coefficient!r}, not a number")
    if execute != 1:
        raise CheckpointError(f"config.json: temporal_ensemble_coeff needs n_action_steps 1, not {execute}")
    return Sizes(1, 1, 1, float(coefficient))


def _frame_size(kind: str, values: dict[str, Any]) -> tuple[int, int] | None:
    # SmolVLA states (width, height), π (height, width).
    key = {"smolvla": "resize_imgs_with_padding", "pi0": "image_resolution", "pi05": "image_resolution"}.get(kind)
    if key is None:
        return None
    pair = values.get(key, (512, 512) if kind == "smolvla" else (224, 224))
    if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not all(type(n) is int and 0 < n < 8192 for n in pair):
        raise CheckpointError(f"config.json: {key} is {pair!r}, not a size")
    return (pair[1], pair[0]) if kind == "smolvla" else (pair[0], pair[1])


def _integer(values: dict[str, Any], key: str) -> int:
    value = values.get(key)
    if type(value) is not int or not 1 <= value < 1 << 20:
        raise CheckpointError(f"config.json: {key} is {value!r}, not a positive number")
    return value


def _section(values: dict[str, Any], name: str) -> dict[str, Any]:
    section = values.get(name)
    if not isinstance(section, dict) or not section:
        raise CheckpointError(f"config.json has no {name}", hint="save the policy again with its features")
    return section


def _shape(values: dict[str, Any], section: str, name: str) -> tuple[int, ...]:
    entry = _section(values, section).get(name)
    shape = entry.get("shape") if isinstance(entry, dict) else None
    if not isinstance(shape, list) or not all(type(size) is int and 0 < size < 1 << 20 for size in shape):
        raise CheckpointError(f"config.json: {section} has no valid shape for {name!r}: {shape!r}")
    return tuple(shape)
