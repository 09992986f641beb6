"""Loop specifications: what is refused, and what a run may change."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgectl_protos.domain.errors import LoopSpecError
from edgectl_protos.domain.loop import Deadlines, Execution, LoopOverrides, Mode, Op, StageSpec
from edgectl_testkit.bundles import tiny_loop


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate_hz": 0.0}, "rate 0.0 Hz"),
        ({"measure_s": -1.0}, "measure -1.0 s"),
        ({"sink": "so101"}, "moves no robot"),
        ({"stages": (StageSpec("dec", Op.DECODE),)}, "exactly one model stage"),
        ({"stages": (StageSpec("x", Op.MODEL), StageSpec("x", Op.UNNORMALISE))}, "same id"),
        ({"stages": (StageSpec("act", Op.MODEL), StageSpec("dec", Op.DECODE))}, "must be in this order"),
    ],
)
def test_a_loop_that_cannot_run_is_refused(change, message):
    with pytest.raises(LoopSpecError, match=message):
        replace(tiny_loop(), **change)


def test_two_sources_may_not_feed_one_feature():
    loop = tiny_loop()
    with pytest.raises(LoopSpecError, match="two sources"):
        replace(loop, sources=(*loop.sources, loop.sources[0]))


@pytest.mark.parametrize("use", [0, 5])
def test_an_execution_uses_at_least_one_and_at_most_all_actions(use):
    with pytest.raises(LoopSpecError, match=f"uses {use} of a chunk of 4"):
        Execution(chunk=4, use=use)


def test_a_default_deadline_follows_the_rate_and_a_chosen_one_stays():
    loop = tiny_loop(rate_hz=50.0)
    assert LoopOverrides(rate_hz=100.0).apply(loop).deadlines.tick_s == pytest.approx(0.01)
    chosen = replace(loop, deadlines=Deadlines(tick_s=0.015))
    assert LoopOverrides(rate_hz=100.0).apply(chosen).deadlines.tick_s == 0.015


def test_no_override_changes_nothing():
    loop = tiny_loop()
    assert LoopOverrides().apply(loop) == loop


def test_each_override_changes_its_own_field():
    changed = LoopOverrides(measure_s=2.0, mode=Mode.CLOSED, threads=1).apply(tiny_loop())
    assert (changed.measure_s, changed.mode, changed.threads) == (2.0, Mode.CLOSED, 1)
