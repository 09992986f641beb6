"""LeRobot policy directories as LeRobot 0.4 writes them, made without torch, and spoiled on purpose by tests.

The policy: features are the channel means of two normalised cameras and the normalised state; the action chunk
is one linear layer over them, un-normalised. A graph of it and golden cases computed in numpy can be carried
along, so that the directory converts where no torch is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.program import Call

if TYPE_CHECKING:
    from edgectl_converters.sources.base import Export

__all__ = ["CAMERAS", "STATE", "LeRobotDir", "diffusion_dir", "golden_of", "graph_of", "language_dir"]

CAMERAS = ("observation.images.top", "observation.images.wrist")
STATE = "observation.state"
HEIGHT, WIDTH, STATE_DIM, ACTION_DIM, CHUNK = 8, 10, 3, 2, 4
PRE_STATE_FILE = "policy_preprocessor_step_3_normalizer_processor.safetensors"
POST_STATE_FILE = "policy_postprocessor_step_0_unnormalizer_processor.safetensors"
LAYER = "model.action_head"

Arrays = dict[str, npt.NDArray[Any]]


def _features() -> tuple[dict[str, Any], dict[str, Any]]:
    inputs: dict[str, Any] = {name: {"type": "VISUAL", "shape": [3, HEIGHT, WIDTH]} for name in CAMERAS}
    inputs[STATE] = {"type": "STATE", "shape": [STATE_DIM]}
    return inputs, {"action": {"type": "ACTION", "shape": [ACTION_DIM]}}


def _config() -> dict[str, Any]:
    inputs, outputs = _features()
    return {
        "type": "act",
        "n_obs_steps": 1,
        "input_features": inputs,
        "output_features": outputs,
        "device": "cpu",
        "use_peft": False,
        "chunk_size": CHUNK,
        "n_action_steps": 2,
        "temporal_ensemble_coeff": None,
        "normalization_mapping": {"VISUAL": "MEAN_STD", "STATE": "MEAN_STD", "ACTION": "MEAN_STD"},
    }


def _pipeline(name: str, kind: str, index: int, state_file: str) -> dict[str, Any]:
    inputs, outputs = _features()
    step = {
        "registry_name": kind,
        "config": {
            "eps": 1e-8,
            "features": {**inputs, **outputs},
            "norm_map": {"VISUAL": "MEAN_STD", "STATE": "MEAN_STD", "ACTION": "MEAN_STD"},
        },
        "state_file": state_file,
    }
    device = {"registry_name": "device_processor", "config": {"device": "cpu", "float_dtype": None}}
    before = [
        {"registry_name": "rename_observations_processor", "config": {"rename_map": {}}},
        {"registry_name": "to_batch_processor", "config": {}},
        device,
    ]
    steps = [*before, step] if index else [step, device]
    return {"name": name, "steps": steps}


def _statistics() -> Arrays:
    rng = np.random.default_rng(3)
    arrays: Arrays = {}
    for name, shape in {**dict.fromkeys(CAMERAS, (3, 1, 1)), STATE: (STATE_DIM,), "action": (ACTION_DIM,)}.items():
        low, high = rng.uniform(-2, -0.5, shape), rng.uniform(0.5, 3, shape)
        values = {"min": low, "max": high, "mean": (low + high) / 3, "std": (high - low) / 4}
        values |= {"q01": low * 0.9, "q99": high * 0.9, "q10": low * 0.5, "q90": high * 0.5}
        arrays |= {f"{name}.{statistic}": value.astype(np.float32) for statistic, value in values.items()}
    return arrays


def _weights() -> Arrays:
    rng = np.random.default_rng(4)
    wide, deep = CHUNK * ACTION_DIM, 6 + STATE_DIM
    return {
        f"{LAYER}.weight": rng.normal(0, 0.5, (wide, deep)).astype(np.float32),
        f"{LAYER}.bias": rng.normal(0, 0.5, wide).astype(np.float32),
        "model.embedding.weight": rng.normal(0, 1, (64, 64)).astype(np.float32),
    }


@dataclass
class LeRobotDir:
    """The parts of a directory, to be changed before `write`."""

    config: dict[str, Any] = field(default_factory=_config)
    pre: dict[str, Any] = field(
        default_factory=lambda: _pipeline("policy_preprocessor", "normalizer_processor", 3, PRE_STATE_FILE)
    )
    post: dict[str, Any] = field(
        default_factory=lambda: _pipeline("policy_postprocessor", "unnormalizer_processor", 0, POST_STATE_FILE)
    )
    pre_statistics: Arrays = field(default_factory=_statistics)
    post_statistics: Arrays = field(default_factory=_statistics)
    weights: Arrays = field(default_factory=_weights)
    files: dict[str, str] = field(default_factory=dict)
    """Further files, by path in the directory."""

    @property
    def normaliser(self) -> dict[str, Any]:
        """The normaliser step of the pre-processor."""
        return self._step(self.pre, "normalizer_processor")

    @property
    def unnormaliser(self) -> dict[str, Any]:
        """The un-normaliser step of the post-processor."""
        return self._step(self.post, "unnormalizer_processor")

    def _step(self, pipeline: dict[str, Any], name: str) -> dict[str, Any]:
        step: dict[str, Any] = next(s for s in pipeline["steps"] if s.get("registry_name") == name)
        return step

    def normalise_by(self, **modes: str) -> LeRobotDir:
        """Set the modes of VISUAL, STATE and ACTION everywhere they are written."""
        for step in (self.normaliser, self.unnormaliser):
            step["config"]["norm_map"] |= modes
        self.config["normalization_mapping"] |= modes
        return self

    def write(self, folder: Path) -> Path:
        """Write the directory."""
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(self.config, indent=4))
        (folder / "policy_preprocessor.json").write_text(json.dumps(self.pre, indent=2))
        (folder / "policy_postprocessor.json").write_text(json.dumps(self.post, indent=2))
        save_file(self.pre_statistics, folder / self.normaliser["state_file"])
        save_file(self.post_statistics, folder / self.unnormaliser["state_file"])
        save_file(self.weights, folder / "model.safetensors")
        for name, text in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        return folder

    def write_with_export(self, folder: Path, aside: Path) -> Path:
        """Write the directory with its export carried along; `aside` is a folder for the export itself."""
        from edgectl_converters.sources.lerobot.source import carry

        carry(self.write(folder), self.export(folder, aside), aside)
        return folder

    def export(self, folder: Path, out: Path, *, cases: int = 4) -> Export:
        """What the export of the written directory would be: act.onnx, arrays.npz and golden.npz in `out`."""
        import onnx

        from edgectl_converters.sources.base import ARRAYS, GOLDEN, Export, ExportedComponent
        from edgectl_converters.sources.lerobot.card import read_checkpoint
        from edgectl_converters.sources.lerobot.processors import processing_arrays
        from edgectl_converters.sources.lerobot.program import assemble, entering

        checkpoint = read_checkpoint(folder)
        observed = checkpoint.processing.observed
        ports = [
            TensorSpec(one.short, DType.FLOAT32, (1, 3, HEIGHT, WIDTH) if one.visual else (1, STATE_DIM))
            for one in observed
        ]
        call = Call("act", "act", {one.short: entering(one) for one in observed}, {"chunk": "chunk"})
        chunk = TensorSpec("chunk", DType.FLOAT32, (CHUNK, ACTION_DIM))
        out.mkdir(parents=True, exist_ok=True)
        onnx.save(graph_of(self.weights), str(out / "act.onnx"))
        golden: dict[str, Any] = golden_of(self, cases=cases)
        np.savez(out / GOLDEN, **golden)
        arrays: dict[str, Any] = dict(processing_arrays(folder, checkpoint.config, checkpoint.processing))
        np.savez(out / ARRAYS, **arrays)
        output = TensorSpec("chunk", DType.FLOAT32, (1, CHUNK, ACTION_DIM))
        return Export(
            policy=checkpoint.policy,
            program=assemble(checkpoint, (call,), (chunk,), "chunk", 0),
            components=(ExportedComponent("act", {"onnx": "act.onnx"}, tuple(ports), (output,)),),
            reference="numpy",
            inputs_kind="synthetic",
            cases=cases,
            versions={"numpy": np.__version__},
        )


def diffusion_dir() -> LeRobotDir:
    """A Diffusion policy's directory as far as a card needs it."""
    directory = LeRobotDir()
    directory.config |= {"type": "diffusion", "horizon": 16, "n_action_steps": 8, "n_obs_steps": 2}
    directory.config |= {"prediction_type": "epsilon", "noise_scheduler_type": "DDIM"}
    del directory.config["chunk_size"], directory.config["temporal_ensemble_coeff"]
    return directory


def language_dir(kind: str) -> LeRobotDir:
    """The directory of a smolvla, pi0 or pi05 as far as a card needs it, with a tokenizer of five words."""
    directory = LeRobotDir().normalise_by(VISUAL="IDENTITY")
    steps = directory.pre["steps"]
    name = {"smolvla": "HuggingFaceTB/SmolVLM2-500M-Video-Instruct"}.get(kind, "google/paligemma-3b-pt-224")
    tokenizer = {
        "registry_name": "tokenizer_processor",
        "config": {"max_length": 48, "task_key": "task", "padding_side": "right", "tokenizer_name": name},
    }
    if kind == "pi05":
        steps += [{"registry_name": "pi05_prepare_state_tokenizer_processor_step", "config": {}}, tokenizer]
    else:
        steps[2:2] = [{"registry_name": f"{kind}_new_line_processor", "config": {}}, tokenizer]
    directory.config |= {"type": kind, "max_state_dim": 32, "max_action_dim": 32, "empty_cameras": 0}
    del directory.config["temporal_ensemble_coeff"]
    if kind == "smolvla":
        directory.config |= {"resize_imgs_with_padding": [64, 48], "vlm_model_name": name}
    else:
        directory.config |= {"image_resolution": [48, 64], "pretrained_revision": None}
    words = {word: index for index, word in enumerate(["<pad>", "pick", "up", "the", "cube"])}
    directory.files["tokenizer/tokenizer.json"] = json.dumps(
        {
            "version": "1.0",
            "added_tokens": [],
            "pre_tokenizer": {"type": "Whitespace"},
            "model": {"type": "WordLevel", "vocab": words, "unk_token": "<pad>"},
        }
    )
    return directory


def graph_of(weights: Arrays) -> Any:
    """The net as ONNX, with normalised CHW frames and state in; its matrix is the layer's, transposed."""
    from onnx import TensorProto, helper, numpy_helper

    tensors = ("top", "wrist")
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH]) for name in tensors]
    inputs.append(helper.make_tensor_value_info("state", TensorProto.FLOAT, [1, STATE_DIM]))
    nodes = [
        *(helper.make_node("ReduceMean", [name, "axes"], [f"{name}_mean"], keepdims=0) for name in tensors),
        helper.make_node("Concat", ["top_mean", "wrist_mean", "state"], ["features"], axis=1),
        helper.make_node("MatMul", ["features", "matrix"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["chunk"]),
    ]
    constants = {
        "axes": np.array([2, 3], np.int64),
        "matrix": np.ascontiguousarray(weights[f"{LAYER}.weight"].astype(np.float32).T),
        "bias": weights[f"{LAYER}.bias"].astype(np.float32),
        "shape": np.array([1, CHUNK, ACTION_DIM], np.int64),
    }
    output = helper.make_tensor_value_info("chunk", TensorProto.FLOAT, [1, CHUNK, ACTION_DIM])
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny_act", inputs, [output], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def golden_of(directory: LeRobotDir, *, cases: int = 4) -> Arrays:
    """Raw observations and final actions, by LeRobot's formulas for MEAN_STD, in float64."""
    rng = np.random.default_rng(5)
    golden: Arrays = {}
    parts = []
    for name in CAMERAS:
        frames = rng.integers(0, 256, (cases, HEIGHT, WIDTH, 3), dtype=np.uint8)
        golden[f"in.{name}"] = frames
        pixels = frames.astype(np.float64).transpose(0, 3, 1, 2) / 255
        parts.append(_normalised(directory, name, pixels).mean(axis=(2, 3)))
    state = rng.normal(0, 1, (cases, STATE_DIM)).astype(np.float32)
    golden[f"in.{STATE}"] = state
    parts.append(_normalised(directory, STATE, state.astype(np.float64)))
    weights = {name: value.astype(np.float32).astype(np.float64) for name, value in directory.weights.items()}
    flat = np.concatenate(parts, axis=1) @ weights[f"{LAYER}.weight"].T + weights[f"{LAYER}.bias"]
    statistics = directory.post_statistics
    action = flat.reshape(cases, CHUNK, ACTION_DIM) * statistics["action.std"] + statistics["action.mean"]
    return golden | {"out.action": action.astype(np.float32)}


def _normalised(directory: LeRobotDir, name: str, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    statistics = directory.pre_statistics
    scaled: npt.NDArray[np.float64] = (values - statistics[f"{name}.mean"]) / (statistics[f"{name}.std"] + 1e-8)
    return scaled
