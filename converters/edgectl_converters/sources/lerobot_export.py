"""The export of a LeRobot policy by LeRobot itself. Runs inside the lerobot toolchain.

Needs the standard library, numpy, torch, lerobot, onnx and onnxscript there, and of edgectl only the domain. LeRobot
loads the policy and its processors; the net is exported to ONNX; the golden actions come from LeRobot's own
pre-processor → policy → post-processor on raw frames.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgectl_protos.domain.errors import CheckpointError, ToolchainError

__all__ = ["export"]

_OPSET = 20


def export(request: dict[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
    """Export `checkpoint` to `out`: full.onnx, golden.npz; returns the versions that did it.

    `observations` is an .npz of raw golden observations; `features` lists the policy's observation features as
    {"name": as the robot names it, "policy_name": as the policy does, "tensor", "visual"} in the policy's order.

    Raises:
        ToolchainError: the environment lacks a package.
        CheckpointError: LeRobot cannot load the policy.
    """
    for package in ("torch", "lerobot", "onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise ToolchainError(
                f"this Python has no {package}", hint=f"install it there: python -m pip install {package}"
            )
    import numpy as np
    import torch

    from edgectl_converters.toolchain_shim import declare_torchvision_operators

    declare_torchvision_operators()
    progress("loading the policy with LeRobot")
    policy, before, after = _load(request["checkpoint"])
    out = Path(request["out"])
    features: list[dict[str, Any]] = request["features"]
    progress("computing golden actions with LeRobot")
    with np.load(request["observations"], allow_pickle=False) as file:
        raw = {feature["name"]: file[feature["name"]] for feature in features}
    actions, example = _golden(policy, before, after, features, raw)
    golden = {f"in.{name}": values for name, values in raw.items()} | {"out.action": actions}
    np.savez(out / "golden.npz", **golden)
    progress("exporting to ONNX")
    _export_onnx(policy, features, example, out / "full.onnx")
    versions = {name: importlib.metadata.version(name) for name in ("lerobot", "torch", "onnx", "onnxscript")}
    document = {
        "reference": f"lerobot {versions['lerobot']}, torch {torch.__version__}",
        "versions": versions,
        "toolchain": "lerobot",
        "lock": request["lock"],
        "inputs_kind": request["inputs_kind"],
    }
    (out / "export.json").write_text(json.dumps(document))
    return document


def _load(checkpoint: str) -> tuple[Any, Any, Any]:
    from lerobot.policies.act.modeling_act import ACTPolicy
    from lerobot.policies.factory import make_pre_post_processors

    try:
        policy = ACTPolicy.from_pretrained(checkpoint)
        policy.config.device = "cpu"
        policy = policy.to("cpu").float().eval()
        overrides = {"device_processor": {"device": "cpu"}}
        before, after = make_pre_post_processors(
            policy.config, pretrained_path=checkpoint, preprocessor_overrides=overrides
        )
    except (ValueError, KeyError, TypeError, RuntimeError, OSError) as exc:
        version = importlib.metadata.version("lerobot")
        raise CheckpointError(
            f"LeRobot {version} cannot load {checkpoint}: {type(exc).__name__}: {exc}",
            hint="saved by another version? edgectl toolchain use lerobot --version VERSION, or --python PATH",
        ) from exc
    return policy, before, after


def _golden(
    policy: Any, before: Any, after: Any, features: list[dict[str, Any]], raw: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    import numpy as np
    import torch

    actions = []
    normalised: dict[str, Any] = {}
    for case in range(len(next(iter(raw.values())))):
        observation = {}
        for feature in features:
            value = torch.from_numpy(raw[feature["name"]][case])
            if feature["visual"]:
                # The caller's part in LeRobot: bytes to 0..1, HWC to CHW.
                value = value.type(torch.float32).div(255).permute(2, 0, 1).contiguous()
            observation[feature["name"]] = value.unsqueeze(0)
        with torch.inference_mode():
            normalised = before(observation)
            actions.append(after(policy.predict_action_chunk(normalised)).cpu().numpy()[0])
    return np.stack(actions).astype(np.float32), normalised


def _export_onnx(policy: Any, features: list[dict[str, Any]], example: dict[str, Any], path: Path) -> None:
    import torch

    from edgectl_converters.sources.join_tokens import join_tokens

    visual = [index for index, feature in enumerate(features) if feature["visual"]]
    net = policy.model

    class Net(torch.nn.Module):  # type: ignore[misc]
        """ACT's net with one named input a feature."""

        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, *values: Any) -> Any:
            batch = {features[i]["policy_name"]: value for i, value in enumerate(values) if i not in visual}
            if visual:
                batch["observation.images"] = [values[index] for index in visual]
            return self.net(batch)[0]

    arguments = tuple(example[feature["policy_name"]].clone() for feature in features)
    # The fast path of attention cannot be traced.
    torch.backends.mha.set_fastpath_enabled(False)
    exported = torch.export.export(Net().eval(), arguments, strict=False)
    join_tokens(exported)
    program = torch.onnx.export(
        exported,
        (),
        dynamo=True,
        input_names=[feature["tensor"] for feature in features],
        output_names=["action"],
        opset_version=_OPSET,
        external_data=False,
        verbose=False,
    )
    program.save(str(path))
