from __future__ import annotations

import pytest

from edgectl_protos.domain.program import Call, Generate, Program, Repeat
from edgectl_protos.domain.roofline import Ceiling, Floor, Work, calls_of, floor_of, weight_bytes

WORK = Work(operations=2_000_000_000, weights=10_000_000, port_bytes=1_000_000)


def test_the_slower_of_the_two_is_the_floor():
    slow_memory = Ceiling({"fp32": 1e12}, 1e9)
    assert floor_of(WORK, "fp32", slow_memory) == Floor(0.041, "bandwidth")
    fast_memory = Ceiling({"fp32": 1e11}, 1e12)
    assert floor_of(WORK, "fp32", fast_memory) == Floor(0.02, "compute")


def test_a_scheme_counts_its_weights_as_stored_and_its_arithmetic_as_computed():
    only_memory = Ceiling({}, 1e9)
    for scheme, seconds in (("int8", 0.011), ("w4g64/a32", 0.006), ("w16/a32", 0.021), ("bf16", 0.021)):
        found = floor_of(WORK, scheme, only_memory)
        assert found is not None
        assert (found.seconds, found.bound) == (pytest.approx(seconds), "bandwidth"), scheme
    found = floor_of(WORK, "w16/a32", Ceiling({"fp32": 1e9, "fp16": 1e15}, 0.0))
    assert found == Floor(2.0, "compute", partial=True)


def test_nothing_known_is_no_floor():
    assert floor_of(WORK, "fp32", Ceiling()) is None
    assert floor_of(WORK, "int8", Ceiling({"fp32": 1e12})) is None


def test_weights_are_as_wide_as_their_scheme_says():
    widths = {"fp32": 4, "int8": 1, "w4g32a8-dynamic": 0.5, "w8a16": 1, "w16/a32": 2, "unheard": 4}
    assert {scheme: weight_bytes(scheme) for scheme in widths} == widths


def test_a_component_in_a_loop_is_called_at_every_pass():
    def call(name):
        return Call(name, name, {"x": "x"}, {"y": "y"})

    generate = Generate("write", "llm", "ids", "out", stop_id=0, mask="mask")
    program = Program((), (call("vision"), call("vision"), Repeat("flow", 10, (call("step"),)), generate), "y")
    assert calls_of(program) == {"vision": 2, "step": 10}
