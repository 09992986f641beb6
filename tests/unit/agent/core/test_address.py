"""Addresses that an agent listens on, and those that it refuses."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from edgectl_agent.core.address import MAX_PATH_BYTES, claim_socket, socket_path
from edgectl_protos.domain.address import UnixAddress
from edgectl_protos.domain.errors import AddressError
from edgectl_testkit.serve import short_folder


@pytest.fixture
def folder():
    with short_folder() as folder:
        yield folder


def test_paths_become_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert socket_path(UnixAddress("a.sock")) == tmp_path / "a.sock"


def test_a_path_longer_than_the_kernel_takes_is_refused_with_both_sizes():
    fits = "/" + "x" * (MAX_PATH_BYTES - 1)
    assert socket_path(UnixAddress(fits)) == Path(fits)
    with pytest.raises(AddressError, match="108 bytes, the system takes 107"):
        socket_path(UnixAddress(f"{fits}x"))


def test_the_limit_is_the_kernels_own(folder):
    name = "x" * (MAX_PATH_BYTES - len(str(folder)) - 1)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / name))
    with socket.socket(socket.AF_UNIX) as server, pytest.raises(OSError, match="too long"):
        server.bind(str(folder / name) + "x")


def test_a_free_path_is_claimed(folder):
    claim_socket(folder / "a.sock")


def test_the_socket_of_a_dead_process_is_removed(folder):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "a.sock"))
        server.listen()
    claim_socket(folder / "a.sock")
    assert not (folder / "a.sock").exists()


def test_the_socket_of_a_live_process_is_refused_and_left_alone(folder):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "a.sock"))
        server.listen()
        with pytest.raises(AddressError, match="already listens"):
            claim_socket(folder / "a.sock")
    assert (folder / "a.sock").exists()


def test_a_file_in_the_way_is_left_alone(folder):
    (folder / "a.sock").write_text("precious")
    with pytest.raises(AddressError, match="not a socket"):
        claim_socket(folder / "a.sock")
    assert (folder / "a.sock").read_text() == "precious"


def test_a_missing_folder_is_named(folder):
    with pytest.raises(AddressError, match="no directory") as caught:
        claim_socket(folder / "nothing" / "a.sock")
    assert "mkdir" in caught.value.hint
