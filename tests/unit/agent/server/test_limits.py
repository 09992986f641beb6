"""How much of the agent one method may take."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgectl_agent.config import AgentConfig
from edgectl_agent.server.limits import MAX_CALLS, MethodLimit, Places, bounded, checked, limit_of
from edgectl_protos.agent.v1 import (
    artifact_service_pb2,
    deployment_service_pb2,
    info_service_pb2,
    profile_service_pb2,
    trust_service_pb2,
)
from edgectl_protos.codec.transfer import UPLOAD_METHOD
from edgectl_protos.domain.errors import BusyError, UsageError

METHODS = {
    f"/{service.full_name}/{method.name}": method.client_streaming or method.server_streaming
    for module in (
        artifact_service_pb2,
        deployment_service_pb2,
        info_service_pb2,
        profile_service_pb2,
        trust_service_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
STREAMS = [UPLOAD_METHOD, *(method for method, streams in METHODS.items() if streams)]
WAITING = [method for method in METHODS if limit_of(method).waits]
WATCH = "/edgectl.agent.v1.DeploymentService/Watch"
FETCH = "/edgectl.agent.v1.ProfileService/FetchSamples"


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def places(clock):
    return Places(silent_s=30.0, clock=clock)


def test_a_request_over_its_limit_is_never_parsed():
    limit = MethodLimit(request_bytes=10)

    def parse(data):
        assert len(data) <= 10
        return "parsed"

    read = bounded(parse, limit)
    assert checked(read(b"x" * 10)) == "parsed"
    with pytest.raises(UsageError, match="has 11 bytes; at most 10 are read"):
        checked(read(b"x" * 11))


def test_a_request_that_is_no_message_is_refused_and_raises_nothing_where_grpc_would_log_it():
    read = bounded(deployment_service_pb2.GetRequest.FromString, MethodLimit())
    assert checked(read(b"")) == deployment_service_pb2.GetRequest()
    refused = read(b"\xff\xff\xff")
    with pytest.raises(UsageError, match="no message of its method"):
        checked(refused)


def test_each_method_has_a_limit_and_an_unknown_one_the_smallest():
    assert limit_of("/edgectl.agent.v1.DeploymentService/Create").request_bytes > 1 << 20
    assert limit_of("/edgectl.agent.v1.InfoService/Hello").request_bytes == 64 << 10
    assert limit_of("/another.Service/Method") == limit_of("nonsense") == MethodLimit()


def test_whoever_holds_every_place_keeps_no_other_call_waiting():
    places = sum(limit_of(method).places for method in (*STREAMS, *WAITING))
    assert places == 48
    assert places < AgentConfig(Path(), ()).rpc_threads < MAX_CALLS


def test_every_call_that_waits_is_one_of_a_service():
    assert sorted(method.rpartition("/")[2] for method in WAITING) == [
        *("Create", "GetFacts", "InstallCertificate", "RequestCertificate", "Revoke", "Rollback")
    ]


def hold(places, method, count, ended=None):
    taken = [places.take(method, lambda i=i: ended.append(i) if ended is not None else None) for i in range(count)]
    return [(place, place.__enter__()) for place in taken]


def test_places_are_bounded_by_method_and_come_back(places):
    held = hold(places, WATCH, limit_of(WATCH).places)
    with pytest.raises(BusyError, match="serves 8 calls of Watch already"), places.take(WATCH, lambda: None):
        pass
    with places.take(FETCH, lambda: None):
        pass
    held[0][0].__exit__(None, None, None)
    with places.take(WATCH, lambda: None):
        pass


def test_the_most_silent_stream_yields_its_place_once_it_was_silent_for_long(places, clock):
    ended = []
    held = hold(places, WATCH, limit_of(WATCH).places, ended)
    clock.now_s = 29.0
    for _, stream in held[1:]:
        stream.heard()
    clock.now_s = 31.0
    with places.take(WATCH, lambda: None):
        assert ended == [0]
        with pytest.raises(BusyError), places.take(WATCH, lambda: None):
            pass
    # The one that was ended leaves later, and takes nobody's place with it.
    held[0][0].__exit__(None, None, None)
    with places.take(WATCH, lambda: None):
        pass


def test_samples_on_their_way_never_yield(places, clock):
    ended = []
    held = hold(places, FETCH, limit_of(FETCH).places, ended)
    clock.now_s = 1e6
    with pytest.raises(BusyError), places.take(FETCH, lambda: None):
        pass
    assert len(held) == limit_of(FETCH).places
    assert ended == []
