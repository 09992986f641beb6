"""The runtimes called directly, with no edgectl: what each can get right at best.

Raises whatever they raise; `AssertionError` for outputs outside the test's own tolerance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cases import Case
from onnx.backend.test.runner import Runner

__all__ = ["RUNTIMES", "check_bare"]

_Run = Callable[[Mapping[str, Any]], list[Any]]


def check_bare(runtime: str, case: Case) -> None:
    """Run the case's model on all of its data."""
    run = RUNTIMES[runtime](case.model.SerializeToString())
    names = [value.name for value in case.model.graph.input]
    for given, wanted in case.data:
        found = run(dict(zip(names, given, strict=False)))
        Runner.assert_similar_outputs(wanted, found, rtol=case.rtol, atol=case.atol)


def _onnxrt(model: bytes) -> _Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda feeds: list(session.run(None, feeds))


def _openvino(model: bytes) -> _Run:
    import openvino

    core = openvino.Core()
    # In the precision that the model is written in, as the tests' tolerance supposes.
    compiled = core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(feeds: Mapping[str, Any]) -> list[Any]:
        found = compiled(feeds)
        return [found[port] for port in compiled.outputs]

    return run


def _reference(model: bytes) -> _Run:
    import onnx
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(onnx.load_from_string(model))
    return lambda feeds: list(evaluator.run(None, dict(feeds)))


RUNTIMES: dict[str, Callable[[bytes], _Run]] = {"onnxrt": _onnxrt, "openvino": _openvino, "reference": _reference}
