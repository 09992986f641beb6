"""The device in memory keeps the same contract as the real client."""

from __future__ import annotations

import pytest

from contracts.device_client import DeviceClientContract
from edgectl_testkit.fake_device import FakeDevice


class TestFakeDevice(DeviceClientContract):
    @pytest.fixture
    def fake(self):
        return FakeDevice("bench")

    @pytest.fixture
    def connect(self, fake):
        return fake.connect

    @pytest.fixture
    async def client(self, connect):
        async with await connect() as client:
            yield client
