"""A release made without the converters, and a way to connect to devices in memory."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from edgectl_host.fleet.inventory import Device
from edgectl_host.workflows.progress import Step
from edgectl_host.workflows.release import Release
from edgectl_protos.codec.document import from_bytes
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.bundle import MANIFEST_NAME, Manifest
from edgectl_testkit.bundles import tiny_bundle
from edgectl_testkit.fake_device import FakeDevice


@pytest.fixture
def make_release(tmp_path: Path):
    def make(name: str = "tiny", **options) -> Release:
        folder, data = tiny_bundle(tmp_path / f"bundle-{name}", name=name, **options)
        manifest = from_bytes(Manifest, data, what=MANIFEST_NAME)
        return Release(folder, manifest, Digest(hashlib.sha256(data).hexdigest()))

    return make


@pytest.fixture
def release(make_release) -> Release:
    return make_release()


@pytest.fixture
def steps() -> list[Step]:
    return []


class Bench:
    """Devices in memory, reachable by their names."""

    def __init__(self, *fakes: FakeDevice) -> None:
        self.fakes = {fake.name: fake for fake in fakes}
        self.devices = tuple(Device(fake.name, f"unix:/{fake.name}", board="generic-x86_64") for fake in fakes)

    def connect(self, device: Device):
        return self.fakes[device.name].connect()


@pytest.fixture
def bench():
    return Bench
