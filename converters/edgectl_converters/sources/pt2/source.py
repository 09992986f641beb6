"""torch.export programs (`.pt2`) and TorchScript modules (`.pt`, `.pts`): one component, `policy`, called once.

The card is read from the archive without torch; loading and exporting happen in the toolchain `torch`. Golden cases
are the user's (`<name>.golden.npz` beside the file: `in.<input>`, `out.<output>`, a case in each row, a batch of 1 left
out), which a TorchScript module must have, since it does not declare what goes in. An exported program without them is
run by torch on recorded observations, else on the example inputs that it carries, else on synthetic ones.

Outputs have the names that the golden file gives them, in its order; without one the first is `action`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from edgectl_converters.card import ONNX, PT2, CheckpointCard, Sha256, digest_of_files
from edgectl_converters.sources.bare_graph import bare_policy, bare_program
from edgectl_converters.sources.base import Export, ExportRequest, Source
from edgectl_converters.sources.frame_ranges import golden_ranges, golden_spread
from edgectl_converters.sources.golden_file import check_golden
from edgectl_converters.sources.npz import read_npz
from edgectl_converters.sources.pt2.archive import Kind, TorchArchive, read_archive
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import CheckpointError
from edgectl_protos.domain.policy import Policy
from edgectl_protos.domain.program import Program

__all__ = ["COMPONENT", "Pt2Source", "TorchModule", "read_module"]

COMPONENT = "policy"
_SUFFIXES = (".pt2", ".pt", ".pts", ".pth")


@dataclass(frozen=True, slots=True)
class TorchModule:
    """A saved module with its golden cases: names, types and shapes of all ports."""

    path: Path
    archive: TorchArchive
    golden: Path | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def policy(self) -> Policy:
        """What is known about it."""
        return bare_policy("torch", self.inputs, self.outputs)

    @property
    def program(self) -> Program:
        """One call."""
        return bare_program(COMPONENT, self.policy, self.inputs, self.outputs)


class Pt2Source(Source):
    """Saved torch modules."""

    name: ClassVar[str] = "pt2"

    def sniff(self, path: Path) -> bool:
        """A file with one of torch's endings; what it really is, the card says."""
        return path.suffix in _SUFFIXES and path.is_file()

    def card(self, path: Path, sha256: Sha256) -> CheckpointCard:
        """The module as its archive and its golden cases say.

        Raises:
            CheckpointError: it is no module, cannot be read, or nothing says what goes in.
            OperatorError: it has an operator that is not torch's own.
            ShapeError: the golden cases have other shapes than the module.
            NonFiniteError: a golden value is NaN or infinite.
        """
        module = read_module(path)
        archive, golden = module.archive, module.golden
        made = "torch computes it, on the module's example inputs" if archive.has_examples else "torch computes it"
        notes = [f"a {archive.kind.value}", f"golden data: {golden.name}" if golden else f"no golden data: {made}"]
        free = [*archive.batch, *archive.sizes]
        notes += [f"free dimensions fixed: {', '.join(free)}"] if free else []
        return CheckpointCard(
            path=path,
            source=self.name,
            policy=module.policy,
            parameters=archive.parameters,
            size_bytes=path.stat().st_size,
            toolchain="torch",
            digest=digest_of_files(path.parent, [path, *([golden] if golden else [])], sha256),
            components=(COMPONENT,),
            notes=tuple(notes),
            forms=(ONNX, PT2) if archive.kind is Kind.EXPORTED else (ONNX,),
        )

    def spread(self, path: Path) -> dict[str, tuple[tuple[float, ...], tuple[float, ...]]]:
        """Where the golden data say that values lie."""
        golden = path.with_suffix(".golden.npz")
        return golden_spread(golden) if golden.is_file() else {}

    def ranges(self, path: Path) -> dict[str, tuple[float, float]]:
        """What the golden data show."""
        golden = path.with_suffix(".golden.npz")
        return golden_ranges(golden) if golden.is_file() else {}

    def export(self, request: ExportRequest, progress: Callable[[str], None]) -> Export:
        """Load the module with torch and export it as ONNX, the form that the targets read.

        Raises:
            EdgectlError: as `card`; and
            OperatorError: the module has an operator that ONNX cannot say.
        """
        from edgectl_converters.sources.pt2.export import export_module

        return export_module(read_module(Path(request.checkpoint)), request, progress)


def read_module(path: Path) -> TorchModule:
    """The archive, and the golden cases beside it, which must fit.

    Raises:
        EdgectlError: as `Pt2Source.card`.
    """
    archive = read_archive(path)
    golden = path.with_suffix(".golden.npz")
    if not golden.is_file():
        if archive.kind is Kind.SCRIPT:
            raise CheckpointError(
                f"{path.name} is a TorchScript module, which does not say what goes in, and {golden.name} is missing",
                hint=f"record real inputs and outputs, a case in each row, without a batch: "
                f"numpy.savez('{golden.name}', **{{'in.NAME': …, 'out.action': …}})",
            )
        return TorchModule(path, archive, None, archive.inputs, _renamed(archive, ()))
    arrays = read_npz(golden)
    names = tuple(key[4:] for key in arrays if key.startswith("out.") and key[4:])
    if not names:
        raise CheckpointError(f"{golden.name} has no out.<output>; it has: {', '.join(arrays) or 'nothing'}")
    if archive.kind is Kind.SCRIPT:
        found = {key: _spec_of(key, array, golden.name) for key, array in arrays.items()}
        inputs = tuple(spec for key, spec in found.items() if key.startswith("in."))
        outputs = tuple(spec for key, spec in found.items() if key.startswith("out."))
        if not inputs:
            raise CheckpointError(f"{golden.name} has no in.<input>; it has: {', '.join(arrays)}")
        module = TorchModule(path, archive, golden, inputs, outputs)
    else:
        if len(names) > len(archive.outputs):
            raise CheckpointError(
                f"{golden.name} has {len(names)} outputs ({', '.join(names)}), and {path.name} {len(archive.outputs)}"
            )
        module = TorchModule(path, archive, golden, archive.inputs, _renamed(archive, names))
    check_golden(golden, module.policy, module.program)
    return module


def _renamed(archive: TorchArchive, names: tuple[str, ...]) -> tuple[TensorSpec, ...]:
    taken = {spec.name for spec in archive.inputs}
    if not names and "action" not in taken:
        names = ("action",)
    taken |= set(names)
    found = [replace(spec, name=name) for spec, name in zip(archive.outputs, names, strict=False)]
    for spec in archive.outputs[len(names) :]:
        # An input may leave as it came in, and an output may come twice.
        name = spec.name if spec.name not in taken else f"output_{len(found)}"
        taken.add(name)
        found.append(replace(spec, name=name))
    return tuple(found)


def _spec_of(key: str, array: object, file: str) -> TensorSpec:
    import numpy as np

    values = np.asarray(array)
    # numpy makes float64 of Python's numbers; a policy computes in float32.
    dtype = "float32" if values.dtype == np.float64 else values.dtype.name
    name = key.partition(".")[2]
    if dtype not in {member.value for member in DType} or not values.ndim or not len(values) or not name:
        raise CheckpointError(
            f"{file}: {key} is {values.dtype}{list(values.shape)}; wanted cases of numbers, a row each"
        )
    return TensorSpec(name, DType(dtype), (1, *values.shape[1:]))
