"""What steps read and write, and what they wait for."""

from __future__ import annotations

from edgectl_protos.domain.program import Call, Generate, Normalise, Program
from edgectl_protos.domain.program_flow import reads_of, waits_for, writes_of
from edgectl_testkit.bundles import CAMERAS, tiny_program
from edgectl_testkit.checked_program import PROGRAM
from edgectl_testkit.programs import spec


def test_what_a_loop_wrote_can_be_read_after_it():
    assert set(writes_of(PROGRAM.steps[7])) == {"t", "v", "x"}
    # `v` and `t` are made inside.
    assert set(reads_of(PROGRAM.steps[7])) == {"x", "kv", "memory"}


def test_a_text_is_read_as_far_as_its_mask_says():
    assert reads_of(Generate("say", "decoder", "ids", "tokens", 2, mask="mask")) == ("ids", "mask")


def test_steps_wait_for_what_they_read_and_the_cameras_go_side_by_side():
    waits = waits_for(PROGRAM)
    assert waits["norm.left"] == waits["norm.right"] == waits["tok"] == waits["noise"] == ()
    assert waits["vision.left"] == ("norm.left",)
    assert waits["vision.right"] == ("norm.right",)
    assert set(waits["prefix"]) == {"vision.left", "vision.right", "tok"}
    assert set(waits["denoise"]) == {"prefix", "noise"}
    assert waits["take"] == ("denoise",)


def test_a_step_waits_until_what_it_overwrites_has_been_read():
    top, wrist = CAMERAS
    program = Program(
        (spec("planes", 3, 8, 10), spec("one", 1), spec("two", 1)),
        (
            Normalise("first", top, "planes", "a", planes=True),
            Call("look", "eye", {"x": "planes"}, {"y": "one"}),
            Normalise("second", wrist, "planes", "a", planes=True),
            Call("again", "eye", {"x": "planes"}, {"y": "two"}),
        ),
        "two",
    )
    waits = waits_for(program)
    assert set(waits["second"]) == {"first", "look"}
    assert waits["again"] == ("second",)


def test_the_tiny_program_normalises_side_by_side():
    waits = waits_for(tiny_program())
    assert set(waits["act"]) == {"norm.top", "norm.wrist", "norm.state"}
    assert waits["post"] == ("act",)
