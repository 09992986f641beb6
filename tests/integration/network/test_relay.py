"""The bad network itself: it delays, paces, loses and cuts as it was told."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from edgectl_testkit.network import ADDRESSES, joined, missing

LACKING = missing()
pytestmark = pytest.mark.skipif(bool(LACKING), reason=f"needs {LACKING}")

RECEIVER = """
import socket, sys, time
server = socket.create_server((sys.argv[1], 7000))
print("ready", flush=True)
while True:
    connection, _ = server.accept()
    with connection:
        while data := connection.recv(1 << 16):
            if data == b"?":
                connection.sendall(b"!")
"""
SENDER = """
import json, socket, sys, time
address, size = sys.argv[1], int(sys.argv[2])
with socket.create_connection((address, 7000), timeout=20) as connection:
    trips = []
    for _ in range(20):
        began = time.monotonic()
        connection.sendall(b"?")
        assert connection.recv(1) == b"!"
        trips.append(time.monotonic() - began)
    began = time.monotonic()
    connection.sendall(bytes(size))
    connection.sendall(b"?")
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(1):
        pass
    print(json.dumps({"trip_s": min(trips), "s": time.monotonic() - began}))
"""


@pytest.fixture
def line():
    with joined(delay_s=0.01) as line:
        command = [*line.at(1), sys.executable, "-c", RECEIVER, ADDRESSES[1]]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as receiver:
            assert receiver.stdout is not None
            assert receiver.stdout.readline() == b"ready\n"
            yield line
            receiver.kill()


def started(line, size):
    command = [*line.at(0), sys.executable, "-c", SENDER, ADDRESSES[1], str(size)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def send(line, size):
    with started(line, size) as sender:
        return json.loads(sender.communicate(timeout=30)[0])


def test_a_trip_there_and_back_takes_twice_the_delay(line):
    assert 0.02 <= send(line, 1)["trip_s"] < 0.1
    line.shape(delay_s=0.04)
    assert 0.08 <= send(line, 1)["trip_s"] < 0.2


def test_bytes_take_their_time(line):
    line.shape(rate_bits_s=20e6)
    assert 0.95 <= send(line, 2_500_000)["s"] < 2.5


def test_what_is_lost_is_counted_and_the_rest_arrives(line):
    line.shape(loss=0.02)
    send(line, 1_000_000)
    counts = line.shape(loss=0.0)
    assert counts["lost_packets"][0] > 3
    assert counts["sent_bytes"][0] > 1_000_000


def test_nothing_passes_a_line_that_is_cut_and_afterwards_it_goes_on(line):
    line.shape(rate_bits_s=20e6)
    with started(line, 3_000_000) as sender:
        while line.shape()["sent_bytes"][0] < 500_000:
            pass
        line.shape(cut=True)
        before = line.shape()["sent_bytes"][0]
        with pytest.raises(subprocess.TimeoutExpired):
            sender.wait(0.5)
        # What was on its way when it was cut may still arrive.
        assert line.shape()["sent_bytes"][0] - before < 400_000
        line.shape(cut=False)
        assert json.loads(sender.communicate(timeout=30)[0])["s"] > 1.2
