"""Digests, tensors and files: what an artifact is made of."""

from __future__ import annotations

import enum
import math
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from edgectl_protos.domain.errors import BundleError, BundlePathError, RouteError

__all__ = [
    "MAX_ELEMENTS",
    "MAX_NAME_CHARACTERS",
    "DType",
    "Digest",
    "FileEntry",
    "TensorSpec",
    "check_printable_name",
    "check_scheme",
    "precision_of",
    "safe_path",
    "weight_bits",
]

MAX_NAME_CHARACTERS = 200
MAX_ELEMENTS = 2**31
"""Of one tensor of a program: more than any device holds, and few enough to be counted in 64 bits."""

_MAX_RANK = 16
_MAX_PATH_BYTES = 1000
_MAX_PART_BYTES = 200
"""File systems take 255 for a name, and a name on its way has a prefix."""

_SCHEME = re.compile(r"[a-z0-9]+(?:[-_./][a-z0-9]+)*")
_WRITTEN_OUT = re.compile(r"w(?P<weights>\d+)(?:g\d+)?(?P<slash>/)?(?:a(?P<activations>\d+))?(?:-dynamic)?")
_HEX64 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A sha256 of some bytes. `str(digest)` is `sha256:<hex>`."""

    hex: str

    def __post_init__(self) -> None:
        if not _HEX64.fullmatch(self.hex):
            raise BundleError(f"not a sha256 digest: {self.hex!r}")

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read `sha256:<64 hex digits>`.

        Raises:
            BundleError: the text is anything else.
        """
        algorithm, _, hex_digits = text.partition(":")
        if algorithm != "sha256":
            raise BundleError(f"not a sha256 digest: {text!r}")
        return cls(hex_digits)

    def __str__(self) -> str:
        return f"sha256:{self.hex}"

    @property
    def short(self) -> str:
        """The first twelve hex digits, for people."""
        return self.hex[:12]


class DType(enum.Enum):
    """Element types of tensors, named as numpy names them."""

    UINT8 = "uint8"
    INT8 = "int8"
    UINT16 = "uint16"
    INT16 = "int16"
    UINT32 = "uint32"
    INT32 = "int32"
    UINT64 = "uint64"
    INT64 = "int64"
    BOOL = "bool"
    FLOAT16 = "float16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    TEXT = "text"
    """A Python string, or a unicode array where there are several."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, element type and shape of one graph input or output; -1 marks a free dimension."""

    name: str
    dtype: DType
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        check_shape(self.shape, self.name)


def check_shape(shape: tuple[int, ...], what: str) -> None:
    """Refuse a shape that no tensor has.

    Raises:
        BundleError: a dimension is below -1 (a free one), there are too many, or too many elements.
    """
    # In this order: the product of a long list of large numbers takes long.
    odd = len(shape) > _MAX_RANK or any(dimension < -1 for dimension in shape)
    if odd or math.prod(max(1, dimension) for dimension in shape) > MAX_ELEMENTS:
        raise BundleError(f"{what[:80]!r} cannot have the shape {list(shape)[: _MAX_RANK + 1]}")


def check_printable_name(name: str, what: str) -> str:
    """The name, if a line of a terminal can show it.

    Raises:
        BundleError: it is empty, longer than 200 characters, or not printable.
    """
    if not 0 < len(name) <= MAX_NAME_CHARACTERS or not name.isprintable():
        raise BundleError(
            f"{name[:80]!r} is no name of {what}: it takes 1 to {MAX_NAME_CHARACTERS} printable characters"
        )
    return name


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a bundle: a relative path inside it, and the blob that holds its bytes."""

    path: str
    size_bytes: int
    digest: Digest

    def __post_init__(self) -> None:
        safe_path(self.path)
        if self.size_bytes < 0:
            raise BundleError(f"{self.path}: negative size {self.size_bytes}")


def check_scheme(scheme: str) -> str:
    """The scheme, if it can be one. A scheme says what a component is stored and computed in.

    `fp32`, `fp16`, `bf16`, `int8` (weights and activations, ranges of activations fixed) and `int8-dynamic` (ranges
    found at each call), or weights, group and activations written out: `w4g32a8-dynamic` with activations as integers,
    `w4g64/a16` with a slash before activations in floating point; `w16/a32` are weights in half precision, computed in
    float32. It is text, so that one which this version does not know is kept and shown.

    Raises:
        RouteError: it is not of that form.
    """
    if not _SCHEME.fullmatch(scheme) or len(scheme) > 40:
        raise RouteError(f"{scheme!r} is no scheme", hint="write fp32, fp16, bf16, int8, w8a8 or w4g64/a16")
    return scheme


def precision_of(scheme: str) -> str:
    """The precision in which the bulk of a component of this scheme is computed: fp32, fp16, bf16, int8 …"""
    found = _WRITTEN_OUT.fullmatch(scheme)
    if found is None:
        return scheme.removesuffix("-dynamic")
    bits = found["activations"] or found["weights"]
    return f"fp{bits}" if found["slash"] else f"int{bits}"


def weight_bits(scheme: str) -> int:
    """To how many bits weights of this scheme are rounded, to integers up to eight and to halves at sixteen; 0 where
    they are of the type in which is computed.
    """
    if scheme.removesuffix("-dynamic") == "int8":
        return 8
    found = _WRITTEN_OUT.fullmatch(scheme)
    return int(found["weights"]) if found else 0


def safe_path(path: str) -> PurePosixPath:
    """The path, if it stays inside the folder it is joined to.

    Raises:
        BundlePathError: it is absolute, empty, too long, not printable, or has a `..`, `.` or backslash part.
    """
    parts = path.split("/")
    odd = not path.isprintable() or "\\" in path or any(part in ("", ".", "..") for part in parts)
    if odd or len(path.encode()) > _MAX_PATH_BYTES or any(len(part.encode()) > _MAX_PART_BYTES for part in parts):
        raise BundlePathError(
            f"unsafe path in bundle: {path[:200]!r}",
            hint="the bundle was not written by edgectl; convert the checkpoint again: edgectl convert",
        )
    return PurePosixPath(path)
