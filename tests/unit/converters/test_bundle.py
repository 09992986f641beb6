from __future__ import annotations

import json
from dataclasses import replace

import onnx
import pytest

from edgectl_converters.bundle import (
    add_files,
    blob_path,
    copy_bundle,
    is_bundle,
    read_bundle,
    read_manifest,
    write_manifest,
)
from edgectl_protos.domain.bundle import MANIFEST_NAME
from edgectl_protos.domain.errors import BundleCorruptError, BundleError, BundlePathError
from edgectl_testkit.bundles import tiny_bundle


@pytest.fixture
def bundle(tmp_path):
    return tiny_bundle(tmp_path / "bundle")[0]


def test_a_bundle_is_read_with_the_bytes_that_its_digest_names(bundle):
    manifest, data = read_bundle(bundle)
    assert data == (bundle / MANIFEST_NAME).read_bytes()
    assert manifest.name == "tiny"
    assert is_bundle(bundle)
    assert not is_bundle(bundle.parent)


def test_writing_what_was_read_gives_the_same_bytes(bundle, tmp_path):
    manifest, data = read_bundle(bundle)
    write_manifest(tmp_path, manifest)
    assert (tmp_path / MANIFEST_NAME).read_bytes() == data


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match="no bundle"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("location", "error"),
    [("../../../etc/passwd", BundlePathError), ("/dev/mem", BundlePathError), ("w", BundleCorruptError)],
)
def test_a_graph_that_names_a_file_the_bundle_does_not_hold_is_refused(bundle, tmp_path, location, error):
    manifest, _ = read_manifest(bundle)
    path = "components/act/model.onnx"
    model = onnx.load(blob_path(bundle, manifest.file(path).digest))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    (entry,) = add_files(bundle, {path: tmp_path / "model.onnx"})
    files = tuple(entry if one.path == path else one for one in manifest.files)
    write_manifest(bundle, replace(manifest, files=files))
    with pytest.raises(error, match=r"components/act/model\.onnx names"):
        read_bundle(bundle)


def test_a_graph_that_is_none_is_named_by_its_path(bundle, tmp_path):
    manifest, _ = read_manifest(bundle)
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    (entry,) = add_files(bundle, {"components/act/model.onnx": tmp_path / "model.onnx"})
    files = tuple(entry if one.path == entry.path else one for one in manifest.files)
    write_manifest(bundle, replace(manifest, files=files))
    with pytest.raises(BundleCorruptError, match=r"components/act/model\.onnx is no ONNX graph"):
        read_bundle(bundle)


@pytest.mark.parametrize("damage", ["flip", "truncate", "extend", "remove"])
def test_a_damaged_blob_is_named_by_its_path(bundle, damage):
    entry = read_manifest(bundle)[0].file("components/act/model.onnx")
    blob = blob_path(bundle, entry.digest)
    data = bytearray(blob.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    if damage == "truncate":
        data = data[:-1]
    if damage == "extend":
        data += b"\0"
    if damage == "remove":
        blob.unlink()
    else:
        blob.write_bytes(bytes(data))
    with pytest.raises(BundleCorruptError, match=r"model\.onnx"):
        read_bundle(bundle)


@pytest.mark.parametrize("path", ["../escape.onnx", "/etc/passwd", "a/../../b", "a\\b", ""])
def test_a_path_that_leaves_the_bundle_is_refused(bundle, path):
    document = json.loads((bundle / MANIFEST_NAME).read_bytes())
    document["files"].append({**document["files"][0], "path": path})
    (bundle / MANIFEST_NAME).write_text(json.dumps(document))
    with pytest.raises(BundlePathError):
        read_bundle(bundle)


def test_a_digest_cannot_name_a_path(bundle):
    document = json.loads((bundle / MANIFEST_NAME).read_bytes())
    document["files"][0]["digest"] = "sha256:../../../etc/passwd"
    (bundle / MANIFEST_NAME).write_text(json.dumps(document))
    with pytest.raises(BundleError):
        read_bundle(bundle)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b'{"schema": "edgectl.dev/bundle/v9"}'])
def test_a_manifest_that_is_none_is_refused(bundle, data):
    (bundle / MANIFEST_NAME).write_bytes(data)
    with pytest.raises(BundleError):
        read_bundle(bundle)


def test_equal_files_share_a_blob(tmp_path):
    (tmp_path / "one").write_bytes(b"same")
    (tmp_path / "two").write_bytes(b"same")
    entries = add_files(tmp_path / "b", {"x.bin": tmp_path / "one", "y/z.bin": tmp_path / "two"})
    assert [entry.path for entry in entries] == ["x.bin", "y/z.bin"]
    assert len(list((tmp_path / "b/blobs/sha256").iterdir())) == 1


def test_changing_the_source_afterwards_does_not_change_the_bundle(tmp_path):
    source = tmp_path / "footage.mp4"
    source.write_bytes(b"before")
    (entry,) = add_files(tmp_path / "b", {"footage.mp4": source})
    source.write_bytes(b"after!")
    assert blob_path(tmp_path / "b", entry.digest).read_bytes() == b"before"


def test_a_bundle_is_copied_whole_and_never_over_something(bundle, tmp_path):
    copy_bundle(bundle, tmp_path / "deep/out")
    assert read_bundle(tmp_path / "deep/out") == read_bundle(bundle)
    with pytest.raises(BundleError, match="exists already"):
        copy_bundle(bundle, tmp_path / "deep/out")
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="cannot be written"):
        copy_bundle(bundle, tmp_path / "file/out")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]
