"""Small ONNX graphs for programs of several components, each with what it computes in plain numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.parity import Tolerance

_TYPES = {DType.FLOAT32: TensorProto.FLOAT, DType.INT64: TensorProto.INT64, DType.BOOL: TensorProto.BOOL}

Node = tuple[str, Sequence[str], Sequence[str]]
"""An operator, its inputs, its outputs."""

VOCABULARY = 7


def spec(name: str, *shape: int, dtype: DType = DType.FLOAT32) -> TensorSpec:
    """A tensor, of float32 unless said otherwise."""
    return TensorSpec(name, dtype, shape)


def component(
    name: str,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    *,
    runtime: str = "reference",
    states: dict[str, str] | None = None,
) -> Component:
    """A component whose artifact is `model.onnx`."""
    tolerance = Tolerance(5e-3, 2.5e-2, 5e-3, 0.0)
    return Component(name, runtime, "fp32", "model.onnx", tuple(inputs), tuple(outputs), tolerance, states=states or {})


def graph_of(
    made: Component, nodes: Sequence[Node | onnx.NodeProto], constants: dict[str, np.ndarray] | None = None
) -> onnx.ModelProto:
    """The component's graph of these nodes, checked; a free dimension has a name."""

    def port(value: TensorSpec) -> onnx.ValueInfoProto:
        shape = [f"{value.name}_{axis}" if size < 0 else size for axis, size in enumerate(value.shape)]
        return helper.make_tensor_value_info(value.name, _TYPES[value.dtype], shape)

    graph = helper.make_graph(
        [node if isinstance(node, onnx.NodeProto) else helper.make_node(*node) for node in nodes],
        made.name,
        [port(value) for value in made.inputs],
        [port(value) for value in made.outputs],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model


# --- a language model that remembers: logits = sum over the text of row[token] * (position + 1) -----------------------


def language_rows() -> np.ndarray:
    """What each token adds."""
    return np.random.default_rng(7).standard_normal((VOCABULARY, VOCABULARY)).astype(np.float32)


def language_logits(text: Sequence[int]) -> np.ndarray:
    """Logits of the token after this text."""
    weights = np.arange(1, len(text) + 1, dtype=np.float32)
    found: np.ndarray = (language_rows()[list(text)] * weights[:, None]).sum(axis=0)
    return found


def language_text(prompt: Sequence[int], length: int, stop: int) -> list[int]:
    """What greedy decoding says after this prompt, filled up with `stop`."""
    text = list(prompt)
    said: list[int] = []
    while len(said) < length and (not said or said[-1] != stop):
        said.append(int(language_logits(text).argmax()))
        text.append(said[-1])
    return said + [stop] * (length - len(said))


def language_component(runtime: str = "reference", *, name: str = "language") -> Component:
    """Ids, positions and a cache that grows with the text, as a transformer's does."""
    return component(
        name,
        [
            spec("ids", 1, -1, dtype=DType.INT64),
            spec("past", 1, -1, VOCABULARY),
            spec("positions", 1, -1, dtype=DType.INT64),
        ],
        [spec("logits", 1, -1, VOCABULARY), spec("present", 1, -1, VOCABULARY)],
        runtime=runtime,
        states={"past": "present"},
    )


def language_graph() -> onnx.ModelProto:
    """The graph of `language_component`; it gives the logits of the last token only."""
    constants = {
        "rows": language_rows(),
        "one": np.array(1, np.float32),
        "last": np.array([-1], np.int64),
        "axis": np.array([1], np.int64),
    }
    nodes: list[Node | onnx.NodeProto] = [
        ("Gather", ["rows", "ids"], ["row"]),
        helper.make_node("Cast", ["positions"], ["at"], to=TensorProto.FLOAT),
        ("Add", ["at", "one"], ["weight"]),
        ("Unsqueeze", ["weight", "last"], ["weights"]),
        ("Mul", ["row", "weights"], ["new"]),
        helper.make_node("Concat", ["past", "new"], ["present"], axis=1),
        helper.make_node("ReduceSum", ["present", "axis"], ["logits"], keepdims=1),
    ]
    return graph_of(language_component(), nodes, constants)
