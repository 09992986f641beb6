"""The end of every failure."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import pytest

from edgectl_host.cli.errors import guarded
from edgectl_protos.domain import errors


def ending(tmp_path, exception, *, json_mode=False):
    def command():
        raise exception

    return guarded(command, json_mode=json_mode, log_dir=tmp_path / "logs")


@pytest.mark.parametrize("cls", errors.all_errors(), ids=lambda cls: cls.__name__)
def test_every_error_shows_reason_message_and_hint_and_has_its_own_code(tmp_path, capsys, cls):
    assert ending(tmp_path, cls("what happened", hint="edgectl doctor")) == cls.exit_code
    captured = capsys.readouterr()
    assert captured.err == f"error[{cls.reason}]: what happened\nhint: edgectl doctor\n"
    assert captured.out == ""


def test_with_json_the_error_is_a_document_too(tmp_path, capsys):
    ending(tmp_path, errors.ParityError("differs", hint="look"), json_mode=True)
    document = json.loads(capsys.readouterr().out)
    assert document == {"error": {"reason": "parity_failed", "message": "differs", "hint": "look", "exit_code": 31}}


def test_an_interrupt_is_one_line_and_130(tmp_path, capsys):
    assert ending(tmp_path, KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "\ninterrupted\n"


def test_a_file_that_cannot_be_read_is_named(tmp_path, capsys):
    assert ending(tmp_path, PermissionError(errno.EACCES, "Permission denied", "/secret")) == 2
    assert "error[usage]: /secret: Permission denied" in capsys.readouterr().err


def test_a_full_disk_of_the_host_is_told_apart_from_that_of_a_device(tmp_path, capsys):
    assert ending(tmp_path, OSError(errno.ENOSPC, "No space left on device", "/x")) == 53
    assert "error[disk_full]: /x: No space left on device, here on the host" in capsys.readouterr().err


def test_a_defect_is_told_without_a_traceback_which_is_kept_in_a_file(tmp_path, capsys):
    assert ending(tmp_path, ZeroDivisionError("division by zero")) == 70
    shown = capsys.readouterr().err
    assert shown.startswith("error[internal]: a defect in edgectl: ZeroDivisionError: division by zero\n")
    assert "Traceback" not in shown
    log = tmp_path / "logs" / "crash.log"
    assert str(log) in shown
    assert "Traceback" in log.read_text()


def test_a_defect_is_told_even_where_nothing_can_be_written(tmp_path, capsys):
    (tmp_path / "logs").touch()
    assert ending(tmp_path, ZeroDivisionError("division by zero")) == 70
    assert "Traceback" not in capsys.readouterr().err


def test_the_code_of_a_command_is_passed_on(tmp_path):
    assert guarded(lambda: 4, json_mode=False, log_dir=tmp_path) == 4


def command(tmp_path, arguments, **streams):
    environ = {**os.environ, "EDGECTL_HOME": str(tmp_path)}
    return subprocess.run([sys.executable, "-m", "edgectl_host", *arguments], env=environ, text=True, **streams)


FULL = "error[disk_full]: No space left on device, here on the host\nhint: make room, then see: edgectl doctor\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["cache"], 53, FULL),
        (["cache", "--json"], 53, FULL),
        (["nothing", "--json"], 2, "error[usage]: there is no command 'nothing'.\nhint: edgectl --help\n"),
        ([], 2, ""),
    ],
)
def test_output_that_has_no_room_is_told_in_a_line(tmp_path, arguments, code, said):
    with open("/dev/full", "w") as full:
        done = command(tmp_path, arguments, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (code, said)


@pytest.mark.parametrize(("arguments", "code"), [(["cache"], 0), (["cache", "--json"], 0), (["nothing"], 2)])
def test_streams_that_the_caller_closed_end_no_command(tmp_path, arguments, code):
    def close():
        for number in (0, 1, 2):
            os.close(number)

    assert command(tmp_path, arguments, preexec_fn=close).returncode == code
    assert not list(tmp_path.rglob("crash.log"))
