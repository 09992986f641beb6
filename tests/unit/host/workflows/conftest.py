"""A release made without the converters, and a way to connect to devices in memory."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from edgectl_host.fleet.inventory import Device
from edgectl_host.workflows.bundle import Bundle
from edgectl_host.workflows.progress import Update
from edgectl_protos.codec.document import from_bytes
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.bundle import MANIFEST_NAME, Manifest
from edgectl_testkit.bundles import tiny_bundle
from edgectl_testkit.fake_device import FakeDevice


@pytest.fixture
def make_bundle(tmp_path: Path):
    def make(name: str = "tiny", **options) -> Bundle:
        folder, data = tiny_bundle(tmp_path / f"bundle-{name}", name=name, **options)
        manifest = from_bytes(Manifest, data, what=MANIFEST_NAME)
        return Bundle(folder, manifest, Digest(hashlib.sha256(data).hexdigest()))

    return make


@pytest.fixture
def bundle(make_bundle) -> Bundle:
    return make_bundle()


@pytest.fixture
def updates() -> list[Update]:
    return []


class Bench:
    """Devices in memory, reachable by their names."""

    def __init__(self, *fakes: FakeDevice) -> None:
        self.fakes = {fake.name: fake for fake in fakes}
        self.devices = tuple(Device(fake.name, f"unix:/{fake.name}", board="generic-x86_64") for fake in fakes)

    async def connect(self, device: Device):
        return await self.fakes[device.name].connect()


@pytest.fixture
def bench():
    return Bench


@pytest.fixture
def fake() -> FakeDevice:
    return FakeDevice("nuc")


@pytest.fixture
async def client(fake: FakeDevice):
    async with await fake.connect() as client:
        yield client
