"""Sending a bundle to a device."""

from __future__ import annotations

import os

import pytest

from edgectl_host.workflows import send as sending
from edgectl_host.workflows.progress import silent
from edgectl_host.workflows.rate_limit import RateLimit
from edgectl_host.workflows.send import STREAMS, Sent, send
from edgectl_protos.domain.errors import BundleCorruptError, StateError
from edgectl_testkit.fake_client import FakeClient

MIB = 1 << 20


async def put(client, bundle, progress=silent, **options):
    made = await client.create(bundle.manifest_bytes, owner="me", deployment_id=f"d-{bundle.digest.short}")
    sent = Sent()
    await send(client, made.id, bundle, sent, progress, **options)
    return sent.bytes


def blob_of(bundle, path):
    return bundle.directory / "blobs/sha256" / bundle.manifest.file(path).digest.hex


async def test_progress_is_what_the_device_has_made_durable(client, make_bundle, updates):
    bundle = make_bundle("big", extra={"big.bin": os.urandom(5 * MIB)})
    assert await put(client, bundle, updates.append) == bundle.manifest.size_bytes
    fractions = [update.fraction for update in updates]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    # A step for each frame, not for each blob.
    assert len(fractions) >= 5 + len(bundle.blobs)


async def test_a_large_blob_goes_over_several_connections_at_once(client, fake, make_bundle, monkeypatch):
    monkeypatch.setattr(sending, "_LARGE_BYTES", MIB)
    lanes = []
    upload = FakeClient.upload

    def seen(self, frames, *, lane=0):
        lanes.append(lane)
        return upload(self, frames, lane=lane)

    monkeypatch.setattr(FakeClient, "upload", seen)
    data = os.urandom(9 * MIB)
    bundle = make_bundle("big", extra={"big.bin": data})
    await put(client, bundle)
    assert set(lanes) == set(range(STREAMS))
    assert fake.blobs[bundle.manifest.file("big.bin").digest] == data
    assert fake.received_bytes == bundle.manifest.size_bytes


async def test_a_device_that_knows_no_upload_any_more_is_asked_again(client, fake, make_bundle, monkeypatch):
    bundle = make_bundle("big", extra={"big.bin": os.urandom(2 * MIB)})
    upload, forgotten = FakeClient.upload, []

    def forgets(self, frames, *, lane=0):
        if not forgotten:
            forgotten.append(1)
            for known in fake.uploads.values():
                known.name = b"?" * 16
        return upload(self, frames, lane=lane)

    monkeypatch.setattr(FakeClient, "upload", forgets)
    await put(client, bundle)
    assert set(fake.blobs) == {entry.digest for entry in bundle.manifest.files}


async def test_a_deployment_that_has_ended_is_not_asked_again_for_ever(client, fake, bundle, monkeypatch):
    async def refused(deployment_id, digest):
        raise StateError("lacks a chunk")

    monkeypatch.setattr(client, "commit", refused)
    with pytest.raises(StateError, match="lacks a chunk"):
        await put(client, bundle)
    assert fake.calls.count("offer") <= 3 * STREAMS


async def test_a_limit_holds_for_everything_that_is_sent(client, make_bundle):
    taken = []

    class Counting(RateLimit):
        async def take(self, size_bytes):
            taken.append(size_bytes)

    bundle = make_bundle("big", extra={"big.bin": os.urandom(3 * MIB)})
    sent = await put(client, bundle, limit=Counting(2e6))
    assert sent <= sum(taken) <= sent + 24 * len(taken)
    # An eighth of a second's worth each, so that none is a burst; but a chunk is never cut.
    assert max(taken) <= 256 * 1024 + 24


async def test_a_blob_that_is_gone_is_named(client, make_bundle):
    bundle = make_bundle("big", extra={"big.bin": os.urandom(MIB)})
    await bundle.chunks(bundle.manifest.file("big.bin"))
    blob_of(bundle, "big.bin").unlink()
    with pytest.raises(BundleCorruptError, match=r"big\.bin cannot be read"):
        await put(client, bundle)
