"""Frames: what goes in comes out, and any stream is messages or one of our errors."""

from __future__ import annotations

import contextlib
import io
import json
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgectl_protos.domain.errors import EdgectlError, WorkerError
from edgectl_protos.worker.framing import MAX_FRAME_BYTES, read_frame, write_frame
from edgectl_protos.worker.messages import Load, Probe
from edgectl_testkit.foreign import json_values, odd_bytes


def test_a_message_comes_back_from_its_frame():
    stream = io.BytesIO()
    write_frame(stream, Load("/releases/x", 2, {"tensorrt": "/usr/bin/python3"}))
    write_frame(stream, Probe())
    stream.seek(0)
    assert read_frame(stream) == Load("/releases/x", 2, {"tensorrt": "/usr/bin/python3"})
    assert read_frame(stream) == Probe()
    assert read_frame(stream) is None


@given(st.binary(max_size=64))
def test_any_stream_is_messages_or_one_of_our_errors(data):
    stream = io.BytesIO(data)
    with contextlib.suppress(EdgectlError):
        while read_frame(stream) is not None:
            pass


bodies = json_values.map(lambda body: json.dumps({"op": "Load", "body": body}).encode())
ops = json_values.map(lambda op: json.dumps({"op": op, "body": {}}).encode())


@given(odd_bytes | bodies | ops)
@example(b'{"op":["Probe"],"body":{}}')
@example(b'{"op":{"Probe":1}}')
def test_any_frame_is_a_message_or_one_of_our_errors(data):
    stream = io.BytesIO(struct.pack(">I", len(data)) + data)
    with contextlib.suppress(EdgectlError):
        read_frame(stream)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (struct.pack(">I", MAX_FRAME_BYTES + 1), "is damaged"),
        (b"\0\0", "is damaged"),
        (b"\0\0\0\x09{}", "ends inside a message"),
        (b"\0\0\0\x02{]", "is damaged"),
        (b'\0\0\0\x0c{"op":"No"} ', "unknown worker message"),
    ],
)
def test_what_is_wrong_with_a_stream_is_said(data, said):
    with pytest.raises(WorkerError, match=said):
        read_frame(io.BytesIO(data))
