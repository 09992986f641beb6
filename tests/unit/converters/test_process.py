from __future__ import annotations

import os
from dataclasses import replace

import pytest

from edgectl_converters.process import run_in_toolchain
from edgectl_converters.sources.base import Export, ExportRequest
from edgectl_converters.targets.base import BuildRequest, Built
from edgectl_converters.toolchain import Toolchains
from edgectl_protos.domain.errors import CheckpointCorruptError, InternalError, ToolchainError

BUILD = BuildRequest("reference", "c", "onnx", "/absent.onnx", (), (), "fp32", "default", "", "/absent")


@pytest.fixture
def host(tmp_path):
    return Toolchains(tmp_path, tmp_path).host()


@pytest.fixture
def nonsense(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"nonsense")
    return ExportRequest("onnx", str(tmp_path / "net.onnx"), str(tmp_path), "", "synthetic", 0)


def script(tmp_path, text):
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_failure_in_a_toolchain_arrives_as_the_error_that_it_is(host, nonsense):
    said = []
    with pytest.raises(CheckpointCorruptError, match=r"net\.onnx") as caught:
        run_in_toolchain(host, nonsense, Export, said.append)
    assert caught.value.hint
    assert said == ["checking the graph"]


def test_a_defect_in_a_toolchain_is_an_internal_error_without_a_traceback(host):
    with pytest.raises(InternalError, match="FileNotFoundError"):
        run_in_toolchain(host, BUILD, Built, lambda text: None)


def test_a_process_that_dies_is_reported_with_its_last_words(host, tmp_path):
    python = script(tmp_path, "echo 'first line' >&2\necho 'out of cheese' >&2\nexit 3")
    with pytest.raises(ToolchainError, match="ended with 3.*out of cheese"):
        run_in_toolchain(replace(host, python=python), BUILD, Built, lambda text: None)


def test_an_interpreter_that_is_gone_is_a_toolchain_error(host, tmp_path):
    with pytest.raises(ToolchainError, match="cannot be started"):
        run_in_toolchain(replace(host, python=tmp_path / "gone"), BUILD, Built, lambda text: None)


def test_a_user_who_gives_up_stops_the_process(host, tmp_path):
    pid_file = tmp_path / "pid"
    python = script(tmp_path, f"echo $$ > {pid_file}\necho 'progress: working'\nexec sleep 60")

    def interrupt(text):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_in_toolchain(replace(host, python=python), BUILD, Built, interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
