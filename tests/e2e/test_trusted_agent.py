"""An enrolled agent on a network: what it binds and refuses, what it costs, and what a wrong clock does to it."""

from __future__ import annotations

import contextlib
import resource
import shutil
import socket
import subprocess
import sys
from concurrent import futures
from pathlib import Path

import grpc
import pytest

from edgectl_agent.worker.process import peak_rss_bytes
from edgectl_protos.agent.v1 import trust_service_pb2, trust_service_pb2_grpc
from edgectl_protos.codec.status import REASON_KEY
from edgectl_protos.domain.trust import Role
from edgectl_testkit.fleet_trust import FleetTrust, channel_to, running_agent
from edgectl_testkit.footprint import memory_bytes, rests_below
from edgectl_testkit.serve import short_folder

TLS = "tls:127.0.0.1:0"


@pytest.fixture
def home():
    with short_folder() as home:
        yield home


@pytest.fixture
def fleet(home):
    return FleetTrust(home)


def trust(address, identity, own, **options):
    with channel_to(address, identity, own) as channel:
        stub = trust_service_pb2_grpc.TrustServiceStub(channel)
        return stub.GetTrust(trust_service_pb2.GetTrustRequest(), timeout=60, **options)


def clock_at(moment: str) -> dict[str, str]:
    """What a process needs to believe that it is this moment; all of it, TLS too."""
    faketime = shutil.which("faketime")
    if faketime is None:
        pytest.skip("faketime is not installed")
    told = subprocess.run([faketime, "-f", "+0", "printenv", "LD_PRELOAD"], capture_output=True, text=True, check=True)
    return {"LD_PRELOAD": told.stdout.strip(), "FAKETIME": f"@{moment}", "DONT_FAKE_MONOTONIC": "1"}


def refused(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "edgectl_agent", "run", *arguments], capture_output=True, text=True, timeout=30
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_a_device_that_was_not_enrolled_listens_on_no_network(home):
    status, said = refused("--state-dir", str(home / "s"), "--listen", TLS)
    assert status == 80
    assert "edgectl-agent enrol" in said


def test_two_agents_never_share_a_port(home, fleet):
    for name in ("one", "two"):
        fleet.enrol(home / name, name)
    with running_agent(home / "one", TLS) as first:
        status, said = refused("--state-dir", str(home / "two"), "--listen", first.addresses[0])
    assert status == 58
    assert "cannot listen" in said


def test_an_idle_agent_with_mutual_tls_is_small_and_sleeps(home, fleet):
    """At most 36 MB resident, after calls too, and under 0.1 % of a core."""
    identity = fleet.enrol(home / "state", "bench")
    with running_agent(home / "state", f"unix:{home}/a.sock", TLS) as agent:
        assert memory_bytes(agent.process.pid) <= 36e6
        for _ in range(5):
            assert trust(agent.addresses[1], identity, fleet.own).identity == identity
        assert rests_below(agent.process.pid, 0.001)
        # What the calls took has gone back by then.
        assert memory_bytes(agent.process.pid) <= 36e6


@pytest.mark.slow
def test_a_hostile_neighbour_leaves_the_agent_small_and_serving(home, fleet):
    """1,000 connections that say nothing, a manifest of 100 MB, 10,000 calls that are none, and 1,024 descriptors."""
    identity = fleet.enrol(home / "state", "bench")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most < 2048:
        pytest.skip(f"a process may have {most} descriptors here, and this needs 2,048")
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, most))
    with running_agent(home / "state", TLS) as agent:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        host, _, port = agent.addresses[0].removeprefix("tls:").rpartition(":")
        with contextlib.ExitStack() as stack:
            for _ in range(1000):
                stack.enter_context(contextlib.closing(socket.create_connection((host, int(port)))))
            # Some of them are dropped before it is let in.
            assert trust(agent.addresses[0], identity, fleet.own, wait_for_ready=True).identity == identity
        with channel_to(agent.addresses[0], identity, fleet.own) as channel:
            methods = ("DeploymentService/Create", "ArtifactService/Offer", "TrustService/Revoke", "InfoService/Hello")
            calls = [channel.unary_unary(f"/edgectl.agent.v1.{method}") for method in methods]
            with pytest.raises(grpc.RpcError) as caught:
                calls[0](bytes(100_000_000), timeout=60)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

            def malformed(number: int) -> grpc.StatusCode:
                with pytest.raises(grpc.RpcError) as refused:
                    calls[number % len(calls)](b"\xff" * (1 + number % 2000), timeout=60)
                return refused.value.code()

            with futures.ThreadPoolExecutor(8) as pool:
                assert set(pool.map(malformed, range(10_000))) == {grpc.StatusCode.INVALID_ARGUMENT}
        assert trust(agent.addresses[0], identity, fleet.own).identity == identity
        assert peak_rss_bytes(Path(f"/proc/{agent.process.pid}/status")) < 100e6
        assert "Traceback" not in agent.log.read_text()


def test_a_board_that_comes_up_in_1970_is_reached_and_still_knows_what_is_over(home, fleet):
    identity = fleet.enrol(home / "state", "bench")
    over = fleet.grant_that_is_over("old", Role.ADMIN).own
    before = sorted(path.name for path in (home / "state").rglob("*"))
    with running_agent(home / "state", TLS, **clock_at("1970-01-01 00:01:00")) as agent:
        assert trust(agent.addresses[0], identity, fleet.own).identity == identity
        # Its clock would take this one for a good one: the fleet has signed a later time than its end.
        with pytest.raises(grpc.RpcError) as caught:
            trust(agent.addresses[0], identity, over)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert dict(caught.value.trailing_metadata())[REASON_KEY] == "caller_refused"
    assert "has expired" in caught.value.details()
    assert set(before) <= {path.name for path in (home / "state").rglob("*")}


def test_a_board_whose_clock_is_in_the_future_is_out_of_reach_and_comes_back_with_the_time(home, fleet):
    identity = fleet.enrol(home / "state", "bench")
    with (
        running_agent(home / "state", TLS, **clock_at("2090-01-01 00:00:00")) as agent,
        pytest.raises(grpc.RpcError) as caught,
    ):
        trust(agent.addresses[0], identity, fleet.own)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    with running_agent(home / "state", TLS) as agent:
        assert trust(agent.addresses[0], identity, fleet.own).identity == identity
