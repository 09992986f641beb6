"""Where an agent listens: `unix:PATH`, or `tls:HOST:PORT`, which is mutual TLS. There is no third kind."""

from __future__ import annotations

from dataclasses import dataclass

from edgectl_protos.domain.errors import AddressError

__all__ = ["DEFAULT_PORT", "TlsAddress", "UnixAddress", "parse_address"]

DEFAULT_PORT = 7443

_HINT = "write unix:PATH, or tls:HOST:PORT"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A socket of this machine. `path` is as written."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class TlsAddress:
    """A TCP port that speaks mutual TLS and nothing else. Port 0 lets the system choose one."""

    host: str
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        return f"tls:{self.endpoint}"

    @property
    def endpoint(self) -> str:
        """`HOST:PORT`, as gRPC writes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> UnixAddress | TlsAddress:
    """Read an address.

    Raises:
        AddressError: it has another scheme, or its parts cannot be meant.
    """
    scheme, colon, rest = text.partition(":")
    if scheme == "unix" and colon:
        # unix:///path is gRPC's other spelling; unix-abstract has another scheme and no file mode.
        path = rest[2:] if rest.startswith("//") else rest
        if not path or "\0" in path:
            raise AddressError(f"{text!r} names no path", hint=_HINT)
        return UnixAddress(path)
    if scheme == "tls" and colon:
        return _tls(text, rest)
    raise AddressError(
        f"{text!r} is no address of an agent: nothing else than mutual TLS goes over a network", hint=_HINT
    )


def _tls(text: str, rest: str) -> TlsAddress:
    if rest.startswith("["):
        host, bracket, port = rest[1:].partition("]")
        port = port[1:] if port.startswith(":") else port and "?"
        if not bracket or ":" not in host:
            raise AddressError(f"{text!r}: an IPv6 address stands in brackets, as in tls:[::1]:7443", hint=_HINT)
    else:
        host, _, port = rest.partition(":")
    if not host or any(not (c.isascii() and (c.isalnum() or c in "-._:%")) for c in host):
        raise AddressError(f"{text!r} names no host", hint=_HINT)
    if port and not (port.isascii() and port.isdecimal() and len(port) < 6 and int(port) < 1 << 16):
        raise AddressError(f"{text!r}: {port!r} is no port", hint=_HINT)
    return TlsAddress(host, int(port) if port else DEFAULT_PORT)
