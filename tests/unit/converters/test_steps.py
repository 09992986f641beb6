from __future__ import annotations

import os
import threading
from dataclasses import dataclass

import pytest

from edgectl_converters.steps import StepCache, key_of


@dataclass(frozen=True, slots=True)
class Answer:
    value: int


def write(out):
    (out / "deep").mkdir()
    (out / "deep/file").write_text("x")
    return Answer(42)


def make(cache, work=write, key="k"):
    return cache.make(key, Answer, work, kind="build", subject="s", tool="t", weight=7)


@pytest.fixture
def cache(tmp_path):
    return StepCache(tmp_path)


def test_a_step_is_made_once(cache, tmp_path):
    first, second = make(cache), make(StepCache(tmp_path), lambda out: pytest.fail("made again"))
    assert (first.cached, second.cached) == (False, True)
    assert first.report == second.report == Answer(42)
    assert (second.folder / "deep/file").read_text() == "x"
    ((key, record, _),) = cache.records()
    assert (key, record.kind, record.weight_bytes, record.files) == ("k", "build", 7, {"deep/file": 1})


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interrupted_step_leaves_nothing_and_can_be_made_again(cache, error):
    def fail(out):
        write(out)
        raise error

    with pytest.raises(error):
        make(cache, fail)
    assert cache.find("k", Answer) is None
    assert not [path for path in cache.root.iterdir() if path.is_dir()]
    assert not make(cache).cached


@pytest.mark.parametrize("damage", ["file gone", "file cut", "report", "report gone", "record", "other type"])
def test_a_damaged_step_counts_as_missing_and_is_made_anew(cache, damage):
    folder = make(cache).folder
    if damage == "file gone":
        (folder / "deep/file").unlink()
    if damage == "file cut":
        (folder / "deep/file").write_text("")
    if damage == "report":
        (folder.parent / "report.json").write_text("{")
    if damage == "report gone":
        (folder.parent / "report.json").unlink()
    if damage == "record":
        (folder.parent / "step.json").write_text("[]")
    if damage == "other type":
        (folder.parent / "report.json").write_text('{"value":"text"}')
    assert cache.find("k", Answer) is None
    assert not make(cache).cached
    assert make(cache).cached


def test_two_at_once_make_it_once_and_the_second_waits(cache, tmp_path):
    inside, go_on, made, found = threading.Event(), threading.Event(), [], []

    def slow(out):
        made.append(1)
        inside.set()
        assert go_on.wait(10)
        return write(out)

    threads = [threading.Thread(target=lambda: found.append(make(StepCache(tmp_path), slow))) for _ in range(2)]
    threads[0].start()
    assert inside.wait(10)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert made == [1]
    assert sorted(output.cached for output in found) == [False, True]


def test_finding_a_step_makes_now_its_last_use(cache):
    record = make(cache).folder.parent / "step.json"
    os.utime(record, (1, 1))
    assert cache.find("k", Answer) is not None
    assert record.stat().st_mtime > 1e9


def test_a_held_step_is_not_removed(cache):
    make(cache)
    with cache.hold("k"):
        assert not cache.remove("k")
        assert cache.find("k", Answer) is not None
    assert cache.remove("k")
    assert cache.find("k", Answer) is None
    assert not cache.remove("k")


def test_keys_depend_on_every_part_and_not_on_their_order():
    assert key_of(a=1, b=[2]) == key_of(b=[2], a=1)
    assert len({key_of(a=1), key_of(a=2), key_of(b=1), key_of(a="1")}) == 4
