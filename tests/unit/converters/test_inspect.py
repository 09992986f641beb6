from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgectl_converters.inspect import inspect
from edgectl_protos.domain.errors import CheckpointCorruptError, CheckpointError, CheckpointFormatError
from edgectl_testkit.bundles import tiny_bundle, tiny_graph


def test_a_path_with_nothing_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint at .*absent"):
        inspect(tmp_path / "absent")


def test_a_directory_without_config_is_no_known_format(tmp_path):
    with pytest.raises(CheckpointFormatError, match=r"without a config\.json"):
        inspect(tmp_path)


def test_a_directory_around_one_graph_stands_for_it(tmp_path):
    (tmp_path / "net.onnx").write_bytes(tiny_graph())
    (tmp_path / "README.md").write_text("a net")
    (tmp_path / "fleet.yaml").write_text("devices: {}")
    card = inspect(tmp_path)
    assert (card.source, card.path) == ("onnx", tmp_path / "net.onnx")
    assert "read from net.onnx" in card.notes


def test_a_directory_around_several_graphs_names_them(tmp_path):
    for name in ("actor", "critic"):
        (tmp_path / f"{name}.onnx").write_bytes(tiny_graph())
    with pytest.raises(CheckpointFormatError, match=r"2 files that each could be meant: actor\.onnx, critic\.onnx"):
        inspect(tmp_path)


def test_a_bundle_is_told_from_what_nobody_knows(tmp_path):
    folder = tiny_bundle(tmp_path / "made")[0]
    with pytest.raises(CheckpointFormatError, match="is a bundle") as caught:
        inspect(folder)
    assert caught.value.hint.endswith(f"edgectl deploy {folder}")


def test_a_file_of_another_kind_is_no_known_format(tmp_path):
    (tmp_path / "weights.zip").write_bytes(b"PK")
    with pytest.raises(CheckpointFormatError, match=r"\.zip"):
        inspect(tmp_path / "weights.zip")


def test_formats_are_told_apart(tmp_path, written):
    (tmp_path / "net.onnx").write_bytes(tiny_graph())
    assert inspect(written).source == "lerobot"
    assert inspect(tmp_path / "net.onnx").source == "onnx"


def test_a_config_that_is_no_object_is_refused(written):
    (written / "config.json").write_text("[1, 2]")
    with pytest.raises(CheckpointFormatError, match="type"):
        inspect(written)


def test_a_config_without_type_is_refused_with_its_path(directory, tmp_path):
    del directory.config["type"]
    with pytest.raises(CheckpointFormatError, match=r"config\.json has no `type`"):
        inspect(directory.write(tmp_path / "p"))


def test_an_unknown_policy_type_is_refused_with_those_that_are_known(directory, tmp_path):
    directory.config["type"] = "vqbet"
    with pytest.raises(CheckpointFormatError, match="'vqbet' is not supported; supported: act"):
        inspect(directory.write(tmp_path / "p"))


def test_an_empty_config_says_where_it_comes_from(written):
    (written / "config.json").write_bytes(b"")
    with pytest.raises(CheckpointError, match="empty") as caught:
        inspect(written)
    assert "save_pretrained" in caught.value.hint


def test_a_config_cut_off_in_the_middle_is_corrupt(written):
    text = (written / "config.json").read_text()
    (written / "config.json").write_text(text[: len(text) // 2])
    with pytest.raises(CheckpointCorruptError, match=r"config\.json is not JSON"):
        inspect(written)


def test_a_config_that_is_not_text_is_corrupt(written):
    (written / "config.json").write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(CheckpointCorruptError, match=r"config\.json"):
        inspect(written)


def test_inspecting_imports_nothing_heavy(written):
    code = (
        "import sys, pathlib; from edgectl_converters.inspect import inspect;"
        f"inspect(pathlib.Path({str(written)!r}));"
        "print([m for m in ('torch', 'onnx', 'onnxruntime', 'openvino', 'nncf', 'av') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_digest_covers_every_file_that_decides_the_actions(written):
    before = inspect(written).digest
    for name in [path.name for path in sorted(written.iterdir())]:
        path = written / name
        data = path.read_bytes()
        if path.suffix == ".json":
            path.write_text(json.dumps(json.loads(data) | {"note": 1}))
        else:
            # The last byte belongs to a tensor, so that the file stays readable.
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        assert inspect(written).digest != before, name
        path.write_bytes(data)
    assert inspect(written).digest == before


def test_a_training_folder_beside_does_not_change_the_digest(written):
    before = inspect(written).digest
    (written / "README.md").write_text("hello")
    (written / "train_config.json").write_text("{}")
    assert inspect(written).digest == before


@pytest.mark.parametrize(
    "inside",
    [
        "pretrained_model",
        "last/pretrained_model",
        "checkpoints/last/pretrained_model",
        "checkpoints/020000/pretrained_model",
        "snapshots/0123456789abcdef0123456789abcdef01234567",
        "my_policy",
    ],
)
def test_a_folder_around_one_policy_stands_for_it(directory, tmp_path, inside):
    folder = directory.write(tmp_path / "run" / inside)
    card = inspect(tmp_path / "run")
    assert card.path == folder
    assert card.notes[0] == f"read from {inside}"
    assert card.name == ("my_policy" if inside == "my_policy" else "run")


def test_the_newest_checkpoint_of_a_run_is_taken(directory, tmp_path):
    for step in ("005000", "100000", "020000"):
        directory.write(tmp_path / "checkpoints" / step / "pretrained_model")
    assert inspect(tmp_path).path.parent.name == "100000"


def test_a_folder_of_several_policies_names_them(directory, tmp_path):
    for name in ("a", "b"):
        directory.write(tmp_path / name)
    with pytest.raises(CheckpointFormatError, match="2 policies: a, b") as caught:
        inspect(tmp_path)
    assert str(tmp_path / "b") in caught.value.hint


def test_a_policy_of_the_hub_is_not_downloaded_but_the_command_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="downloads nothing") as caught:
        inspect(Path("lerobot/act_aloha"))
    assert "hf download lerobot/act_aloha --local-dir act_aloha" in caught.value.hint


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 206699736\n"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "policy_preprocessor.json"])
def test_a_git_lfs_pointer_is_named(written, name):
    (written / name).write_bytes(POINTER)
    with pytest.raises(CheckpointCorruptError, match=f"{name} is a Git LFS pointer") as caught:
        inspect(written)
    assert "lfs pull" in caught.value.hint


def test_a_graph_that_is_a_git_lfs_pointer_is_named(tmp_path):
    (tmp_path / "net.onnx").write_bytes(POINTER)
    with pytest.raises(CheckpointCorruptError, match=r"net\.onnx is a Git LFS pointer"):
        inspect(tmp_path / "net.onnx")
