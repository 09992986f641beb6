"""Calls to one agent. What fails in one, also in the middle of a stream, leaves here as a member of the error tree."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc.aio

from edgectl_host.transport.dial import explained
from edgectl_protos.codec.status import error_from_rpc
from edgectl_protos.domain.errors import EdgectlError, UnreachableError

__all__ = ["Calls"]


class Calls:
    """The calls of a device's client. `address` is where it was dialled, for what TLS says."""

    def __init__(self, device: str, address: str) -> None:
        self._device = device
        self._address = address

    async def call(self, method: Callable[..., Any], request: Any, timeout_s: float) -> Any:
        """The answer to one request."""
        try:
            return await self.begin(method, request, timeout=timeout_s)
        except grpc.aio.AioRpcError as exc:
            raise self.error(exc) from exc

    async def stream(self, method: Callable[..., Any], request: Any, timeout_s: float) -> AsyncIterator[Any]:
        """The messages of one stream, which ends within this time."""
        try:
            async for message in self._messages(method, request, timeout_s):
                yield message
        except grpc.aio.AioRpcError as exc:
            raise self.error(exc) from exc

    async def watch(
        self, method: Callable[..., Any], request: Any, timeout_s: float, hello: Callable[[], Awaitable[object]]
    ) -> AsyncIterator[Any]:
        """Events that may go on for hours, in calls that do not; `hello` between two finds an agent that is stuck."""
        while True:
            try:
                async for event in self._messages(method, request, timeout_s):
                    request.after_sequence = event.sequence
                    yield event
                return
            except grpc.aio.AioRpcError as exc:
                if exc.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                    raise self.error(exc) from exc
            await hello()

    def begin(self, method: Callable[..., Any], *request: Any, **options: Any) -> Any:
        """Begin a call.

        Raises:
            UnreachableError: the connection was closed.
        """
        try:
            return method(*request, **options)
        except grpc.aio.UsageError as exc:  # what a closed channel answers
            raise UnreachableError(f"{self._device}: the connection was closed") from exc

    def error(self, exc: grpc.aio.AioRpcError) -> EdgectlError:
        """What a failure of gRPC means."""
        return explained(error_from_rpc(exc, device=self._device), self._device, self._address)

    async def _messages(self, method: Callable[..., Any], request: Any, timeout_s: float) -> AsyncIterator[Any]:
        call = self.begin(method, request, timeout=timeout_s)
        try:
            # A lost device shows here, and not in the call itself.
            async for message in call:
                yield message
        finally:
            call.cancel()
