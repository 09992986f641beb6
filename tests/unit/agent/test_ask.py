"""`edgectl-agent hello`: an answer from a socket of this machine."""

from __future__ import annotations

import pytest

from edgectl_agent.ask import ask_hello
from edgectl_protos.domain.errors import AddressError, UnreachableError
from edgectl_testkit.serve import serve, short_folder


def test_an_agent_says_who_it_is(tmp_path):
    with serve(tmp_path / "state") as address:
        assert ask_hello(address, 10.0).device == "bench"


def test_nobody_is_asked_over_a_network_where_the_question_would_not_be_encrypted():
    for address in ("tls:127.0.0.1:7443", "127.0.0.1:7443", "dns:localhost:7443", "unix-abstract:x"):
        with pytest.raises(AddressError):
            ask_hello(address, 0.1)


def test_where_nobody_listens_it_says_so_in_time():
    with short_folder() as folder, pytest.raises(UnreachableError):
        ask_hello(f"unix:{folder}/none.sock", 0.1)
