"""One host process that deploys a bundle to many devices in memory, and what it took.

    python -m edgectl_testkit.many_devices BUNDLE COUNT

Prints a JSON object: how many passed, the seconds, the most connections open at once, and the peak of its memory.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import time
from pathlib import Path

from edgectl_agent.worker.process import peak_rss_bytes
from edgectl_converters.assignment import Assignment
from edgectl_host.fleet.inventory import Device
from edgectl_host.transport.base import DeviceClient
from edgectl_host.workflows.bundle import Bundle
from edgectl_host.workflows.plan import Way, make_plan
from edgectl_host.workflows.progress import Progress, silent
from edgectl_host.workflows.rollout import Rollout
from edgectl_protos.codec.document import from_bytes
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.bundle import MANIFEST_NAME, Manifest
from edgectl_protos.domain.device import DeviceFacts
from edgectl_protos.domain.loop import LoopOverrides
from edgectl_testkit.fake_device import IMPATIENT, FakeDevice

__all__ = ["main"]


async def deploy(folder: Path, count: int) -> dict[str, float]:
    """Install on all of them, and measure all of them."""
    data = (folder / MANIFEST_NAME).read_bytes()
    bundle = Bundle(folder, from_bytes(Manifest, data, what="manifest"), Digest(hashlib.sha256(data).hexdigest()))
    fakes = {f"d{number}": FakeDevice(f"d{number}", machine_id=f"m{number}") for number in range(count)}
    devices = [Device(name, (f"unix:/{name}",), board="generic-x86_64") for name in fakes]
    most = 0

    async def connect(device: Device) -> DeviceClient:
        nonlocal most
        client = await fakes[device.name].connect()
        most = max(most, sum(fake.open_clients for fake in fakes.values()))
        return client

    async def convert(assignment: Assignment, progress: Progress) -> Bundle:
        return bundle

    def way(device: Device, facts: DeviceFacts | None) -> Way:
        return Way(device.board, Assignment.of("reference", "fp32"))

    plan = await make_plan("many", devices, connect=connect, choosing=way)
    rollout = Rollout(
        connect=connect,
        convert=convert,
        owner="me",
        measuring=LoopOverrides(),
        remember=lambda digest, manifest: None,
        record=lambda record: None,
        patience=IMPATIENT,
        progress=silent,
    )
    rows = await rollout.run(plan)
    passed = sum(row.record is not None and row.record.outcome == "pass" for row in rows)
    return {"passed": passed, "open": most}


def main(folder: str, count: str) -> None:
    """Deploy, and say what it took."""
    begun = time.perf_counter()
    told = asyncio.run(deploy(Path(folder), int(count)))
    print(json.dumps(told | {"seconds": time.perf_counter() - begun, "peak_bytes": peak_rss_bytes()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
