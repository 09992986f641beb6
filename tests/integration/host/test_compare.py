"""Two releases in turns through the real agent with its real worker."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from edgectl_host.fleet.inventory import Device
from edgectl_host.transport.grpc import GrpcDeviceClient
from edgectl_host.workflows.blocks import Contestant, bring, take_turns
from edgectl_host.workflows.bundle import Bundle
from edgectl_host.workflows.progress import silent
from edgectl_protos.codec.document import from_bytes
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.bundle import MANIFEST_NAME, Manifest
from edgectl_protos.domain.loop import LoopOverrides
from edgectl_testkit.bundles import tiny_bundle
from edgectl_testkit.fake_device import IMPATIENT
from edgectl_testkit.serve import serve


@pytest.fixture
async def client(tmp_path):
    with serve(tmp_path / "state", real_worker=True) as address:
        async with await GrpcDeviceClient.connect("bench", address) as client:
            yield client


async def test_three_releases_take_turns_each_in_one_warm_worker(client, tmp_path):
    named = []
    for name in ("one", "two", "three"):
        folder, data = tiny_bundle(tmp_path / name, name=name)
        manifest = from_bytes(Manifest, data, what=MANIFEST_NAME)
        bundle = Bundle(folder, manifest, Digest(hashlib.sha256(data).hexdigest()))
        assert await bring(client, bundle, owner="me", patience=IMPATIENT, progress=silent)
        assert not await bring(client, bundle, owner="me", patience=IMPATIENT, progress=silent)
        named.append(Contestant(name, bundle.digest))
    found = await take_turns(
        client,
        Device("bench"),
        named,
        LoopOverrides(measure_s=0.2),
        blocks=2,
        owner="me",
        manifest_of=lambda digest: None,
        patience=IMPATIENT,
        progress=silent,
    )
    assert [[record.summary.name for record in blocks.records] for blocks in found] == [
        *(["one", "one"], ["two", "two"], ["three", "three"])
    ]
    for blocks in found:
        for record, responses_s in zip(blocks.records, blocks.responses_s, strict=True):
            summary = record.summary
            assert len(responses_s) == summary.response.n
            assert summary.response.p50 == pytest.approx(np.quantile(responses_s, 0.5, method="inverted_cdf"))
    started = sorted(record.summary.started_s for blocks in found for record in blocks.records)
    assert [record.summary.started_s for pair in zip(*(b.records for b in found), strict=True) for record in pair] == (
        started
    )
