"""A release sent over a line that is slow, long and lossy, and cut in the middle: it arrives, little is sent twice."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import pytest

from edgectl_testkit.bundles import tiny_bundle
from edgectl_testkit.fleet_trust import FleetTrust, running_agent
from edgectl_testkit.network import ADDRESSES, joined, missing

LACKING = missing()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(LACKING), reason=f"needs {LACKING}")]

SENDER = """
import asyncio, json, sys
from pathlib import Path
from edgectl_converters.bundle import read_manifest
from edgectl_host.transport.grpc import GrpcDeviceClient
from edgectl_host.trust.folder import TrustFolder
from edgectl_host.workflows.bundle import Bundle
from edgectl_host.workflows.patience import Patience
from edgectl_host.workflows.send import Sent, send
from edgectl_protos.domain.artifact import Digest

def told(update):
    print(json.dumps([update.text, update.fraction]), flush=True)

async def main(trust, address, identity, folder, digest):
    manifest, data = read_manifest(Path(folder))
    bundle, sent = Bundle(Path(folder), manifest, Digest(digest)), Sent()
    client = await GrpcDeviceClient.connect("far", address, identity=identity, fleet=TrustFolder(Path(trust)))
    async with client:
        await client.create(data, owner="ada", deployment_id="d-1")

        async def attempt(heard):
            await send(client, "d-1", bundle, sent, told)

        await Patience(60.0, 0.1, 0.5).keep_asking("far", attempt, told)
    print(json.dumps(["sent", sent.bytes]), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


def test_what_is_cut_in_the_middle_goes_on_where_the_device_stood(tmp_path):
    data = os.urandom(6_000_000)
    folder, manifest = tiny_bundle(tmp_path / "bundle", extra={"weights.bin": data})
    fleet, state = FleetTrust(tmp_path / "home"), tmp_path / "state"
    identity = fleet.enrol(state, "far")
    with (
        joined(rate_bits_s=20e6, delay_s=0.02, loss=0.01) as line,
        running_agent(state, f"tls:{ADDRESSES[0]}:7443", at=line.at(0)) as agent,
    ):
        command = [sys.executable, "-c", SENDER, str(fleet.path), agent.addresses[0], identity, str(folder)]
        with subprocess.Popen(
            [*line.at(1), *command, hashlib.sha256(manifest).hexdigest()], stdout=subprocess.PIPE, text=True
        ) as sender:
            assert sender.stdout is not None
            share, cut, last = 0.0, False, None
            for text in sender.stdout:
                last = json.loads(text)
                if last[0].startswith("sending"):
                    share = last[1]
                    if share > 0.4 and not cut:
                        line.shape(cut=True)
                        cut = True
                elif "does not answer" in last[0]:
                    line.shape(cut=False)
            assert sender.wait(60) == 0
        carried = line.shape()["sent_bytes"][1]
    assert cut
    assert last is not None
    # What was under way when it was cut, and what the line lost, is sent again; not what was acknowledged.
    assert last[1] < 1.45 * len(data)
    assert carried < 1.7 * len(data)
    blob = state / "blobs/sha256" / hashlib.sha256(data).hexdigest()
    assert blob.read_bytes() == data
