"""Where edgectl keeps its things."""

from __future__ import annotations

from pathlib import Path

from edgectl_host.config import MAX_SOCKET_PATH_BYTES, HostConfig


def config(**environ: str) -> HostConfig:
    return HostConfig.from_environment({"HOME": "/home/ada", "USER": "ada", **environ}, uid=1000)


def test_without_variables_the_xdg_defaults_below_home_are_used():
    found = config()
    assert found.cache_dir == Path("/home/ada/.cache/edgectl")
    assert found.data_dir == Path("/home/ada/.local/share/edgectl")
    assert found.config_dir == Path("/home/ada/.config/edgectl")


def test_xdg_variables_move_each_directory_and_relative_ones_are_ignored():
    found = config(XDG_CACHE_HOME="/c", XDG_DATA_HOME="data", XDG_CONFIG_HOME="")
    assert found.cache_dir == Path("/c/edgectl")
    assert found.data_dir == Path("/home/ada/.local/share/edgectl")
    assert found.config_dir == Path("/home/ada/.config/edgectl")


def test_edgectl_home_puts_everything_in_one_place():
    found = config(EDGECTL_HOME="/e", XDG_CACHE_HOME="/c")
    assert {found.cache_dir, found.data_dir, found.config_dir} == {Path("/e/cache"), Path("/e/data"), Path("/e/config")}
    assert found.local_socket == Path("/e/data/local-agent/agent.sock")
    assert found.runs_database == "sqlite:////e/data/runs.db"


def test_a_long_home_gets_a_short_socket_of_its_own():
    homes = [f"/{'x' * 100}/{name}" for name in "ab"]
    sockets = [config(EDGECTL_HOME=home).local_socket for home in homes]
    assert all(len(bytes(path)) <= MAX_SOCKET_PATH_BYTES for path in sockets)
    assert sockets[0] != sockets[1]
    assert str(sockets[0]).startswith("/tmp/edgectl-1000-")
    inside = config(EDGECTL_HOME=homes[0], XDG_RUNTIME_DIR="/run/user/1000").local_socket
    assert str(inside).startswith("/run/user/1000/edgectl-")


def test_colour_and_width_are_what_the_terminal_asks_for():
    found = config(NO_COLOR="1", FORCE_COLOR="", COLUMNS="72")
    assert (found.no_colour, found.force_colour, found.columns) == (True, False, 72)
    assert config(COLUMNS="wide").columns is None
    assert config(COLUMNS="²").columns is None


def test_pythons_are_looked_for_on_path_in_the_home_and_with_conda():
    search = config(HOME="/h", PATH="/a/bin:relative::/b", CONDA_PREFIX="/c").python_search
    assert (search.home, search.path, search.conda) == (Path("/h"), (Path("/a/bin"), Path("/b")), (Path("/c"),))
