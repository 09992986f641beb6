"""What happens by the way when a command connects."""

from __future__ import annotations

from types import SimpleNamespace

from edgectl_host.cli.wiring import Wiring
from edgectl_host.fleet.inventory import Device
from edgectl_host.trust.authority import Authority
from edgectl_protos.domain.trust import DeviceTrust, Role

IDENTITY = "ab" * 16


class Trust:
    """A device that was told nothing yet, and can be given no certificate."""

    def __init__(self) -> None:
        self.told: list[object] = []

    async def state(self):
        return DeviceTrust("orin-1", IDENTITY)

    async def revoke(self, revocations):
        self.told.append(revocations)
        return DeviceTrust("orin-1", IDENTITY, revocation_epoch=1)


async def test_an_authority_with_a_passphrase_tells_revocations_and_asks_for_nothing(home, monkeypatch):
    wiring = Wiring(home)
    Authority.init(wiring.trust_dir, owner="ada", passphrase=b"horse").issue_client("bob", Role.VIEW)
    wiring.authority(lambda: b"horse").revoke("bob")
    client = SimpleNamespace(trust=Trust())

    async def reach(_):
        return client

    monkeypatch.setattr(wiring, "reach", reach)
    assert await wiring.connect(Device("orin-1", ("tls:orin-1:7443",), IDENTITY)) is client
    assert len(client.trust.told) == 1
