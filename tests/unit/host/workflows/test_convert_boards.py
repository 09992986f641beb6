"""Conversions for many boards, each a real process of its own; what it would convert is a script."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass, field, replace

import pytest

from edgectl_converters.assignment import Assignment
from edgectl_converters.plan import ConversionPlan, ConvertRequest, PlannedStep
from edgectl_host.workflows.bundle import Bundle
from edgectl_host.workflows.convert import BundleSubject
from edgectl_host.workflows.convert_boards import convert_boards, plan_boards
from edgectl_host.workflows.plan import Way
from edgectl_host.workflows.progress import silent
from edgectl_host.workflows.proof import Proof, proof_of
from edgectl_protos.domain.bundle import GateResult
from edgectl_protos.domain.errors import ProfileError, RouteError
from edgectl_testkit.bundles import tiny_bundle

WAYS = {
    "raspberry-pi-5": Assignment.of("onnxrt", "fp32"),
    "rk3588": Assignment.of("onnxrt", "fp32"),
    "nuc-155h": Assignment.of("openvino", "fp32"),
    "pixel-9": Assignment.of("ncnn", "fp32"),
}
GB = 10**9


@dataclass
class FakeSubject:
    """What is converted when its script has left a file of the assignment's name."""

    folder: object
    bundle: Bundle
    memory_bytes: int = GB
    name: str = "fake"
    asked: list[str] = field(default_factory=list)

    def way(self, device, facts):
        if device.board not in WAYS:
            raise RouteError(f"no way to {device.board}")
        return Way(device.board, WAYS[device.board])

    def steps(self, assignment):
        step = PlannedStep("export", "fake", "tool", "host", "k", False, memory_bytes=self.memory_bytes)
        return ConversionPlan(ConvertRequest(self.folder, assignment), (step,))

    def converted(self, assignment):
        return self.bundle if (self.folder / str(assignment.runtime)).exists() else None


@pytest.fixture
def subject(tmp_path):
    read = BundleSubject.read(tiny_bundle(tmp_path / "bundle")[0])
    folder = tmp_path / "made"
    folder.mkdir()
    return FakeSubject(folder, Bundle(read.directory, read.manifest, read.digest))


def script(subject, body):
    """Runs `body` with `name` (the runtime), `folder`, and `log`, a file to append to."""

    def command(board, assignment):
        head = f"import json, os, sys, time, pathlib; name = {str(assignment.runtime)!r}\n"
        head += f"folder = pathlib.Path({str(subject.folder)!r}); log = open(folder / 'log', 'a', buffering=1)\n"
        return [sys.executable, "-c", head + body]

    return command


MAKE = "log.write(f'+{name}\\n'); (folder / name).touch(); log.write(f'-{name}\\n')"
MAKE_BESIDE_ANOTHER = """
log.write(f'+{name}\\n')
while (folder / 'log').read_text().count('+') < 2:
    time.sleep(0.01)
(folder / name).touch()
log.write(f'-{name}\\n')
"""


def convert(subject, boards, body=MAKE, *, memory_bytes=8 * GB, jobs=4, progress=silent):
    rows = plan_boards(subject, boards)
    return asyncio.run(
        convert_boards(subject, rows, script(subject, body), memory_bytes=memory_bytes, jobs=jobs, progress=progress)
    )


def log_of(subject):
    return (subject.folder / "log").read_text().split()


def test_boards_with_equal_assignments_share_one_process(subject):
    rows = convert(subject, ["rpi5", "rk3588", "nuc-155h"])
    assert [row.board for row in rows] == ["raspberry-pi-5", "rk3588", "nuc-155h"]
    assert all(row.bundle is subject.bundle and row.failure is None for row in rows)
    assert sorted(log_of(subject)) == ["+onnxrt", "+openvino", "-onnxrt", "-openvino"]


def test_they_run_at_the_same_time_within_the_memory(subject):
    convert(subject, ["rpi5", "nuc-155h", "pixel-9"], MAKE_BESIDE_ANOTHER)
    assert all(line.startswith("+") for line in log_of(subject)[:2])


def test_without_memory_for_two_they_run_one_after_another(subject):
    convert(subject, ["rpi5", "nuc-155h", "pixel-9"], memory_bytes=GB)
    names = log_of(subject)
    assert [name[0] for name in names] == list("+-+-+-")


def test_no_more_than_there_are_cores(subject):
    convert(subject, ["rpi5", "nuc-155h", "pixel-9"], jobs=1)
    assert [name[0] for name in log_of(subject)] == list("+-+-+-")


def test_one_that_fails_costs_its_own_boards_only_and_says_why(subject):
    error = {"error": {"reason": "operator_unsupported", "message": "no Foo", "hint": "leave it", "exit_code": 22}}
    body = f"if name == 'onnxrt':\n    print(json.dumps({error!r})); sys.exit(22)\n" + MAKE
    rows = convert(subject, ["rpi5", "nuc-155h", "rk3588"], body)
    assert [row.failure and row.failure.reason for row in rows] == [
        "operator_unsupported",
        None,
        "operator_unsupported",
    ]
    assert rows[0].failure is not None
    assert (rows[0].failure.message, rows[0].failure.hint) == ("no Foo", "leave it")


def test_a_line_of_mebibytes_is_cut_and_the_conversion_goes_on(subject):
    said = []
    body = "print('one: ' + 'x' * (3 << 20), file=sys.stderr); print('two: after it', file=sys.stderr)\n" + MAKE
    (row,) = convert(subject, ["rpi5"], body, progress=said.append)
    assert (row.bundle, row.failure) == (subject.bundle, None)
    _, long, after, _ = (update.text for update in said)
    assert "xxx" in long
    assert len(long) < 5000
    assert after.endswith(": after it")


def test_a_process_that_is_killed_is_a_failure_with_its_signal(subject):
    (row,) = convert(subject, ["rpi5"], "os.kill(os.getpid(), 9)")
    assert row.failure is not None
    assert "-9" in row.failure.message


def test_a_board_without_a_way_does_not_stop_the_others(subject):
    rows = convert(subject, ["iphone-15", "rpi5"])
    assert rows[0].failure is not None
    assert rows[0].failure.reason == RouteError.reason
    assert rows[1].bundle is not None


def test_an_unknown_board_is_refused_before_anything_starts(subject):
    with pytest.raises(ProfileError, match="toaster"):
        convert(subject, ["rpi5", "toaster"])
    assert not (subject.folder / "log").exists()


def test_what_is_there_already_is_taken_as_it_is(subject):
    convert(subject, ["rpi5", "nuc-155h"])
    (subject.folder / "log").unlink()
    rows = convert(subject, ["rpi5", "nuc-155h"])
    assert all(row.bundle is not None and row.memory_bytes == 0 for row in rows)
    assert not (subject.folder / "log").exists()


def test_what_a_conversion_says_is_told_for_its_boards(subject):
    told = []
    body = "sys.stderr.write('onnxrt fp32: folding\\n')\n" + MAKE
    convert(subject, ["rpi5", "rk3588"], body, progress=told.append)
    assert ("raspberry-pi-5, rk3588", "onnxrt fp32: folding") in {(update.subject, update.text) for update in told}
    assert told[-1].done


def test_an_interrupt_ends_every_process_and_what_it_started(subject):
    body = """
import subprocess
deaf = 'import signal, time; signal.signal(2, signal.SIG_IGN); time.sleep(60)'
child = subprocess.Popen([sys.executable, '-c', deaf])
(folder / f'{name}.part').write_text(f'{os.getpid()} {child.pid}')
(folder / f'{name}.part').rename(folder / f'{name}.pids')
time.sleep(60)
"""
    names = ("onnxrt", "openvino")

    def interrupt():
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not all((subject.folder / f"{n}.pids").exists() for n in names):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        convert(subject, ["rpi5", "nuc-155h"], body)
    thread.join()
    for name in names:
        pids = (subject.folder / f"{name}.pids").read_text().split()
        assert len(pids) == 2
        for pid in pids:
            deadline = time.monotonic() + 10
            while alive(int(pid)) and time.monotonic() < deadline:
                time.sleep(0.02)
            assert not alive(int(pid)), f"{name} left {pid}"


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_json_of_the_command_is_what_is_read(subject):
    rows = convert(subject, ["rpi5"], f"print({json.dumps('no json')!r}); sys.exit(3)")
    assert rows[0].failure is not None
    assert rows[0].failure.reason == "internal"


def test_the_proof_of_a_bundle_depends_on_the_board(subject):
    manifest = subject.bundle.manifest
    assert proof_of(manifest, "rpi5") in (Proof.BUILT, Proof.NATIVE)
    assert {proof_of(manifest, "rpi5"), proof_of(manifest, "nuc-155h")} == {Proof.BUILT, Proof.NATIVE}
    pending = GateResult("precision", "act", 0.0, 1.0, passed=False, note="pending on the device", pending=True)
    assert proof_of(replace(manifest, gates=(pending,)), "rpi5") is Proof.PENDING
    emulated = GateResult("precision", "act", 1.0, 1.0, passed=True, note="int8 read back, simulated")
    assert proof_of(replace(manifest, gates=(emulated,)), "rpi5") is Proof.EMULATED
