"""Bringing an agent to a device: the order, what is repeated and what is not. The login is a double with a memory."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from edgectl_host.fleet.registry import Registry
from edgectl_host.provision.wheels import Wheel
from edgectl_host.workflows.add_device import Wishes, add_device, look_and_plan
from edgectl_host.workflows.keep_device import forget_device, list_devices, remove_device, update_device
from edgectl_host.workflows.progress import silent
from edgectl_protos.domain.errors import IdentityError, InstallError, UnreachableError, UsageError, WheelMissingError
from edgectl_testkit.fake_device import FakeDevice

SURVEY = """\
system\tLinux
arch\taarch64
host\tOrin-1.lan
user\tubuntu
uid\t1000
home\t/home/ubuntu
clock\t{clock}
os\tUbuntu 22.04.5 LTS
libc\tglibc 2.35
board\tNVIDIA Jetson AGX Orin Developer Kit
flags\tasimd
root\tsudo
systemd\tsystem
tool\ttar
tool\tsha256sum
tool\tsetsid
tool\tnohup
free\t/opt 41234567
agent\t/opt/edgectl {agent}
python\t/usr/bin/python3 3.10.12 venv tensorrt
"""
STEPS = {
    "Asks a machine": "look",
    "What wheels are there": "hold",
    "Takes wheels": "receive",
    "Makes one environment": "venv",
    "Writes what starts": "activate",
    "Lets the agent be started": "start",
    "Runs a command of the agent": "agent",
    "outlives the login": "switch",
    "Takes everything away": "remove",
}


@dataclass
class Board:
    """A device as its scripts see it."""

    wheels: dict[str, bytes] = field(default_factory=dict)
    current: str = ""
    done: list[str] = field(default_factory=list)
    fails: dict[str, Exception] = field(default_factory=dict)
    clock_s: float = 0.0
    update: str = "new"


@dataclass(frozen=True)
class Login:
    """What `Ssh` is, without a connection."""

    board: Board
    destination: str = "ubuntu@orin-1"
    options: tuple[str, ...] = ()
    sudo: bool = False
    shown: str = "ssh ubuntu@orin-1"

    async def run(self, script: str, *, data: bytes | None = None, timeout_s: float = 0.0) -> str:
        step = next(name for text, name in STEPS.items() if text in script)
        self.board.done.append(step)
        if step in self.board.fails:
            raise self.board.fails.pop(step)
        assert self.sudo is (step != "look")
        return getattr(self, f"_{step}", lambda _: "")(script)

    async def send(self, script: str, pieces, *, timeout_s: float = 0.0) -> str:
        self.board.done.append("receive")
        data = b"".join([piece async for piece in pieces])
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                if "receive" in self.board.fails and self.board.wheels:
                    raise self.board.fails.pop("receive")
                self.board.wheels[member.name] = archive.extractfile(member).read()
        return ""

    async def host_name(self) -> str:
        return "orin-1.lab"

    def _look(self, _: str) -> str:
        return SURVEY.format(clock=int(time.time() + self.board.clock_s), agent=self.board.current)

    def _hold(self, _: str) -> str:
        return "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in self.board.wheels.items())

    def _activate(self, script: str) -> str:
        if "switch=yes" in script:
            self.board.current = "versions/" + re.search(r"^version=(\S+)$", script, re.MULTILINE)[1]
        return ""

    def _agent(self, script: str) -> str:
        return "REQUEST" if "--request" in script else "enrolled"

    def _switch(self, _: str) -> str:
        return self.board.update


class Store:
    """Wheels in a folder; `lacks` is a project for which there are none, `fails` one that cannot be fetched now."""

    def __init__(self, folder: Path, lacks: str = "") -> None:
        self.folder = folder
        self.lacks = lacks
        self.fails = ""

    def _wheel(self, name: str) -> Wheel:
        data = name.encode() * 100
        (self.folder / name).write_bytes(data)
        return Wheel(name, hashlib.sha256(data).hexdigest(), len(data))

    def own(self) -> tuple[Wheel, ...]:
        return (self._wheel("edgectl_agent-0.1.0-any.whl"), self._wheel("edgectl_protos-0.1.0-any.whl"))

    def fetch(self, target, requirements, progress=silent) -> tuple[Wheel, ...]:
        names = [re.split(r"[^\w-]", text)[0] for text in requirements]
        if self.lacks in names:
            raise WheelMissingError(f"there is no wheel of {self.lacks} for {target}")
        if self.fails in names:
            raise InstallError(f"pip could not fetch wheels for {target}: the index timed out")
        return tuple(self._wheel(f"{name}-1-{target.python}.whl") for name in names)

    def path(self, wheel: Wheel) -> Path:
        return self.folder / wheel.name


class Bench:
    """A host with one board."""

    def __init__(self, tmp_path: Path) -> None:
        (tmp_path / "wheels").mkdir()
        self.board = Board()
        self.store = Store(tmp_path / "wheels")
        self.registry = Registry(tmp_path / "config")
        self.fake = FakeDevice("orin-1")
        self.enrolled: list[tuple[str, str]] = []
        self.revoked: list[str] = []
        self.updates: list[str] = []

    def preferred(self, board: str) -> tuple[str, ...]:
        assert board == "jetson-agx-orin"
        return ("tensorrt", "onnxrt", "openvino", "reference")

    async def connect(self, device):
        assert (device.name, device.identity) == ("orin-1", "id-of-orin-1")
        return await self.fake.connect()

    def enrol(self, request: str, name: str) -> tuple[bytes, str]:
        self.enrolled.append((request, name))
        return b"{}", f"id-of-{name}"

    async def add(self, **wishes):
        self.board.done.clear()
        return await add_device(
            Login(self.board),
            Wishes(**wishes),
            store=self.store,
            registry=self.registry,
            preferred=self.preferred,
            enrol=self.enrol,
            connect=self.connect,
            progress=lambda update: self.updates.append(update.text),
        )


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


async def test_a_bare_board_is_looked_at_first_and_asked_last(bench):
    added = await bench.add(labels={"lab": ""})
    assert bench.board.done == [
        "look",
        "hold",
        "receive",
        "hold",
        "venv",
        "venv",
        "activate",
        "agent",
        "agent",
        "start",
    ]
    assert bench.enrolled == [("REQUEST", "orin-1")]
    assert (added.registered.identity, added.registered.labels) == ("id-of-orin-1", {"lab": ""})
    assert bench.registry.get("orin-1") == added.registered
    assert added.registered.addresses == ("tls:orin-1.lab:7443",)
    assert added.hello is not None
    assert added.notes == ()
    assert "launching a kernel of each runtime" in bench.updates


async def test_what_its_maker_brings_is_taken_and_the_first_runtime_that_has_wheels(bench):
    added = await bench.add()
    assert added.plan.runtimes == ("tensorrt", "onnxrt")
    assert [seat.python.path for seat in added.plan.seats] == ["/usr/bin/python3"]
    bench.store.lacks = "onnxruntime"
    _, plan = await look_and_plan(Login(Board()), Wishes(), bench.store, bench.preferred, silent)
    assert plan.runtimes == ("tensorrt", "openvino")
    assert "no wheel of onnxruntime" in plan.refused["onnxrt"]


async def test_an_index_that_fails_for_a_moment_does_not_choose_another_runtime(bench):
    bench.store.fails = "onnxruntime"
    with pytest.raises(InstallError, match="the index timed out"):
        await look_and_plan(Login(Board()), Wishes(), bench.store, bench.preferred, silent)


async def test_a_runtime_that_was_asked_for_and_is_not_to_be_had_is_an_error(bench):
    bench.store.lacks = "onnxruntime"
    with pytest.raises(InstallError, match="no wheel of onnxruntime"):
        await bench.add(runtimes=("onnxrt",))
    with pytest.raises(InstallError, match="knows no runtime or extra 'abacus'"):
        await bench.add(runtimes=("abacus",))
    assert bench.registry.read() == {}


async def test_the_second_time_nothing_is_done_that_is_done_already(bench):
    first = await bench.add()
    second = await bench.add(labels={"site": "hall"})
    assert bench.board.done == ["look"]
    assert second.plan.version == first.plan.version
    assert len(bench.enrolled) == 1
    assert bench.registry.get("orin-1").labels == {"site": "hall"}


async def test_an_agent_that_does_not_answer_any_more_is_started_again(bench):
    await bench.add()
    bench.fake.gone = True
    added = await bench.add()
    assert bench.board.done == ["look", "hold", "venv", "venv", "activate", "agent", "agent", "start"]
    assert added.hello is None
    (note,) = added.notes
    assert "open port 7443/tcp on Orin-1.lan" in note


async def test_an_agent_that_is_not_this_device_any_more_is_enrolled_again(bench, monkeypatch):
    """Revoked, or its certificate is over: what every other command says of it is to add it again."""
    await bench.add()
    real, refused = bench.connect, []

    async def connect(device):
        if not refused:
            refused.append(device.name)
            raise IdentityError("the device was revoked", hint="edgectl device add")
        return await real(device)

    monkeypatch.setattr(bench, "connect", connect)
    assert (await bench.add()).hello is not None
    assert len(bench.enrolled) == 2


async def test_after_a_cut_only_what_is_missing_is_sent(bench):
    bench.board.fails["receive"] = UnreachableError("cut")
    with pytest.raises(UnreachableError):
        await bench.add()
    assert len(bench.board.wheels) == 1
    # It can be taken away again from here on.
    assert bench.registry.get("orin-1").home.prefix == "/opt/edgectl"
    there = dict(bench.board.wheels)
    bench.store.path = lambda wheel: bench.store.folder / (wheel.name if wheel.name not in there else "never read")
    await bench.add()
    assert len(bench.board.wheels) > 5


@pytest.mark.parametrize("step", ["venv", "activate", "agent", "start"])
async def test_a_step_that_fails_is_an_error_and_the_next_run_goes_on(bench, step):
    bench.board.fails[step] = InstallError(f"{step} failed", hint="on orin-1: do this")
    with pytest.raises(InstallError, match=f"{step} failed"):
        await bench.add()
    assert (await bench.add()).hello is not None


async def test_a_clock_that_is_wrong_is_said(bench):
    bench.board.clock_s = -86_400
    (note,) = (await bench.add()).notes
    assert "s behind: sudo timedatectl set-ntp true" in note


async def test_a_name_is_one_device(bench):
    await bench.add()
    other = replace(Login(bench.board), destination="ubuntu@orin-2")
    with pytest.raises(InstallError, match="orin-1 is the name of ubuntu@orin-1 already") as caught:
        await add_device(
            other,
            Wishes(),
            store=bench.store,
            registry=bench.registry,
            preferred=bench.preferred,
            enrol=bench.enrol,
            connect=bench.connect,
            progress=silent,
        )
    assert "--name OTHER" in caught.value.hint
    with pytest.raises(UsageError, match="no name for a device"):
        await bench.add(name="Orin 1")


async def test_removing_revokes_and_forgets(bench):
    await bench.add()
    login = replace(Login(bench.board), sudo=True)
    registered = bench.registry.get("orin-1")
    bench.board.fails["remove"] = InstallError("still there: /opt/edgectl")
    with pytest.raises(InstallError):
        await remove_device(login, registered, registry=bench.registry, revoke=bench.revoked.append, progress=silent)
    assert bench.revoked == []
    assert "orin-1" in bench.registry.read()
    await remove_device(login, registered, registry=bench.registry, revoke=bench.revoked.append, progress=silent)
    assert (bench.revoked, bench.registry.read()) == (["orin-1"], {})


async def test_a_device_that_is_gone_is_forgotten_without_it(bench):
    await bench.add()
    bench.board.done.clear()
    forget_device(bench.registry.get("orin-1"), registry=bench.registry, revoke=bench.revoked.append)
    assert (bench.revoked, bench.registry.read(), bench.board.done) == (["orin-1"], {}, [])


async def update(bench):
    bench.board.done.clear()
    return await update_device(
        replace(Login(bench.board), sudo=True),
        bench.registry.get("orin-1"),
        store=bench.store,
        preferred=bench.preferred,
        timeout_s=5.0,
        progress=silent,
    )


async def test_an_update_to_the_same_agent_is_none(bench):
    await bench.add()
    updated = await update(bench)
    assert updated.before == updated.after
    assert bench.board.done == ["look"]


async def test_an_update_asks_for_the_same_python(bench):
    first = await bench.add(python="/usr/bin/python3", extras=())
    assert bench.registry.get("orin-1").python == "/usr/bin/python3"
    assert (await update(bench)).after == first.plan.version


async def test_an_update_is_put_beside_and_switched_by_the_device(bench):
    first = await bench.add()
    bench.registry.put(replace(bench.registry.get("orin-1"), extras=("video",)))
    updated = await update(bench)
    assert (updated.before, updated.back) == (first.plan.version, "")
    assert updated.after != updated.before
    assert bench.board.done[-2:] == ["activate", "switch"]
    assert bench.board.current.endswith(updated.before)


async def test_an_update_that_went_back_says_why(bench):
    await bench.add()
    bench.registry.put(replace(bench.registry.get("orin-1"), extras=("video",)))
    bench.board.update = "back No module named grpc"
    assert (await update(bench)).back == "No module named grpc"
    bench.board.update = "failed neither answers"
    with pytest.raises(InstallError, match="neither answers"):
        await update(bench)


async def test_a_cut_during_the_switch_says_that_the_device_goes_on(bench):
    await bench.add()
    bench.registry.put(replace(bench.registry.get("orin-1"), extras=("video",)))
    bench.board.fails["switch"] = UnreachableError("cut")
    with pytest.raises(UnreachableError, match="the device goes on by itself"):
        await update(bench)


async def test_listing_has_an_answer_for_each_device(bench):
    await bench.add()
    (answer,) = await list_devices(tuple(bench.registry.devices().values()), connect=bench.connect)
    assert answer.value.hello.agent_version
    bench.fake.gone = True
    (answer,) = await list_devices(tuple(bench.registry.devices().values()), connect=bench.connect)
    assert answer.failure.reason == "agent_unreachable"
