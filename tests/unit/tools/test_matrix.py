"""The support matrix: the record is sound, and the README's tables are what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from edgectl_profiles.library import load, names
from edgectl_testkit.documents import check_section

ROOT = Path(__file__).resolve().parents[3]
TOOL = ROOT / "tools" / "matrix"
pytestmark = pytest.mark.usefixtures("tool")


def entry(**changes):
    from record import Entry

    values = {
        "subject": "act",
        "board": "raspberry-pi-5",
        "runtime": "onnxrt",
        "scheme": "fp32",
        "word": "built",
        "precision": "fp32",
        "parity": 0.02,
        "size_bytes": 47_000_000,
        "memory_bytes": 0,
        "release": f"sha256:{'0' * 64}",
        "run": "",
        "reason": "",
        "date": "2026-11-30",
    }
    return Entry(**values | changes)


def test_the_tables_of_the_readme_are_what_was_recorded():
    from record import boards_table, read, ways_table

    entries = read(ROOT / "docs" / "matrix.json")
    check_section(ROOT / "README.md", "matrix", f"{ways_table(entries)}\n{boards_table(entries)}")


def test_what_ran_names_its_run_and_what_was_built_its_release():
    from record import PROVED, WORDS, read

    for found in read(ROOT / "docs" / "matrix.json"):
        assert found.word in WORDS
        assert bool(found.run) == (found.word in ("hardware", "native")) or found.word == "emulated", found
        assert found.release.startswith("sha256:") == (found.word in PROVED), found
        assert bool(found.reason) == (found.word in ("refused", "pending")), found
        assert found.parity is None or found.parity <= 1, found
        entry_of_board = load(found.board).runtime(found.runtime)
        assert entry_of_board is not None, found


def test_the_newest_entry_stands_unless_an_older_one_went_further(tmp_path):
    from record import read, write

    path = tmp_path / "matrix.json"
    write(path, [entry(word="native", run="1"), entry(scheme="int8")])
    write(path, [entry(), entry(scheme="int8", date="2026-12-01")])
    assert {(one.scheme, one.word, one.date) for one in read(path)} == {
        ("fp32", "native", "2026-11-30"),
        ("int8", "built", "2026-12-01"),
    }
    write(path, [entry(word="refused", reason="parity_failed: far")])
    assert [one.word for one in read(path) if one.scheme == "fp32"] == ["refused"]


def test_a_line_shows_how_far_each_subject_came_and_the_worst_figures():
    from record import ways_table

    found = [
        entry(word="native", run="1", memory_bytes=200_000_000, board="generic-x86_64"),
        entry(subject="cnn", parity=0.5, size_bytes=9_000),
        entry(subject="cnn", word="refused", parity=None, board="generic-x86_64"),
    ]
    lines = {tuple(line.split(" | ")[:2]): line for line in ways_table(found).splitlines()}
    assert lines["| onnxrt", "fp32"] == "| onnxrt | fp32 | native | built | fp32 | 0.5 | 0.009–47 MB | 200 MB |"
    assert ("| onnxrt", "int8") not in lines
    assert "`planned`: " in ways_table(found)
    assert ", onnxrt fp16 int8 " in ways_table(found).splitlines()[-1]


def test_every_board_stands_in_one_line_with_what_is_proved_and_what_is_planned():
    from record import boards_table

    rows = [line.strip("| ").split(" | ") for line in boards_table([entry(), entry(scheme="int8")]).splitlines()[2:]]
    lines = {board: (proved, left) for boards, proved, left in rows for board in boards.split(", ")}
    assert sorted(lines) == sorted(names())
    assert sum(len(boards.split(", ")) for boards, _, _ in rows) == len(lines)
    assert lines["raspberry-pi-5"][0] == "**built** onnxrt fp32 int8"
    assert "onnxrt fp32" in lines["raspberry-pi-4"][1]
    assert lines["jetson-orin-nx"] == lines["jetson-agx-orin"]


def test_the_encoder_ignores_what_its_mask_hides():
    from subjects import encoder_graph

    session = ReferenceEvaluator(onnx.load_from_string(encoder_graph()))
    ids = np.arange(16, dtype=np.int64)[None]
    mask = (np.arange(16) < 9).astype(np.int64)[None]
    (sentence,) = session.run(None, {"ids": ids, "mask": mask})
    other = ids.copy()
    other[0, 9:] = 500
    assert np.linalg.norm(sentence) == pytest.approx(1, abs=1e-5)
    assert np.abs(session.run(None, {"ids": other, "mask": mask})[0] - sentence).max() < 1e-6
    other[0, 0] = 500
    assert np.abs(session.run(None, {"ids": other, "mask": mask})[0] - sentence).max() > 1e-3


@pytest.mark.slow
def test_a_way_is_deployed_here_and_converted_for_the_boards_that_have_it(tmp_path):
    from subjects import Subject
    from trial import Trials

    from edgectl_testkit.bundles import conv_graph

    (tmp_path / "cnn.onnx").write_bytes(conv_graph())
    trials = Trials(tmp_path / "home", "generic-x86_64")
    try:
        found = trials.run(Subject("cnn", tmp_path / "cnn.onnx"), "reference", "fp32")
    finally:
        trials.close()
    words = {one.board: one for one in found}
    here = words.pop("generic-x86_64")
    assert (here.word, here.precision) == ("native", "fp32")
    assert here.run
    assert here.parity is not None
    assert here.parity <= 1
    assert here.memory_bytes > 10_000_000
    assert {one.word for one in words.values()} == {"built"}
    assert {one.release for one in words.values()} == {here.release}
    assert "jetson-orin-nano" in words


@pytest.mark.slow
def test_a_way_that_does_not_lead_there_is_kept_with_its_reason(tmp_path):
    from subjects import Subject
    from trial import Trials

    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    trials = Trials(tmp_path / "home", "generic-x86_64")
    try:
        found = trials.run(Subject("bad", tmp_path / "bad.onnx"), "reference", "fp32")
    finally:
        trials.close()
    assert {one.word for one in found} == {"refused"}
    assert all(one.reason for one in found)
