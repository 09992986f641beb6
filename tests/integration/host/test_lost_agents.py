"""Agents that stop answering in the middle of something."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgectl_host.transport.dial import CHANNEL_OPTIONS
from edgectl_host.transport.grpc import GrpcDeviceClient
from edgectl_protos.domain.bundle import MANIFEST_NAME
from edgectl_protos.domain.deployment import State
from edgectl_protos.domain.errors import UnreachableError
from edgectl_testkit.serve import short_folder
from edgectl_testkit.stub_bundles import stub_bundle

SUPPORT = str(Path(__file__).parents[2] / "support")


@contextlib.contextmanager
def agent_process():
    """An agent with the stub worker as a process of its own: itself, and its address."""
    with short_folder() as folder:
        command = [sys.executable, "-m", "edgectl_testkit.agent_process", str(folder / "s"), str(folder / "a.sock")]
        process = subprocess.Popen(
            [*command, "1000000", "before"], stdout=subprocess.PIPE, env={"PYTHONPATH": SUPPORT}, text=True
        )
        with process:
            try:
                assert process.stdout.readline() == "ready\n"
                yield process, f"unix:{folder / 'a.sock'}"
            finally:
                process.kill()


async def test_an_agent_that_is_stopped_is_noticed_by_who_watches_it(monkeypatch, tmp_path):
    """The socket stays and takes calls, and no deadline ends a watch."""
    quick = {
        name: 1000 if name.startswith(("grpc.keepalive", "grpc.http2.ping")) else value
        for name, value in CHANNEL_OPTIONS
    }
    monkeypatch.setattr("edgectl_host.transport.dial.CHANNEL_OPTIONS", tuple(quick.items()))
    monkeypatch.setattr("edgectl_host.transport.grpc.CALL_TIMEOUT_S", 600.0)
    manifest = (stub_bundle(tmp_path / "bundle") / MANIFEST_NAME).read_bytes()
    with agent_process() as (process, address):
        async with await GrpcDeviceClient.connect("nuc", address) as client:
            await client.create(manifest, owner="me", deployment_id="d-1")
            events = client.watch("d-1")
            while (await anext(events)).state is not State.STAGING:
                pass
            process.send_signal(signal.SIGSTOP)
            with pytest.raises(UnreachableError, match="does not answer"):
                await anext(events)
