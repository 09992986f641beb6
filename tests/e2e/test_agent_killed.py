"""kill -9 of the daemon at every durable write of an install over an installed release, and of a rollback. A part of
each release is built by the device.

The writes are counted on a first try; each becomes two tests. They are counted from the start of the daemon, so
that its own writes at start are cases too. After each death the real agent starts on what is left, and:
the installed release is the old or the new one, whole; nothing half-made is visible; every deployment rests
or can go on; and deploying the new one again commits it.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgectl_protos.codec.document import from_bytes
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.bundle import MANIFEST_NAME, BuildRecipe, Manifest
from edgectl_protos.domain.deployment import TERMINAL, State
from edgectl_protos.domain.errors import EdgectlError
from edgectl_protos.worker.derived import STAMP_NAME, Stamp
from edgectl_testkit.faults import CountingDisk
from edgectl_testkit.raw_client import RawClient
from edgectl_testkit.serve import serve, short_folder
from edgectl_testkit.stub_bundles import Part, stub_bundle


@dataclass(frozen=True)
class Prepared:
    """A state directory with v1 installed and v0 before it, bundles, and the durable writes of each act."""

    folder: Path
    state: Path
    bundles: dict[str, Path]
    writes: dict[str, list[str]]


def install(client: RawClient, bundles: dict[str, Path]) -> None:
    assert client.deploy(bundles["v2"], "d-2").state is State.COMMITTED


def roll_back(client: RawClient, bundles: dict[str, Path]) -> None:
    assert client.rollback().id == "d-0"


ACTS = {"install": install, "rollback": roll_back}


@functools.cache
def prepared() -> Prepared:
    folder = Path(tempfile.mkdtemp(prefix="edg-kill-"))
    # Made at collection: no fixture may ever run.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    part = Part(recipe=BuildRecipe("stub"))
    bundles = {
        name: stub_bundle(folder / name, name=name, parts=(part,), wishes={"steps": [0.5, 1.0]})
        for name in ("v0", "v1", "v2")
    }
    with serve(folder / "state") as address, RawClient(address) as client:
        for number in (0, 1):
            assert client.deploy(bundles[f"v{number}"], f"d-{number}").state is State.COMMITTED
    writes = {}
    for name, act in ACTS.items():
        shutil.copytree(folder / "state", folder / name, symlinks=True)
        disk = CountingDisk()
        with serve(folder / name, disk=disk) as address, RawClient(address) as client:
            act(client, bundles)
        writes[name] = disk.writes
    return Prepared(folder, folder / "state", bundles, writes)


def pytest_generate_tests(metafunc):
    if "write" in metafunc.fixturenames:
        cases = [
            pytest.param(act, index, when, id=f"{act}, {when} {index}: {write[:20]}")
            for act, writes in prepared().writes.items()
            for index, write in enumerate(writes)
            for when in ("before", "after")
        ]
        metafunc.parametrize(("act", "write", "when"), cases)


def die(state: Path, act: str, write: int, when: str) -> None:
    """Act on an agent that dies at this write."""
    with short_folder() as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "edgectl_testkit.agent_process", state, folder / "s", str(write), when],
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": str(Path(__file__).parents[1] / "support"), "PATH": ""},
        )
        assert process.stdout is not None
        with process, process.stdout:
            try:
                if process.stdout.readline() == b"ready\n":
                    with contextlib.suppress(EdgectlError), RawClient(f"unix:{folder}/s") as client:
                        ACTS[act](client, prepared().bundles)
                process.wait(5)
            finally:
                process.kill()
        assert process.returncode == -9


def check_whole(state: Path, release: Digest) -> None:
    """Every file of a release directory is there and has its bytes."""
    folder = state / "releases" / release.hex
    data = (folder / MANIFEST_NAME).read_bytes()
    assert hashlib.sha256(data).hexdigest() == release.hex
    for entry in from_bytes(Manifest, data, what="manifest").files:
        assert hashlib.sha256((folder / entry.path).read_bytes()).hexdigest() == entry.digest.hex


def check_built(state: Path) -> None:
    """Everything that was built and can be seen is whole."""
    for folder in (state / "derived").glob("[0-9a-f]*"):
        stamp = from_bytes(Stamp, (folder / STAMP_NAME).read_bytes(), what=STAMP_NAME)
        assert stamp.files
        for entry in stamp.files:
            assert hashlib.sha256((folder / entry.path).read_bytes()).hexdigest() == entry.digest.hex


def release_of(bundle: Path) -> Digest:
    return Digest(hashlib.sha256((bundle / MANIFEST_NAME).read_bytes()).hexdigest())


def test_the_count_covers_an_installation_and_a_rollback():
    install, rollback = prepared().writes["install"], prepared().writes["rollback"]
    for name in ("rename d-2.json", "rename current", "rename previous", "append"):
        assert name in install
    assert install.count("rename d-2.json") >= 9
    assert any(re.fullmatch(r"rename [0-9a-f]{64}", write) for write in install[install.index("append") :])
    for name in ("rename d-1.json", "rename current", "rename previous", "append"):
        assert name in rollback


def test_an_agent_that_is_killed_leaves_the_old_release_or_the_new(tmp_path, act, write, when):
    state = tmp_path / "state"
    shutil.copytree(prepared().state, state, symlinks=True)
    die(state, act, write, when)
    v0, v1, v2 = (release_of(prepared().bundles[name]) for name in ("v0", "v1", "v2"))
    old_or_new = (v1, v2) if act == "install" else (v1, v0)

    # What a reader of the disk sees before any repair.
    assert Digest((state / "current").readlink().name) in old_or_new
    check_whole(state, Digest((state / "current").readlink().name))
    for folder in (state / "releases").glob("[0-9a-f]*"):
        check_whole(state, Digest(folder.name))
    check_built(state)

    with serve(state, lease_s=0.0) as address, RawClient(address) as client:
        deployments, _, _ = client.listing()
        for deployment in deployments:
            record = json.loads((state / "deployments" / f"{deployment.id}.json").read_bytes())
            # Only one that still waits for its host's word does not come to rest by itself.
            if deployment.state is not State.STAGING or record["started"]:
                list(client.watch(deployment.id))
                assert client.get(deployment.id).state in TERMINAL
        deployments, current, previous = client.listing()
        assert current in {str(release) for release in old_or_new}
        assert previous
        assert current != previous
        assert current in {str(d.release) for d in deployments if d.state is State.COMMITTED}
        assert [event.phase.value for event in client.run("r")][-1] == "done"

        was_installed = v1 if act == "install" else Digest.parse(current)
        again = client.deploy(prepared().bundles["v2"], "d-3")
        assert again.state is State.COMMITTED, again.failure
        assert client.listing()[1:] == (str(v2), str(was_installed))
    check_whole(state, v2)
    check_whole(state, was_installed)
    check_built(state)
    assert len(list((state / "derived").iterdir())) >= 2
    assert not list((state / "partial").iterdir())
    assert not list(state.rglob(".tmp-*"))
