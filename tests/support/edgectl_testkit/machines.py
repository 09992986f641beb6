"""Machines to install agents on: this one below an overlay, and a foreign one under emulation; each behind a real sshd.

    with overlay_machine(tmp_path) as machine, ssh_server(machine, tmp_path) as login: ...

What is written on a machine lies in its `written` folder, so that a test sees to the last file what was left behind.
Both need root; what is missing for one is named by `lacking`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgectl_testkit.ports import free_port

__all__ = [
    "Login",
    "Machine",
    "debian_root",
    "lacking",
    "overlay_machine",
    "ssh_server",
    "starts_foreign_programs",
]

_ROOTS = Path(__file__).resolve().parents[3] / ".cache" / "roots"
_PACKAGES = (
    "base-files,base-passwd,bash,coreutils,dash,debianutils,diffutils,findutils,grep,hostname,libc-bin,mawk,passwd,"
    "python3,procps,sed,tar,util-linux,libstdc++6,zlib1g,libffi8"
)
"""What every Debian has, and its Python. None of it is configured: there is no awk."""


@dataclass(frozen=True)
class Machine:
    """A root folder, and the folder of all that was written in it."""

    root: Path
    written: Path

    def left_behind(self, *, beside: tuple[str, ...] = ()) -> list[str]:
        """Every file and folder that was written and is still there, but for those below `beside`."""
        found = []
        for folder, folders, files in os.walk(self.written):
            inner = "/" + str(Path(folder).relative_to(self.written)).removeprefix(".")
            if any(inner == one or inner.startswith(f"{one}/") for one in beside):
                folders.clear()
                continue
            # A folder that was only gone through is copied up without being changed.
            found += [str(Path(inner, name)) for name in files]
            if not folders and not files and inner != "/" and not (Path("/") / inner[1:]).is_dir():
                found.append(inner)
        return sorted(found)


@dataclass(frozen=True)
class Login:
    """How ssh gets there: a configuration file of its own."""

    destination: str
    options: tuple[str, ...]


def lacking(*programs: str) -> str:
    """Why a machine cannot be made here; empty when it can."""
    if os.geteuid() != 0:
        return "root, to mount and to change the root folder"
    return ", ".join(name for name in programs if shutil.which(name) is None)


@contextlib.contextmanager
def overlay_machine(folder: Path, lower: Path = Path("/"), *, cpuinfo: str = "") -> Iterator[Machine]:
    """A machine whose files are those of `lower`; what it writes stays in memory and is gone afterwards.

    The kernel tells an emulated program of the real processor: `cpuinfo` is what it should say.
    """
    memory, root = folder / "memory", folder / "root"
    mounted: list[Path] = []

    def mount(place: Path, *arguments: str) -> None:
        place.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", *arguments, str(place)], check=True, capture_output=True)
        mounted.append(place)

    try:
        mount(memory, "-t", "tmpfs", "-o", "size=3g", "tmpfs")
        for name in ("written", "work"):
            (memory / name).mkdir()
        layers = f"lowerdir={lower},upperdir={memory / 'written'},workdir={memory / 'work'}"
        mount(root, "-t", "overlay", "-o", layers, "overlay")
        mount(root / "proc", "-t", "proc", "proc")
        mount(root / "dev", "--bind", "/dev")
        if cpuinfo:
            (folder / "cpuinfo").write_text(cpuinfo)
            subprocess.run(["mount", "--bind", str(folder / "cpuinfo"), str(root / "proc/cpuinfo")], check=True)
            mounted.append(root / "proc/cpuinfo")
        yield Machine(root, memory / "written")
    finally:
        for place in reversed(mounted):
            subprocess.run(["umount", "-l", str(place)], check=False, capture_output=True)


def debian_root(arch: str) -> Path:
    """The files of a small Debian of another architecture, made once for this checkout; none of it is configured."""
    root = _ROOTS / arch
    if not (root / ".complete").exists():
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        archive = _ROOTS / f"{arch}.tar"
        command = ["mmdebstrap", "-q", f"--arch={arch}", "--variant=extract", "--mode=root", f"--include={_PACKAGES}"]
        subprocess.run([*command, "bookworm", str(archive)], check=True, capture_output=True)
        subprocess.run(["tar", "xpf", str(archive), "-C", str(root)], check=True)
        archive.unlink()
        (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/usr/sbin/nologin\n")
        (root / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
        # As its package would have done; the compiled files of one minor version are alike on every processor.
        for library in root.glob(f"usr/lib/python3.{sys.version_info[1]}"):
            inside = ["-s", str(root), "-p", "/", str(library)]
            subprocess.run([sys.executable, "-m", "compileall", "-q", *inside], check=False, capture_output=True)
        (root / ".complete").touch()
    return root


def starts_foreign_programs(root: Path, machine: str) -> bool:
    """Whether the kernel starts programs of that root, by an emulator that it knows or is told of now."""

    def works() -> bool:
        asked = ["chroot", str(root), "/bin/uname", "-m"]
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() == machine

    if not works():
        register = Path("/proc/sys/fs/binfmt_misc")
        if not (register / "register").exists():
            subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(register)], check=False)
        subprocess.run(["update-binfmts", "--enable", f"qemu-{machine}"], check=False)
    return works()


@contextlib.contextmanager
def ssh_server(machine: Machine, folder: Path, *, name: str = "robot") -> Iterator[Login]:
    """A real sshd on loopback, whose logins are in the machine."""
    folder.mkdir(parents=True, exist_ok=True)
    for key in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", key, "-f", str(folder / key)]
        subprocess.run(command, check=True)
    port = free_port()
    enter = folder / "enter"
    inside = "env -i HOME=/root USER=root PATH=/usr/sbin:/usr/bin:/sbin:/bin"
    enter.write_text(f'#!/bin/sh\nexec chroot {machine.root} /usr/bin/{inside} /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n')
    enter.chmod(0o755)
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder / 'host'}\nAuthorizedKeysFile {folder / 'user.pub'}\n"
        f"StrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\nPasswordAuthentication no\n"
        f"ForceCommand {enter}\nMaxSessions 20\n"
    )
    host_key = (folder / "host.pub").read_text()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")
    (folder / "ssh_config").write_text(
        f"Host {name}\n  HostName 127.0.0.1\n  Port {port}\n  User root\n  IdentityFile {folder / 'user'}\n"
        f"  IdentitiesOnly yes\n  UserKnownHostsFile {folder / 'known_hosts'}\n  StrictHostKeyChecking yes\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    sshd = shutil.which("sshd") or "/usr/sbin/sshd"
    process = subprocess.Popen(
        [sshd, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=subprocess.PIPE, text=True, errors="replace"
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "listening on" in line:
                break
        else:
            raise RuntimeError("sshd did not start")
        yield Login(name, ("-F", str(folder / "ssh_config")))
    finally:
        process.terminate()
        process.communicate()
