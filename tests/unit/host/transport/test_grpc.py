"""What the gRPC client answers when there is nobody, or somebody strange. The contract is tested elsewhere."""

from __future__ import annotations

import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from contracts.device_client import all_of, one
from edgectl_host.transport.grpc import GrpcDeviceClient
from edgectl_protos.agent.v1 import (
    deployment_service_pb2_grpc,
    info_service_pb2_grpc,
)
from edgectl_protos.codec.transfer import UPLOAD_METHOD
from edgectl_protos.codec.wire import to_wire
from edgectl_protos.domain.deployment import DeploymentEvent, State
from edgectl_protos.domain.device import HelloReply
from edgectl_protos.domain.errors import (
    ProtocolError,
    UnreachableError,
)
from edgectl_protos.domain.loop import LoopOverrides


class Agent(
    info_service_pb2_grpc.InfoServiceServicer,
    deployment_service_pb2_grpc.DeploymentServiceServicer,
):
    """An agent that says what it is told to."""

    protocol = (1, 1)
    acknowledged = ()
    refuses = False
    lasting = False
    stuck = False

    def __init__(self) -> None:
        self.over = threading.Event()
        self.watched = []

    def upload(self, request, context):
        if self.refuses:
            context.abort(grpc.StatusCode.UNAVAILABLE, "no more of this")
        self.over.wait(20)
        yield from ()

    def Hello(self, request, context):  # noqa: N802 - the wire's name
        if self.stuck:
            self.over.wait(20)
        return to_wire(HelloReply("9.9", *self.protocol, "odd", "boot", ()))

    def Watch(self, request, context):  # noqa: N802 - the wire's name
        self.watched.append(request.after_sequence)
        if self.lasting:
            yield to_wire(DeploymentEvent(request.after_sequence + 1, request.deployment_id, State.BUILDING, 0.0))
            # Until the host's deadline, but for the last event.
            while request.after_sequence < 2 and context.is_active() and not self.over.wait(0.02):
                pass
            return
        yield to_wire(DeploymentEvent(1, request.deployment_id, State.STAGING, 0.0))
        context.abort(grpc.StatusCode.UNAVAILABLE, "power cut")

    def Acknowledge(self, request, context):  # noqa: N802 - the wire's name
        self.acknowledged = request.deployment_id, request.up_to_sequence
        from edgectl_protos.agent.v1.deployment_service_pb2 import AcknowledgeReply

        return AcknowledgeReply()


@pytest.fixture
def agent():
    return Agent()


@pytest.fixture
def address(agent):
    with tempfile.TemporaryDirectory(prefix="edg-") as folder:
        path = Path(folder) / "a.sock"
        server = grpc.server(ThreadPoolExecutor(max_workers=2))
        info_service_pb2_grpc.add_InfoServiceServicer_to_server(agent, server)
        service, _, method = UPLOAD_METHOD.strip("/").partition("/")
        upload = {method: grpc.stream_stream_rpc_method_handler(agent.upload)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, upload),))
        deployment_service_pb2_grpc.add_DeploymentServiceServicer_to_server(agent, server)
        server.add_insecure_port(f"unix:{path}")
        server.start()
        yield f"unix:{path}"
        agent.over.set()
        server.stop(grace=0).wait()


async def test_a_socket_that_is_not_there_says_so_at_once(tmp_path):
    with pytest.raises(UnreachableError, match=r"nuc: no agent listens on .*a\.sock") as info:
        await GrpcDeviceClient.connect("nuc", f"unix:{tmp_path}/a.sock")
    assert "edgectl-agent run" in info.value.hint


async def test_a_socket_that_nobody_listens_on_is_unreachable(tmp_path):
    (tmp_path / "a.sock").touch()
    with pytest.raises(UnreachableError, match="the agent does not answer"):
        await GrpcDeviceClient.connect("nuc", f"unix:{tmp_path}/a.sock")


@pytest.mark.parametrize("protocol", [(2, 3), (0, 0)])
async def test_an_agent_without_a_common_protocol_is_refused_with_both_ranges(agent, address, protocol):
    agent.protocol = protocol
    with pytest.raises(ProtocolError, match=rf"speaks protocol {protocol[0]}\.\.{protocol[1]}, this host 1\.\.1"):
        await GrpcDeviceClient.connect("nuc", address)


async def test_a_newer_agent_that_still_speaks_ours_is_accepted(agent, address):
    agent.protocol = (1, 4)
    await (await GrpcDeviceClient.connect("nuc", address)).close()


async def test_a_stream_that_is_cut_in_the_middle_is_an_unreachable_agent(agent, address):
    async with await GrpcDeviceClient.connect("nuc", address) as client:
        events = client.watch("d1")
        assert (await anext(events)).state is State.STAGING
        with pytest.raises(UnreachableError, match="power cut"):
            await anext(events)
    assert agent.acknowledged == ("d1", 1)


async def test_an_agent_that_is_older_than_runs_as_operations_is_told_so_and_not_asked(address):
    async with await GrpcDeviceClient.connect("nuc", address) as client:
        with pytest.raises(ProtocolError, match="older than runs that go on by themselves"):
            await client.create_run("r1", LoopOverrides(), owner="me")


async def test_a_call_that_an_old_agent_does_not_know_says_what_to_do(address):
    async with await GrpcDeviceClient.connect("nuc", address) as client:
        with pytest.raises(ProtocolError, match="does not know") as info:
            await client.installed()
    assert "same version" in info.value.hint


async def test_a_closed_connection_answers_as_one(address):
    client = await GrpcDeviceClient.connect("nuc", address)
    await client.close()
    with pytest.raises(UnreachableError, match="the connection was closed"):
        await client.hello()
    with pytest.raises(UnreachableError, match="the connection was closed"):
        await all_of(client.watch("d1"))
    with pytest.raises(UnreachableError, match="the connection was closed"):
        await all_of(client.upload(one(b"x")))


async def test_an_agent_that_takes_nothing_more_is_not_waited_for(address, monkeypatch):
    monkeypatch.setattr("edgectl_host.transport.grpc.UPLOAD_STALL_S", 0.2)

    async def endless():
        while True:
            yield bytes(1 << 20)

    async with await GrpcDeviceClient.connect("nuc", address) as client:
        with pytest.raises(UnreachableError, match="has taken nothing for"):
            await all_of(client.upload(endless()))


async def test_what_an_agent_answers_before_an_upload_is_over_is_the_error(address, agent):
    agent.refuses = True

    async def endless():
        while True:
            yield bytes(1 << 10)

    async with await GrpcDeviceClient.connect("nuc", address) as client:
        with pytest.raises(UnreachableError, match="no more of this"):
            await all_of(client.upload(endless()))


async def test_what_takes_longer_than_a_call_is_asked_for_again_after_what_was_seen(address, agent, monkeypatch):
    monkeypatch.setattr("edgectl_host.transport.grpc.WATCH_TIMEOUT_S", 0.3)
    agent.lasting = True
    async with await GrpcDeviceClient.connect("nuc", address) as client:
        events = await all_of(client.watch("d1"))
    assert [event.sequence for event in events] == [1, 2, 3]
    # A busy machine may not get to the first event of a call in its time, and asks the same again.
    assert sorted(set(agent.watched)) == [0, 1, 2]


async def test_an_agent_that_is_stuck_is_found_out_between_two_calls(address, agent, monkeypatch):
    monkeypatch.setattr("edgectl_host.transport.grpc.WATCH_TIMEOUT_S", 0.3)
    agent.lasting = True
    async with await GrpcDeviceClient.connect("nuc", address) as client:
        events = client.watch("d1")
        await anext(events)
        monkeypatch.setattr("edgectl_host.transport.grpc.HELLO_TIMEOUT_S", 0.5)
        agent.stuck = True
        with pytest.raises(UnreachableError, match="does not answer"):
            await anext(events)
