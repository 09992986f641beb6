"""ONNX Runtime's sessions as graphs, whichever provider computes them.

Inputs and outputs are bound by address, so nothing is copied and a denoising pass finds its KV cache where the last one
did.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgectl_agent.worker.release import Array
from edgectl_agent.worker.runtimes.base import Graph, LoadedFacts, fixed_outputs, sentence
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.errors import BundleCorruptError, EdgectlError, OperatorError

__all__ = ["SessionGraph", "session_errors", "session_refusal"]

_UNKNOWN_OPERATOR = (
    re.compile(r"No Op registered for (?P<op>\S+)"),
    re.compile(r"(?P<op>\S+?)\(-?\d+\) is not a registered function/op"),
    re.compile(r"Could not find an implementation for (?P<op>[^\s(]+)"),
)
_NODE = re.compile(r"In Node, \(\"(?P<a>[^\"]*)\"|node with name '(?P<b>[^']*)'")


class SessionGraph(Graph):
    """A session with bound inputs and outputs. Outputs of free shape are allocated anew at each run."""

    def __init__(self, runtime: str, component: Component, facts: LoadedFacts, session: Any) -> None:
        super().__init__(runtime, component, facts)
        self._session = session
        self._binding = session.io_binding()
        self._held: dict[str, Array] = {}
        self._names = [spec.name for spec in component.outputs]
        self._fixed = fixed_outputs(component)
        for name, array in (self._fixed or {}).items():
            self._binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

    def _fork(self) -> Graph:
        # Another binding of the session.
        return SessionGraph(self._runtime, self.component, self.facts, self._session)

    def _bind(self, name: str, array: Array) -> bool:
        whole = np.ascontiguousarray(array).reshape(array.shape)
        self._binding.bind_input(name, "cpu", 0, whole.dtype, whole.shape, whole.ctypes.data)
        self._held[name] = whole
        return np.shares_memory(whole, array)

    def _run(self) -> Mapping[str, Array]:
        if self._fixed is not None:
            self._session.run_with_iobinding(self._binding)
            return self._fixed
        for name in self._names:
            # What the last run allocated stays bound otherwise, and has its shape.
            self._binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(self._binding)
        return dict(zip(self._names, self._binding.copy_outputs_to_cpu(), strict=True))

    def _close(self) -> None:
        self._session = self._binding = None
        self._held = {}

    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        return session_errors()


def session_errors() -> tuple[type[BaseException], ...]:
    """What the library raises."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    errors = [error for error in vars(state).values() if isinstance(error, type) and issubclass(error, Exception)]
    return (*errors, RuntimeError, ValueError)


def session_refusal(runtime: str, error: BaseException, artifact: Path) -> EdgectlError:
    """The member of our tree that a session which was not made stands for."""
    text = str(error)
    for pattern in _UNKNOWN_OPERATOR:
        if found := pattern.search(text):
            node = _NODE.search(text)
            where = f" (node {node.group('a') or node.group('b')!r})" if node else ""
            return OperatorError(f"{runtime} does not know the operator {found.group('op')}{where}: {sentence(error)}")
    return BundleCorruptError(f"{artifact.name} is not a graph that {runtime} can load: {sentence(error)}")
