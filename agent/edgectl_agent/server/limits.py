"""How much of the agent one method may take: the size of a request, looked at before it is parsed, and calls at once.

Streams, and calls that wait for a process, have places of their own, fewer than there are threads, so that whoever
holds all of them never keeps another call waiting. Of some methods a stream that has been silent for long gives its
place to the next: its host goes on where it stopped.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from edgectl_protos.domain.bundle import MAX_MANIFEST_BYTES
from edgectl_protos.domain.errors import BusyError, UsageError
from edgectl_protos.domain.trust import MAX_TRUST_DOCUMENT_BYTES

__all__ = ["MAX_CALLS", "MAX_REQUEST_BYTES", "MethodLimit", "Places", "Stream", "bounded", "checked", "limit_of"]

_KIB = 1 << 10
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class MethodLimit:
    """Of one method: bytes of a request, and places, where it is a stream, or `waits`: for a process that looks for
    runtimes or works with keys. `yields`: a silent stream gives its place to the next.
    """

    request_bytes: int = 64 * _KIB
    places: int = 4
    yields: bool = False
    waits: bool = False


_LIMITS = {
    # The manifest, its signatures, and who sends it.
    "DeploymentService/Create": MethodLimit(MAX_MANIFEST_BYTES + 64 * _KIB, waits=True),
    "DeploymentService/Rollback": MethodLimit(places=2, waits=True),
    "DeploymentService/Watch": MethodLimit(places=8, yields=True),
    "InfoService/GetFacts": MethodLimit(places=8, waits=True),
    "ProfileService/Watch": MethodLimit(places=8, yields=True),
    "ArtifactService/Offer": MethodLimit(2 * _MIB),
    # Some thousands of revoked certificates.
    "TrustService/Revoke": MethodLimit(MAX_TRUST_DOCUMENT_BYTES, places=2, waits=True),
    "TrustService/InstallCertificate": MethodLimit(MAX_TRUST_DOCUMENT_BYTES, places=2, waits=True),
    "TrustService/RequestCertificate": MethodLimit(places=2, waits=True),
    # A chunk, and whose it is.
    "ArtifactService/Upload": MethodLimit(_MIB + 4 * _KIB, yields=True),
}
_ANY = MethodLimit()

MAX_REQUEST_BYTES = max(limit.request_bytes for limit in _LIMITS.values())
"""Of any message: what is longer is not even received."""
MAX_CALLS = 64
"""Answered or waiting at once; further ones are refused."""


def limit_of(method: str) -> MethodLimit:
    """The limit of a method by its full name, `/package.Service/Method`."""
    return _LIMITS.get(method.rpartition(".")[2], _ANY)


@dataclass(frozen=True, slots=True)
class _Unread:
    why: str


def bounded(deserialize: Callable[[bytes], Any] | None, limit: MethodLimit) -> Callable[[bytes], Any]:
    """A deserializer that parses nothing longer than the limit, and never raises: gRPC would log a traceback for each
    request. `checked` refuses what it gives instead.
    """

    def read(data: bytes) -> Any:
        if len(data) > limit.request_bytes:
            return _Unread(f"the request has {len(data):,} bytes; at most {limit.request_bytes:,} are read")
        try:
            return data if deserialize is None else deserialize(data)
        except DecodeError:
            return _Unread("the request is no message of its method")

    return read


def checked(request: Any) -> Any:
    """The request, if it was read.

    Raises:
        UsageError: it is too long, or no message.
    """
    if isinstance(request, _Unread):
        raise UsageError(request.why)
    return request


class Stream:
    """One stream in its place. `heard` is told of every message either way."""

    def __init__(self, end: Callable[[], Any], clock: Callable[[], float]) -> None:
        self._clock = clock
        self.end = end
        self.heard_s = clock()

    def heard(self) -> None:
        """Something was said."""
        self.heard_s = self._clock()


class Places:
    """The places of streams and of calls that wait, by method. One that said nothing for `silent_s` yields, where its
    method does.
    """

    def __init__(self, *, silent_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._silent_s = silent_s
        self._clock = clock
        self._lock = threading.Lock()
        self._streams: dict[str, list[Stream]] = {}

    @contextmanager
    def take(self, method: str, end: Callable[[], Any]) -> Iterator[Stream]:
        """A place for as long as the block runs; `end` ends the stream from outside.

        Raises:
            BusyError: all are taken.
        """
        limit = limit_of(method)
        stream = Stream(end, self._clock)
        with self._lock:
            taken = self._streams.setdefault(method, [])
            if len(taken) >= limit.places:
                silent = min(taken, key=lambda one: one.heard_s, default=None)
                if silent is None or not limit.yields or self._clock() - silent.heard_s < self._silent_s:
                    name = method.rpartition("/")[2]
                    raise BusyError(
                        f"the device serves {len(taken)} calls of {name} already, and takes no more",
                        hint="end one of them, or try again in a moment",
                    )
                # Its thread is free only when it has noticed; there are more threads than places.
                taken.remove(silent)
                silent.end()
            taken.append(stream)
        try:
            yield stream
        finally:
            with self._lock:
                if stream in taken:
                    taken.remove(stream)
