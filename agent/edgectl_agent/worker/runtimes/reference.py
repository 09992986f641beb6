"""The onnx package's own evaluator: slow, exact, the executable specification of every other runtime.

Facts: computes in the types that the graph declares, on numpy, on one thread; unknown operators are found
when the evaluator is built; it raises whatever Python raises.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgectl_agent.worker.release import Array
from edgectl_agent.worker.runtimes.base import Graph, LoadedFacts, Runtime, check_names, fixed_outputs, sentence
from edgectl_agent.worker.runtimes.trial import launch_one
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.device import RuntimeFacts
from edgectl_protos.domain.errors import BundleCorruptError, DeviceError, EdgectlError, OperatorError

__all__ = ["ReferenceRuntime"]

_UNKNOWN_OPERATOR = re.compile(r"(?:operator|Node type) '(\w+)'")


class ReferenceRuntime(Runtime):
    """`onnx.reference.ReferenceEvaluator`."""

    name = "reference"

    def _import(self) -> str:
        import onnx
        import onnx.reference

        return str(onnx.__version__)

    def _facts(self, version: str) -> RuntimeFacts:
        launch_one(self)
        return RuntimeFacts(self.name, version, ("reference",), ("fp32",))

    def _onnx_graphs(self, artifact: Path) -> list[Path]:
        return [artifact]

    def _load(self, artifact: Path, component: Component, threads: int, alone: bool) -> Graph:
        import onnx
        from onnx.reference import ReferenceEvaluator

        model = onnx.load(artifact)
        try:
            evaluator = ReferenceEvaluator(model)
        except NotImplementedError as exc:
            raise _operator_error(exc, model) from exc
        check_names("input", evaluator.input_names, component.inputs)
        check_names("output", evaluator.output_names, component.outputs)
        return _EvaluatedGraph(self.name, component, LoadedFacts("fp32", "reference", str(onnx.__version__)), evaluator)

    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        return (Exception,)

    def _load_error(self, error: BaseException, artifact: Path) -> EdgectlError:
        return BundleCorruptError(f"{artifact.name} is not a readable ONNX graph: {sentence(error)}")


class _EvaluatedGraph(Graph):
    """An evaluator and the inputs of its next run."""

    def __init__(self, runtime: str, component: Component, facts: LoadedFacts, evaluator: Any) -> None:
        super().__init__(runtime, component, facts)
        self._evaluator = evaluator
        self._feeds: dict[str, Array] = {}
        self._names = [spec.name for spec in component.outputs]
        self._fixed = fixed_outputs(component)

    def _fork(self) -> Graph:
        return _EvaluatedGraph(self._runtime, self.component, self.facts, self._evaluator)

    def _bind(self, name: str, array: Array) -> bool:
        self._feeds[name] = array
        return True

    def _run(self) -> Mapping[str, Array]:
        # A graph may divide by zero or overflow on purpose; the result is checked where it is used.
        with np.errstate(all="ignore"):
            outputs = self._evaluator.run(self._names, self._feeds)
        found = dict(zip(self._names, outputs, strict=True))
        if self._fixed is None:
            return found
        for name, array in self._fixed.items():
            if found[name].shape != array.shape or found[name].dtype != array.dtype:
                raise DeviceError(
                    f"reference gave {name!r} as {found[name].dtype.name}{list(found[name].shape)}; the manifest says "
                    f"{array.dtype.name}{list(array.shape)}"
                )
            np.copyto(array, found[name])
        return self._fixed

    def _close(self) -> None:
        self._evaluator = None
        self._feeds = {}

    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        return (Exception,)


def _operator_error(error: NotImplementedError, model: Any) -> OperatorError:
    found = _UNKNOWN_OPERATOR.search(str(error))
    operator = found.group(1) if found else "?"
    nodes = [node.name for node in model.graph.node if node.op_type == operator]
    where = f" (node {nodes[0]!r})" if nodes else ""
    return OperatorError(f"reference does not know the operator {operator}{where}: {sentence(error)}")
