from __future__ import annotations

import os
import threading
from dataclasses import replace

import pytest

from edgectl_converters import worker
from edgectl_converters.process import ToolchainProcess
from edgectl_converters.sources.base import Export, ExportRequest
from edgectl_converters.targets.base import BuildRequest, Built
from edgectl_converters.toolchain import Toolchains
from edgectl_protos.domain.errors import CancelledError, CheckpointCorruptError, InternalError, ToolchainError

BUILD = BuildRequest("reference", "c", "onnx", "/absent.onnx", (), (), "fp32", "default", "", "/absent")
BUILT = """{"entry": "model.onnx"}"""


@pytest.fixture
def host(tmp_path):
    return Toolchains(tmp_path, tmp_path).host()


@pytest.fixture
def process():
    with ToolchainProcess() as made:
        yield made


@pytest.fixture
def nonsense(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"nonsense")
    return ExportRequest("onnx", str(tmp_path / "net.onnx"), str(tmp_path), "", "synthetic", 0)


def script(tmp_path, text, name="python"):
    """An interpreter that notes its id, and does this."""
    path = tmp_path / name
    path.write_text(f"#!/bin/sh\necho $$ >> {tmp_path / 'pids'}\n{text}\n")
    path.chmod(0o755)
    return path


def answering(report=BUILT):
    """What answers every request with this report, and says so."""
    return (
        f"while read -r folder; do echo 'progress: working'; echo '{report}' > \"$folder/{worker.REPORT}\"; "
        f"echo {worker.DONE}; done"
    )


def pids(tmp_path):
    return [int(line) for line in (tmp_path / "pids").read_text().split()]


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def ignore(text):
    pass


# --- one request -----------------------------------------------------------------------------------------------------


def test_a_failure_in_a_toolchain_arrives_as_the_error_that_it_is(host, process, nonsense):
    said = []
    with pytest.raises(CheckpointCorruptError, match=r"net\.onnx") as caught:
        process.run(host, nonsense, Export, said.append)
    assert caught.value.hint
    assert said == ["checking the graph"]


def test_a_defect_in_a_toolchain_is_an_internal_error_without_a_traceback(host, process):
    with pytest.raises(InternalError, match="FileNotFoundError"):
        process.run(host, BUILD, Built, ignore)


def test_a_process_that_dies_is_reported_with_its_last_words(host, process, tmp_path):
    python = script(tmp_path, "echo 'first line' >&2\necho 'out of cheese' >&2\nexit 3")
    with pytest.raises(ToolchainError, match="ended with 3.*out of cheese"):
        process.run(replace(host, python=python), BUILD, Built, ignore)


def test_a_process_that_says_done_and_left_no_report_is_an_error(host, process, tmp_path):
    python = script(tmp_path, f"read -r folder\necho {worker.DONE}\nread -r folder")
    with pytest.raises(ToolchainError, match="toolchain.s process ended with None"):
        process.run(replace(host, python=python), BUILD, Built, ignore)


def test_an_interpreter_that_is_gone_is_a_toolchain_error(host, process, tmp_path):
    with pytest.raises(ToolchainError, match="cannot be started"):
        process.run(replace(host, python=tmp_path / "gone"), BUILD, Built, ignore)


def test_a_user_who_gives_up_stops_the_process(host, process, tmp_path):
    python = script(tmp_path, "echo 'progress: working'\nexec sleep 60")

    def interrupt(text):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        process.run(replace(host, python=python), BUILD, Built, interrupt)
    assert all(gone(pid) for pid in pids(tmp_path))


def test_another_thread_ends_it_for_good(host, process, tmp_path):
    python = script(tmp_path, "echo 'progress: working'\nexec sleep 60")
    killed = threading.Thread(target=process.kill)
    with pytest.raises(CancelledError):
        process.run(replace(host, python=python), BUILD, Built, lambda text: killed.start())
    killed.join()
    assert all(gone(pid) for pid in pids(tmp_path))
    with pytest.raises(CancelledError):
        process.run(replace(host, python=python), BUILD, Built, ignore)
    assert all(gone(pid) for pid in pids(tmp_path))


# --- requests after it -----------------------------------------------------------------------------------------------


def test_requests_of_one_toolchain_have_one_process_which_ends_with_the_context(host, tmp_path):
    toolchain = replace(host, python=script(tmp_path, answering()))
    said = []
    with ToolchainProcess() as process:
        for _ in range(3):
            assert process.run(toolchain, BUILD, Built, said.append) == Built("model.onnx")
        (pid,) = pids(tmp_path)
        assert not gone(pid)
    assert gone(pid)
    assert said == ["working"] * 3


def test_a_request_for_another_toolchain_ends_the_process_of_the_one_before(host, process, tmp_path):
    one = replace(host, python=script(tmp_path, answering(), "one"))
    other = replace(host, python=script(tmp_path, answering('{"entry": "other"}'), "other"))
    assert process.run(one, BUILD, Built, ignore) == Built("model.onnx")
    assert process.run(other, BUILD, Built, ignore) == Built("other")
    first, second = pids(tmp_path)
    assert gone(first)
    assert not gone(second)


def test_a_request_that_fails_leaves_the_process_for_the_next(host, process, nonsense):
    for _ in range(2):
        with pytest.raises(CheckpointCorruptError):
            process.run(host, nonsense, Export, ignore)
    with pytest.raises(InternalError):
        process.run(host, BUILD, Built, ignore)
    assert process._process.poll() is None


def test_after_one_that_died_the_next_request_has_a_new_process(host, process, tmp_path):
    once = f"if [ -e {tmp_path / 'died'} ]; then {answering()}; fi\ntouch {tmp_path / 'died'}\nexit 9"
    toolchain = replace(host, python=script(tmp_path, once))
    with pytest.raises(ToolchainError, match="ended with 9"):
        process.run(toolchain, BUILD, Built, ignore)
    assert process.run(toolchain, BUILD, Built, ignore) == Built("model.onnx")
    assert len(set(pids(tmp_path))) == 2


def test_a_process_that_was_killed_between_requests_is_started_anew(host, process, tmp_path):
    toolchain = replace(host, python=script(tmp_path, answering()))
    process.run(toolchain, BUILD, Built, ignore)
    process._process.kill()
    process._process.wait()
    assert process.run(toolchain, BUILD, Built, ignore) == Built("model.onnx")
    assert len(set(pids(tmp_path))) == 2


def test_what_libraries_print_is_in_the_log_of_their_own_request(host, process, tmp_path):
    once = (
        'read -r folder; echo first > "$folder/log"; '
        f"echo '{BUILT}' > \"$folder/{worker.REPORT}\"; echo {worker.DONE}; "
        'read -r folder; echo second > "$folder/log"; exit 4'
    )
    toolchain = replace(host, python=script(tmp_path, once))
    process.run(toolchain, BUILD, Built, ignore)
    with pytest.raises(ToolchainError, match="ended with 4: second$"):
        process.run(toolchain, BUILD, Built, ignore)
