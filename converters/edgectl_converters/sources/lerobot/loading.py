"""A policy and its processors, loaded by LeRobot itself. Runs inside a LeRobot toolchain.

Facts: the team's own code is found as LeRobot finds it, by packages called `lerobot_policy_*` in the environment, which
are imported first; that is where a net of other sizes is patched in. What only training needs is turned off before
loading, so that nothing is fetched: weights of a backbone or of a VLM, which the checkpoint's own replace anyway, and
compilation. π's from_pretrained prints a failure to load and goes on with random weights, so the weights are compared.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from edgectl_converters.sources.lerobot.buffers import buffer_keys, buffers_of
from edgectl_converters.sources.lerobot.card import Checkpoint
from edgectl_converters.sources.lerobot.foreign import read_tensors
from edgectl_converters.sources.lerobot.pipeline import POSTPROCESSOR, PREPROCESSOR
from edgectl_converters.sources.lerobot.processors import WEIGHTS
from edgectl_converters.sources.lerobot.tokenizer import folder_inside
from edgectl_protos.domain.errors import CheckpointError, ToolchainError

__all__ = ["Loaded", "load", "running", "versions"]

_NEEDED = ("torch", "lerobot", "onnx", "onnxscript")
_CLASSES = {"act": "ACT", "diffusion": "Diffusion", "smolvla": "SmolVLA", "pi0": "PI0", "pi05": "PI05"}
# Of training alone, or replaced by the checkpoint's weights.
_OFF = {
    "compile_model": False,
    "gradient_checkpointing": False,
    "load_vlm_weights": False,
    "pretrained_backbone_weights": None,
}
# What torch and LeRobot raise for a policy that they cannot load or run.
_ERRORS: tuple[type[Exception], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """LeRobot's policy, in float32 on the CPU, and its pipelines before and after."""

    policy: Any
    before: Any
    after: Any


def versions() -> dict[str, str]:
    """The packages that decide what an export computes.

    Raises:
        ToolchainError: this environment lacks one that is needed.
    """
    for package in _NEEDED:
        if importlib.util.find_spec(package) is None:
            raise ToolchainError(
                f"this Python has no {package}", hint=f"install it there: python -m pip install {package}"
            )
    found = {}
    for name in (*_NEEDED, "transformers", "diffusers"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def load(checkpoint: Checkpoint) -> Loaded:
    """Load the policy and its processors.

    Raises:
        CheckpointError: LeRobot cannot load them, or left weights out.
    """
    from lerobot.utils.import_utils import register_third_party_plugins

    kind = checkpoint.config.type
    path = str(checkpoint.path)
    try:
        register_third_party_plugins()
        policies = importlib.import_module(f"lerobot.policies.{kind}.modeling_{kind}")
        importlib.import_module(f"lerobot.policies.{kind}.configuration_{kind}")
        config = _config(checkpoint)
        # Statistics among the weights are left out by name below.
        strict = not checkpoint.buffered
        policy = getattr(policies, f"{_CLASSES[kind]}Policy").from_pretrained(path, config=config, strict=strict)
        policy = policy.to("cpu").float().eval()
        before, after = _processors(checkpoint, policy)
    except (*_ERRORS, *_config_errors()) as exc:
        raise _cannot_load(checkpoint, f"{type(exc).__name__}: {exc}") from exc
    _check_weights(checkpoint, policy)
    return Loaded(policy, before, after)


@contextmanager
def running(checkpoint: Checkpoint) -> Iterator[None]:
    """LeRobot's policy runs inside.

    Raises:
        CheckpointError: it failed.
    """
    try:
        yield
    except _ERRORS as exc:
        version = importlib.metadata.version("lerobot")
        raise CheckpointError(
            f"LeRobot {version} cannot run the policy of {checkpoint.path}: {type(exc).__name__}: {exc}",
            hint="does it run there? try lerobot's own evaluation in the same environment",
        ) from exc


def _config(checkpoint: Checkpoint) -> Any:
    from lerobot.configs.policies import PreTrainedConfig

    config = PreTrainedConfig.from_pretrained(str(checkpoint.path))
    config.device = "cpu"
    for name, value in _OFF.items():
        if hasattr(config, name):
            setattr(config, name, value)
    vlm = folder_inside(checkpoint.path, getattr(config, "vlm_model_name", None))
    if vlm is not None:
        config.vlm_model_name = str(vlm)
    return config


def _processors(checkpoint: Checkpoint, policy: Any) -> tuple[Any, Any]:
    from lerobot.policies.factory import make_pre_post_processors

    if checkpoint.buffered:
        made: tuple[Any, Any] = make_pre_post_processors(policy.config, dataset_stats=_statistics(checkpoint))
        return made
    overrides: dict[str, Any] = {"device_processor": {"device": "cpu"}}
    if checkpoint.tokenizer is not None:
        overrides["tokenizer_processor"] = {"tokenizer_name": str(checkpoint.tokenizer)}
    found: tuple[Any, Any] = make_pre_post_processors(
        policy.config, pretrained_path=str(checkpoint.path), preprocessor_overrides=overrides
    )
    return found


def _statistics(checkpoint: Checkpoint) -> dict[str, dict[str, Any]]:
    """The statistics that stand in the weights, by feature, as LeRobot's datasets give them."""
    import torch

    found: dict[str, dict[str, Any]] = {}
    for name in (PREPROCESSOR, POSTPROCESSOR):
        keys = buffer_keys(checkpoint.path / WEIGHTS, name, checkpoint.config)
        tensors = read_tensors(checkpoint.path / WEIGHTS, keys.values())
        for key, tensor in keys.items():
            feature, _, statistic = key.rpartition(".")
            found.setdefault(feature, {})[statistic] = torch.from_numpy(tensors[tensor])
    return found


def _check_weights(checkpoint: Checkpoint, policy: Any) -> None:
    import torch
    from safetensors.torch import load_file

    stored = load_file(str(checkpoint.path / WEIGHTS))
    if checkpoint.buffered:
        for name in buffers_of(stored):
            del stored[name]
        if lacking := sorted(set(policy.state_dict()) - set(stored)):
            raise _cannot_load(checkpoint, f"{WEIGHTS} has no {lacking[0]}")
    rename = getattr(policy, "_fix_pytorch_state_dict_keys", None)
    if rename is not None:
        stored = rename(stored, policy.config)
    have = policy.state_dict()
    for name, value in stored.items():
        found = have.get(name, have.get(f"model.{name}"))
        if found is None or found.shape != value.shape or not torch.equal(found.float(), value.float()):
            raise _cannot_load(checkpoint, f"the weight {name} did not arrive in the policy")


def _config_errors() -> tuple[type[Exception], ...]:
    """Errors of LeRobot's config library, which derive from Exception alone."""
    if importlib.util.find_spec("draccus") is None:
        return ()
    return (importlib.import_module("draccus.utils").DraccusException,)


def _cannot_load(checkpoint: Checkpoint, why: str) -> CheckpointError:
    version = importlib.metadata.version("lerobot")
    hint = (
        "a policy of your own sizes or another version needs the environment it was trained in (packages "
        "lerobot_policy_* there are imported): edgectl toolchain use lerobot-0.4 --python PATH, or lerobot-0.6"
    )
    vlm = checkpoint.config.values.get("vlm_model_name")
    if vlm is not None and folder_inside(checkpoint.path, vlm) is None:
        name = str(vlm).rstrip("/").rpartition("/")[2]
        hint = f"copy the config, tokenizer and processor files of {vlm} to {checkpoint.path / name}"
    return CheckpointError(f"LeRobot {version} cannot load {checkpoint.path}: {why}", hint=hint)
