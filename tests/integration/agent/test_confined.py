"""Real runtimes in the sandbox, as another user: installed, proved, measured, and their samples fetched."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

import pytest

import edgectl_agent
import edgectl_protos
from edgectl_protos.domain.deployment import State
from edgectl_protos.domain.run import RunPhase
from edgectl_testkit.bundles import tiny_bundle, tiny_loop
from edgectl_testkit.raw_client import RawClient
from edgectl_testkit.serve import serve, short_folder

PYTHON = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def folder():
    """As /var/lib is: others pass through."""
    with short_folder() as folder:
        folder.chmod(0o711)
        yield folder


@pytest.fixture
def reachable(monkeypatch):
    """A Python that every user can reach, with what this one has installed."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    if not os.path.exists(PYTHON):
        pytest.skip(f"there is no {PYTHON}")
    packages = [Path(found.__path__[0]).parent for found in (edgectl_agent, edgectl_protos)]
    packages.append(Path(sysconfig.get_path("purelib")))
    for parent in packages[-1].parents:
        if not os.stat(parent).st_mode & 0o001:
            pytest.skip(f"other users cannot pass through {parent}")
    monkeypatch.setenv("PYTHONPATH", ":".join(map(str, packages)))


@pytest.mark.parametrize("runtime", ["onnxrt", "openvino"])
def test_a_runtime_runs_as_another_user_and_the_agent_keeps_what_it_wrote(folder, reachable, runtime):
    bundle, _ = tiny_bundle(folder / "bundle", runtime=runtime, loop=tiny_loop(rate_hz=50.0, measure_s=0.5))
    state = folder / "state"
    agent = serve(state, real_worker=True, interpreter=PYTHON, probe_timeout_s=120.0)
    with agent as address, RawClient(address) as client:
        installed = client.deploy(bundle, "d-1")
        assert installed.state is State.COMMITTED, installed.failure
        (worker,) = [int(path.name) for path in (state / "workers").iterdir()]
        user = os.stat(f"/proc/{worker}").st_uid
        assert user != 0
        last = list(client.run("r-1"))[-1]
        assert last.phase is RunPhase.DONE, last.failure
        assert f"user {user}" in last.summary.facts.isolation
        assert "no network" in last.summary.facts.isolation
        assert client.samples("r-1")
    assert (state / "runs" / "r-1.npz").stat().st_uid == 0
    assert list((state / "scratch").iterdir()) == []
