"""The JSON of LeRobot's processor pipelines, read strictly: policy_preprocessor.json, policy_postprocessor.json.

Facts: a step has a `registry_name` or a `class` (custom code); its tensors stand in the file that `state_file`
names, whatever its index; a path of a step may not leave the checkpoint. A step that is not understood to the last
key is refused by name, since leaving one out changes actions in silence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgectl_converters.sources.lerobot.foreign import read_json
from edgectl_protos.domain.artifact import safe_path
from edgectl_protos.domain.errors import (
    BundlePathError,
    CheckpointCorruptError,
    CheckpointError,
    ProcessorError,
)

__all__ = ["POSTPROCESSOR", "PREPROCESSOR", "STATISTICS", "Normaliser", "Pipeline", "Prompting", "read_pipeline"]

PREPROCESSOR = "policy_preprocessor.json"
POSTPROCESSOR = "policy_postprocessor.json"

STATISTICS = {
    "MEAN_STD": ("mean", "std"),
    "MIN_MAX": ("min", "max"),
    "QUANTILES": ("q01", "q99"),
    "QUANTILE10": ("q10", "q90"),
}
"""The two statistics of each mode but IDENTITY."""

_NORMALISER = {PREPROCESSOR: "normalizer_processor", POSTPROCESSOR: "unnormalizer_processor"}
_RENAME, _BATCH, _DEVICE = "rename_observations_processor", "to_batch_processor", "device_processor"
_NEW_LINE = ("smolvla_new_line_processor", "pi0_new_line_processor")
_PROMPT = "pi05_prepare_state_tokenizer_processor_step"
_TOKENIZER = "tokenizer_processor"
# Known only where they are turned off.
_RELATIVE = {PREPROCESSOR: "relative_actions_processor", POSTPROCESSOR: "absolute_actions_processor"}
_KNOWN = (_RENAME, _BATCH, _DEVICE, *_NORMALISER.values(), *_NEW_LINE, _PROMPT, _TOKENIZER, *_RELATIVE.values())
_PI05_TEMPLATE = "Task: {text}, State: {state};\nAction: "


@dataclass(frozen=True, slots=True)
class Normaliser:
    """A normalising step. `features` are those it touches, with their kinds; `norm_map` has a mode for each kind.

    `keys` are the tensors of the state file by `<feature>.<statistic>`, where they are called otherwise.
    """

    norm_map: dict[str, str]
    features: dict[str, str]
    eps: float
    state_file: Path | None
    keys: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Prompting:
    """How an instruction becomes token ids: `name` is the tokenizer's, `folder` where the step says it lies.

    `suffix` and `template` are those of `domain.program.Tokenise`.
    """

    name: str
    length: int
    folder: str = ""
    suffix: str = ""
    template: str = ""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What a pipeline does. `rename` maps the robot's name of an observation to the policy's."""

    name: str
    rename: dict[str, str]
    normaliser: Normaliser | None
    prompting: Prompting | None = None

    def raw_name(self, feature: str) -> str:
        """The robot's name of a feature of the policy."""
        return next((raw for raw, renamed in self.rename.items() if renamed == feature), feature)


def read_pipeline(checkpoint: Path, name: str) -> Pipeline:
    """Read one of the two pipelines.

    Raises:
        CheckpointError: the file is missing.
        CheckpointCorruptError: it is not a pipeline.
        ProcessorError: a step is unknown, custom, or configured in a way that edgectl does not follow.
    """
    rename: dict[str, str] = {}
    normaliser: Normaliser | None = None
    prompting: Prompting | None = None
    suffix = template = ""
    for step in _steps(checkpoint, name):
        kind = _registry_name(step, name)
        config = _config(step, name, kind)
        _artifacts(checkpoint, step, name)
        if kind == _NORMALISER[name]:
            if normaliser is not None:
                raise ProcessorError(f"{name} has {kind} twice", hint="save the policy with one of them")
            if template:
                raise ProcessorError(f"{name}: {kind} must stand before {_PROMPT}, which reads the normalised state")
            normaliser = _normaliser(checkpoint, step, config, name)
        elif kind == _RENAME and name == PREPROCESSOR:
            if rename or normaliser is not None:
                raise ProcessorError(f"{name}: {kind} must stand once, before the normalisation")
            rename = _rename_map(config, name)
        elif kind == _DEVICE:
            _check_device(config, name)
        elif kind == _RELATIVE[name]:
            if config.get("enabled"):
                raise ProcessorError(
                    f"{name}: relative actions ({kind}) are not supported yet",
                    hint="train with absolute actions, or run this policy in LeRobot",
                )
        elif kind in (*_NEW_LINE, _PROMPT) and name == PREPROCESSOR:
            if prompting is not None or suffix or template:
                raise ProcessorError(f"{name}: {kind} must stand once, before {_TOKENIZER}")
            _expect(config, {"task_key": "task", "include_state_in_prompt": True}, name, kind)
            suffix, template = ("", _PI05_TEMPLATE) if kind == _PROMPT else ("\n", "")
        elif kind == _TOKENIZER and name == PREPROCESSOR:
            if prompting is not None:
                raise ProcessorError(f"{name} has {kind} twice", hint="save the policy with one of them")
            prompting = replace(_tokenizer(step, config, name), suffix=suffix, template=template)
        elif kind != _BATCH:
            raise _unknown(kind, name)
    return Pipeline(name, rename, normaliser, prompting)


def _tokenizer(step: dict[str, Any], config: dict[str, Any], name: str) -> Prompting:
    _expect(config, {"task_key": "task", "padding_side": "right", "truncation": True}, name, _TOKENIZER)
    length, given = config.get("max_length", 512), config.get("tokenizer_name")
    if type(length) is not int or not 1 <= length <= 1 << 16:
        raise ProcessorError(f"{name}: max_length of {_TOKENIZER} is {length!r}, not a number of tokens")
    if not isinstance(given, str):
        raise ProcessorError(f"{name}: {_TOKENIZER} names no tokenizer")
    folder = (step.get("artifacts") or {}).get("tokenizer_name", "")
    return Prompting(given, length, folder)


def _expect(config: dict[str, Any], wanted: dict[str, Any], name: str, kind: str) -> None:
    for key, value in wanted.items():
        if key in config and config[key] != value:
            raise ProcessorError(f"{name}: {key} of {kind} is {config[key]!r}; edgectl follows {value!r} only")


def _artifacts(checkpoint: Path, step: dict[str, Any], name: str) -> None:
    artifacts = step.get("artifacts")
    if artifacts is None:
        return
    if not isinstance(artifacts, dict) or not all(isinstance(path, str) for path in artifacts.values()):
        raise ProcessorError(f"{name}: artifacts are {artifacts!r}, not an object of paths")
    for path in artifacts.values():
        _inside(checkpoint, path, name)


def _steps(checkpoint: Path, name: str) -> list[dict[str, Any]]:
    try:
        document = read_json(checkpoint / name)
    except FileNotFoundError:
        raise CheckpointError(
            f"{checkpoint} has no {name}: without it no normalisation is known",
            hint="save the processors too: preprocessor.save_pretrained(DIR), postprocessor.save_pretrained(DIR)",
        ) from None
    steps = document.get("steps") if isinstance(document, dict) else None
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise CheckpointCorruptError(f"{name} has no list of steps: it is no processor pipeline")
    return steps


def _registry_name(step: dict[str, Any], name: str) -> str:
    kind = step.get("registry_name")
    if isinstance(kind, str):
        return kind
    raise ProcessorError(
        f"{name} has a step of custom code ({step.get('class', 'unnamed')}); edgectl runs none on a device",
        hint="express it with LeRobot's registered steps, or make it part of the policy",
    )


def _unknown(kind: str, name: str) -> ProcessorError:
    return ProcessorError(
        f"{name} has the step {kind!r}, which edgectl does not know there; it knows: {', '.join(_KNOWN)}",
        hint="a step that is left out changes actions in silence, so nothing was converted",
    )


def _config(step: dict[str, Any], name: str, kind: str) -> dict[str, Any]:
    config = step.get("config", {})
    if not isinstance(config, dict):
        raise ProcessorError(f"{name}: the config of {kind} is {config!r}, not an object")
    return config


def _rename_map(config: dict[str, Any], name: str) -> dict[str, str]:
    mapping = config.get("rename_map", {})
    if not isinstance(mapping, dict) or not all(isinstance(renamed, str) for renamed in mapping.values()):
        raise ProcessorError(f"{name}: rename_map is {mapping!r}, not an object of names")
    if len(set(mapping.values())) != len(mapping):
        raise ProcessorError(f"{name}: rename_map gives one name to two observations: {mapping!r}")
    return dict(mapping)


def _check_device(config: dict[str, Any], name: str) -> None:
    dtype = config.get("float_dtype")
    if dtype not in (None, "float32"):
        raise ProcessorError(
            f"{name}: {_DEVICE} casts to {dtype}; edgectl processes in float32 and chooses precision by itself",
            hint="set float_dtype to null in the file, and ask for a precision: --precision bf16",
        )


def _normaliser(checkpoint: Path, step: dict[str, Any], config: dict[str, Any], name: str) -> Normaliser:
    kind = step["registry_name"]
    norm_map, features, eps = (config.get(key) for key in ("norm_map", "features", "eps"))
    if not isinstance(norm_map, dict):
        raise ProcessorError(f"{name}: {kind} has no norm_map")
    for feature_kind, mode in norm_map.items():
        if not isinstance(mode, str) or mode not in (*STATISTICS, "IDENTITY"):
            raise ProcessorError(f"{name}: {feature_kind} is normalised by {mode!r}, which edgectl does not know")
    if not isinstance(features, dict) or not all(isinstance(entry, dict) for entry in features.values()):
        raise ProcessorError(f"{name}: {kind} lists no features")
    if eps is None:
        eps = 1e-8
    if isinstance(eps, bool) or not isinstance(eps, (int, float)) or not 0 <= eps < 1:
        raise ProcessorError(f"{name}: eps of {kind} is {eps!r}, not a number")
    kinds = {key: str(entry.get("type")) for key, entry in features.items()}
    only = config.get("normalize_observation_keys")
    if only is not None:
        if not isinstance(only, list):
            raise ProcessorError(f"{name}: normalize_observation_keys of {kind} is {only!r}, not a list")
        kinds = {key: value for key, value in kinds.items() if key in only}
    file = step.get("state_file")
    return Normaliser(norm_map, kinds, float(eps), None if file is None else _inside(checkpoint, file, name))


def _inside(checkpoint: Path, path: Any, name: str) -> Path:
    try:
        inside = safe_path(str(path))
        # No file system takes a longer name.
        if any(len(part.encode()) > 255 for part in inside.parts):
            raise BundlePathError(f"{str(path)[:80]!r} is no name of a file")
        return checkpoint / inside
    except (BundlePathError, UnicodeEncodeError) as exc:
        raise ProcessorError(
            f"{name}: the path {path!r} leaves the checkpoint",
            hint="do not use this checkpoint: LeRobot writes no such path",
        ) from exc
