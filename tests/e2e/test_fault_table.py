"""The fault table: every durable write of every way through the deployment machine × {killed before it, killed after
it, no space, a failing disk for this one write, a read-only disk from it on, the host's connection cut}.

The writes of each way are counted on a first try; each becomes one case of every fault. They are counted from the start
of the daemon, so that its own writes at start are cases too. A part of each release is built by the device. After each
fault: the installed release is the old or the new one, whole; nothing half-made is visible; every deployment rests or
can go on; nobody keeps the device; the host is told once; and deploying the new release commits it, with the same agent
where it lived on, and after its next start.

A share of the cases runs by default; EDGECTL_FAULT_TABLE=all runs every one, and with EDGECTL_WRITE_DOCS=1 writes how
many there are of each into docs/agent.md.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import functools
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgectl_protos.codec.document import from_bytes
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.bundle import MANIFEST_NAME, BuildRecipe
from edgectl_protos.domain.deployment import TERMINAL, State
from edgectl_protos.domain.errors import EdgectlError
from edgectl_protos.worker.derived import STAMP_NAME, Stamp
from edgectl_testkit.daemons import Daemons, daemons, end, wait_end
from edgectl_testkit.faults import CountingDisk, CuttingDisk, FailingDisk, Write
from edgectl_testkit.quick_worker import quick_workers
from edgectl_testkit.raw_client import RawClient
from edgectl_testkit.serve import serve, short_folder
from edgectl_testkit.stub_bundles import Part, stub_bundle
from edgectl_testkit.whole import damage_of

ALL = os.environ.get("EDGECTL_FAULT_TABLE") == "all"
STRIDE = 1 if ALL else 11
"""Of the cases in order; prime, and no divisor of the number of faults, so that each fault meets each kind of write."""

DOCUMENT = Path(__file__).parents[2] / "docs" / "agent.md"


@dataclass(frozen=True)
class Prepared:
    """A state directory with v1 installed and v0 before it, bundles, and the durable writes of each way."""

    folder: Path
    state: Path
    bundles: dict[str, Path]
    writes: dict[str, list[Write]]


def deploy(name: str, ends: State) -> Callable[[RawClient, dict[str, Path]], None]:
    def act(client: RawClient, bundles: dict[str, Path]) -> None:
        assert client.deploy(bundles[name], "d-2").state is ends

    return act


def roll_back(client: RawClient, bundles: dict[str, Path]) -> None:
    assert client.rollback().id == "d-0"


def withdraw(client: RawClient, bundles: dict[str, Path]) -> None:
    client.stage(bundles["v2"], "d-2")
    assert client.cancel("d-2").state is State.FAILED


WAYS = {
    "installed": deploy("v2", State.COMMITTED),
    "parity fails": deploy("unequal", State.FAILED),
    "probation fails": deploy("unfit", State.ROLLED_BACK),
    "rolled back": roll_back,
    "withdrawn": withdraw,
}
KILLS = ("killed before", "killed after")
FAILURES = {
    "no space": (errno.ENOSPC, False),
    "I/O error": (errno.EIO, False),
    "read-only from here": (errno.EROFS, True),
}
FAULTS = (*KILLS, *FAILURES, "cut")


@functools.cache
def prepared() -> Prepared:
    folder = Path(tempfile.mkdtemp(prefix="edg-kill-"))
    # Made at collection: no fixture may ever run.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    part = Part(recipe=BuildRecipe("stub"))
    wishes = {"unequal": {"parity_error": 0.5}, "unfit": {"die_in": "Smoke"}}
    bundles = {
        name: stub_bundle(folder / name, name=name, parts=(part,), wishes={"steps": [0.5, 1.0], **wishes.get(name, {})})
        for name in ("v0", "v1", "v2", "unequal", "unfit")
    }
    with serve(folder / "state") as address, RawClient(address) as client:
        for number in (0, 1):
            assert client.deploy(bundles[f"v{number}"], f"d-{number}").state is State.COMMITTED
    writes = {}
    for name, act in WAYS.items():
        state = folder / name.replace(" ", "-")
        shutil.copytree(folder / "state", state, symlinks=True)
        disk = CountingDisk()
        with serve(state, disk=disk) as address, RawClient(address) as client:
            act(client, bundles)
        writes[name] = disk.writes
    return Prepared(folder, folder / "state", bundles, writes)


def cases() -> list[tuple[str, int, str]]:
    return [
        (way, index, fault)
        for way, writes in prepared().writes.items()
        for index in range(len(writes))
        for fault in FAULTS
    ]


def pytest_generate_tests(metafunc):
    if "fault" in metafunc.fixturenames:
        chosen = [
            pytest.param(way, index, fault, id=f"{way}, {fault} {index}: {prepared().writes[way][index].what[:20]}")
            for way, index, fault in cases()[::STRIDE]
        ]
        metafunc.parametrize(("way", "index", "fault"), chosen)


def release_of(name: str) -> Digest:
    return Digest(hashlib.sha256((prepared().bundles[name] / MANIFEST_NAME).read_bytes()).hexdigest())


def check_visible(state: Path, way: str) -> None:
    """What a reader of the disk sees, before any repair."""
    current = Digest((state / "current").readlink().name)
    assert current in old_or_new(way)
    assert (state / "releases" / current.hex).is_dir()
    for folder in (state / "releases").glob("[0-9a-f]*"):
        assert not damage_of(folder)
    for folder in (state / "derived").glob("[0-9a-f]*"):
        stamp = from_bytes(Stamp, (folder / STAMP_NAME).read_bytes(), what=STAMP_NAME)
        assert stamp.files
        for entry in stamp.files:
            assert hashlib.sha256((folder / entry.path).read_bytes()).hexdigest() == entry.digest.hex


def old_or_new(way: str) -> tuple[Digest, ...]:
    new = {"installed": "v2", "probation fails": "unfit", "rolled back": "v0"}.get(way, "v1")
    return release_of("v1"), release_of(new)


def check_settled(client: RawClient, state: Path) -> None:
    """Every deployment rests, or waits for its host's word, and is told to have come to rest once."""
    for deployment in client.listing()[0]:
        record = json.loads((state / "deployments" / f"{deployment.id}.json").read_bytes())
        if deployment.state is State.STAGING and not record["started"]:
            continue
        told = [event.state for event in client.watch(deployment.id)]
        assert client.get(deployment.id).state in TERMINAL
        assert sum(state in TERMINAL for state in told) <= 1


def check_goes_on(client: RawClient, state: Path, way: str) -> None:
    """The old or the new release is installed and runs, and the new one is installed for good."""
    deployments, current, previous = client.listing()
    assert current in {str(release) for release in old_or_new(way)}
    assert previous
    # Of two links one may be changed when the disk fails; that is said, and the next installation mends it.
    assert current != previous or any(one.state is State.INCONSISTENT for one in deployments)
    again = client.deploy(prepared().bundles["v2"], "d-3")
    assert again.state is State.COMMITTED, again.failure
    assert client.listing()[1] == str(release_of("v2"))
    assert [event.phase.value for event in client.run("r")][-1] == "done"


def check_clean(state: Path) -> None:
    assert not damage_of(state / "releases" / release_of("v2").hex)
    assert not list((state / "partial").iterdir())
    assert not list((state / "scratch").iterdir())
    assert not list(state.rglob(".tmp-*"))


def die(source: Daemons, workers: tuple[str, ...], state: Path, way: str, index: int, when: str) -> None:
    """Go a way with an agent that dies at this write."""
    with short_folder() as folder:
        pid = source.start(state, folder / "s", workers=workers, at=index, when=when)
        try:
            if source.wait_ready(pid):
                with contextlib.suppress(EdgectlError), RawClient(f"unix:{folder}/s") as client:
                    WAYS[way](client, prepared().bundles)
            assert wait_end(pid, 60), "it went the whole way"
        finally:
            end(pid)


@pytest.fixture(scope="module")
def source():
    with daemons() as source:
        yield source


@pytest.fixture(scope="module")
def workers():
    with quick_workers() as arguments:
        yield arguments


def test_the_table_covers_every_state_and_has_at_least_300_cases():
    states = {write.state for writes in prepared().writes.values() for write in writes}
    met = {state.value for state in State} - {State.INCONSISTENT.value}
    assert states - {"none"} == met
    assert len(cases()) >= 300
    installs = [write.what for write in prepared().writes["installed"]]
    for name in ("rename d-2.json", "rename current", "rename previous", "append"):
        assert name in installs


def test_the_old_release_or_the_new_one_whatever_happens(tmp_path, source, workers, way, index, fault):
    state = tmp_path / "state"
    shutil.copytree(prepared().state, state, symlinks=True)
    if fault in KILLS:
        die(source, workers, state, way, index, fault.removeprefix("killed "))
    elif fault == "cut":
        clients: list[RawClient] = []
        disk = CuttingDisk(index, lambda: [client.channel.close() for client in clients])
        with serve(state, disk=disk, worker_arguments=workers) as address:
            clients.append(RawClient(address))
            with contextlib.suppress(EdgectlError, ValueError):
                WAYS[way](clients[0], prepared().bundles)
            with RawClient(address) as client:
                check_settled(client, state)
    else:
        code, lasting = FAILURES[fault]
        failing = FailingDisk(index, code, lasting=lasting)
        agent = serve(state, disk=failing, lease_s=0.0, worker_arguments=workers)
        with agent as address, RawClient(address) as client:
            with contextlib.suppress(EdgectlError, AssertionError):
                WAYS[way](client, prepared().bundles)
            if lasting and len(failing.writes) > index:
                assert errno.errorcode[code] in " ".join(client.hello().problems)
            failing.heal()
            check_settled(client, state)
            check_goes_on(client, state, way)
            assert client.hello().problems == ()
    check_visible(state, "installed" if fault in FAILURES else way)
    with serve(state, lease_s=0.0, worker_arguments=workers) as address, RawClient(address) as client:
        check_settled(client, state)
        if fault not in FAILURES:
            check_goes_on(client, state, way)
    check_clean(state)


def table() -> str:
    """How many cases there are of each state and fault."""
    counted: Counter[tuple[str, str]] = Counter()
    for way, index, fault in cases():
        counted[prepared().writes[way][index].state, fault] += 1
    states = ["none", *(state.value for state in State if any(key[0] == state.value for key in counted))]
    rows = [
        f"| {'at its start' if s == 'none' else s.upper()} | {' | '.join(str(counted[s, f]) for f in FAULTS)} |"
        for s in states
    ]
    head = f"| state | {' | '.join(FAULTS)} |\n|---|{'---:|' * len(FAULTS)}"
    return f"{head}\n" + "\n".join(rows) + f"\n\n{len(cases())} cases in all.\n"


def test_the_documentation_says_which_cases_there_are():
    begin, end_ = "<!-- fault table: written by tests/e2e/test_fault_table.py -->\n", "<!-- fault table end -->"
    before, _, rest = DOCUMENT.read_text().partition(begin)
    written, _, after = rest.partition(end_)
    if os.environ.get("EDGECTL_WRITE_DOCS"):
        DOCUMENT.write_text(f"{before}{begin}{table()}{end_}{after}")
        return
    # A part of the agent that writes once more adds a case to each fault, and need not be written down at once.
    said, there = ({line.split("|")[1] for line in text.splitlines() if "|" in line} for text in (written, table()))
    assert said == there
    assert abs(int(re.findall(r"(\d+) cases in all", written)[0]) - len(cases())) < len(cases()) / 5
