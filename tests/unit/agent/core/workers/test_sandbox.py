"""What a worker may do, tried by a process in the sandbox. What this kernel or user cannot take away is skipped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgectl_agent.config import SandboxConfig
from edgectl_agent.core.store.layout import Layout
from edgectl_agent.core.workers.sandbox import Sandbox
from edgectl_protos.domain.errors import WorkerError
from edgectl_testkit.serve import short_folder

SYSTEM = "/usr/bin/python3"
PYTHON = SYSTEM if os.path.exists(SYSTEM) else sys.executable
"""One that another user can reach, unlike that of a home directory."""


@pytest.fixture
def layout():
    with short_folder() as folder:
        # As /var/lib is: others pass through.
        folder.chmod(0o711)
        layout = Layout(folder / "state")
        layout.make()
        (layout.root / "secret").write_text("key")
        (layout.releases / "r").mkdir(mode=0o755)
        (layout.releases / "r" / "model").write_text("weights")
        (layout.releases / "r" / "model").chmod(0o444)
        yield layout


def tried(layout: Layout, code: str, *, python: str = PYTHON, builds: bool = False, **config: object) -> str:
    """What a script in the sandbox prints. `state` and `scratch` are its folders."""
    sandbox = Sandbox(layout, SandboxConfig(**config), machine_bytes=4 << 30)
    sandbox.open()
    scratch = layout.scratch / "1"
    if not scratch.exists():
        sandbox.make(scratch)
    head = f"import os, socket; state, scratch = {str(layout.root)!r}, {str(scratch)!r}\n"
    command = sandbox.command(python, ["-c", head + code], scratch, builds=builds)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/")
    assert "sandbox:" in done.stderr or not config.get("active", True)
    return (done.stdout + done.stderr.splitlines()[-1] if done.returncode else done.stdout).strip()


@pytest.fixture
def holds(layout):
    """Skips where a protection is not to be had."""
    report = Sandbox(layout, SandboxConfig(), machine_bytes=4 << 30).report()

    def check(what: str) -> None:
        if not any(said.startswith(what) for said in report):
            pytest.skip(f"this machine does not give {what!r}: {'; '.join(report)}")

    return check


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("open(f'{state}/secret').read()", "PermissionError"),
        ("os.listdir(f'{state}/blobs')", "PermissionError"),
        ("open(f'{state}/releases/r/model', 'a')", "PermissionError"),
        ("open(f'{state}/releases/r/new', 'w')", "PermissionError"),
        ("os.unlink(f'{state}/releases/r/model')", "PermissionError"),
        ("open('/tmp/edgectl-sandbox-test', 'w')", "PermissionError"),
        ("os.listdir('/home')", "PermissionError"),
    ],
)
def test_files_that_are_not_the_workers_are_out_of_reach(layout, holds, code, error):
    holds("files")
    assert error in tried(layout, code)


def test_a_worker_reads_its_release_and_writes_in_its_own_folder(layout):
    code = (
        "import tempfile\nprint(open(f'{state}/releases/r/model').read())\n"
        "open(f'{scratch}/out', 'w').write('samples')\nprint(tempfile.gettempdir() == scratch == os.environ['HOME'])\n"
        "open('/dev/null', 'w').write('x')\n"
        "open('/dev/shm/edgectl-test', 'w').close(); os.unlink('/dev/shm/edgectl-test')"
    )
    assert tried(layout, code).split() == ["weights", "True"]
    assert (layout.scratch / "1" / "out").read_text() == "samples"


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_a_daemon_of_a_worker_stays_below_it(layout):
    code = (
        "r, w = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork(): os._exit(0)\n"
        "    os.read(r, 1); print(os.getppid() == worker, flush=True); os._exit(0)\n"
        "os.wait(); os.write(w, b'1'); os.wait()"
    )
    assert tried(layout, f"worker = os.getpid()\n{code}") == "True"


def test_only_a_builder_has_the_builders_cache(layout, holds):
    holds("files")
    code = "open(f'{state}/builders/cache/timing', 'w').write('1')"
    assert "PermissionError" in tried(layout, code)
    assert tried(layout, code, builds=True) == ""


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET"])
def test_a_worker_has_no_network(layout, holds, family):
    holds("calls")
    assert "PermissionError" in tried(layout, f"socket.socket(socket.{family}, socket.SOCK_DGRAM)")


@pytest.mark.parametrize("call", ["process_vm_readv", "process_vm_writev"])
def test_a_worker_looks_into_no_memory_of_another_process(layout, holds, call):
    holds("calls")
    code = (
        f"import ctypes, errno; libc = ctypes.CDLL(None, use_errno=True); "
        f"print(libc.{call}(os.getppid(), None, 0, None, 0), errno.errorcode[ctypes.get_errno()])"
    )
    assert tried(layout, code) == "-1 EACCES"


def test_no_interface_is_left_even_to_a_worker_that_finds_another_call(layout, holds):
    holds("no network")
    assert tried(layout, "print(open('/proc/net/dev').read().count(':'))") == "1"


def test_the_socket_of_the_agent_cannot_be_called(layout, holds):
    holds("calls")
    with_socket = "s = socket.socket(socket.AF_UNIX); s.connect(f'{state}/agent.sock')"
    assert "PermissionError" in tried(layout, with_socket)


def test_a_worker_of_root_is_somebody_else_and_gets_nothing_back(layout):
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    code = "print(os.getuid(), os.getgroups() == [] or 0 not in os.getgroups())\nos.setuid(0)"
    said = tried(layout, code)
    assert said.startswith("65534 True")
    assert "PermissionError" in said


def test_a_worker_whose_python_no_other_user_can_reach_is_root_without_its_rights_and_it_is_said(layout, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    (hidden / "python").symlink_to(PYTHON)
    (hidden / "python3").write_text(f'#!/bin/sh\nexec {PYTHON} "$@"\n')
    (hidden / "python3").chmod(0o755)
    code = "print(os.getuid(), [l.split()[1] for l in open('/proc/self/status') if l.startswith('CapEff')])"
    assert tried(layout, code, python=str(hidden / "python3")) == "0 ['0000000000000000']"
    sandbox = Sandbox(layout, SandboxConfig(), machine_bytes=4 << 30)
    sandbox.open()
    done = subprocess.run(
        sandbox.command(str(hidden / "python3"), ["-c", ""], layout.scratch / "1"), capture_output=True, text=True
    )
    assert "not: another user" in done.stderr
    assert "cannot reach" in done.stderr


def test_what_only_a_group_of_roots_reaches_no_other_user_reaches(layout):
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    python = layout.root.parent / "python3"
    python.write_text(f'#!/bin/sh\nexec {PYTHON} "$@"\n')
    python.chmod(0o750)
    groups = os.getgroups()
    os.setgroups([0])
    try:
        assert tried(layout, "print(os.getuid())", python=str(python)) == "0"
    finally:
        os.setgroups(groups)


def test_memory_files_and_core_dumps_are_bounded(layout):
    assert "MemoryError" in tried(layout, "x = bytearray(1 << 30)", memory_bytes=256 << 20)
    assert tried(layout, "x = bytearray(64 << 20); print('fits')", memory_bytes=256 << 20) == "fits"
    full = "f = open(f'{scratch}/f', 'wb', buffering=0); f.write(b'x' * 1024); f.write(b'x')"
    assert "File too large" in tried(layout, full, file_bytes=1024)
    assert tried(layout, "import resource; print(resource.getrlimit(resource.RLIMIT_CORE))") == "(0, 0)"


def test_nothing_is_gained_from_a_program_with_rights(layout):
    assert tried(layout, "print([l.split()[1] for l in open('/proc/self/status') if l.startswith('NoNew')])") == "['1']"


def test_what_holds_and_what_does_not_is_told(layout):
    report = Sandbox(layout, SandboxConfig(), machine_bytes=4 << 30).report()
    assert len(report) == 6
    assert all(said for said in report)
    json.dumps(report)
    assert "off" in Sandbox(layout, SandboxConfig(active=False), machine_bytes=0).report()[0]


def test_without_a_sandbox_the_command_is_the_python_itself(layout):
    sandbox = Sandbox(layout, SandboxConfig(active=False), machine_bytes=0)
    assert sandbox.command(sys.executable, ["-c", "1"], None) == [sys.executable, "-c", "1"]


def test_a_python_that_is_not_there_is_named(layout):
    sandbox = Sandbox(layout, SandboxConfig(), machine_bytes=0)
    with pytest.raises(WorkerError, match="/no/such/python") as caught:
        sandbox.command("/no/such/python", [], None)
    assert "--interpreter" in caught.value.hint


def test_a_python_that_did_not_answer_once_is_asked_again(layout, tmp_path):
    python, answers = tmp_path / "python", tmp_path / "answers"
    python.write_text(f'#!/bin/sh\n[ -e {answers} ] && exec {PYTHON} "$@"\nexit 1\n')
    python.chmod(0o755)
    sandbox = Sandbox(layout, SandboxConfig(), machine_bytes=0)
    prefix = subprocess.run([PYTHON, "-c", "import sys; print(sys.base_prefix)"], capture_output=True, text=True)
    assert prefix.stdout.strip() not in sandbox._paths_of(str(python))
    answers.touch()
    assert prefix.stdout.strip() in sandbox._paths_of(str(python))


def test_a_sandbox_that_could_not_be_opened_is_opened_by_the_next_worker(layout):
    layout.builders.rmdir()
    sandbox = Sandbox(layout, SandboxConfig(), machine_bytes=0)
    with pytest.raises(FileNotFoundError):
        sandbox.open()
    layout.make()
    sandbox.open()
    assert layout.builders_cache.is_dir()


def test_what_a_worker_wrote_is_taken_back(layout):
    sandbox = Sandbox(layout, SandboxConfig(), machine_bytes=0)
    sandbox.open()
    folder = sandbox.make(layout.scratch / "2")
    (folder / "file").write_text("")
    os.chown(folder / "file", folder.stat().st_uid, folder.stat().st_gid)
    sandbox.take_back(folder)
    assert {path.stat().st_uid for path in (folder, folder / "file")} == {os.geteuid()}
    assert isinstance(folder, Path)
