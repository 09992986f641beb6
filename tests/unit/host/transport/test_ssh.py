"""OpenSSH as we call it. The program is a double that runs what it is told on this machine, or fails as ssh does."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from edgectl_host.transport.ssh import Ssh, host_name_of
from edgectl_protos.domain.errors import DeviceError, InstallError, UnreachableError

RUNS = """#!/bin/sh
# The last word is the command; what stands before goes into a file to look at.
printf '%s\\n' "$@" >>"{log}"
for word in "$@"; do
  [ "$word" = -O ] && exit 0
  [ "$word" = -G ] && {{ echo "hostname orin.lan"; exit 0; }}
  last=$word
done
exec sh -c "exec $last"
"""
FAILS = """#!/bin/sh
cat >/dev/null
echo "{says}" >&2
exit 255
"""


def ssh(folder: Path, text: str = RUNS, **given: str) -> Ssh:
    program = folder / "ssh"
    program.write_text(text.format(log=folder / "log", **given))
    program.chmod(0o755)
    return Ssh("ubuntu@orin-1", ("-F", "/my/config"), folder / "control", program=str(program))


def test_a_script_runs_and_its_output_comes_back(tmp_path):
    assert asyncio.run(ssh(tmp_path).run("echo one; read -r line || echo 'no input left'")) == "one\nno input left\n"


def test_input_reaches_the_script_byte_by_byte(tmp_path):
    data = bytes(range(256)) * 5000

    async def pieces():
        yield data
        yield b"end"

    login = ssh(tmp_path)
    assert asyncio.run(login.run("sha256sum", data=data)).split()[0] == hashlib.sha256(data).hexdigest()
    assert asyncio.run(login.send("wc -c", pieces())).strip() == str(len(data) + 3)


def test_the_users_own_options_come_first_and_one_login_is_shared(tmp_path):
    login = ssh(tmp_path)
    asyncio.run(login.run("true"))
    words = (tmp_path / "log").read_text().split("\n")
    assert words[:2] == ["-F", "/my/config"]
    assert "ControlMaster=auto" in words
    assert words[words.index("--") + 1] == "ubuntu@orin-1"
    assert (tmp_path / "control").stat().st_mode & 0o777 == 0o700
    asyncio.run(login.close())


def test_a_destination_is_never_an_option(tmp_path):
    login = Ssh("-oProxyCommand=touch /tmp/owned", (), tmp_path / "c", program=ssh(tmp_path).program)
    asyncio.run(login.run("true"))
    words = (tmp_path / "log").read_text().split("\n")
    assert words[words.index("--") + 1] == "-oProxyCommand=touch /tmp/owned"


def test_what_a_script_says_to_a_person_is_the_error(tmp_path):
    with pytest.raises(InstallError, match="ubuntu@orin-1: no room") as caught:
        asyncio.run(ssh(tmp_path).run("echo 'error: no room'; echo 'hint: make some'; exit 3"))
    assert caught.value.hint == "make some"


def test_a_script_that_says_nothing_is_shown_with_its_last_words(tmp_path):
    with pytest.raises(InstallError, match=r"a step ended with 7: .*cannot") as caught:
        asyncio.run(ssh(tmp_path).run("echo 'it cannot be' >&2; exit 7"))
    assert caught.value.hint.endswith("ssh -F /my/config ubuntu@orin-1")


@pytest.mark.parametrize(
    ("says", "hint"),
    [
        ("Host key verification failed.", "look at the key once by hand"),
        ("ubuntu@orin-1: Permission denied (publickey).", "ssh-copy-id"),
        ("ssh: Could not resolve hostname orin-1", "~/.ssh/config"),
        ("ssh: connect to host orin-1 port 22: Connection refused", "is sshd running"),
        ("ssh: connect to host orin-1 port 22: Connection timed out", "is it on"),
        ("kex_exchange_identification", "try by hand"),
    ],
)
def test_each_way_of_not_getting_there_names_what_to_type(tmp_path, says, hint):
    with pytest.raises(UnreachableError, match="ssh cannot reach ubuntu@orin-1: ") as caught:
        asyncio.run(ssh(tmp_path, FAILS, says=says).run("true"))
    assert says.split(": ")[-1] in caught.value.message
    assert hint in caught.value.hint


def test_a_device_that_does_not_go_on_is_left_in_time(tmp_path):
    with pytest.raises(UnreachableError, match="did not finish within 0 s"):
        asyncio.run(ssh(tmp_path).run("exec tail -f /dev/null", timeout_s=0.2))


def test_output_without_end_takes_no_memory_without_end(tmp_path):
    said = asyncio.run(ssh(tmp_path).run("head -c 20000000 /dev/zero | tr '\\0' x; echo end"))
    assert len(said) <= 4 << 20
    assert said.endswith("end\n")


def test_without_openssh_the_package_is_named(tmp_path):
    with pytest.raises(DeviceError, match="there is no /nowhere/ssh"):
        asyncio.run(Ssh("orin-1", (), tmp_path / "c", program="/nowhere/ssh").run("true"))


def test_the_name_that_ssh_itself_uses_is_asked_of_it(tmp_path):
    assert asyncio.run(ssh(tmp_path).host_name()) == "orin.lan"
    assert host_name_of("user ubuntu\nHostName 10.0.0.7\nport 22") == "10.0.0.7"
    assert host_name_of("") == ""
