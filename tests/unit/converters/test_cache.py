from __future__ import annotations

import os

import pytest

from edgectl_converters.cache import entries, remove, trim
from edgectl_converters.sources.base import Export
from edgectl_converters.steps import StepCache
from edgectl_converters.targets.base import Built


@pytest.fixture
def filled(tmp_path):
    """Three steps of 10, 20 and 30 bytes, used at 100, 200 and 300, and a toolchain."""
    cache = StepCache(tmp_path)
    for index in (1, 2, 3):

        def work(out, index=index):
            (out / "file").write_bytes(b"x" * 10 * index)
            return Built("file")

        cache.make(f"k{index}", Built, work, kind="build", subject=f"part{index}", tool="t", weight=0)
        os.utime(tmp_path / f"steps/k{index}/step.json", (index * 100, index * 100))
    (tmp_path / "toolchains/lerobot-9-0123456789abcdef/bin").mkdir(parents=True)
    (tmp_path / "toolchains/lerobot-9-0123456789abcdef/bin/python").write_bytes(b"12345")
    os.utime(tmp_path / "toolchains/lerobot-9-0123456789abcdef", (50, 50))
    return tmp_path


def keys(folder):
    return [entry.key for entry in entries(folder)]


def test_steps_and_toolchains_show_up_with_what_they_are(filled):
    found = {entry.key: entry for entry in entries(filled)}
    assert (found["k2"].kind, found["k2"].subject, found["k2"].size_bytes, found["k2"].used_s) == (
        "build", "part2 · t", 20, 200,
    )  # fmt: skip
    chain = found["lerobot-9-0123456789abcdef"]
    assert (chain.kind, chain.subject, chain.size_bytes) == ("toolchain", "lerobot-9", 5)


def test_an_empty_cache_has_no_entries(tmp_path):
    assert entries(tmp_path / "absent") == ()
    assert trim(tmp_path / "absent", keep_bytes=0) == ()


def test_what_was_not_used_for_long_is_removed(filled):
    assert {entry.key for entry in trim(filled, older_than_s=150, now_s=300)} == {"k1", "lerobot-9-0123456789abcdef"}
    assert keys(filled) == ["k2", "k3"]


def test_the_least_recently_used_beyond_a_size_is_removed(filled):
    trim(filled, keep_bytes=50)
    assert keys(filled) == ["k2", "k3"]


def test_what_is_in_use_stays(filled):
    cache = StepCache(filled)
    with cache.hold("k1"), cache.locked("k2"):
        removed = {entry.key for entry in trim(filled, keep_bytes=0)}
    assert removed == {"k3", "lerobot-9-0123456789abcdef"}
    assert keys(filled) == ["k1", "k2"]


def test_a_second_removal_says_that_nothing_was_there(filled):
    for entry in entries(filled):
        assert remove(filled, entry)
        assert not remove(filled, entry)
    assert StepCache(filled).find("k1", Export) is None
