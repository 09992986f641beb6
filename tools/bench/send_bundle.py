"""One bundle to one agent over mutual TLS, as `edgectl deploy` sends it, until its last blob is verified and visible.

    send_bundle.py HOME NAME ADDRESS IDENTITY BUNDLE PATIENCE_S

Says {"durable": share} as the agent acknowledges, then what it took. The deployment is withdrawn: what came stays.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from pathlib import Path

from edgectl_converters.bundle import read_manifest
from edgectl_host.transport.base import DeviceClient
from edgectl_host.transport.grpc import GrpcDeviceClient
from edgectl_host.trust.folder import TrustFolder
from edgectl_host.workflows.bundle import Bundle
from edgectl_host.workflows.patience import Heard, Patience
from edgectl_host.workflows.progress import Update
from edgectl_host.workflows.send import Sent, send
from edgectl_protos.codec.transfer import chunks_to_bytes
from edgectl_protos.domain.artifact import Digest


def told(update: Update) -> None:
    """How much of everything would survive a power cut."""
    if update.fraction is not None:
        print(json.dumps({"durable": update.fraction}), flush=True)


async def main(home: str, name: str, address: str, identity: str, folder: str, patience_s: str) -> None:
    """Send it, and say what it took."""
    import hashlib

    manifest, data = read_manifest(Path(folder))
    bundle = Bundle(Path(folder), manifest, Digest(hashlib.sha256(data).hexdigest()))
    lists = [await bundle.chunks(entry) for entry in bundle.blobs]

    async def connected() -> DeviceClient:
        return await GrpcDeviceClient.connect(name, address, identity=identity, fleet=TrustFolder(Path(home) / "trust"))

    # What the agent asks its runtimes before it takes a release is no part of a transfer; the handshake is.
    async with await connected() as client:
        deployment = await client.create(data, owner="bench", deployment_id=uuid.uuid4().hex)
    began, cpu = time.perf_counter(), time.process_time()
    async with await connected() as client:
        sent = Sent()

        async def attempt(heard: Heard) -> None:
            await send(client, deployment.id, bundle, sent, told)

        await Patience(float(patience_s)).keep_asking(name, attempt, told)
        took = {"s": time.perf_counter() - began, "cpu_s": time.process_time() - cpu, "sent_bytes": sent.bytes}
        await client.cancel(deployment.id)
    print(json.dumps({**took, "offer_bytes": sum(len(chunks_to_bytes(chunks)) for chunks in lists)}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
