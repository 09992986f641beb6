"""What the matrix converts: a trained two-camera ACT, a SmolVLA of small sizes, a small CNN, a sentence encoder, and
small language models. Made once in a folder; all but the ACT have seeded random weights.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgectl_converters.toolchain import Toolchains
from edgectl_protos.domain.errors import EdgectlError
from edgectl_testkit import lerobot_policies
from edgectl_testkit.bundles import conv_graph

ROOT = Path(__file__).resolve().parents[2]
LEROBOT = "lerobot-0.4"
_TOKENS, _WIDTH, _HEADS, _LAYERS, _VOCABULARY = 16, 64, 4, 2, 512


@dataclass(frozen=True, slots=True)
class Subject:
    """A checkpoint, with further arguments of the command that converts it."""

    name: str
    path: Path
    arguments: tuple[str, ...] = ()


def subjects(folder: Path, toolchains: Toolchains, note: Callable[[str], None]) -> list[Subject]:
    """All that can be made here; one that needs a toolchain which cannot be made is left out, and said."""
    folder.mkdir(parents=True, exist_ok=True)
    example = ROOT / "examples" / "press_pad"
    found = [Subject("act", example / "policy", ("--footage", str(example / "footage")))]
    for name, make in (("smolvla", _smolvla), ("llama", _language), ("qwen", _language)):
        path = folder / name
        try:
            if not (path / "config.json").exists():
                make(path, toolchains, note)
            more = ("--task", "put the cup on the plate") if name == "smolvla" else ()
            found.append(Subject(name, path, more))
        except (EdgectlError, subprocess.CalledProcessError) as exc:
            note(f"{name} cannot be made here: {exc}")
    (folder / "cnn.onnx").write_bytes(conv_graph())
    # An int8 build asks in which range the frames are. Each is of another colour, which is what this graph tells apart.
    footage = folder / "footage"
    footage.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    frames = random.random((32, 3, 1, 1)) * random.random((32, 3, 32, 32))
    np.save(footage / "image.npy", frames.astype(np.float32))
    found.append(Subject("cnn", folder / "cnn.onnx", ("--footage", str(footage))))
    (folder / "encoder.onnx").write_bytes(encoder_graph())
    found.append(Subject("encoder", folder / "encoder.onnx"))
    return found


def encoder_graph() -> bytes:
    """A transformer encoder of two layers over 16 token ids with their mask, mean-pooled and of length one."""
    rng = np.random.default_rng(0)
    constants: dict[str, Any] = {
        "words": rng.normal(0, 0.5, (_VOCABULARY, _WIDTH)),
        "places": rng.normal(0, 0.5, (1, _TOKENS, _WIDTH)),
        "tiny": np.array(1e-6),
    }
    integers = {"split": [1, _TOKENS, _HEADS, -1], "joined": [1, _TOKENS, _WIDTH], "tokens": [1], "last": [-1]}
    integers |= {"key": [1, 1, 1, _TOKENS]}
    nodes = [
        helper.make_node("Gather", ["words", "ids"], ["embedded"]),
        helper.make_node("Add", ["embedded", "places"], ["x0"]),
        helper.make_node("Cast", ["mask"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["one", "real"], ["padding"]),
        helper.make_node("Mul", ["padding", "low"], ["hidden"]),
        helper.make_node("Reshape", ["hidden", "key"], ["bias"]),
    ]
    constants |= {"one": np.array(1.0), "low": np.array(-1e4), "scale": np.array((_WIDTH / _HEADS) ** -0.5)}
    for layer in range(_LAYERS):
        nodes += _layer(layer, constants, rng)
    nodes += [
        helper.make_node("Unsqueeze", ["real", "last"], ["weights"]),
        helper.make_node("Mul", [f"x{_LAYERS}", "weights"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "tokens"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "sum"], ["squares"]),
        helper.make_node("ReduceSum", ["squares", "last"], ["square"], keepdims=1),
        helper.make_node("Add", ["square", "tiny"], ["positive"]),
        helper.make_node("Sqrt", ["positive"], ["length"]),
        helper.make_node("Div", ["sum", "length"], ["sentence"]),
    ]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info(name, TensorProto.INT64, [1, _TOKENS]) for name in ("ids", "mask")],
        [helper.make_tensor_value_info("sentence", TensorProto.FLOAT, [1, _WIDTH])],
        [
            *(numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()),
            *(numpy_helper.from_array(np.array(value, np.int64), name) for name, value in integers.items()),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString()
    return data


def _layer(layer: int, constants: dict[str, Any], rng: np.random.Generator) -> list[Any]:
    """Attention and a feed-forward net, each added to what enters, normalised after."""

    def weight(name: str, *shape: int) -> str:
        constants[f"{name}{layer}"] = rng.normal(0, shape[0] ** -0.5, shape)
        return f"{name}{layer}"

    def named(*names: str) -> list[str]:
        return [f"{name}{layer}" for name in names]

    nodes = []
    for part in ("q", "k", "v"):
        order = [0, 2, 3, 1] if part == "k" else [0, 2, 1, 3]
        nodes += [
            helper.make_node("MatMul", [f"x{layer}", weight(f"w{part}", _WIDTH, _WIDTH)], named(f"flat_{part}")),
            helper.make_node("Reshape", [*named(f"flat_{part}"), "split"], named(f"heads_{part}")),
            helper.make_node("Transpose", named(f"heads_{part}"), named(part), perm=order),
        ]
    scales = {name: np.ones(_WIDTH) for name in named("gain_a", "gain_b")}
    constants |= scales | {name: np.zeros(_WIDTH) for name in named("shift_a", "shift_b")}
    return [
        *nodes,
        helper.make_node("MatMul", named("q", "k"), named("raw")),
        helper.make_node("Mul", [*named("raw"), "scale"], named("scaled")),
        helper.make_node("Add", [*named("scaled"), "bias"], named("masked")),
        helper.make_node("Softmax", named("masked"), named("share"), axis=-1),
        helper.make_node("MatMul", named("share", "v"), named("mixed")),
        helper.make_node("Transpose", named("mixed"), named("turned"), perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", [*named("turned"), "joined"], named("together")),
        helper.make_node("MatMul", [*named("together"), weight("wo", _WIDTH, _WIDTH)], named("seen")),
        helper.make_node("Add", [f"x{layer}", *named("seen")], named("more")),
        helper.make_node("LayerNormalization", named("more", "gain_a", "shift_a"), named("calm"), axis=-1),
        helper.make_node("MatMul", [*named("calm"), weight("up", _WIDTH, 2 * _WIDTH)], named("wide")),
        helper.make_node("Relu", named("wide"), named("bent")),
        helper.make_node("MatMul", [*named("bent"), weight("down", 2 * _WIDTH, _WIDTH)], named("narrow")),
        helper.make_node("Add", named("calm", "narrow"), named("sum")),
        helper.make_node("LayerNormalization", named("sum", "gain_b", "shift_b"), [f"x{layer + 1}"], axis=-1),
    ]


def _smolvla(path: Path, toolchains: Toolchains, note: Callable[[str], None]) -> None:
    note("making a small SmolVLA with LeRobot")
    chain = toolchains.get(LEROBOT, note)
    command = [str(chain.python), lerobot_policies.__file__, "smolvla", str(path)]
    subprocess.run(command, check=True, env=chain.environment(), stdout=subprocess.DEVNULL)


def _language(path: Path, toolchains: Toolchains, note: Callable[[str], None]) -> None:
    note(f"making a small {path.name} with transformers")
    chain = toolchains.get(LEROBOT, note)
    command = [str(chain.python), str(Path(__file__).parent / "language_checkpoint.py"), path.name, str(path)]
    subprocess.run(command, check=True, env=chain.environment(), stdout=subprocess.DEVNULL)
