"""Agents that stop answering in the middle of something."""

from __future__ import annotations

import asyncio
import json
import os
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
from edgectl_testkit.bundles import tiny_bundle
from edgectl_testkit.daemons import daemons
from edgectl_testkit.serve import serve, short_folder
from edgectl_testkit.socket_relay import SocketRelay
from edgectl_testkit.stub_bundles import stub_bundle

EDGECTL = str(Path(sys.executable).with_name("edgectl"))


async def test_an_agent_that_is_stopped_is_noticed_by_who_watches_it(monkeypatch, tmp_path):
    """The socket stays and takes calls, and no deadline ends a watch."""
    quick = {
        name: 1000 if name.startswith(("grpc.keepalive", "grpc.http2.ping")) else value
        for name, value in CHANNEL_OPTIONS
    }
    monkeypatch.setattr("edgectl_host.transport.dial.CHANNEL_OPTIONS", tuple(quick.items()))
    monkeypatch.setattr("edgectl_host.transport.grpc.CALL_TIMEOUT_S", 600.0)
    manifest = (stub_bundle(tmp_path / "bundle") / MANIFEST_NAME).read_bytes()
    with short_folder() as folder, daemons() as source, source.running(folder / "s", folder / "a.sock") as agent:
        async with await GrpcDeviceClient.connect("nuc", f"unix:{folder / 'a.sock'}") as client:
            await client.create(manifest, owner="me", deployment_id="d-1")
            events = client.watch("d-1")
            while (await anext(events)).state is not State.STAGING:
                pass
            os.kill(agent, signal.SIGSTOP)
            with pytest.raises(UnreachableError, match="does not answer"):
                await anext(events)


# --- cut in the middle of a run, by a relay; the real command, the real agent, the real worker


@pytest.fixture
async def bench():
    """A device behind a relay, with a release installed: the relay, and a function that runs commands."""
    with short_folder() as folder, serve(folder / "s", real_worker=True) as address:
        async with SocketRelay(folder / "r.sock", address) as relay:
            devices = {"nuc": {"address": relay.address, "board": "generic-x86_64"}}
            (folder / "fleet.yaml").write_text(json.dumps({"devices": devices}))
            environment = {**os.environ, "EDGECTL_HOME": str(folder / "home")}

            async def edgectl(*arguments: str, cut_at: str = "\0", mend_at: str = "\0") -> tuple[int, str, str]:
                process = await asyncio.create_subprocess_exec(
                    *(EDGECTL, *arguments, "--fleet", "nuc"),
                    cwd=folder,
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )
                said = []
                async for line in process.stderr:
                    said.append(line.decode())
                    if cut_at in said[-1]:
                        relay.cut()
                    if mend_at in said[-1]:
                        relay.mend()
                out = (await process.stdout.read()).decode()
                return await process.wait(), out, "".join(said)

            tiny_bundle(folder / "bundle")
            code, _, err = await edgectl("deploy", "bundle", "--no-profile")
            assert code == 0, err
            yield relay, edgectl


async def test_a_run_whose_host_is_cut_off_finishes_and_is_fetched_afterwards(bench):
    relay, edgectl = bench
    code, out, err = await edgectl("profile", "--measure", "1s", "--patience", "0s", cut_at="nuc: measuring")
    assert (code, out) == (51, "")
    assert "goes on there" in err
    relay.mend()
    for _ in range(100):
        code, out, err = await edgectl("runs", "--json")
        assert code == 0, err
        if rows := json.loads(out)["runs"]:
            break
    (row,) = rows
    assert row["device"] == "nuc"
    code, out, err = await edgectl("runs")
    assert row["id"] in out


async def test_a_run_that_is_cut_for_a_moment_is_waited_for(bench):
    _, edgectl = bench
    code, out, err = await edgectl(
        *("profile", "--measure", "1s", "--json"), cut_at="nuc: measuring", mend_at="nuc: does not answer"
    )
    assert code in (0, 1, 3), err
    assert json.loads(out)["devices"][0]["run"]["summary"]["measured_s"] > 0.9


async def test_a_deployment_that_is_cut_for_a_moment_goes_on(bench):
    relay, edgectl = bench
    tiny_bundle(Path(relay.address.removeprefix("unix:")).parent / "other", name="other")
    code, out, err = await edgectl(
        *("deploy", "other", "--no-profile", "--json"), cut_at="nuc: proving", mend_at="nuc: does not answer"
    )
    assert code == 0, err
    assert json.loads(out)["devices"][0]["deployment"]["state"] == "committed"
