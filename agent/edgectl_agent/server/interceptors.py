"""The one place that stands before and behind every call of every service: limits on the way in, errors on the way out.

Members of the error tree leave with their own status, reason and hint, clipped to what a message takes; a disk that
fails is one of them. Anything else is a defect: it is logged with its traceback, and leaves as InternalError without.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from edgectl_agent.core.device.memory import MemoryRelief
from edgectl_agent.core.failures import as_ours
from edgectl_agent.server.limits import Places, Stream, bounded, checked, limit_of
from edgectl_protos.codec.status import details_of, metadata_of, status_of
from edgectl_protos.domain.errors import EdgectlError

__all__ = ["CallInterceptor"]

_RELIEVED_AFTER_S = 2.0


@contextlib.contextmanager
def _reported(context: grpc.ServicerContext, method: str) -> Iterator[None]:
    try:
        yield
        return
    except Exception as exc:  # noqa: BLE001 (the boundary of the process: the caller must get an answer)
        if not isinstance(exc, EdgectlError) and not context.is_active():
            # The caller is gone, and reading from it failed: there is nobody to tell.
            return
        error = as_ours(exc, method)
    context.set_trailing_metadata(metadata_of(error))
    context.abort(status_of(error), details_of(error))


class CallInterceptor(grpc.ServerInterceptor):
    """Wraps each handler in its limits and in the translation of its errors."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._relief = MemoryRelief(_RELIEVED_AFTER_S)

    def intercept_service(
        self, continuation: Callable[[Any], Any], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """The handler of a call, wrapped."""
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        read = bounded(handler.request_deserializer, limit_of(method))
        kind, inner = _kind_of(handler)
        behaviour = self._streaming if handler.response_streaming else self._unary
        return kind(behaviour(handler, inner, method), read, handler.response_serializer)

    @contextlib.contextmanager
    def _relieved(self) -> Iterator[None]:
        """Its memory goes back afterwards: gRPC's buffers and TLS handshakes leave a heap full of holes, and code that
        ran once.
        """
        try:
            yield
        finally:
            self._relief.worked()

    def _unary(self, handler: Any, inner: Any, method: str) -> Any:
        def behaviour(request: Any, context: grpc.ServicerContext) -> Any:
            with self._relieved(), _reported(context, method):
                if not handler.request_streaming and not limit_of(method).waits:
                    return inner(checked(request), context)
                with self._places.take(method, context.cancel) as stream:
                    asked = _heard(request, stream) if handler.request_streaming else checked(request)
                    return inner(asked, context)

        return behaviour

    def _streaming(self, handler: Any, inner: Any, method: str) -> Any:
        def behaviour(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            # The iteration is guarded too: a generator raises when it is asked, not when it is made.
            with self._relieved(), _reported(context, method), self._places.take(method, context.cancel) as stream:
                asked = _heard(request, stream) if handler.request_streaming else checked(request)
                for answer in inner(asked, context):
                    yield answer
                    stream.heard()

        return behaviour


def _kind_of(handler: Any) -> tuple[Any, Any]:
    """How a handler of its arity is made, and its own function."""
    if handler.request_streaming and handler.response_streaming:
        return grpc.stream_stream_rpc_method_handler, handler.stream_stream
    if handler.request_streaming:
        return grpc.stream_unary_rpc_method_handler, handler.stream_unary
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler, handler.unary_stream
    return grpc.unary_unary_rpc_method_handler, handler.unary_unary


def _heard(requests: Iterator[Any], stream: Stream) -> Iterator[Any]:
    for request in requests:
        stream.heard()
        yield checked(request)
