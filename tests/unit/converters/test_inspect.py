from __future__ import annotations

import json
import subprocess
import sys

import pytest

from edgectl_converters.inspect import inspect
from edgectl_protos.domain.errors import CheckpointCorruptError, CheckpointError, CheckpointFormatError
from edgectl_testkit.bundles import tiny_graph


def test_a_path_with_nothing_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint at .*absent"):
        inspect(tmp_path / "absent")


def test_a_directory_without_config_is_no_known_format(tmp_path):
    with pytest.raises(CheckpointFormatError, match=r"without a config\.json"):
        inspect(tmp_path)


def test_a_file_of_another_kind_is_no_known_format(tmp_path):
    (tmp_path / "weights.gguf").write_bytes(b"GGUF")
    with pytest.raises(CheckpointFormatError, match=r"\.gguf"):
        inspect(tmp_path / "weights.gguf")


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
