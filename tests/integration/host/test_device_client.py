"""The gRPC client against the real agent with its real worker keeps the contract of every DeviceClient."""

from __future__ import annotations

import pytest

from contracts.device_client import DeviceClientContract
from edgectl_host.transport.grpc import GrpcDeviceClient
from edgectl_testkit.serve import serve


class TestGrpcDeviceClient(DeviceClientContract):
    @pytest.fixture
    def address(self, tmp_path):
        with serve(tmp_path / "state", real_worker=True) as address:
            yield address

    @pytest.fixture
    def connect(self, address):
        async def connect():
            return await GrpcDeviceClient.connect("bench", address)

        return connect

    @pytest.fixture
    async def client(self, connect):
        async with await connect() as client:
            yield client
