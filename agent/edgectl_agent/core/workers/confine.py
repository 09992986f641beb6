"""`python -I -S confine.py POLICY -- COMMAND…`: takes away from this process what a worker has no need of, then becomes
the command. Without a command it prints what it took away, and what it could not.

Run as a file of its own before every worker, so that it holds in whichever Python the worker runs, and before that
Python reads anything. Standard library only, nothing of edgectl: none of it can be reached from here. POLICY is a JSON
object, written by `sandbox.py`. What a kernel or a missing right denies is skipped and said, never an error: a worker
that runs with less protection is the lesser evil on a robot, as long as everybody is told.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import struct
import sys
from typing import Any, NamedTuple

# prctl.h, sched.h
_SET_NO_NEW_PRIVS = 38
_DROP_BOUNDING = 24
_SET_CHILD_SUBREAPER = 36
# seccomp.h: a filter, without the mitigations that older kernels would slow the whole worker down by.
_SET_FILTER, _SPECULATION_ALLOWED = 1, 1 << 2
_NEW_NET = 0x40000000
_LAST_CAPABILITY = 63

# landlock.h; the numbers of the calls are those of every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_ACCESS_OF_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_SCOPES = 0b11
"""Neither abstract sockets nor signals reach out of the sandbox."""
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_DEVICES = _READ | _WRITE_FILE | _TRUNCATE | _IOCTL_DEV


class _Numbers(NamedTuple):
    """Of one machine: AUDIT_ARCH, and those of calls. `refused`: connect, ptrace, pivot_root, chroot, mount, umount2,
    unshare, setns, process_vm_readv, process_vm_writev, bpf.
    """

    architecture: int
    seccomp: int
    socket: int
    refused: tuple[int, ...]


_NUMBERS = {
    "x86_64": _Numbers(0xC000003E, 317, 41, (42, 101, 155, 161, 165, 166, 272, 308, 310, 311, 321)),
    "aarch64": _Numbers(0xC00000B7, 277, 198, (203, 117, 41, 51, 40, 39, 97, 268, 270, 271, 280)),
}
_EVERYWHERE = (425, 438)
"""io_uring_setup, which would open sockets unseen; pidfd_getfd."""
_AF_UNIX = 1

_libc = ctypes.CDLL(None, use_errno=True)


def main(arguments: list[str]) -> int:
    """Confine this process as the policy says, then become the command."""
    policy = json.loads(arguments[0])
    report = confine(policy)
    command = arguments[2:]
    if not command:
        sys.stdout.write(json.dumps(report))
        return 0
    sys.stderr.write(f"sandbox: {'; '.join(report)}\n")
    sys.stderr.flush()
    try:
        os.execve(command[0], command, os.environ | policy["environment"])
    except OSError as exc:
        sys.stderr.write(f"{command[0]}: {exc.strerror}\n")
        return 127


def confine(policy: dict[str, Any]) -> list[str]:
    """Take away what the policy names; what was done, and what was not."""
    if policy["dies_first"]:
        # When memory runs out the kernel is to end a builder, not a loop that moves a robot.
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    if sys.platform == "linux":
        # What the worker starts stays below it, as a daemon too, so that it is found there and ends with it.
        _libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    report = [_limits(policy), _network(), _user(policy)]
    done = _libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 if sys.platform == "linux" else False
    report += ["no new privileges" if done else "not: no new privileges", _files(policy), _calls()]
    return report


def _limits(policy: dict[str, Any]) -> str:
    said = []
    for name, value in policy["limits"].items():
        which = getattr(resource, f"RLIMIT_{name}", None)
        if which is None:
            continue
        hard = resource.getrlimit(which)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(which, (value, value))
            said.append(f"{name} {value}")
    return f"limits {', '.join(said)}" if said else "not: limits"


def _network() -> str:
    if not hasattr(_libc, "unshare") or _libc.unshare(_NEW_NET):
        return "not: a network of its own"
    return "no network"


def _user(policy: dict[str, Any]) -> str:
    if os.geteuid() != 0:
        return "not: another user, for the agent is not root"
    if sys.platform != "linux":
        return f"not: another user, which is not tried on {sys.platform}"
    wanted, problem = policy["uid"], ""
    if wanted is None:
        problem = "there is no user for workers"
    else:
        # Groups and user are tried before they are taken for good.
        groups = os.getgroups()
        os.setgroups(policy["groups"])
        os.setegid(policy["gid"])
        os.seteuid(wanted)
        unreachable = [path for path in policy["needed"] if not _reachable(path)]
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
        if unreachable:
            problem = f"user {wanted} cannot reach {unreachable[0]}"
    if not problem:
        os.setgroups(policy["groups"])
        os.setresgid(policy["gid"], policy["gid"], policy["gid"])
        os.setresuid(wanted, wanted, wanted)
        return f"user {wanted}"
    # Root then, but without what makes it root: the next program gets no capability.
    for number in range(_LAST_CAPABILITY + 1):
        _libc.prctl(_DROP_BOUNDING, number, 0, 0, 0)
    return f"not: another user, for {problem}; without capabilities"


def _reachable(path: str) -> bool:
    """Whether a file can be read, or a folder be passed through."""
    try:
        folder = os.path.isdir(path)
        fd = os.open(f"{path}/." if folder else path, (os.O_PATH if folder else os.O_RDONLY) | os.O_CLOEXEC)
    except OSError:
        return False
    os.close(fd)
    return True


def _files(policy: dict[str, Any]) -> str:
    """Landlock: read what is needed to run, write only what is the worker's own."""
    abi = _libc.syscall(_CREATE_RULESET, None, 0, 1) if sys.platform == "linux" else -1
    if abi < 1:
        return "not: files, for this kernel has no Landlock"
    handled = _ACCESS_OF_ABI[min(abi, 5)]
    attributes = struct.pack("<QQQ", handled, 0, _SCOPES if abi >= 6 else 0)
    ruleset = _libc.syscall(_CREATE_RULESET, attributes, len(attributes) if abi >= 6 else 8, 0)
    if ruleset < 0:
        return f"not: files, for Landlock refused the rules: {os.strerror(ctypes.get_errno())}"
    for paths, access in ((policy["readable"], _READ), (policy["devices"], _DEVICES), (policy["writable"], handled)):
        for path in paths:
            _allow(ruleset, path, access & handled)
    if _libc.syscall(_RESTRICT_SELF, ruleset, 0):
        return f"not: files, for Landlock refused: {os.strerror(ctypes.get_errno())}"
    os.close(ruleset)
    return f"files (Landlock {abi})"


def _allow(ruleset: int, path: str, access: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(f"/proc/self/fd/{fd}"):
            access &= _OF_FILES
        _libc.syscall(_ADD_RULE, ruleset, 1, struct.pack("<Qi", access, fd), 0)
    finally:
        os.close(fd)


def _calls() -> str:
    """A seccomp filter over a few calls: no socket but a unix one, nothing connects, nobody is traced."""
    known = _NUMBERS.get(os.uname().machine)
    if sys.platform != "linux" or known is None or sys.maxsize < 2**32:
        return "not: calls, for the numbers of this machine's are not known"
    program = _filter(known)
    buffer = ctypes.create_string_buffer(b"".join(program))

    class _Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]

    filter_ = _Program(len(program), ctypes.cast(buffer, ctypes.c_void_p))
    if _libc.syscall(known.seccomp, _SET_FILTER, _SPECULATION_ALLOWED, ctypes.byref(filter_)):
        return f"not: calls, for seccomp refused: {os.strerror(ctypes.get_errno())}"
    return "calls (seccomp)"


def _instruction(code: int, yes: int, no: int, value: int) -> bytes:
    return struct.pack("<HBBI", code, yes, no, value)


def _filter(numbers: _Numbers) -> list[bytes]:
    """The program: load, compare, jump. seccomp_data is the number at 0, the architecture at 4, arguments from 16."""
    load, equal, at_least, give = 0x20, 0x15, 0x35, 0x06
    allow, refuse, kill = 0x7FFF0000, 0x00050000 | 13, 0x80000000
    refused = (*numbers.refused, *_EVERYWHERE)
    program = [
        _instruction(load, 0, 0, 4),
        _instruction(equal, 1, 0, numbers.architecture),
        _instruction(give, 0, 0, kill),
        _instruction(load, 0, 0, 0),
    ]
    # From each comparison to the refusal, which is the last instruction; four stand before it.
    for index, number in enumerate(refused):
        program.append(_instruction(equal, len(refused) - index + 4, 0, number))
    # The same calls under x86's other numbers.
    program.append(_instruction(at_least, 4, 0, 0x40000000))
    program += [
        _instruction(equal, 0, 2, numbers.socket),
        _instruction(load, 0, 0, 16),
        _instruction(equal, 0, 1, _AF_UNIX),
        _instruction(give, 0, 0, allow),
    ]
    return [*program, _instruction(give, 0, 0, refuse)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
