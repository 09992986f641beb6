"""The real command over the real converters and the real embedded agent, as processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgectl_testkit.bundles import tiny_graph
from edgectl_testkit.serve import short_folder

EDGECTL = str(Path(sys.executable).with_name("edgectl"))


class Terminal:
    """Runs `edgectl` with a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {**os.environ, "EDGECTL_HOME": str(folder / "home")}
        (folder / "tiny.onnx").write_bytes(tiny_graph())

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [EDGECTL, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=self.environ,
            # A shell starts its background jobs, and so perhaps these tests, with the interrupt ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=120)
        assert "Traceback" not in err
        return process.returncode, out, err


@pytest.fixture
def terminal():
    with short_folder() as folder:
        terminal = Terminal(folder)
        yield terminal
        terminal("agent", "stop")


QUICK = ("deploy", "tiny.onnx", "--runtime", "onnxrt", "--measure", "0.5s", "--rate", "100Hz")


def test_from_a_graph_to_a_verdict_and_again(terminal):
    code, out, err = terminal(*QUICK, "--json")
    assert code in (0, 1, 3), err  # a busy machine may miss a deadline, and half a second decides little
    device = json.loads(out)["devices"][0]
    assert device["deployment"]["state"] == "committed"
    assert [c["precision"] for c in device["run"]["summary"]["components"]] == ["fp32"]
    assert device["run"]["summary"]["ticks"] > 0
    assert device["sent_bytes"] > 0
    code, out, err = terminal(*QUICK)
    assert out.split()[0] in ("PASS", "FAIL", "INCONCLUSIVE")
    assert "nothing was sent" in out
    assert "ovh unaccounted" in out
    code, out, err = terminal("profile", "--mode", "closed", "--measure", "0.2s")
    assert (code, out.split()[0]) == (0, "CAPACITY"), err
    code, out, _ = terminal("runs", "--json")
    assert len(json.loads(out)["runs"]) == 3


def test_the_plan_the_cache_and_the_second_time(terminal):
    code, out, err = terminal("convert", "tiny.onnx", "--runtime", "onnxrt", "--dry-run", "--json")
    assert code == 0, err
    assert not json.loads(out)[0]["cached"]
    code, out, err = terminal("convert", "tiny.onnx", "--runtime", "onnxrt", "-o", "bundle", "--json")
    assert code == 0, err
    release = json.loads(out)["release"]
    code, out, err = terminal("convert", "tiny.onnx", "--runtime", "onnxrt", "--dry-run", "--json")
    assert json.loads(out)[0]["cached"], err
    code, out, err = terminal("deploy", "bundle", "--no-profile", "--json")
    assert code == 0, err
    assert json.loads(out)["devices"][0]["release"] == release
    assert json.loads(terminal("cache", "--json")[1])["entries"]
    code, out, err = terminal("cache", "trim", "--keep", "0B", "--yes", "--json")
    assert code == 0, err
    assert json.loads(out)["removed"]
    assert json.loads(terminal("cache", "--json")[1])["entries"] == []


def test_an_interrupted_conversion_leaves_nothing_half_done(terminal):
    with terminal.start("convert", "tiny.onnx", "--runtime", "onnxrt") as process:
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode in (0, 130), err
    assert "Traceback" not in err
    code, _, err = terminal("convert", "tiny.onnx", "--runtime", "onnxrt")
    assert code == 0, err


def test_a_second_policy_can_be_rolled_back(terminal):
    terminal(*QUICK, "--no-profile")
    code, _, err = terminal("deploy", "tiny.onnx", "--runtime", "reference", "--no-profile")
    assert code == 0, err
    code, out, err = terminal("rollback")
    assert code == 0, err
    assert "runs tiny" in out
    code, out, _ = terminal("status", "--json")
    assert json.loads(out)[0]["deployments"][0]["state"] == "rolled_back"


def test_an_interrupt_is_130_without_a_traceback_and_the_agent_lives_on(terminal):
    terminal(*QUICK, "--no-profile")
    with terminal.start("profile", "--measure", "60s") as process:
        for line in process.stderr:
            if "measuring" in line:
                break
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    code, _, err = terminal("profile", "--measure", "0.5s", "--rate", "100Hz")
    assert code in (0, 1, 3), err


def test_a_reader_that_stops_reading_is_no_error(terminal):
    with terminal.start("init", "tiny.onnx") as process:
        process.stdout.close()
        err = process.stderr.read()
    # A busy machine takes longer than a moment, and says so.
    assert (process.returncode, err.replace("tiny.onnx: reading\n", "")) == (0, "")


def test_two_deploys_at_once_leave_one_release_and_two_answers(terminal):
    terminal("agent", "start")
    other = ("deploy", "tiny.onnx", "--runtime", "reference", "--no-profile")
    processes = [terminal.start(*QUICK, "--no-profile"), terminal.start(*other)]
    answers = []
    for process in processes:
        with process:
            _, err = process.communicate(timeout=120)
        answers.append((process.returncode, err))
    assert all("Traceback" not in err for _, err in answers)
    # Either one waited for nobody, or one was told who holds the device.
    assert {code for code, _ in answers} in ({0}, {0, 52}), answers
    _, out, _ = terminal("status", "--json")
    assert json.loads(out)[0]["current"] is not None
