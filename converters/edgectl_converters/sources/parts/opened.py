"""A policy file, read with all that it names, and seen to meet: what the card and the export both begin with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgectl_converters.card import Sha256
from edgectl_converters.sources.base import GOLDEN
from edgectl_converters.sources.golden_file import MAKE_HINT, check_golden, golden_keys
from edgectl_converters.sources.parts.file import HINT, ComponentEntry, PolicyFile, read_policy_file
from edgectl_converters.sources.parts.graphs import EXPORT_KEY, Part, inside, read_part
from edgectl_converters.sources.parts.program import PolicyInParts, program_of, single_call
from edgectl_protos.domain.errors import CheckpointError

__all__ = ["Opened"]


@dataclass(frozen=True, slots=True)
class Opened:
    """A policy file, read with all that it names."""

    root: Path
    path: Path
    parts: dict[str, Part]
    meaning: PolicyInParts
    golden: Path | None

    @classmethod
    def read(cls, path: Path, sha256: Sha256 | None) -> Opened:
        """Read the file. `sha256`: digests that it gives its components are compared; an export finds that done.

        Raises:
            CheckpointError: the file, a graph or the golden data is missing, damaged or says what makes no sense.
            TokenizerError: a tokenizer is absent.
            ProgramError: tensors, steps and components do not meet.
        """
        root = path.parent
        file = read_policy_file(path)
        parts = {name: _part(name, entry, file, root, sha256) for name, entry in file.components.items()}
        _check_same_export(parts)
        meaning = program_of(file, parts, root)
        opened = cls(root, path, parts, meaning, _golden_file(file, root))
        opened._check_golden()
        return opened

    def all_files(self) -> list[Path]:
        """Every file that a conversion reads."""
        files = {self.path, *self.meaning.files.values(), *self.meaning.read, *([self.golden] if self.golden else [])}
        return sorted(files | {file for part in self.parts.values() for file in part.files})

    def _check_golden(self) -> None:
        policy, program = self.meaning.policy, self.meaning.program
        if self.golden is not None:
            check_golden(self.golden, policy, program)
        elif single_call(program) is None:
            raise CheckpointError(
                f"{self.path.name} brings no golden data, and more than a bare graph needs them: put a golden.npz "
                f"beside it with {'; '.join(golden_keys(policy, program))}",
                hint=MAKE_HINT,
            )


def _golden_file(file: PolicyFile, root: Path) -> Path | None:
    if file.golden:
        return inside(root, file.golden, "golden")
    return root / GOLDEN if (root / GOLDEN).is_file() else None


def _part(name: str, entry: str | ComponentEntry, file: PolicyFile, root: Path, sha256: Sha256 | None) -> Part:
    if not name.replace("_", "").replace("-", "").isalnum() or not name.isascii() or len(name) > 60:
        raise CheckpointError(f"components: {name[:80]!r} is no name of a component; write letters, digits, _ and -")
    entry = entry if isinstance(entry, ComponentEntry) else ComponentEntry(entry)
    path = inside(root, entry.file, f"components.{name}")
    if entry.sha256 and sha256 is not None and sha256(path).hex != entry.sha256.removeprefix("sha256:").lower():
        raise CheckpointError(
            f"components.{name}: {entry.file} is sha256:{sha256(path).hex}, not the one that the policy file means",
            hint="copy all parts of one export together",
        )
    dims = file.dims | entry.dims
    if any(not 1 <= size < 1 << 31 for size in dims.values()):
        raise CheckpointError(f"components.{name}: dims: {dims} has a size that makes no sense", hint=HINT)
    return read_part(name, path, dims)


def _check_same_export(parts: dict[str, Part]) -> None:
    ids = {part.export: name for name, part in reversed(parts.items())}
    if len(ids) > 1:
        told = ", ".join(
            f"{name} {export or 'none'!r}" for export, name in sorted(ids.items(), key=lambda item: item[1])
        )
        raise CheckpointError(
            f"the parts are of other exports: their {EXPORT_KEY} says {told}",
            hint="copy all parts of one export together",
        )
