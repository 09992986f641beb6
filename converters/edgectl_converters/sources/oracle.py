"""What a bare graph computes, said by what does least to it: the oracle of a graph that brings no golden data.

In order: ONNX Runtime with every optimisation off, where it is installed and takes the graph; the onnx package's
reference evaluator, in bounded time. The first that runs is taken. The other looks at the first case, and where they
differ by more than rounding the result says so: then one of them is wrong, and only the framework that trained the
policy knows which.
"""

from __future__ import annotations

import importlib.metadata
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgectl_converters.sources.onnx_graph import graph_files, read_graph
from edgectl_protos.domain.errors import CheckpointError, NonFiniteError, OperatorError

if TYPE_CHECKING:
    from types import FrameType

    import numpy.typing as npt

    Array = npt.NDArray[Any]
    Case = Mapping[str, Array]
    Cases = Sequence[Case]

__all__ = ["Evaluation", "difference", "disagreement", "evaluate", "oracle_versions"]

_ALONE_S, _BESIDE_S = 120.0, 20.0
"""For all cases by the evaluator alone, and for one beside another oracle."""
_MAX_BESIDE_BYTES = 1 << 29
# What a graph that is wrong in itself makes Python code raise; an unknown operator is NotImplementedError.
_EVALUATOR_ERRORS = (
    *(ArithmeticError, AttributeError, AssertionError, LookupError, RuntimeError, TypeError, ValueError),
    *(ImportError, MemoryError, OSError),
)
_ROUNDING = {"float16": 1e-2, "float32": 1e-4, "float64": 1e-4}
"""Largest difference that rounding explains, as a fraction of the range."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Outputs by name, `[case, *shape]`, of the first `cases`; `reference` names the oracle. `varying` are outputs
    whose shape depends on the data: two of its shapes.
    """

    outputs: dict[str, Array]
    cases: int
    reference: str
    notes: tuple[str, ...] = ()
    varying: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)


class _Oracle(Protocol):
    name: str

    def run(self, feeds: Case) -> list[Array]: ...


class _OutOfTime(BaseException):
    """Passes through whatever the evaluator catches."""


class _CannotRunError(Exception):
    """This oracle does not run the graph; says why."""


def oracle_versions() -> dict[str, str]:
    """Versions of the packages that are oracles here, the first of them not needed otherwise."""
    found = {}
    for name in ("onnxruntime", "onnx"):
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def evaluate(
    graph: Path,
    cases: Cases,
    outputs: tuple[str, ...],
    states: Mapping[str, str],
    *,
    what: str = "",
    alone_s: float = _ALONE_S,
) -> Evaluation:
    """The graph on these cases: inputs by name, each as the graph takes it. Inputs in `states` take the output that
    they name from the case before; the first case has where they begin. The reference evaluator alone may take
    `alone_s`, and gives fewer cases then. `what` is the user's name of the graph.

    Raises:
        CheckpointError: no oracle runs the graph; says why each does not.
        OperatorError: for want of an operator.
        NonFiniteError: an output holds NaN or infinity.
    """
    what = what or graph.name
    try:
        runtime = _Runtime(graph, outputs)
        found = _stacked(list(_run(runtime, cases, outputs, states)), outputs, runtime.name)
    except _CannotRunError as exc:
        why = str(exc)
    else:
        _refuse_not_finite(found, what)
        large = sum(file.stat().st_size for file in graph_files(graph, read_graph(graph))) > _MAX_BESIDE_BYTES
        return found if large else _beside(graph, cases[:1], outputs, states, found)
    done: list[list[Array]] = []
    try:
        with _time_limit(alone_s):
            evaluator = _Evaluator(graph, outputs)
            for values in _run(evaluator, cases, outputs, states):
                done.append(values)
    except _CannotRunError as exc:
        raise _no_oracle(what, f"{why}; {exc}") from exc
    except _OutOfTime as exc:
        if not done:
            raise _no_oracle(what, f"{why}; the reference evaluator takes more than {alone_s:.0f} s") from exc
    found = _stacked(done, outputs, evaluator.name)
    _refuse_not_finite(found, what)
    short = f"{len(done)} of {len(cases)} golden cases: the reference evaluator is slow on this graph"
    return replace(found, notes=(why, *((short,) if len(done) < len(cases) else ())))


def difference(found: Array, expected: Array) -> float:
    """The largest difference as a fraction of the range of what is expected; of other types the share of unequals."""
    import numpy as np

    if expected.dtype.kind != "f":
        return float(np.mean(found != expected)) if expected.size else 0.0
    there = expected.astype(np.float64)
    worst = float(np.abs(found.astype(np.float64) - there).max(initial=0.0))
    scale = (float(np.ptp(there)) if there.size else 0.0) or float(np.abs(there).max(initial=0.0)) or 1.0
    return worst / scale


def _beside(
    graph: Path, cases: Cases, outputs: tuple[str, ...], states: Mapping[str, str], found: Evaluation
) -> Evaluation:
    """With what the reference evaluator says to it."""
    try:
        with _time_limit(_BESIDE_S):
            evaluator = _Evaluator(graph, outputs)
            (values,) = _run(evaluator, cases, outputs, states)
    except (_CannotRunError, _OutOfTime) as exc:
        why = str(exc) or f"the reference evaluator takes more than {_BESIDE_S:.0f} s for a case"
        return replace(found, notes=(f"confirmed by no second oracle: {why}",))
    by_name = dict(zip(outputs, values, strict=True))
    apart = disagreement({name: array[0] for name, array in found.outputs.items()}, by_name)
    if not apart:
        return replace(found, notes=(f"confirmed by {evaluator.name}",))
    reference = f"{found.reference}; {evaluator.name} differs: {apart}"
    return replace(found, reference=reference, notes=(f"two oracles disagree on {apart}: bring golden data to decide",))


def disagreement(found: Mapping[str, Array], expected: Mapping[str, Array]) -> str:
    """Where they differ by more than rounding, and by how much; empty where they do not."""
    apart = []
    for name, value in found.items():
        other = expected[name]
        if value.shape != other.shape:
            apart.append(f"{name} is {list(value.shape)} and {list(other.shape)}")
        elif (by := difference(value, other)) > _ROUNDING.get(str(other.dtype), 0.0):
            apart.append(f"{name} by {by:.1e} of its range" if other.dtype.kind == "f" else f"{by:.1%} of {name}")
    return ", ".join(apart)


def _run(oracle: _Oracle, cases: Cases, outputs: tuple[str, ...], states: Mapping[str, str]) -> Iterator[list[Array]]:
    """Case after case, states fed back."""
    import numpy as np

    fed: dict[str, Array] = {}
    for case in cases:
        values = oracle.run({**case, **fed})
        yield values
        by_name = dict(zip(outputs, values, strict=True))
        fed = {into: np.asarray(by_name[out]) for into, out in states.items()}


class _Runtime:
    """ONNX Runtime as it is without a pass over the graph."""

    def __init__(self, graph: Path, outputs: tuple[str, ...]) -> None:
        try:
            import onnxruntime
        except (ImportError, OSError) as exc:
            raise _CannotRunError("onnxruntime is not installed here (pip install onnxruntime)") from exc
        self.name = f"onnxruntime {onnxruntime.__version__} without optimisation"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        # Packed weights are a second copy of them.
        options.add_session_config_entry("session.disable_prepacking", "1")
        self._outputs = list(outputs)
        try:
            self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        except _runtime_errors() as exc:
            raise _CannotRunError(f"onnxruntime: {_sentence(exc)}") from exc

    def run(self, feeds: Case) -> list[Array]:
        """One case."""
        try:
            return list(self._session.run(self._outputs, dict(feeds)))
        except _runtime_errors() as exc:
            raise _CannotRunError(f"onnxruntime: {_sentence(exc)}") from exc


class _Evaluator:
    """The executable specification."""

    def __init__(self, graph: Path, outputs: tuple[str, ...]) -> None:
        import onnx
        from onnx.reference import ReferenceEvaluator

        self.name = f"onnx {onnx.__version__} ReferenceEvaluator"
        self._outputs = list(outputs)
        try:
            self._evaluator = ReferenceEvaluator(onnx.load(str(graph)))
        except (*_EVALUATOR_ERRORS, onnx.checker.ValidationError) as exc:
            raise _CannotRunError(f"the reference evaluator: {type(exc).__name__}: {_sentence(exc)}") from exc

    def run(self, feeds: Case) -> list[Array]:
        """One case."""
        import numpy as np

        try:
            # A graph may divide by zero or overflow on purpose; the result is checked where it is used.
            with np.errstate(all="ignore"):
                return [np.asarray(value) for value in self._evaluator.run(self._outputs, dict(feeds))]
        except _EVALUATOR_ERRORS as exc:
            raise _CannotRunError(f"the reference evaluator: {type(exc).__name__}: {_sentence(exc)}") from exc


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raises _OutOfTime inside: Python code is stopped where it stands. For the main thread, where exports run."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise _OutOfTime

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _stacked(done: list[list[Array]], outputs: tuple[str, ...], reference: str) -> Evaluation:
    import numpy as np

    found, varying = {}, {}
    for index, name in enumerate(outputs):
        values = [case[index] for case in done]
        shapes = sorted({value.shape for value in values})
        if len(shapes) > 1:
            varying[name] = (shapes[0], shapes[-1])
        else:
            found[name] = np.stack(values)
    return Evaluation(found, len(done), reference, varying=varying)


def _refuse_not_finite(found: Evaluation, graph: str) -> None:
    import numpy as np

    for name, values in found.outputs.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise NonFiniteError(
                f"{graph} gives {int((~np.isfinite(values)).sum())} values of {name!r} that are not finite, by "
                f"{found.reference} already",
                hint="give it inputs from its own world: --footage DIR",
            )


def _no_oracle(graph: str, why: str) -> CheckpointError | OperatorError:
    text = f"nothing here computes what {graph} should give: {why}"
    hint = (
        f"feed it what it is made for, --footage DIR, or bring what its own framework computes: {Path(graph).stem}"
        ".golden.npz beside it with in.<input> and out.<output>, a case in each row"
    )
    unknown = ("NotImplementedError", "No implementation", "not a registered", "No Op registered")
    return OperatorError(text, hint=hint) if any(word in text for word in unknown) else CheckpointError(text, hint=hint)


def _runtime_errors() -> tuple[type[BaseException], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    errors = [error for error in vars(state).values() if isinstance(error, type) and issubclass(error, Exception)]
    return (*errors, RuntimeError, ValueError)


def _sentence(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
