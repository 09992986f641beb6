"""The onnx package's own evaluator: slow, exact, the executable specification of every other runtime.

Facts: computes in the types that the graph declares, on numpy, on one thread; unknown operators are found
when the evaluator is built; it raises whatever Python raises.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from edgectl_agent.worker.release import Array
from edgectl_agent.worker.runtimes.base import LoadedFacts, Runtime, check_names, sentence
from edgectl_protos.domain.artifact import Precision
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.device import RuntimeFacts
from edgectl_protos.domain.errors import BundleCorruptError, EdgectlError, OperatorError

__all__ = ["ReferenceRuntime"]

_UNKNOWN_OPERATOR = re.compile(r"(?:operator|Node type) '(\w+)'")


class ReferenceRuntime(Runtime):
    """`onnx.reference.ReferenceEvaluator`."""

    name = "reference"

    def __init__(self) -> None:
        super().__init__()
        self._evaluator: Any = None
        self._outputs: list[str] = []

    def _import(self) -> str:
        import onnx
        import onnx.reference

        return str(onnx.__version__)

    def _facts(self, version: str) -> RuntimeFacts:
        return RuntimeFacts(self.name, version, ("reference",), (Precision.FP32,))

    def _load(self, artifact: Path, component: Component, threads: int) -> LoadedFacts:
        import onnx
        from onnx.reference import ReferenceEvaluator

        model = onnx.load(artifact)
        try:
            self._evaluator = ReferenceEvaluator(model)
        except NotImplementedError as exc:
            raise _operator_error(exc, model) from exc
        check_names("input", self._evaluator.input_names, component.inputs)
        check_names("output", self._evaluator.output_names, component.outputs)
        self._outputs = [spec.name for spec in component.outputs]
        return LoadedFacts(Precision.FP32, "reference", str(onnx.__version__))

    def _infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        # A graph may divide by zero or overflow on purpose; the result is checked where it is used.
        with np.errstate(all="ignore"):
            outputs = self._evaluator.run(self._outputs, inputs)
        return dict(zip(self._outputs, outputs, strict=True))

    def _close(self) -> None:
        self._evaluator = None

    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        return (Exception,)

    def _load_error(self, error: BaseException, artifact: Path) -> EdgectlError:
        return BundleCorruptError(f"{artifact.name} is not a readable ONNX graph: {sentence(error)}")


def _operator_error(error: NotImplementedError, model: Any) -> OperatorError:
    found = _UNKNOWN_OPERATOR.search(str(error))
    operator = found.group(1) if found else "?"
    nodes = [node.name for node in model.graph.node if node.op_type == operator]
    where = f" (node {nodes[0]!r})" if nodes else ""
    return OperatorError(f"reference does not know the operator {operator}{where}: {sentence(error)}")
