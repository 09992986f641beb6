"""Programs: each way in which steps, tensors and components do not meet is refused by its name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import ProgramError
from edgectl_protos.domain.policy import Feature, FeatureKind, Policy
from edgectl_protos.domain.program import (
    Call,
    Generate,
    Integrate,
    Noise,
    Normalise,
    Prediction,
    Program,
    Repeat,
    Slice,
    Tokenise,
    Unnormalise,
    flat_steps,
)
from edgectl_protos.domain.program_checks import check_components, check_program
from edgectl_protos.domain.program_flow import reads_of, waits_for, writes_of
from edgectl_testkit.bundles import CAMERAS, STATE, tiny_component, tiny_policy, tiny_program


def f32(name, *shape):
    return TensorSpec(name, DType.FLOAT32, shape)


# A denoiser as SmolVLA is one: two cameras through one component, a prefix, ten steps, the first six numbers of each.
POLICY = Policy(
    type="denoiser",
    observations=(
        Feature("left", FeatureKind.VISUAL, DType.UINT8, (4, 4, 3)),
        Feature("right", FeatureKind.VISUAL, DType.UINT8, (4, 4, 3)),
        Feature("state", FeatureKind.STATE, DType.FLOAT32, (6,)),
        Feature("task", FeatureKind.LANGUAGE, DType.TEXT, ()),
    ),
    action=Feature("action", FeatureKind.ACTION, DType.FLOAT32, (6,)),
    chunk_size=5,
    n_action_steps=5,
)
PROGRAM = Program(
    tensors=(
        *(f32(name, 3, 4, 4) for name in ("left.planes", "right.planes")),
        *(f32(name, 8) for name in ("left.tokens", "right.tokens", "kv")),
        TensorSpec("ids", DType.INT64, (16,)),
        TensorSpec("mask", DType.BOOL, (16,)),
        *(f32(name, 5, 8) for name in ("x", "v", "memory")),
        f32("t"),
        *(f32(name, 5, 6) for name in ("raw", "action")),
    ),
    steps=(
        Normalise("norm.left", "left", "left.planes", "pre.images", planes=True),
        Normalise("norm.right", "right", "right.planes", "pre.images", planes=True),
        Call("vision.left", "vision", {"image": "left.planes"}, {"tokens": "left.tokens"}),
        Call("vision.right", "vision", {"image": "right.planes"}, {"tokens": "right.tokens"}),
        Tokenise("tok", "task", "ids", "mask", "tokenizer.json", 0),
        Call(
            "prefix",
            "prefix",
            {"a": "left.tokens", "b": "right.tokens", "ids": "ids", "mask": "mask"},
            {"kv": "kv"},
        ),
        Noise("noise", "x"),
        Repeat(
            "denoise",
            10,
            (
                Call("step", "expert", {"x": "x", "t": "t", "kv": "kv", "memory": "memory"}, {"v": "v"}),
                Integrate("euler", "x", "v", "euler", Prediction.VELOCITY),
            ),
            {"t": "times"},
        ),
        Slice("take", "x", "raw"),
        Unnormalise("post", "raw", "action", "post.action"),
    ),
    action="action",
    states=("memory",),
    arrays="arrays.npz",
)
PORTS = {
    "vision": ((f32("image", 1, 3, 4, 4),), (f32("tokens", 1, 8),)),
    "prefix": (
        (
            *(f32("a", 1, 8), f32("b", -1, 8)),
            *(TensorSpec("ids", DType.INT64, (1, 16)), TensorSpec("mask", DType.BOOL, (1, 16))),
        ),
        (f32("kv", 1, 8),),
    ),
    "expert": ((f32("x", 1, 5, 8), f32("t", 1), f32("kv", 1, -1), f32("memory", 5, 8)), (f32("v", 1, 5, 8),)),
}


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


def with_tensor(spec):
    return replace(PROGRAM, tensors=tuple(spec if t.name == spec.name else t for t in PROGRAM.tensors))


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


def test_what_a_loop_wrote_can_be_read_after_it():
    assert set(writes_of(PROGRAM.steps[7])) == {"t", "v", "x"}
    # `v` and `t` are made inside.
    assert set(reads_of(PROGRAM.steps[7])) == {"x", "kv", "memory"}


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


# --- what a program says about itself --------------------------------------------------------------------------------


def test_components_files_and_noise_are_found_also_inside_loops():
    assert PROGRAM.components == ("vision", "prefix", "expert")
    assert PROGRAM.files == ("arrays.npz", "tokenizer.json")
    assert PROGRAM.noise == ("x",)
    assert {found.id: passes for found, passes in flat_steps(PROGRAM.steps)}["step"] == 10


def test_a_component_that_generates_is_one_of_the_components():
    program = Program((), (Generate("say", "decoder", "ids", "tokens", 2, mask="mask"),), "tokens")
    assert program.components == ("decoder",)
    assert reads_of(program.steps[0]) == ("ids", "mask")


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
        (f32("planes", 3, 8, 10), f32("one", 1), f32("two", 1)),
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
    assert tiny_policy().observation(STATE).shape == (3,)
