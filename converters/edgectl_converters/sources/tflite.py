"""`.tflite` files as they are: one component, `policy`, called once. The file is copied, never changed.

Golden cases are the user's (`<name>.golden.npz` beside it: `in.<input>`, `out.<output>`, a case in each row). Without
them its own interpreter computes them here, which proves that a device does the same, and nothing about training.
"""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from edgectl_converters.card import CheckpointCard, Sha256, digest_of_files
from edgectl_converters.sources.bare_graph import bare_policy, bare_program
from edgectl_converters.sources.base import GOLDEN, Export, ExportedComponent, ExportRequest, Source
from edgectl_converters.sources.frame_ranges import golden_ranges, golden_spread
from edgectl_converters.sources.golden_file import check_golden
from edgectl_converters.sources.npz import read_npz
from edgectl_converters.tflite_graph import TFLITE, TfliteGraph, read_tflite
from edgectl_protos.domain.artifact import TensorSpec
from edgectl_protos.domain.errors import CheckpointError, NonFiniteError
from edgectl_protos.domain.policy import Policy
from edgectl_protos.domain.program import Program

if TYPE_CHECKING:
    import numpy.typing as npt

    Arrays = dict[str, npt.NDArray[Any]]

__all__ = ["TfliteSource"]

COMPONENT = "policy"
_FILE = "policy.tflite"
_PACKAGE = "ai_edge_litert"


class TfliteSource(Source):
    """One file, which is the whole policy."""

    name: ClassVar[str] = "tflite"

    def sniff(self, path: Path) -> bool:
        """A file ending in .tflite."""
        return path.is_file() and path.suffix == ".tflite"

    def card(self, path: Path, sha256: Sha256) -> CheckpointCard:
        """Inputs, outputs, how its layers are stored.

        Raises:
            CheckpointError: it has several signatures, or ports that cannot be fed.
            CheckpointCorruptError: the file is no graph, or not whole.
            ToolchainError: what reads it is not installed here.
        """
        graph = read_tflite(path)
        policy, _ = _bare(path, graph)
        golden = _golden_file(path)
        stored = ", ".join(f"{count} {kind}" for kind, count in graph.stored().items()) or "none"
        told = f"golden data: {golden.name}" if golden else "no golden data: its own interpreter makes it"
        return CheckpointCard(
            path=path,
            source=self.name,
            policy=policy,
            parameters=graph.parameters(),
            size_bytes=path.stat().st_size,
            toolchain="host",
            digest=digest_of_files(path.parent, [path, *([golden] if golden else [])], sha256),
            components=(COMPONENT,),
            notes=(told, f"{len(graph.operators)} operators; layers stored as {stored}"),
            schemes=(graph.scheme(),),
            forms=(TFLITE,),
        )

    def spread(self, path: Path) -> dict[str, tuple[tuple[float, ...], tuple[float, ...]]]:
        """Where the golden data say that values lie."""
        golden = _golden_file(path)
        return golden_spread(golden) if golden else {}

    def ranges(self, path: Path) -> dict[str, tuple[float, float]]:
        """What the golden data show."""
        golden = _golden_file(path)
        return golden_ranges(golden) if golden else {}

    def export(self, request: ExportRequest, progress: Callable[[str], None]) -> Export:
        """The file, and golden cases.

        Raises:
            CheckpointError: as `card`; or its interpreter does not run it.
            NonFiniteError: an output holds NaN or infinity.
        """
        import numpy as np

        path, out = Path(request.checkpoint), Path(request.out)
        graph = read_tflite(path)
        inputs, outputs = graph.ports()
        policy, program = _bare(path, graph)
        shutil.copyfile(path, out / _FILE)
        golden = _golden_file(path)
        version = importlib.metadata.version(_PACKAGE)
        if golden:
            arrays: Arrays = check_golden(golden, policy, program)
            reference, kind = golden.name, "recorded"
        else:
            progress("computing golden outputs with the file's own interpreter")
            raw = read_npz(Path(request.observations))
            found = _computed(path, inputs, outputs, raw)
            specs = {spec.name: spec for spec in program.tensors}
            arrays = {f"in.{name}": values for name, values in raw.items()}
            arrays |= {f"out.{name}": values.reshape(len(values), *specs[name].shape) for name, values in found.items()}
            reference, kind = f"the .tflite itself, by {_PACKAGE} {version} on this host", request.inputs_kind
        np.savez(out / GOLDEN, allow_pickle=False, **arrays)
        component = ExportedComponent(COMPONENT, {TFLITE: _FILE}, inputs, outputs, graph.scheme())
        cases = len(arrays[f"out.{program.action}"])
        return Export(policy, program, (component,), reference, kind, cases, {_PACKAGE: version})


def _bare(path: Path, graph: TfliteGraph) -> tuple[Policy, Program]:
    inputs, outputs = graph.ports()
    if not inputs or not outputs:
        raise CheckpointError(f"{path.name} has {len(inputs)} inputs and {len(outputs)} outputs: it is no policy")
    policy = bare_policy(TfliteSource.name, inputs, outputs)
    return policy, bare_program(COMPONENT, policy, inputs, outputs)


def _golden_file(path: Path) -> Path | None:
    golden = path.with_suffix(".golden.npz")
    return golden if golden.is_file() else None


def _computed(path: Path, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], raw: Arrays) -> Arrays:
    """What the file gives for each case, by output, case first."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    found: dict[str, list[Any]] = {spec.name: [] for spec in outputs}
    try:
        interpreter = Interpreter(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
        signatures = interpreter._get_full_signature_list()
        places = next(iter(signatures.values()), None) or {
            "inputs": {one["name"]: one["index"] for one in interpreter.get_input_details()},
            "outputs": {one["name"]: one["index"] for one in interpreter.get_output_details()},
        }
        for case in range(len(raw[inputs[0].name])):
            for spec in inputs:
                value = np.ascontiguousarray(raw[spec.name][case].reshape(spec.shape), spec.dtype.value)
                interpreter.set_tensor(places["inputs"][spec.name], value)
            interpreter.invoke()
            for spec in outputs:
                found[spec.name].append(interpreter.get_tensor(places["outputs"][spec.name]))
    except (RuntimeError, ValueError) as exc:
        raise CheckpointError(
            f"{path.name} is not run by its own interpreter: {' '.join(str(exc).split())[:400]}",
            hint="bring golden data: NAME.golden.npz beside it",
        ) from exc
    for name, values in found.items():
        if bad := sum(int((~np.isfinite(value)).sum()) for value in values if value.dtype.kind == "f"):
            raise NonFiniteError(
                f"{path.name} gives {bad} values of {name!r} that are not finite, by its own interpreter",
                hint="give it inputs from its own world: --footage DIR",
            )
    return {name: np.stack(values) for name, values in found.items()}
