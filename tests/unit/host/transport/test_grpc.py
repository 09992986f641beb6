"""What the gRPC client answers when there is nobody, or somebody strange. The contract is tested elsewhere."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from edgectl_host.transport.grpc import GrpcDeviceClient, socket_path
from edgectl_protos.agent.v1 import (
    deployment_service_pb2_grpc,
    info_service_pb2_grpc,
    profile_service_pb2_grpc,
)
from edgectl_protos.codec.wire import to_wire
from edgectl_protos.domain.deployment import DeploymentEvent, Failure, State
from edgectl_protos.domain.device import HelloReply
from edgectl_protos.domain.errors import (
    AddressError,
    ProtocolError,
    SourceError,
    UnreachableError,
)
from edgectl_protos.domain.loop import LoopOverrides
from edgectl_protos.domain.run import RunEvent, RunPhase


class Agent(
    info_service_pb2_grpc.InfoServiceServicer,
    deployment_service_pb2_grpc.DeploymentServiceServicer,
    profile_service_pb2_grpc.ProfileServiceServicer,
):
    """An agent that says what it is told to."""

    protocol = (1, 1)
    acknowledged = 0

    def Hello(self, request, context):  # noqa: N802 - the wire's name
        return to_wire(HelloReply("9.9", *self.protocol, "odd", "boot", ()))

    def Watch(self, request, context):  # noqa: N802 - the wire's name
        yield to_wire(DeploymentEvent(1, request.deployment_id, State.STAGING, 0.0))
        context.abort(grpc.StatusCode.UNAVAILABLE, "power cut")

    def Acknowledge(self, request, context):  # noqa: N802 - the wire's name
        self.acknowledged = request.up_to_sequence
        from edgectl_protos.agent.v1.deployment_service_pb2 import AcknowledgeReply

        return AcknowledgeReply()

    def Run(self, request, context):  # noqa: N802 - the wire's name
        yield to_wire(RunEvent(request.run_id, RunPhase.LOADING))
        failure = Failure("source_failed", "the video ended", "on_end: repeat")
        yield to_wire(RunEvent(request.run_id, RunPhase.FAILED, failure=failure))


@pytest.fixture
def agent():
    return Agent()


@pytest.fixture
def address(agent):
    with tempfile.TemporaryDirectory(prefix="edg-") as folder:
        path = Path(folder) / "a.sock"
        server = grpc.server(ThreadPoolExecutor(max_workers=2))
        info_service_pb2_grpc.add_InfoServiceServicer_to_server(agent, server)
        deployment_service_pb2_grpc.add_DeploymentServiceServicer_to_server(agent, server)
        profile_service_pb2_grpc.add_ProfileServiceServicer_to_server(agent, server)
        server.add_insecure_port(f"unix:{path}")
        server.start()
        yield f"unix:{path}"
        server.stop(grace=0).wait()


@pytest.mark.parametrize("address", ["nuc:50051", "tcp:nuc:50051", "http://nuc", "unix:", "", "/run/a.sock"])
def test_anything_but_a_unix_socket_is_refused(address):
    with pytest.raises(AddressError, match="only unix:PATH until networks come with mutual TLS"):
        socket_path(address)


def test_a_socket_that_is_not_there_says_so_at_once(tmp_path):
    with pytest.raises(UnreachableError, match=r"nuc: no agent listens on .*a\.sock") as info:
        GrpcDeviceClient.connect("nuc", f"unix:{tmp_path}/a.sock")
    assert "edgectl-agent run" in info.value.hint


def test_a_socket_that_nobody_listens_on_is_unreachable(tmp_path):
    (tmp_path / "a.sock").touch()
    with pytest.raises(UnreachableError, match="the agent does not answer"):
        GrpcDeviceClient.connect("nuc", f"unix:{tmp_path}/a.sock")


@pytest.mark.parametrize("protocol", [(2, 3), (0, 0)])
def test_an_agent_without_a_common_protocol_is_refused_with_both_ranges(agent, address, protocol):
    agent.protocol = protocol
    with pytest.raises(ProtocolError, match=rf"speaks protocol {protocol[0]}\.\.{protocol[1]}, this host 1\.\.1"):
        GrpcDeviceClient.connect("nuc", address)


def test_a_newer_agent_that_still_speaks_ours_is_accepted(agent, address):
    agent.protocol = (1, 4)
    GrpcDeviceClient.connect("nuc", address).close()


def test_a_stream_that_is_cut_in_the_middle_is_an_unreachable_agent(agent, address):
    with GrpcDeviceClient.connect("nuc", address) as client:
        events = client.watch("d1")
        assert next(events).state is State.STAGING
        with pytest.raises(UnreachableError, match="power cut"):
            next(events)
    assert agent.acknowledged == 1


def test_the_failure_of_a_run_arrives_as_the_error_it_is(address):
    client = GrpcDeviceClient.connect("nuc", address)
    with client, pytest.raises(SourceError, match="the video ended") as info:
        list(client.run("r1", LoopOverrides()))
    assert info.value.hint == "on_end: repeat"


def test_a_call_that_an_old_agent_does_not_know_says_what_to_do(address):
    with (
        GrpcDeviceClient.connect("nuc", address) as client,
        pytest.raises(ProtocolError, match="does not know") as info,
    ):
        client.installed()
    assert "same version" in info.value.hint


def test_a_closed_connection_answers_as_one(address):
    client = GrpcDeviceClient.connect("nuc", address)
    client.close()
    with pytest.raises(UnreachableError, match="the connection was closed"):
        client.hello()
    with pytest.raises(UnreachableError, match="the connection was closed"):
        list(client.watch("d1"))
    with pytest.raises(UnreachableError, match="the connection was closed"):
        client.upload("d1", _digest(), [(0, b"x")])


def _digest():
    from edgectl_protos.domain.artifact import Digest

    return Digest("0" * 64)
