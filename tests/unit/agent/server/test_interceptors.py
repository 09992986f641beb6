"""Errors become status in one place, for calls of every shape."""

from __future__ import annotations

import logging
import threading
from concurrent import futures

import grpc
import pytest

from edgectl_agent.server.interceptors import CallInterceptor
from edgectl_agent.server.limits import Places, limit_of
from edgectl_protos.codec.status import error_from_rpc
from edgectl_protos.domain.errors import BusyError, InternalError, ParityError
from edgectl_testkit.serve import short_folder

SHAPES = ("unary_unary", "stream_unary", "unary_stream", "stream_stream")


def refuse(request, context):
    if request == b"defect" or not isinstance(request, bytes):
        for item in request if not isinstance(request, bytes) else ():
            assert item
        raise ZeroDivisionError("1/0")
    if request == b"long":
        raise ParityError("\ud800ж" * 9000, hint="ж" * 9000)
    raise ParityError("0.3 ≠ 0.1", hint="größer " + "x" * 9000)


def refuse_late(request, context):
    yield b"first"
    refuse(request, context)


class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        shape = details.method.rsplit("/", 1)[1]
        behaviour = refuse_late if shape.endswith("stream") else refuse
        return getattr(grpc, f"{shape}_rpc_method_handler")(behaviour)


@pytest.fixture(scope="module")
def channel():
    server = grpc.server(futures.ThreadPoolExecutor(2), interceptors=[CallInterceptor(Places(silent_s=30.0))])
    server.add_generic_rpc_handlers((Handler(),))
    with short_folder() as folder:
        server.add_insecure_port(f"unix:{folder}/s")
        server.start()
        with grpc.insecure_channel(f"unix:{folder}/s") as channel:
            yield channel
        server.stop(None).wait()


def call(channel, shape, request):
    method = getattr(channel, shape)(f"/test/{shape}")
    try:
        reply = method(iter([request]) if shape.startswith("stream") else request)
        list(reply)
    except grpc.RpcError as exc:
        return error_from_rpc(exc, device="bench")
    raise AssertionError("no error")


@pytest.mark.parametrize("shape", ["unary_unary", "unary_stream"])
def test_an_error_of_the_tree_crosses_as_itself_with_a_hint_of_bearable_length(channel, shape):
    error = call(channel, shape, b"parity")
    assert (type(error), error.message) == (ParityError, "0.3 ≠ 0.1")
    assert error.hint.startswith("größer xxx")
    assert 1000 < len(error.hint) < 3000


def test_a_message_of_any_length_and_alphabet_arrives_clipped_and_printable(channel):
    error = call(channel, "unary_unary", b"long")
    assert type(error) is ParityError
    assert error.message.startswith("\\ud800ж")
    assert error.message.endswith("…")
    assert error.message.isprintable()
    assert error.hint.endswith("…")


@pytest.mark.parametrize("shape", SHAPES)
def test_a_defect_is_logged_with_its_traceback_and_crosses_without_one(channel, shape, caplog):
    with caplog.at_level(logging.ERROR):
        error = call(channel, shape, b"defect")
    assert type(error) is InternalError
    assert "ZeroDivisionError: 1/0" in error.message
    assert "Traceback" not in error.message + error.hint
    assert any(record.exc_info for record in caplog.records)


FACTS = "/edgectl.agent.v1.InfoService/GetFacts"


class Probing(grpc.GenericRpcHandler):
    """Facts that wait for the first look for runtimes; everything else answers."""

    def __init__(self):
        self.waiting = threading.Semaphore(0)
        self.found = threading.Event()

    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(self.look if details.method == FACTS else lambda request, _: request)

    def look(self, request, context):
        self.waiting.release()
        self.found.wait(60)
        return b"facts"


def test_hosts_that_wait_for_the_first_look_at_the_runtimes_keep_no_other_call_waiting():
    places, probing = limit_of(FACTS).places, Probing()
    server = grpc.server(futures.ThreadPoolExecutor(places + 1), interceptors=[CallInterceptor(Places(silent_s=30.0))])
    server.add_generic_rpc_handlers((probing,))
    with short_folder() as folder:
        server.add_insecure_port(f"unix:{folder}/s")
        server.start()
        with grpc.insecure_channel(f"unix:{folder}/s") as channel:
            facts, other = channel.unary_unary(FACTS), channel.unary_unary("/edgectl.agent.v1.InfoService/Hello")
            held = [facts.future(b"") for _ in range(places)]
            for _ in held:
                assert probing.waiting.acquire(timeout=60)
            with pytest.raises(grpc.RpcError) as caught:
                facts(b"", timeout=60)
            assert type(error_from_rpc(caught.value, device="bench")) is BusyError
            assert other(b"hello", timeout=60) == b"hello"
            probing.found.set()
            assert [one.result(60) for one in held] == [b"facts"] * places
        server.stop(None).wait()
