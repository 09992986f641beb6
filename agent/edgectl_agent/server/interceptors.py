"""The one place where errors become gRPC status, for every call of every service.

Members of the error tree leave with their own status, reason and hint; anything else is a defect: it is
logged with its traceback and leaves as InternalError without one.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from edgectl_protos.codec.status import metadata_of, status_of
from edgectl_protos.domain.errors import EdgectlError, InternalError

__all__ = ["ErrorInterceptor"]

_LOG = logging.getLogger(__name__)
_HINT_CHARACTERS = 1500
"""A hint travels as metadata, of which gRPC takes 8 KiB in all, percent-encoded."""


@contextlib.contextmanager
def _reported(context: grpc.ServicerContext, method: str) -> Iterator[None]:
    try:
        yield
        return
    except EdgectlError as exc:
        error = exc
    except Exception as exc:  # noqa: BLE001 (the boundary of the process: the caller must get an answer)
        if not context.is_active():
            # The caller is gone, and reading from it failed: there is nobody to tell.
            return
        _LOG.exception("%s failed", method)
        error = InternalError(
            f"the agent has a defect: {type(exc).__name__}: {exc}", hint="its log on the device has the traceback"
        )
    error.hint = error.hint[:_HINT_CHARACTERS]
    context.set_trailing_metadata(metadata_of(error))
    context.abort(status_of(error), error.message)


class ErrorInterceptor(grpc.ServerInterceptor):
    """Wraps each handler in the translation of its errors."""

    def intercept_service(
        self, continuation: Callable[[Any], Any], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """The handler of a call, wrapped."""
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        if handler.response_streaming:
            return self._streaming(handler, method)
        return self._unary(handler, method)

    def _unary(self, handler: Any, method: str) -> Any:
        inner = handler.stream_unary if handler.request_streaming else handler.unary_unary

        def behaviour(request: Any, context: grpc.ServicerContext) -> Any:
            with _reported(context, method):
                return inner(request, context)

        kind = (
            grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
        )
        return kind(behaviour, handler.request_deserializer, handler.response_serializer)

    def _streaming(self, handler: Any, method: str) -> Any:
        inner = handler.unary_stream

        def behaviour(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            # The iteration is guarded too: a generator raises when it is asked, not when it is made.
            with _reported(context, method):
                yield from inner(request, context)

        return grpc.unary_stream_rpc_method_handler(
            behaviour, handler.request_deserializer, handler.response_serializer
        )
