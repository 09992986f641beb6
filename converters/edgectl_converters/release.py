"""Assembles a release: which files it has, and its manifest. The gates run it from a folder, the bundle keeps it.

The manifest holds neither a time nor a host name: the same conversion gives the same release digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgectl_converters.assignment import Assignment
from edgectl_converters.bundle import add_files, write_manifest
from edgectl_converters.card import Sha256
from edgectl_converters.files import link_or_copy
from edgectl_converters.sources.base import GOLDEN, Export
from edgectl_converters.targets.base import Built
from edgectl_converters.targets.registry import target
from edgectl_protos.codec.document import canonical_bytes
from edgectl_protos.domain.artifact import FileEntry
from edgectl_protos.domain.bundle import (
    MANIFEST_NAME,
    Component,
    GateResult,
    Golden,
    Manifest,
    Provenance,
    folder_of,
)
from edgectl_protos.domain.loop import LoopSpec

__all__ = ["LOOP", "TRACE", "Parts", "lay_out", "write_bundle"]

LOOP = "loop.json"
TRACE = "trace.npz"


@dataclass(frozen=True, slots=True)
class Parts:
    """What a release is made of. `folder` is that of the export, `builds` what each component became, and where,
    `footage` the recordings that its loop reads, by their path in the release. `options` go to every component,
    `trace` is what an oracle wrote.
    """

    name: str
    export: Export
    folder: Path
    assignment: Assignment
    builds: Mapping[str, tuple[Built, Path]]
    loop: LoopSpec
    footage: Mapping[str, Path]
    provenance: Provenance
    options: Mapping[str, str] = field(default_factory=dict)
    trace: Path | None = None

    def files(self) -> dict[str, Path]:
        """Every file but the loop's, by its path in the release."""
        files = {path: self.folder / path for path in self.export.program.files}
        files[GOLDEN] = self.folder / GOLDEN
        if self.trace is not None:
            files[TRACE] = self.trace
        for component, (_, folder) in self.builds.items():
            for file in sorted(folder.rglob("*")):
                if file.is_file():
                    files[f"{folder_of(component)}/{file.relative_to(folder).as_posix()}"] = file
        used = {source.path for source in self.loop.sources if source.path}
        return files | {path: source for path, source in self.footage.items() if path in used}

    def manifest(self, entries: tuple[FileEntry, ...], gates: tuple[GateResult, ...]) -> Manifest:
        """The manifest over these files.

        Raises:
            BundleError: the parts do not meet.
        """
        export = self.export
        trace = TRACE if self.trace is not None else ""
        return Manifest(
            name=self.name,
            policy=export.policy,
            program=export.program,
            components=tuple(self._component(exported.name) for exported in export.components),
            files=entries,
            loop=LOOP,
            golden=Golden(GOLDEN, export.cases, export.reference, export.inputs_kind, trace),
            gates=gates,
            provenance=self.provenance,
        )

    def _component(self, name: str) -> Component:
        exported = next(component for component in self.export.components if component.name == name)
        built, _ = self.builds[name]
        runtime, scheme = self.assignment.runtime.of(name), self.assignment.scheme.of(name)
        return Component(
            name=name,
            runtime=runtime,
            scheme=scheme,
            entry=built.entry,
            inputs=exported.inputs,
            outputs=exported.outputs,
            # A graph that is in half precision already rounds as such wherever it runs.
            tolerance=target(runtime).tolerance(exported.stored or scheme),
            options={**built.options, **self.options},
            states=built.states,
            recipe=built.recipe,
            work=exported.work,
        )


def lay_out(parts: Parts, folder: Path, sha256: Sha256) -> Manifest:
    """Lay the release out as it lies on a device, without gates; files are linked.

    Raises:
        BundleError: the parts do not meet.
    """
    files = parts.files()
    for path, source in files.items():
        link_or_copy(source, folder / path)
    (folder / LOOP).write_bytes(canonical_bytes(parts.loop))
    entries = tuple(
        FileEntry(path, (folder / path).stat().st_size, sha256(folder / path)) for path in sorted((*files, LOOP))
    )
    manifest = parts.manifest(entries, ())
    (folder / MANIFEST_NAME).write_bytes(canonical_bytes(manifest))
    return manifest


def write_bundle(parts: Parts, gates: tuple[GateResult, ...], out: Path, owned: Path) -> Manifest:
    """Write the bundle; what lies below `owned` is linked.

    Raises:
        BundleError: the parts do not meet.
    """
    loop = out / LOOP
    loop.write_bytes(canonical_bytes(parts.loop))
    entries = add_files(out, parts.files() | {LOOP: loop}, owned=owned)
    loop.unlink()
    manifest = parts.manifest(entries, gates)
    write_manifest(out, manifest)
    return manifest
