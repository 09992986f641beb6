"""What an agent does with a disk that failed, or on which somebody or the years altered something. Each test is a fault
that once cost more than it should.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import subprocess

import pytest

from edgectl_agent.app import Agent
from edgectl_protos.domain.deployment import TERMINAL, State
from edgectl_protos.domain.errors import BundleCorruptError, BundleError, DeviceError, EdgectlError, UsageError
from edgectl_protos.domain.run import RunPhase
from edgectl_testkit.faults import FailingDisk
from edgectl_testkit.raw_client import RawClient, chunks_of, frame_of, manifest_bytes, manifest_of
from edgectl_testkit.serve import agent_config, serve


def alter(path):
    path.chmod(0o600)
    path.write_bytes(b"?" + path.read_bytes()[1:])


@pytest.mark.parametrize("code", [errno.EIO, errno.EROFS, errno.ENOSPC])
def test_a_disk_that_fails_for_good_in_the_middle_leaves_a_device_that_answers_is_free_and_says_why(
    state, bundle, code
):
    with serve(state) as address, RawClient(address) as client:
        client.deploy(bundle("v1"), "d-1")
        before = client.listing()[1:]
    # Far enough into the installation that its host has said start.
    disk = FailingDisk(16, code, lasting=True)
    with serve(state, disk=disk) as address, RawClient(address) as client:
        client.stage(bundle("v2"), "d-2")
        disk._at = len(disk.writes) + 4
        client.start("d-2")
        list(client.watch("d-2"))
        assert client.get("d-2").state in TERMINAL - {State.COMMITTED}
        assert errno.errorcode[code] in "".join(client.hello().problems) or code == errno.ENOSPC
        assert client.listing()[1:] == before
        disk.heal()
        assert client.deploy(bundle("v3"), "d-3").state is State.COMMITTED
        assert client.hello().problems == ()
    # What was told is what is found again: a failed deployment does not go on behind its host's back.
    with serve(state) as address, RawClient(address) as client:
        assert client.get("d-2").state in TERMINAL - {State.COMMITTED}


def test_an_altered_file_of_the_installed_release_is_said_refused_and_sent_again(state, bundle):
    with serve(state) as address, RawClient(address) as client:
        client.deploy(bundle("v1"), "d-1")
    alter(state / "current" / "components/full/model.bin")
    with serve(state) as address, RawClient(address) as client:
        (problem,) = client.problems().values()
        assert "components/full/model.bin" in problem
        last = list(client.run("r-1"))[-1]
        assert (last.phase, last.failure.reason) == (RunPhase.FAILED, BundleCorruptError.reason)
        assert "edgectl deploy" in last.failure.hint
        created = client.create(manifest_bytes(bundle("v1")), "d-2")
        assert (created.id, created.state) == ("d-2", State.STAGING)
        entry = manifest_of(bundle("v1")).file("components/full/model.bin")
        data = (bundle("v1") / "blobs/sha256" / entry.digest.hex).read_bytes()
        assert client.offer("d-2", entry.digest, chunks_of(data)).missing == (0,)
        assert client.deploy(bundle("v1"), "d-2").state is State.COMMITTED
        assert client.problems() == {}
        assert list(client.run("r-2"))[-1].phase is RunPhase.DONE


def test_a_loaded_release_whose_file_is_altered_is_not_run_any_more(client, bundle, state):
    client.deploy(bundle("v1"), "d-1")
    assert list(client.run("r-1"))[-1].phase is RunPhase.DONE
    alter(state / "current" / "components/full/model.bin")
    assert list(client.run("r-2"))[-1].failure.reason == BundleCorruptError.reason


@pytest.mark.parametrize("what", ["folder", "file"])
def test_an_installed_release_that_was_removed_is_said_and_laid_out_again(state, bundle, what):
    with serve(state) as address, RawClient(address) as client:
        client.deploy(bundle("v1"), "d-1")
    release = (state / "current").resolve()
    shutil.rmtree(release) if what == "folder" else (release / "golden.npz").unlink()
    with serve(state) as address, RawClient(address) as client:
        assert "missing or altered" in "".join(client.problems().values())
        assert list(client.run("r-1"))[-1].failure.reason == BundleCorruptError.reason
        assert client.deploy(bundle("v1"), "d-2").state is State.COMMITTED
        assert list(client.run("r-2"))[-1].phase is RunPhase.DONE


def test_a_damaged_manifest_of_the_previous_release_is_written_anew(client, bundle, state):
    client.deploy(bundle("v1"), "d-1")
    client.deploy(bundle("v2"), "d-2")
    alter(state / "blobs/sha256" / (state / "previous").readlink().name)
    with pytest.raises(BundleCorruptError, match="altered"):
        client.rollback()
    assert client.deploy(bundle("v1"), "d-3").state is State.COMMITTED
    assert client.rollback().state is State.COMMITTED


def test_a_name_of_any_length_costs_no_listing(client, bundle):
    document = json.loads(manifest_bytes(bundle("v1")))
    for name in ("x" * 500, "", "two\nlines", "\x1b[2J"):
        with pytest.raises(BundleError, match="no name of a release"):
            client.create(json.dumps(document | {"name": name}).encode(), "d-1")
    with pytest.raises(BundleError, match="is no text"):
        client.create(json.dumps(document | {"name": "\ud800"}).encode(), "d-1")
    with pytest.raises(UsageError, match="no name of an owner"):
        client.create(manifest_bytes(bundle("v1")), "d-1", owner="o" * 500)
    with pytest.raises(BundleError, match="manifest has"):
        client.create(manifest_bytes(bundle("v1")) + b" " * (1 << 20), "d-1")
    with pytest.raises(UsageError, match="at most [0-9,]+ are read"):
        client.create(b" " * ((2 << 20) - 1000), "d-1")
    assert client.listing()[0] == []


def test_what_hosts_abandon_is_bounded_on_the_disk(state, bundle):
    with serve(state, lease_s=0.0) as address, RawClient(address) as client:
        for number in range(6):
            client.create(manifest_bytes(bundle(f"v{number}")), f"d-{number}")
        client.cancel("d-5")
        assert len(list((state / "blobs/sha256").iterdir())) <= 2
        # The last attempt of a release goes on where it stopped.
        last = manifest_of(bundle("v5")).file("components/full/model.bin")
        data = (bundle("v5") / "blobs/sha256" / last.digest.hex).read_bytes()
        client.create(manifest_bytes(bundle("v5")), "d-6")
        offered = client.offer("d-6", last.digest, chunks_of(data))
        client.upload([frame_of(offered.upload, data, chunks_of(data), 0)])
        client.commit("d-6", last.digest)
        client.cancel("d-6")
        client.create(manifest_bytes(bundle("v5")), "d-7")
        assert client.offer("d-7", last.digest, chunks_of(data)).complete


def _planted_fifo(path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)


PLANTED = {
    "a file for current": lambda s: (s / "current").unlink() or (s / "current").write_text("?"),
    "a directory for current": lambda s: (s / "current").unlink() or (s / "current").mkdir(),
    "a bad link for current": lambda s: (s / "current").unlink() or (s / "current").symlink_to("/etc/passwd"),
    "an odd worker": lambda s: (s / "workers" / os.fsdecode(b"\xff\xfe")).write_bytes(b"\xff\xfe"),
    "a worker that is a folder": lambda s: (s / "workers" / "77").mkdir(),
    "a deep document": lambda s: (s / "deployments" / "x.json").write_bytes(b"[" * 100_000),
    "an enormous number": lambda s: (s / "outbox.jsonl").write_bytes(b'{"acknowledged": ' + b"9" * 5000 + b"}"),
    "a large number": lambda s: (s / "outbox.jsonl").write_bytes(b'{"acknowledged": ' + b"9" * 400 + b"}"),
    "a deep line": lambda s: (s / "outbox.jsonl").write_bytes(b"[" * 100_000),
    "a fifo for the outbox": lambda s: _planted_fifo(s / "outbox.jsonl"),
    "a folder for a document": lambda s: (s / "deployments" / "y.json").mkdir(),
    "a fifo for a document": lambda s: _planted_fifo(s / "deployments" / "z.json"),
    "transitions without end": lambda s: _rewrite(s / "deployments" / "d-1.json", transitions=2**40),
    "a file for a release": lambda s: (s / "releases" / ("ab" * 32)).write_text("?"),
    "a link for the lock": lambda s: (s / "lock").unlink() or (s / "lock").symlink_to(s / "current"),
}


def _rewrite(path, **changes):
    document = json.loads(path.read_bytes())
    path.write_text(json.dumps(document | {"deployment": document["deployment"] | changes}))


@pytest.mark.parametrize("planted", PLANTED)
def test_an_agent_starts_on_whatever_it_finds_and_serves(state, bundle, planted):
    with serve(state) as address, RawClient(address) as client:
        client.deploy(bundle("v1"), "d-1")
    PLANTED[planted](state)
    with serve(state) as address, RawClient(address) as client:
        assert client.hello()
        client.listing()
        assert client.deploy(bundle("v2"), "d-2").state is State.COMMITTED
        assert list(client.run("r-1"))[-1].phase is RunPhase.DONE
        assert client.listing()[0]


@pytest.fixture
def mounted(tmp_path):
    """A state directory on a file system of its own, and what remounts it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"no permission to mount a tmpfs: {made.stderr.strip()}")

    def remount(how):
        subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)

    yield folder / "state", remount
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_an_agent_on_a_read_only_disk_starts_says_so_and_mends_when_it_can_write(mounted, bundle):
    state, remount = mounted
    with serve(state) as address, RawClient(address) as client:
        client.deploy(bundle("v1"), "d-1")
        before = client.listing()[1:]
    remount("ro")
    with serve(state) as address, RawClient(address) as client:
        assert "EROFS" in "".join(client.hello().problems)
        assert client.listing()[1:] == before
        with pytest.raises(EdgectlError):
            client.deploy(bundle("v2"), "d-2")
        remount("rw")
        assert client.deploy(bundle("v3"), "d-3").state is State.COMMITTED
        assert client.hello().problems == ()


def test_an_agent_on_a_full_disk_starts_and_says_so(mounted, bundle):
    state, _ = mounted
    with serve(state) as address, RawClient(address) as client:
        client.deploy(bundle("v1"), "d-1")
    hog = state.parent / "hog"
    with hog.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    with serve(state) as address, RawClient(address) as client:
        assert "no space left" in "".join(client.hello().problems)
        assert client.listing()[1]
        hog.unlink()
        assert client.deploy(bundle("v2"), "d-2").state is State.COMMITTED
        assert client.hello().problems == ()


@pytest.mark.parametrize("where", ["", "releases", "blobs/sha256"])
def test_a_directory_to_which_others_may_write_is_refused(state, bundle, where):
    with serve(state):
        pass
    (state / where).chmod(0o777)
    agent = Agent.from_config(agent_config(state, f"unix:{state.parent}/a.sock"))
    with pytest.raises(DeviceError, match="other users may write to") as caught:
        agent.start()
    assert "chmod go-w" in caught.value.hint


def test_a_directory_of_somebody_else_is_refused(state):
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    state.mkdir()
    os.chown(state, 65534, 65534)
    agent = Agent.from_config(agent_config(state, f"unix:{state.parent}/a.sock"))
    with pytest.raises(DeviceError, match="belongs to another user"):
        agent.start()


def test_a_folder_that_is_a_link_is_refused_and_nothing_is_written_through_it(state, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    state.mkdir(mode=0o700)
    (state / "blobs").symlink_to(elsewhere)
    agent = Agent.from_config(agent_config(state, f"unix:{tmp_path}/a.sock"))
    with pytest.raises(DeviceError, match="no directory"):
        agent.start()
    assert list(elsewhere.iterdir()) == []


def test_a_planted_lock_costs_its_target_nothing(state, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("precious")
    state.mkdir(mode=0o700)
    (state / "lock").symlink_to(precious)
    with serve(state) as address, RawClient(address) as client:
        assert client.hello()
    assert precious.read_text() == "precious"
    assert stat.S_ISREG((state / "lock").lstat().st_mode)
