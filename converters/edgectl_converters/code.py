"""Which code decides what a step writes: the closure of edgectl's own modules that its implementing module imports.

Import lines are found by a scan, those inside functions included, so nothing is imported to know it. Imports for types
alone (`if TYPE_CHECKING:`) decide nothing.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Iterable
from pathlib import Path

__all__ = ["BUNDLE_SCHEMA", "Code"]

_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(?P<module>edgectl_[\w.]+)[ \t]+import[ \t]+(?:\((?P<many>[^)]*)\)|(?P<few>[^\n#]+))"
    r"|import[ \t]+(?P<plain>edgectl_[\w.]+))",
    re.MULTILINE,
)
_FOR_TYPES = re.compile(r"^if TYPE_CHECKING:\n(?:(?:[ \t]+[^\n]*)?\n)+", re.MULTILINE)
_NAME = re.compile(r"\w+")

_MESSAGES = "edgectl_protos.domain.errors"
"""Words of failures; a step that fails writes nothing."""
BUNDLE_SCHEMA = "edgectl_protos.domain.bundle"
"""The manifest: decides what bundles are, and nothing before them. A step whose report no longer reads is done anew."""


class Code:
    """Digests of modules with all that they import. `roots` says where packages stand, for tests; else they are found.

    Files are read once in the life of this object.
    """

    def __init__(self, roots: dict[str, Path] | None = None) -> None:
        self._roots = roots if roots is not None else {}
        self._files: dict[str, Path | None] = {}
        self._scans: dict[Path, tuple[str, tuple[str, ...]]] = {}

    def digest(self, module: str, *, without: Iterable[str] = (BUNDLE_SCHEMA,)) -> str:
        """The digest of a module's closure; empty when there is no such module."""
        left_out = {_MESSAGES, *without}
        lines = [f"{name} {self._scan(file)[0]}" for name, file in self.closure(module) if name not in left_out]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest() if lines else ""

    def closure(self, module: str) -> list[tuple[str, Path]]:
        """The module, what it imports, what that imports …, with their files, by name."""
        found: dict[str, Path] = {}
        pending = [module]
        while pending:
            name = pending.pop()
            file = self._file(name)
            if file is None or name in found:
                continue
            found[name] = file
            parent, _, _ = name.rpartition(".")
            pending += [*self._scan(file)[1], *([parent] if parent else [])]
        return sorted(found.items())

    def _scan(self, file: Path) -> tuple[str, tuple[str, ...]]:
        if file not in self._scans:
            data = file.read_bytes()
            text = _FOR_TYPES.sub("", data.decode(errors="replace"))
            names: list[str] = []
            for match in _IMPORT.finditer(text):
                if match["plain"]:
                    names.append(match["plain"])
                    continue
                names.append(match["module"])
                # What is imported from a package may be a module of it.
                names += [f"{match['module']}.{name}" for name in _NAME.findall(match["many"] or match["few"])]
            self._scans[file] = (hashlib.sha256(data).hexdigest(), tuple(names))
        return self._scans[file]

    def _file(self, module: str) -> Path | None:
        if module not in self._files:
            package, _, rest = module.partition(".")
            root = self._root(package)
            self._files[module] = None
            if root is not None:
                path = root.joinpath(*rest.split(".")) if rest else root
                for file in (path.with_suffix(".py"), path / "__init__.py"):
                    if file.is_file():
                        self._files[module] = file
                        break
        return self._files[module]

    def _root(self, package: str) -> Path | None:
        if package not in self._roots:
            spec = importlib.util.find_spec(package)
            places = list(spec.submodule_search_locations or []) if spec else []
            if not places:
                return None
            self._roots[package] = Path(places[0])
        return self._roots[package]
