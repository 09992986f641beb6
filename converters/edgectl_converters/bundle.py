"""Bundles on the host: a directory with `edgectl.bundle.json` and `blobs/sha256/<hex>`."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from edgectl_converters.card import sha256_of
from edgectl_converters.files import link_or_copy
from edgectl_protos.codec.document import canonical_bytes, from_bytes
from edgectl_protos.codec.onnx_files import files_of_onnx
from edgectl_protos.domain.artifact import Digest, FileEntry, safe_path
from edgectl_protos.domain.bundle import MANIFEST_NAME, Manifest
from edgectl_protos.domain.errors import BundleCorruptError, BundleError, BundlePathError

__all__ = [
    "add_files",
    "blob_path",
    "check_place",
    "copy_bundle",
    "is_bundle",
    "lay_out_bundle",
    "read_bundle",
    "read_manifest",
    "write_manifest",
]

_HINT = "convert the checkpoint again: edgectl convert"


def is_bundle(path: Path) -> bool:
    """Whether this is a bundle's directory."""
    return (path / MANIFEST_NAME).is_file()


def blob_path(bundle: Path, digest: Digest) -> Path:
    """Where the bytes of a digest stand."""
    return bundle / "blobs" / "sha256" / digest.hex


def add_files(bundle: Path, files: Mapping[str, Path], *, owned: Path | None = None) -> tuple[FileEntry, ...]:
    """Bring files into the bundle as blobs; their entries, by path.

    What lies below `owned` is edgectl's own and never changes, so it is linked where the disk allows; anything else
    is copied, since its owner may write to it later.
    """
    (bundle / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
    entries = []
    for path, source in sorted(files.items()):
        digest = sha256_of(source)
        blob = blob_path(bundle, digest)
        if not blob.exists():
            linked = False
            if owned is not None and source.is_relative_to(owned):
                # Another file system, or one without links.
                with contextlib.suppress(OSError):
                    os.link(source, blob)
                    linked = True
            if not linked:
                shutil.copyfile(source, blob)
        entries.append(FileEntry(path, source.stat().st_size, digest))
    return tuple(entries)


def check_place(out: Path) -> None:
    """Refuse a place where a bundle is to go, before anything is made for it.

    Raises:
        BundleError: something is there already.
    """
    if out.exists():
        raise BundleError(f"{out} exists already", hint="name another folder: --output DIR")


def copy_bundle(bundle: Path, out: Path) -> None:
    """Copy a bundle to where the user wants it, whole or not at all.

    Raises:
        BundleError: something is there already, or it cannot be written.
    """
    aside = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        check_place(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(bundle, aside)
        aside.rename(out)
    except OSError as exc:
        raise BundleError(f"{out} cannot be written: {exc.strerror or exc}") from exc
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def lay_out_bundle(bundle: Path, folder: Path) -> None:
    """Lay a bundle out as it lies on a device: files at their paths beside the manifest, linked where that works.

    Raises:
        BundleError: the manifest is not valid.
    """
    manifest, data = read_manifest(bundle)
    for entry in manifest.files:
        link_or_copy(blob_path(bundle, entry.digest), folder / entry.path)
    (folder / MANIFEST_NAME).write_bytes(data)


def write_manifest(bundle: Path, manifest: Manifest) -> None:
    """Write the canonical manifest, which completes the bundle."""
    (bundle / MANIFEST_NAME).write_bytes(canonical_bytes(manifest))


def read_manifest(bundle: Path) -> tuple[Manifest, bytes]:
    """The manifest and its bytes, whose sha256 is the release digest; blobs are not looked at.

    Raises:
        BundleError: there is no bundle, or its manifest is not valid.
    """
    try:
        data = (bundle / MANIFEST_NAME).read_bytes()
    except OSError as exc:
        raise BundleError(f"{bundle} is no bundle: {exc.strerror}", hint=_HINT) from exc
    return from_bytes(Manifest, data, what=MANIFEST_NAME), data


def read_bundle(bundle: Path) -> tuple[Manifest, bytes]:
    """The manifest and its bytes, every blob checked against its digest.

    Raises:
        BundleError: there is no bundle, or its manifest is not valid.
        BundleCorruptError: a blob is missing, truncated or altered, or a graph names a file that is not there.
        BundlePathError: a graph names a file outside its folder.
    """
    manifest, data = read_manifest(bundle)
    for entry in manifest.files:
        blob = blob_path(bundle, entry.digest)
        if not blob.is_file():
            raise BundleCorruptError(
                f"{bundle.name} lacks the bytes of {entry.path} ({entry.digest.short})", hint=_HINT
            )
        size_bytes = blob.stat().st_size
        if size_bytes != entry.size_bytes:
            raise BundleCorruptError(f"{entry.path} has {size_bytes} bytes, not {entry.size_bytes}", hint=_HINT)
        if sha256_of(blob) != entry.digest:
            raise BundleCorruptError(f"{entry.path} does not match its digest {entry.digest.short}", hint=_HINT)
    _check_graphs(bundle, manifest)
    return manifest, data


def _check_graphs(bundle: Path, manifest: Manifest) -> None:
    """Refuse a graph by which a runtime would open a file that the bundle does not hold beside it."""
    paths = {entry.path for entry in manifest.files}
    for entry in manifest.files:
        if not entry.path.endswith(".onnx"):
            continue
        for name in files_of_onnx(blob_path(bundle, entry.digest), called=entry.path):
            try:
                beside = PurePosixPath(entry.path).parent / safe_path(name)
            except BundlePathError as exc:
                raise BundlePathError(
                    f"{entry.path} names {name[:200]!r}, a file outside its folder", hint=_HINT
                ) from exc
            if str(beside) not in paths:
                raise BundleCorruptError(f"{entry.path} names {name!r}, which the bundle does not hold", hint=_HINT)
