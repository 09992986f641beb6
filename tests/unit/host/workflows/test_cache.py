"""Which of the cache may go."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from edgectl_host.workflows.cache import stale

DAY = 86_400.0


def entry(name, age_days, size):
    return SimpleNamespace(kind="step", subject=name, size_bytes=size, used_s=1e9 - age_days * DAY)


ENTRIES = [entry("old", 40, 10), entry("new", 0, 50), entry("month", 31, 5), entry("week", 7, 30)]


@pytest.mark.parametrize(
    ("rule", "going"),
    [
        ({"older_than_s": 30 * DAY}, ["month", "old"]),
        ({"older_than_s": 100 * DAY}, []),
        ({"keep_bytes": 85}, ["old"]),
        ({"keep_bytes": 60}, ["week", "old"]),
        ({"keep_bytes": 0}, ["new", "week", "month", "old"]),
        ({"keep_bytes": 60, "older_than_s": 30 * DAY}, ["week", "month", "old"]),
    ],
)
def test_the_old_go_and_the_least_recently_used_beyond_the_size(rule, going):
    assert [entry.subject for entry in stale(ENTRIES, now_s=1e9, **rule)] == going
