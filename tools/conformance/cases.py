"""The backend node tests of the onnx package: one operator each, with its data."""

from __future__ import annotations

import fnmatch
import warnings
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper

__all__ = ["Case", "load_cases", "sampled"]


@dataclass(frozen=True, slots=True)
class Case:
    """A model and its data: pairs of inputs and outputs in the graph's order, arrays or what stands for them.

    `rtol` and `atol` are the test's own tolerance.
    """

    name: str
    model: ModelProto
    data: tuple[tuple[tuple[Any, ...], tuple[Any, ...]], ...]
    rtol: float
    atol: float

    @property
    def ruled_out(self) -> str:
        """Why edgectl refuses this kind by design; empty for what it must get right.

        A policy takes and gives tensors of numbers, and a proof needs actions of some values, all of them finite.
        """
        graph = self.model.graph
        for value in (*graph.input, *graph.output):
            kind = value.type.WhichOneof("value")
            if kind != "tensor_type":
                return kind.removesuffix("_type")
            if value.type.tensor_type.elem_type == TensorProto.STRING:
                return "text"
        if any(np.asarray(values[0]).size == 0 for _, values in self.data):
            return "an action of no values"
        wanted = [value for _, values in self.data for value in values if np.asarray(value).dtype.kind == "f"]
        return "" if all(np.isfinite(value).all() for value in wanted) else "expected values not finite"


def load_cases(pattern: str = "*", *, every: int = 1) -> list[Case]:
    """Those whose name matches; of these about one in `every`, always the same ones."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        # The package computes its expected values as it loads, infinities among them.
        warnings.simplefilter("ignore")
        found = load_model_tests(kind="node")
    chosen = (test for test in found if fnmatch.fnmatch(test.name, pattern) and sampled(test.name, every))
    return [
        Case(
            name=test.name,
            model=test.model,
            data=tuple((tuple(map(_value, given)), tuple(map(_value, wanted))) for given, wanted in test.data_sets),
            rtol=test.rtol,
            atol=test.atol,
        )
        for test in chosen
    ]


def sampled(name: str, every: int) -> bool:
    """Whether the case is in the sample of one in `every`."""
    return zlib.crc32(name.encode()) % every == 0


def _value(value: Any) -> Any:
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else value
