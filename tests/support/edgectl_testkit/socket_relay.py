"""A relay between a host and an agent, on unix sockets, that can be cut and mended.

async with SocketRelay(folder / "r.sock", target) as relay: ...; relay.cut(); ...; relay.mend()
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import TracebackType

__all__ = ["SocketRelay"]

_PIECE_BYTES = 1 << 16


class SocketRelay:
    """Passes bytes on, both ways, until it is cut."""

    def __init__(self, path: Path, target: str) -> None:
        self.address = f"unix:{path}"
        self._path = path
        self._target = target.removeprefix("unix:")
        self._is_cut = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> SocketRelay:
        self._server = await asyncio.start_unix_server(self._serve, self._path)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    def cut(self) -> None:
        """Break every connection, and every new one."""
        self._is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        """Let new connections through."""
        self._is_cut = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        there_reader, there_writer = await asyncio.open_unix_connection(self._target)
        self._writers |= {writer, there_writer}
        try:
            await asyncio.gather(_pass(reader, there_writer), _pass(there_reader, writer))
        finally:
            self._writers -= {writer, there_writer}


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_PIECE_BYTES):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()
