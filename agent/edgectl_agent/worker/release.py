"""Reads a release directory: manifest, loop, the program's arrays, golden cases.

The directory was verified by the daemon, file by file; still no pickle is ever loaded, and what does not fit
together is refused here, before a runtime sees it.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import struct
import tokenize
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from edgectl_protos.codec.document import from_bytes
from edgectl_protos.domain.artifact import Digest, safe_path
from edgectl_protos.domain.bundle import MANIFEST_NAME, Component, Manifest
from edgectl_protos.domain.errors import BundleCorruptError, NotFoundError
from edgectl_protos.domain.loop import LoopSpec

__all__ = ["UNREADABLE", "Array", "Release", "read_npz", "read_release"]

Array = npt.NDArray[Any]

UNREADABLE = (
    *(OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, OverflowError),
    # An .npy where an .npz should be is no context; a damaged header is parsed as Python; a member may be encrypted,
    # or claim a size that no machine has.
    *(AttributeError, TypeError, KeyError, SyntaxError, tokenize.TokenError, RuntimeError, MemoryError, RecursionError),
)
"""What numpy and zipfile raise for bytes that are no archive of arrays."""

_MAX_MEMBERS = 100_000
_ALWAYS_UNPACKED_BYTES = 256 << 20
_UNPACKED_SHARE = 50
"""Masks and zeros pack well, but nothing that edgectl writes packs this well and is large."""
_ENCRYPTED = 0x1


@dataclass(frozen=True, slots=True)
class Release:
    """A release as it lies on the device."""

    directory: Path
    digest: Digest
    manifest: Manifest
    loop: LoopSpec
    arrays: dict[str, Array]

    def path(self, relative: str) -> Path:
        """The file of the release at this path.

        Raises:
            BundlePathError: the path leaves the release.
        """
        return self.directory / safe_path(relative)

    def artifact(self, component: Component) -> Path:
        """What the component's runtime opens."""
        folder = self.path(component.folder)
        return folder / safe_path(component.entry) if component.entry else folder

    def golden(self) -> dict[str, Array]:
        """The golden cases; empty when the release has none.

        Raises:
            BundleCorruptError: the file cannot be read.
        """
        golden = self.manifest.golden
        return read_npz(self.path(golden.path)) if golden else {}


def read_release(directory: Path) -> Release:
    """Read what a worker needs of the release.

    Raises:
        NotFoundError: there is no release in this directory.
        BundleError: its parts do not fit together.
        BundleCorruptError: a file of it cannot be read.
    """
    try:
        data = (directory / MANIFEST_NAME).read_bytes()
    except FileNotFoundError as exc:
        raise NotFoundError(f"no release in {directory}", hint="deploy it first: edgectl deploy") from exc
    manifest = from_bytes(Manifest, data, what=MANIFEST_NAME)
    loop_path = directory / safe_path(manifest.loop)
    try:
        loop = from_bytes(LoopSpec, loop_path.read_bytes(), what=manifest.loop)
    except OSError as exc:
        raise BundleCorruptError(f"{manifest.loop} cannot be read: {exc.strerror}") from exc
    arrays = manifest.program.arrays
    return Release(
        directory=directory,
        digest=Digest(hashlib.sha256(data).hexdigest()),
        manifest=manifest,
        loop=loop,
        arrays=read_npz(directory / safe_path(arrays)) if arrays else {},
    )


def read_npz(path: Path) -> dict[str, Array]:
    """All arrays of an .npz, without pickles.

    Raises:
        BundleCorruptError: it is missing, damaged, encrypted, holds pickled objects, or unpacks to far more than it
            has.
    """
    try:
        # Opened here, since np.load leaves the file open when it is no archive.
        with path.open("rb") as stream:
            _check_archive(path, stream)
            with np.load(stream, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
    except UNREADABLE as exc:
        raise BundleCorruptError(
            f"{path.name} cannot be read: {type(exc).__name__}: {exc}", hint="deploy the bundle again: edgectl deploy"
        ) from exc
    for name, array in arrays.items():
        # A member that is no array comes as bytes.
        if not isinstance(array, np.ndarray):
            raise BundleCorruptError(f"{path.name} holds {name!r}, which is no array")
    return arrays


def _check_archive(path: Path, stream: BinaryIO) -> None:
    """Refuse an archive of which a few bytes would fill the memory, before anything of it is unpacked."""
    packed = os.fstat(stream.fileno()).st_size
    with zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
    stream.seek(0)
    unpacked = sum(member.file_size for member in members)
    if len(members) > _MAX_MEMBERS or unpacked > max(_ALWAYS_UNPACKED_BYTES, _UNPACKED_SHARE * packed):
        raise BundleCorruptError(
            f"{path.name} has {packed:,} bytes and {len(members):,} arrays, which would be {unpacked:,} in memory",
            hint="convert the checkpoint again: edgectl convert",
        )
    if any(member.flag_bits & _ENCRYPTED for member in members):
        raise BundleCorruptError(f"{path.name} is encrypted", hint="convert the checkpoint again: edgectl convert")
