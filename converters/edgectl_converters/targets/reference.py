"""The onnx package's own evaluator: the artifact is the graph itself."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from edgectl_converters.targets.base import Built, Evaluation, Inputs, Target
from edgectl_protos.domain.artifact import Precision
from edgectl_protos.domain.errors import OperatorError

__all__ = ["ReferenceTarget"]


class ReferenceTarget(Target):
    """Slow and exact: the executable specification."""

    name = "reference"
    precisions = (Precision.FP32,)
    packages = ("onnx",)

    def build(
        self,
        graph: Path,
        out: Path,
        precision: Precision,
        variant: str,
        calibration: Inputs,
        progress: Callable[[str], None],
    ) -> Built:
        """Copy the graph."""
        shutil.copyfile(graph, out / "full.onnx")
        return Built("full.onnx")

    def evaluate(self, artifact: Path, options: dict[str, str], inputs: Inputs) -> Evaluation:
        """Run it with the ReferenceEvaluator."""
        from onnx.reference import ReferenceEvaluator

        try:
            evaluator = ReferenceEvaluator(str(artifact))
        except (NotImplementedError, RuntimeError) as exc:
            raise OperatorError(f"the reference evaluator does not know an operator of the graph: {exc}") from exc
        outputs = [dict(zip(evaluator.output_names, evaluator.run(None, feeds), strict=True)) for feeds in inputs]
        return Evaluation(outputs, Precision.FP32)
