import hashlib
import io
import warnings
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl_agent.worker.release import read_npz, read_release
from edgectl_protos.codec.document import canonical_bytes, from_bytes
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.bundle import MANIFEST_NAME, Manifest
from edgectl_protos.domain.errors import BundleCorruptError, BundleError, BundlePathError, NotFoundError
from edgectl_testkit.bundles import COMPONENT, npz_bytes, release_dir, tiny_bundle, tiny_graph


@pytest.fixture
def folder(tmp_path):
    bundle, _ = tiny_bundle(tmp_path / "bundle")
    return release_dir(bundle, tmp_path / "release")


def rewrite(folder, **changes):
    path = folder / MANIFEST_NAME
    manifest = from_bytes(Manifest, path.read_bytes(), what=MANIFEST_NAME)
    path.write_bytes(canonical_bytes(replace(manifest, **changes)))


def test_a_release_is_read_whole(folder):
    release = read_release(folder)
    (component,) = release.manifest.components
    assert release.artifact(component).read_bytes() == tiny_graph()
    assert release.digest == Digest(hashlib.sha256((folder / MANIFEST_NAME).read_bytes()).hexdigest())
    assert release.loop.name == "tiny"
    assert sorted(release.golden()) == sorted(
        ["in.observation.images.top", "in.observation.images.wrist", "in.observation.state", "out.action"]
    )
    assert "post.action.scale" in release.arrays


def test_no_release_says_what_makes_one(tmp_path):
    with pytest.raises(NotFoundError, match="no release") as caught:
        read_release(tmp_path)
    assert "edgectl deploy" in caught.value.hint


@pytest.mark.parametrize("name", ["arrays.npz", "loop.json"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(BundleCorruptError, match=name):
        read_release(folder)


def test_a_manifest_that_is_not_json_is_refused(folder):
    (folder / MANIFEST_NAME).write_text("{")
    with pytest.raises(BundleError, match="is not JSON"):
        read_release(folder)


def test_a_component_without_an_entry_is_its_folder(folder):
    release = read_release(folder)
    component = replace(release.manifest.components[0], entry="")
    assert release.artifact(component) == folder / "components" / COMPONENT


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a/../../b"])
def test_a_path_out_of_the_release_is_refused(folder, path):
    release = read_release(folder)
    with pytest.raises(BundlePathError):
        release.path(path)
    with pytest.raises(BundlePathError):
        release.artifact(replace(release.manifest.components[0], entry=path))


def test_a_release_without_golden_cases_has_none(folder):
    rewrite(folder, golden=None)
    assert read_release(folder).golden() == {}


@pytest.mark.parametrize("damage", ["truncate", "flip", "pickle", "text", "npy"])
def test_arrays_that_cannot_be_trusted_are_refused(tmp_path, damage):
    path = tmp_path / "a.npz"
    if damage == "pickle":
        np.savez(path, a=np.array([{}], object))
    else:
        np.savez_compressed(path, a=np.arange(1000))
    data = bytearray(path.read_bytes())
    if damage == "truncate":
        data = data[: len(data) // 2]
    elif damage == "flip":
        data[200] ^= 0xFF
    elif damage == "text":
        data = bytearray(b"hello")
    elif damage == "npy":
        np.save(tmp_path / "a.npy", np.arange(3))
        data = bytearray((tmp_path / "a.npy").read_bytes())
    path.write_bytes(bytes(data))
    with pytest.raises(BundleCorruptError, match=r"a\.npz cannot be read"):
        read_npz(path)


def test_an_archive_of_which_little_would_fill_the_memory_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as member:
        for _ in range(300):
            member.write(bytes(1 << 20))
    assert path.stat().st_size < 1 << 20
    monkeypatch.setattr(np, "load", lambda *_args, **_more: pytest.fail("it was opened"))
    with pytest.raises(BundleCorruptError, match="314,572,800 in memory"):
        read_npz(path)


def test_an_archive_of_ordinary_size_may_pack_well(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(1 << 20))
    assert read_npz(tmp_path / "a.npz")["a"].nbytes == 8 << 20


def test_an_encrypted_archive_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, a=np.arange(3))
    data = bytearray(path.read_bytes())
    directory = data.rindex(b"PK\x01\x02")
    data[6] |= 1
    data[directory + 8] |= 1
    path.write_bytes(bytes(data))
    with pytest.raises(BundleCorruptError, match="encrypted"):
        read_npz(path)


ARCHIVE = npz_bytes({"a": np.arange(6, dtype=np.float32), "task": np.array(["stack the cups"])})


@st.composite
def damaged(draw):
    """An archive with some of its bytes changed, or cut short."""
    data = bytearray(ARCHIVE)
    for at in draw(st.lists(st.integers(0, len(data) - 1), max_size=6)):
        data[at] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))]) if draw(st.booleans()) else bytes(data)


@given(data=st.one_of(st.binary(max_size=300), st.binary(max_size=100).map(lambda tail: ARCHIVE + tail), damaged()))
def test_any_bytes_are_arrays_or_corrupt(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.npz"
    path.write_bytes(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            arrays = read_npz(path)
    except BundleCorruptError:
        return
    assert all(isinstance(array, np.ndarray) and array.dtype.kind != "O" for array in arrays.values())


def test_a_member_that_is_no_array_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("notes.txt", "hello")
    with pytest.raises(BundleCorruptError, match="a.npz holds 'notes.txt', which is no array"):
        read_npz(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=["bzip2", "lzma"])
def test_an_archive_that_another_compressor_wrote_and_something_damaged_is_refused(tmp_path, method):
    # numpy itself writes neither, but reads both, and each fails in its own way.
    path = tmp_path / "a.npz"
    written = np.random.default_rng(0).standard_normal(500)
    member = io.BytesIO()
    np.save(member, written)
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("a.npy", member.getvalue())
    whole = path.read_bytes()
    refused = 0
    for at in range(35, 400, 5):
        path.write_bytes(whole[:at] + b"\xff" * 4 + whole[at + 4 :])
        try:
            arrays = read_npz(path)
        except BundleCorruptError:
            refused += 1
        else:
            # Not every byte says something.
            np.testing.assert_array_equal(arrays["a"], written)
    assert refused > 60
