from __future__ import annotations

import pytest

from edgectl_protos.domain.address import TlsAddress, UnixAddress, parse_address
from edgectl_protos.domain.errors import AddressError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:/run/a.sock", UnixAddress("/run/a.sock")),
        ("unix:///run/a.sock", UnixAddress("/run/a.sock")),
        ("unix:a.sock", UnixAddress("a.sock")),
        ("tls:orin-1", TlsAddress("orin-1", 7443)),
        ("tls:orin-1.lab.example:7000", TlsAddress("orin-1.lab.example", 7000)),
        ("tls:0.0.0.0:0", TlsAddress("0.0.0.0", 0)),
        ("tls:[::1]:7443", TlsAddress("::1", 7443)),
        ("tls:[fe80::1%eth0]", TlsAddress("fe80::1%eth0", 7443)),
    ],
)
def test_an_address_is_a_socket_or_mutual_tls(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        *("", "unix", "unix:", "unix:a\0b", "tcp:host:1", "host:1", "0.0.0.0:50051", "unix-abstract:x", "http://x"),
        *(
            "tls:",
            "tls",
            "tls::7443",
            "tls:a b",
            "tls:h:65536",
            "tls:h:-1",
            "tls:h:x",
            "tls:h:1:2",
            "tls:h:999999999999",
        ),
        *("tls:::1", "tls:[::1", "tls:[host]:1", "tls:[::1]x", "tls:h:１", "tls:\x00", "tls:h\n"),
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(AddressError):
        parse_address(text)


@pytest.mark.parametrize("text", ["unix:/a", "tls:h:1", "tls:[::1]:7443"])
def test_an_address_is_written_as_it_is_read(text):
    assert str(parse_address(text)) == text
