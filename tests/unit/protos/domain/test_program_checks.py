"""Programs: each way in which steps, tensors and components do not meet is refused by its name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import ProgramError
from edgectl_protos.domain.program import Repeat, flat_steps
from edgectl_protos.domain.program_checks import check_components, check_program
from edgectl_testkit.bundles import tiny_component, tiny_policy, tiny_program
from edgectl_testkit.checked_program import POLICY, PORTS, PROGRAM
from edgectl_testkit.programs import spec as f32


def step(name):
    return next(found for found, _ in flat_steps(PROGRAM.steps) if found.id == name)


def with_step(changed, old=None):
    """The program with one of its steps replaced; loops are looked into."""

    def swapped(steps):
        return tuple(
            changed
            if found.id == (old or changed.id)
            else replace(found, steps=swapped(found.steps))
            if isinstance(found, Repeat)
            else found
            for found in steps
        )

    return replace(PROGRAM, steps=swapped(PROGRAM.steps))


def with_tensor(changed):
    return replace(PROGRAM, tensors=tuple(changed if t.name == changed.name else t for t in PROGRAM.tensors))


# --- the program ---------------------------------------------------------------------------------------------------


def test_programs_whose_parts_meet_are_taken():
    check_program(POLICY, PROGRAM)
    check_components(PROGRAM, POLICY, PORTS)
    component = tiny_component()
    check_program(tiny_policy(), tiny_program())
    check_components(tiny_program(), tiny_policy(), {component.name: (component.inputs, component.outputs)})


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (replace(PROGRAM, tensors=(*PROGRAM.tensors, f32("x", 1))), "two tensors of the program have one name"),
        (replace(PROGRAM, tensors=(*PROGRAM.tensors, f32("state", 6))), "'state' is an observation, and is declared"),
        (replace(PROGRAM, states=("memory", "dream")), "the state 'dream' is not declared"),
        (replace(PROGRAM, action="reward"), "no step of the program writes 'reward'"),
        (replace(PROGRAM, steps=PROGRAM.steps[:-1]), "no step of the program writes 'action'"),
        (with_tensor(f32("action", 6)), r"action is \[6\]; the policy says 5 actions of \[6\]"),
        (with_step(replace(step("tok"), id="noise"), "tok"), "two steps have the id 'noise', or it is empty"),
        (with_step(replace(step("tok"), id=""), "tok"), "two steps have the id '', or it is empty"),
        (with_step(replace(PROGRAM.steps[7], times=0)), "step 'denoise' is repeated 0 times"),
        (with_step(replace(PROGRAM.steps[7], each={"when": "times"})), "'denoise' names the tensor 'when', which is"),
        (with_step(replace(step("take"), output="six")), "step 'take' names the tensor 'six', which is not declared"),
        (with_step(replace(step("take"), input="y")), "step 'take' names the tensor 'y', which is not declared"),
        (with_step(replace(step("vision.left"), inputs={"image": "raw"})), "'vision.left' reads 'raw', which nothing"),
        (replace(PROGRAM, states=()), "step 'step' reads 'memory', which nothing has written"),
        (with_tensor(TensorSpec("mask", DType.BOOL, (8,))), "step 'tok': ids and mask have other shapes"),
        (with_tensor(f32("v", 5, 7)), "step 'euler': sample, prediction and noise have other shapes"),
        (with_step(replace(step("take"), start=(1, 0))), r"step 'take' takes \[5, 6\] at \[1, 0\] out of \[5, 8\]"),
        (with_step(replace(step("take"), start=(-1, 0))), "step 'take' takes"),
        (with_step(replace(step("take"), start=(0,))), "step 'take' takes"),
    ],
)
def test_a_program_whose_tensors_do_not_meet_is_refused(program, message):
    with pytest.raises(ProgramError, match=message):
        check_program(POLICY, program)


def test_a_slice_may_drop_a_leading_one():
    program = with_tensor(f32("x", 1, 5, 8))
    program = replace(program, tensors=tuple(f32("v", 1, 5, 8) if t.name == "v" else t for t in program.tensors))
    check_program(POLICY, program)


# --- components ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "ports", "message"),
    [
        (
            PROGRAM,
            {k: v for k, v in PORTS.items() if k != "expert"},
            "runs the component 'expert'; there is: vision, prefix",
        ),
        (PROGRAM, PORTS | {"reward": ((), ())}, "never runs the component 'reward'"),
        (
            PROGRAM,
            PORTS | {"vision": ((*PORTS["vision"][0], f32("depth", 1)), PORTS["vision"][1])},
            "step 'vision.left' leaves the input 'depth' of 'vision' open",
        ),
        (
            with_step(replace(step("prefix"), outputs={"cache": "kv"})),
            PORTS,
            "step 'prefix': 'prefix' has no output 'cache'; it has: kv",
        ),
        (
            PROGRAM,
            PORTS | {"vision": ((f32("image", 1, 3, 8, 8),), PORTS["vision"][1])},
            r"input 'image' of 'vision' is float32\[1, 3, 8, 8\], the tensor 'left.planes' is float32\[3, 4, 4\]",
        ),
        (
            PROGRAM,
            PORTS | {"vision": (PORTS["vision"][0], (TensorSpec("tokens", DType.FLOAT16, (1, 8)),))},
            r"output 'tokens' of 'vision' is float16\[1, 8\], the tensor 'left.tokens' is float32\[8\]",
        ),
        (
            PROGRAM,
            PORTS | {"vision": ((f32("image", 2, 3, 4, 4),), PORTS["vision"][1])},
            r"'image' of 'vision' is float32\[2, 3, 4, 4\]",
        ),
    ],
)
def test_components_whose_ports_do_not_meet_their_tensors_are_refused(program, ports, message):
    with pytest.raises(ProgramError, match=message):
        check_components(program, POLICY, ports)
