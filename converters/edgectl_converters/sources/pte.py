"""A `.pte`, lowered already: one component, `policy`, taken as it is by the runtime that loads it.

What is in it is read from the file's own tables. It names no ports: their names are those of the golden cases beside
it (`<name>.golden.npz`: `in.<input>`, `out.<output>`, each in the order of the program's), which it must have, since
nothing here computes it. Its scheme is what its layers are.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edgectl_converters.card import CheckpointCard, Sha256, digest_of_files
from edgectl_converters.sources.bare_graph import bare_policy, bare_program
from edgectl_converters.sources.base import GOLDEN, Export, ExportedComponent, ExportRequest, Source
from edgectl_converters.sources.frame_ranges import golden_ranges, golden_spread
from edgectl_converters.sources.golden_file import check_golden
from edgectl_converters.sources.npz import read_npz
from edgectl_protos.codec.pte import PteMethod, read_pte
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import CheckpointCorruptError, CheckpointError, DocumentError
from edgectl_protos.domain.policy import Policy
from edgectl_protos.domain.program import Program

__all__ = ["COMPONENT", "FORM", "PteSource"]

COMPONENT, FORM = "policy", "pte"
_METHOD = "forward"
_ROUNDED_AT_EACH_CALL = {"qdint8", "qpint8"}
_FOUR_BITS = {"qbint4", "qcint4"}
_HINT = "numpy.savez('{name}', **{{'in.NAME': …, 'out.action': …}}), a case in each row, in the order of its ports"


@dataclass(frozen=True, slots=True)
class _Opened:
    method: PteMethod
    golden: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def policy(self) -> Policy:
        return bare_policy(FORM, self.inputs, self.outputs)

    @property
    def program(self) -> Program:
        return bare_program(COMPONENT, self.policy, self.inputs, self.outputs)


class PteSource(Source):
    """Programs that were lowered elsewhere."""

    name: ClassVar[str] = "pte"

    def sniff(self, path: Path) -> bool:
        """A file ending in .pte."""
        return path.is_file() and path.suffix == ".pte"

    def card(self, path: Path, sha256: Sha256) -> CheckpointCard:
        """Ports, operators and scheme of the method `forward`.

        Raises:
            CheckpointCorruptError: it is no such program, or damaged.
            CheckpointError: it has no such method, ports that cannot be fed, or no golden cases that fit.
        """
        opened = _open(path)
        method = opened.method
        inside, outside = sum(method.delegated.values()), sum(method.operators.values())
        layers = Counter({weights: 0 for _, weights in method.weighted})
        for (_, weights), count in method.weighted.items():
            layers[weights] += count
        notes = [f"{inside} operators in {sum(method.delegates.values())} delegates, {outside} outside"]
        notes += (
            [f"layers by weights: {', '.join(f'{n} {kind}' for kind, n in sorted(layers.items()))}"] if layers else []
        )
        return CheckpointCard(
            path=path,
            source=self.name,
            policy=opened.policy,
            parameters=path.stat().st_size // 4,
            size_bytes=path.stat().st_size,
            toolchain="host",
            digest=digest_of_files(path.parent, [path, opened.golden], sha256),
            components=(COMPONENT,),
            notes=(*notes, f"golden data: {opened.golden.name}"),
            schemes=(_scheme(method),),
            forms=(FORM,),
        )

    def spread(self, path: Path) -> dict[str, tuple[tuple[float, ...], tuple[float, ...]]]:
        """Where the golden data say that values lie."""
        return golden_spread(_golden(path))

    def ranges(self, path: Path) -> dict[str, tuple[float, float]]:
        """What the golden data show."""
        return golden_ranges(_golden(path))

    def export(self, request: ExportRequest, progress: Callable[[str], None]) -> Export:
        """A copy of the file, and its golden cases.

        Raises:
            EdgectlError: as `card`.
        """
        import numpy as np

        path, out = Path(request.checkpoint), Path(request.out)
        opened = _open(path)
        progress(f"reading {opened.golden.name}")
        golden = check_golden(opened.golden, opened.policy, opened.program)
        shutil.copyfile(path, out / f"{COMPONENT}.{FORM}")
        np.savez(out / GOLDEN, allow_pickle=False, **golden)
        return Export(
            policy=opened.policy,
            program=opened.program,
            components=(ExportedComponent(COMPONENT, {FORM: f"{COMPONENT}.{FORM}"}, opened.inputs, opened.outputs),),
            reference=opened.golden.name,
            inputs_kind="recorded",
            cases=len(golden[f"out.{opened.program.action}"]),
        )


def _golden(path: Path) -> Path:
    golden = path.with_suffix(".golden.npz")
    if not golden.is_file():
        raise CheckpointError(
            f"{path.name} names no ports and nothing here computes it, and {golden.name} is missing",
            hint=f"record what it was lowered from: {_HINT.format(name=golden.name)}",
        )
    return golden


def _open(path: Path) -> _Opened:
    try:
        methods = read_pte(path)
    except (DocumentError, OSError) as exc:
        raise CheckpointCorruptError(f"{path.name} cannot be read: {exc}", hint="copy the file again") from exc
    if _METHOD not in methods:
        raise CheckpointError(f"{path.name} has no method {_METHOD!r}; it has: {', '.join(sorted(methods)) or 'none'}")
    method, golden = methods[_METHOD], _golden(path)
    arrays = read_npz(golden)
    inputs = _named(path, golden, "in", [key[3:] for key in arrays if key.startswith("in.")], method.inputs)
    outputs = _named(path, golden, "out", [key[4:] for key in arrays if key.startswith("out.")], method.outputs)
    opened = _Opened(method, golden, inputs, outputs)
    check_golden(golden, opened.policy, opened.program)
    return opened


def _named(
    path: Path, golden: Path, side: str, names: Sequence[str], ports: Sequence[tuple[str, tuple[int, ...]]]
) -> tuple[TensorSpec, ...]:
    if not ports or len(names) != len(ports):
        raise CheckpointError(
            f"{golden.name} has {len(names)} arrays {side}.<name>, and {path.name} {len(ports)} of those ports",
            hint=f"name each of them: {_HINT.format(name=golden.name)}",
        )
    known = {member.value for member in DType}
    for dtype, shape in ports:
        if dtype not in known or min(shape, default=1) < 1:
            raise CheckpointError(f"{path.name} has a port of {dtype}{list(shape)}, which edgectl does not feed")
    return tuple(TensorSpec(name, DType(dtype), shape) for name, (dtype, shape) in zip(names, ports, strict=True))


def _scheme(method: PteMethod) -> str:
    """What most of the layers with weights are."""
    if not method.weighted:
        return "fp32"
    entering, weights = Counter(method.weighted).most_common(1)[0][0]
    if weights in _FOUR_BITS:
        return "w4g32a8-dynamic"
    if entering in _ROUNDED_AT_EACH_CALL:
        return "int8-dynamic"
    return "int8" if weights.startswith("q") else weights
