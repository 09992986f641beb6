"""Parsers that face the network or the disk: the inputs that reached something once, and a few seconds of new ones."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from edgectl_protos.domain.errors import EdgectlError

ROOT = Path(__file__).parents[3]
TOOL = ROOT / "tools" / "fuzz"
CORPUS = ROOT / "tests" / "fuzz"
NAMES = (
    *("manifest", "release", "journal", "loop", "loop-file", "program", "processor", "config", "registry"),
    *("fleet", "safetensors", "onnx", "gguf", "frame", "trust", "offer", "upload", "edges"),
)


@pytest.fixture
def parsers(tool):
    from parsers import PARSERS

    return PARSERS


def test_every_parser_is_fuzzed_and_has_a_kept_corpus(parsers):
    assert tuple(parsers) == NAMES
    assert {path.name for path in CORPUS.iterdir()} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_kept_inputs_end_in_a_value_or_in_one_of_our_errors(parsers, name):
    parse = parsers[name].prepare()
    for seed in parsers[name].seeds():
        parse(seed)
    for path in sorted((CORPUS / name).iterdir()):
        try:
            parse(path.read_bytes())
        except EdgectlError:
            continue


def test_what_was_kept_stays_beside_what_is_new(parsers, tmp_path):
    from run import KEPT, KEPT_BYTES, keep

    found, kept = tmp_path / "found", tmp_path / "kept"
    for folder in (found, kept):
        folder.mkdir()
    (kept / "before").write_bytes(b"a bug of once")
    (found / "new").write_bytes(b"new")
    (found / "large").write_bytes(bytes(KEPT_BYTES + 1))
    keep(found, kept)
    assert {path.name for path in kept.iterdir()} == {"before", "new"}
    for number in range(KEPT):
        (found / f"{number}").write_bytes(b"short")
    keep(found, kept)
    assert len(list(kept.iterdir())) == KEPT
    assert (kept / "new").exists()
    assert not (kept / "before").exists()


@pytest.mark.slow
def test_new_inputs_do_too(tmp_path):
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris has no build for this machine or this Python")
    command = [sys.executable, str(TOOL / "run.py"), "--seconds", "2", "--work", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("held") == len(NAMES)
