from __future__ import annotations

import os
import threading
from dataclasses import replace

import pytest

from edgectl_converters.steps import FinishedSteps, StepMissing, Steps, key_of, run_in_toolchain
from edgectl_converters.toolchain import Toolchains
from edgectl_protos.domain.errors import CheckpointCorruptError, InternalError, ToolchainError


def write(out):
    (out / "file").write_text("x")
    return {"answer": 42}


def test_a_step_is_made_once(tmp_path):
    made = []

    def make(out):
        made.append(out)
        return write(out)

    first, second = (Steps(tmp_path).make("k", make) for _ in range(2))
    assert (first.cached, second.cached) == (False, True)
    assert first.result == second.result == {"answer": 42}
    assert (second.folder / "file").read_text() == "x"
    assert len(made) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interrupted_step_leaves_nothing_and_can_be_made_again(tmp_path, error):
    def fail(out):
        write(out)
        raise error

    steps = Steps(tmp_path)
    with pytest.raises(error):
        steps.make("k", fail)
    assert steps.find("k") is None
    assert not [path for path in (tmp_path / "steps").iterdir() if path.is_dir()]
    assert not steps.make("k", write).cached


def test_two_at_once_make_it_once_and_the_second_waits(tmp_path):
    inside, go_on, made = threading.Event(), threading.Event(), []

    def slow(out):
        made.append(1)
        inside.set()
        assert go_on.wait(10)
        return write(out)

    found = []
    first = threading.Thread(target=lambda: found.append(Steps(tmp_path).make("k", slow)))
    second = threading.Thread(target=lambda: found.append(Steps(tmp_path).make("k", slow)))
    first.start()
    assert inside.wait(10)
    second.start()
    go_on.set()
    first.join(10)
    second.join(10)
    assert made == [1]
    assert sorted(output.cached for output in found) == [False, True]


def test_finished_steps_make_nothing(tmp_path):
    with pytest.raises(StepMissing):
        FinishedSteps(tmp_path).make("k", write)
    Steps(tmp_path).make("k", write)
    assert FinishedSteps(tmp_path).make("k", write).cached


def test_keys_depend_on_every_part_and_not_on_their_order():
    assert key_of(a=1, b=[2]) == key_of(b=[2], a=1)
    assert len({key_of(a=1), key_of(a=2), key_of(b=1), key_of(a="1")}) == 4


@pytest.fixture
def host(tmp_path):
    return Toolchains(tmp_path, tmp_path).host()


def test_a_failure_in_a_toolchain_arrives_as_the_error_that_it_is(host, tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"nonsense")
    body = {"checkpoint": str(tmp_path / "net.onnx"), "out": str(tmp_path)}
    with pytest.raises(CheckpointCorruptError, match=r"net\.onnx") as caught:
        run_in_toolchain(host, "onnx.export", body, lambda text: None)
    assert caught.value.hint


def test_a_defect_in_a_toolchain_is_an_internal_error_without_a_traceback(host):
    with pytest.raises(InternalError, match="KeyError"):
        run_in_toolchain(host, "build", {}, lambda text: None)


def test_a_process_that_dies_is_reported_with_its_last_words(host, tmp_path):
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho 'first line' >&2\necho 'out of cheese' >&2\nexit 3\n")
    script.chmod(0o755)
    with pytest.raises(ToolchainError, match="ended with 3.*out of cheese"):
        run_in_toolchain(replace(host, python=script), "build", {}, lambda text: None)


def test_progress_arrives_while_it_works(host, tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"nonsense")
    said = []
    body = {"checkpoint": str(tmp_path / "net.onnx"), "out": str(tmp_path)}
    with pytest.raises(CheckpointCorruptError):
        run_in_toolchain(host, "onnx.export", body, said.append)
    assert said == ["checking the graph"]


def test_a_user_who_gives_up_stops_the_process(host, tmp_path):
    script = tmp_path / "python"
    pid_file = tmp_path / "pid"
    script.write_text(f"#!/bin/sh\necho $$ > {pid_file}\necho 'progress: working'\nexec sleep 60\n")
    script.chmod(0o755)

    def interrupt(text):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_in_toolchain(replace(host, python=script), "build", {}, interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
