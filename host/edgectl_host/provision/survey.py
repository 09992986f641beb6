"""What a machine is, asked over ssh before anything is sent there: one script, and a total reader of what it prints."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from importlib.resources import files

from edgectl_profiles.library import detect
from edgectl_protos.domain.device import DeviceFacts, jetpack_words
from edgectl_protos.domain.errors import InstallError, ProfileError

__all__ = ["Libc", "Python", "Survey", "parse_survey", "script", "survey_script"]

_MAX_LINES = 500


@dataclass(frozen=True, slots=True)
class Libc:
    """The C library, by which wheels are chosen: `glibc` or `musl`, and its version."""

    family: str
    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.family} {self.major}.{self.minor}"


@dataclass(frozen=True, slots=True)
class Python:
    """An interpreter there. `modules` are those asked for that it can import; one without `venv` is of no use."""

    path: str
    version: tuple[int, int, int]
    venv: bool
    modules: tuple[str, ...] = ()

    @property
    def minor(self) -> str:
        """As wheels call it: `3.10`."""
        return f"{self.version[0]}.{self.version[1]}"

    def __str__(self) -> str:
        return f"{self.path} ({'.'.join(map(str, self.version))})"


@dataclass(frozen=True, slots=True)
class Survey:
    """One machine. Empty texts and zeros are what could not be found out."""

    system: str
    arch: str
    kernel: str
    host: str
    user: str
    uid: int
    home: str
    clock_s: int
    os: str
    libc: Libc | None
    board: str
    cpu: str
    isa: tuple[str, ...]
    l4t: str
    jetpack: str
    root: str
    """How root is reached: `self`, `sudo`, or `none`."""
    systemd: tuple[str, ...]
    tools: tuple[str, ...]
    free_bytes: dict[str, int]
    addresses: tuple[str, ...]
    agents: dict[str, str]
    """Prefix → the version that its link names, of agents that are there already."""
    pythons: tuple[Python, ...]

    @property
    def jetpack_words(self) -> str:
        """`JetPack 6.2`, or the release of L4T where the package is not installed, or nothing."""
        if self.jetpack:
            return f"JetPack {self.jetpack.partition('+')[0].partition('-')[0]}"
        return jetpack_words(self.l4t)

    @property
    def profile(self) -> str:
        """The board profile that these facts fit; that of the architecture where none does."""
        facts = DeviceFacts(
            device=self.host,
            machine_id="",
            board="",
            arch=self.arch,
            os=self.os,
            kernel=self.kernel,
            libc=str(self.libc or ""),
            python="",
            cpu_model=self.cpu or self.board,
            cpu_count=0,
            isa=self.isa,
            memory_bytes=0,
            disk_free_bytes=0,
            governor="",
            temperature_c=None,
            load_1min=0.0,
            preempt_rt=False,
            runtimes=(),
        )
        try:
            return detect(facts)
        except ProfileError:
            return f"generic-{self.arch}"


def script(name: str, **given: str) -> str:
    """One of the scripts that run on a device, with variables set; their values are quoted here."""
    text = files("edgectl_host.provision").joinpath("device", f"{name}.sh").read_text()
    return "".join(f"{key}={shlex.quote(value)}\n" for key, value in given.items()) + text


def survey_script(prefixes: tuple[str, ...], modules: tuple[str, ...], also: str = "") -> str:
    """The script that asks; `also` is an interpreter to look at besides."""
    # A prefix may begin with $HOME, which is the device's; nothing else in it is read by the shell.
    return f'prefixes="{" ".join(prefixes)}"\n' + script("survey", modules=" ".join(modules), also=also)


def parse_survey(text: str) -> Survey:
    """Read what the script printed; a line that means nothing is passed over.

    Raises:
        InstallError: it printed nothing of use.
    """
    found: dict[str, list[str]] = {}
    for line in text.splitlines()[:_MAX_LINES]:
        key, tab, value = line.partition("\t")
        if tab:
            found.setdefault(key, []).append(value.strip())

    def one(key: str) -> str:
        return found.get(key, [""])[0]

    if not one("arch"):
        said = " ".join(text.split())[:200]
        raise InstallError(
            f"the device did not answer what it is; it said: {said or 'nothing'}",
            hint="its login must give a POSIX shell that prints nothing by itself",
        )
    return Survey(
        system=one("system"),
        arch=one("arch"),
        kernel=one("kernel"),
        host=one("host"),
        user=one("user"),
        uid=_number(one("uid")),
        home=one("home"),
        clock_s=_number(one("clock")),
        os=one("os"),
        libc=_libc(one("libc")),
        board=one("board"),
        cpu=one("cpu"),
        isa=tuple(sorted(one("flags").split())),
        l4t=one("l4t"),
        jetpack=one("jetpack"),
        root=one("root"),
        systemd=tuple(found.get("systemd", ())),
        tools=tuple(found.get("tool", ())),
        free_bytes={place: _number(kib) * 1024 for place, _, kib in map(_last_word, found.get("free", ()))},
        addresses=tuple(found.get("address", ())),
        agents={place: version for place, _, version in map(_last_word, found.get("agent", ()))},
        pythons=tuple(filter(None, map(_python, found.get("python", ())))),
    )


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 19 else 0


def _last_word(text: str) -> tuple[str, str, str]:
    return text.rpartition(" ")


def _libc(text: str) -> Libc | None:
    match = re.match(r"(glibc|musl) (\d{1,3})\.(\d{1,3})", text)
    return Libc(match[1], int(match[2]), int(match[3])) if match else None


def _python(text: str) -> Python | None:
    match = re.match(r"(/\S+) (\d{1,3})\.(\d{1,3})\.(\d{1,3}) (venv|bare)((?: \w+)*)$", text)
    if match is None:
        return None
    version = (int(match[2]), int(match[3]), int(match[4]))
    return Python(match[1], version, match[5] == "venv", tuple(match[6].split()))
