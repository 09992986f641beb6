"""An ONNX policy in several files, described by a short YAML: `policy.yaml`. Its format: docs/policy-file.md.

All of it is worked out and checked for the card: graphs are read without their weights, the program is built, tensors,
components and golden data are seen to meet. The export then writes the graphs whole, with fixed shapes, and the rest.

Golden data are the user's, recorded from the policy where it was trained: nothing else shows that the file says what
the policy does, and edgectl computes no second opinion of its own processing. Only where the program is one bare graph
may they be missing; then an oracle makes them, as for any ONNX graph.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgectl_converters.card import CheckpointCard, Sha256, digest_of_files
from edgectl_converters.sources.base import Export, ExportRequest, Source
from edgectl_converters.sources.frame_ranges import golden_ranges, golden_spread
from edgectl_protos.domain.errors import CheckpointError

if TYPE_CHECKING:
    from edgectl_converters.sources.parts.opened import Opened

__all__ = ["PartsSource"]

_NAMES = ("policy.yaml", "policy.yml")


class PartsSource(Source):
    """A policy file and what it names."""

    name: ClassVar[str] = "parts"

    def sniff(self, path: Path) -> bool:
        """A folder with a policy.yaml, or a YAML file."""
        return _policy_file(path) is not None

    def card(self, path: Path, sha256: Sha256) -> CheckpointCard:
        """The policy as its file says, once all of it meets.

        Raises:
            CheckpointError: the file, a graph or the golden data is missing, damaged or says what makes no sense.
            TokenizerError: a tokenizer is absent.
            ProgramError: tensors, steps and components do not meet.
        """
        opened = self._open(path, sha256)
        program = opened.meaning.program
        golden = opened.golden
        notes = [f"golden data: {golden.name}" if golden else "no golden data: an oracle makes it"]
        export = next((part.export for part in opened.parts.values() if part.export), "")
        notes += [f"all parts are of export {export}"] if export else []
        return CheckpointCard(
            path=path,
            source=self.name,
            policy=opened.meaning.policy,
            parameters=sum(part.parameters for part in opened.parts.values()),
            size_bytes=sum(part.size_bytes for part in opened.parts.values()),
            toolchain="host",
            digest=digest_of_files(opened.root, opened.all_files(), sha256),
            components=program.components,
            notes=tuple(notes),
        )

    def spread(self, path: Path) -> dict[str, tuple[tuple[float, ...], tuple[float, ...]]]:
        """Where the golden data say that values lie."""
        golden = self._open(path, None).golden
        return golden_spread(golden) if golden else {}

    def ranges(self, path: Path) -> dict[str, tuple[float, float]]:
        """What the golden data show."""
        golden = self._open(path, None).golden
        return golden_ranges(golden) if golden else {}

    def export(self, request: ExportRequest, progress: Callable[[str], None]) -> Export:
        """Write graphs, arrays, tokenizers and golden cases.

        Raises:
            EdgectlError: as `card`; and
            OperatorError: a graph has an operator that its opset does not define.
            NonFiniteError: a golden value is NaN or infinite.
        """
        from edgectl_converters.sources.parts.export import export_parts

        return export_parts(self._open(Path(request.checkpoint), None), request, progress)

    def _open(self, path: Path, sha256: Sha256 | None) -> Opened:
        # What reads YAML and numbers takes a while to import, and a look at names needs none of it.
        from edgectl_converters.sources.parts.opened import Opened

        found = _policy_file(path)
        if found is None:
            raise CheckpointError(f"{path} is no policy file", hint="see docs/policy-file.md")
        return Opened.read(found, sha256)


def _policy_file(path: Path) -> Path | None:
    if path.is_dir():
        return next((path / name for name in _NAMES if (path / name).is_file()), None)
    return path if path.suffix in (".yaml", ".yml") and path.is_file() else None
