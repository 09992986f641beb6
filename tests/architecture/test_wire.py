"""The wire: lint, no breaking change, and generated code that is current."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROTOS = Path(__file__).resolve().parents[2] / "protos"
BUF = str(Path(sys.executable).parent / "buf")


def run(*command: str) -> str:
    done = subprocess.run(command, cwd=PROTOS, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_the_protocol_is_clean_by_buf_lint():
    assert run(BUF, "lint") == ""


def test_nothing_breaks_against_the_last_release():
    assert run(BUF, "breaking", "--against", "baseline/v1.binpb") == ""


def test_a_breaking_change_would_be_seen(tmp_path):
    source = PROTOS / "edgectl_protos"
    for proto in source.rglob("*.proto"):
        copy = tmp_path / proto.relative_to(PROTOS)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(proto.read_text().replace("string reason = 1;", "int32 reason = 1;"))
    (tmp_path / "buf.yaml").write_text((PROTOS / "buf.yaml").read_text())
    complaint = run(BUF, "breaking", str(tmp_path), "--against", "baseline/v1.binpb")
    assert "Failure" in complaint


def test_the_committed_code_is_what_the_protos_generate(tmp_path):
    protos = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    assert run(sys.executable, "-m", "grpc_tools.protoc", "-I", ".", *outputs, *protos) == ""
    generated = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.py*"))
    assert generated
    for path in generated:
        assert (tmp_path / path).read_text() == (PROTOS / path).read_text(), f"make gen: {path} is out of date"
