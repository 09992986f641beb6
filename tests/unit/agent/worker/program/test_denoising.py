"""Programs that denoise, against plain numpy."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import onnx
import pytest
from onnx import helper

from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.errors import ProgramError, ShapeError, StatisticsError
from edgectl_protos.domain.parity import Tolerance
from edgectl_protos.domain.program import Call, Integrate, Noise, Prediction, Program, Repeat, Unnormalise
from edgectl_protos.domain.program_flow import waits_for
from edgectl_testkit import numpy_denoiser
from edgectl_testkit.executors import ExecutorMaker
from edgectl_testkit.programs import component, graph_of, spec
from edgectl_testkit.small_policies import ACTION, CHUNK, STATE_DIM, policy, random_normal, random_state

ALPHA_BAR = np.array([0.05, 0.3, 0.6, 0.9, 1.0])
PASSES = len(ALPHA_BAR) - 1
TIMES = np.arange(PASSES, 0, -1)


def encoder():
    made = component("encoder", [spec("state", 1, STATE_DIM)], [spec("context", 1, STATE_DIM)])
    return made, graph_of(made, [("Mul", ["state", "two"], ["context"])], {"two": np.float32(2)})


def denoiser():
    """eps = 0.3 x + mean(context) + 0.01 t"""
    made = component(
        "denoiser",
        [spec("x", 1, CHUNK, ACTION), spec("t", 1, dtype=DType.INT64), spec("context", 1, STATE_DIM)],
        [spec("eps", 1, CHUNK, ACTION)],
    )
    nodes = [
        ("Mul", ["x", "share"], ["part"]),
        helper.make_node("ReduceMean", ["context"], ["mean"], keepdims=0),
        helper.make_node("Cast", ["t"], ["time"], to=onnx.TensorProto.FLOAT),
        ("Mul", ["time", "hundredth"], ["shift"]),
        ("Add", ["part", "mean"], ["sum"]),
        ("Add", ["sum", "shift"], ["eps"]),
    ]
    return made, graph_of(made, nodes, {"share": np.float32(0.3), "hundredth": np.float32(0.01)})


def eps_of(x, state, t):
    return 0.3 * x + 2 * state.mean() + 0.01 * t


def diffusion(*, ancestral=False, clip=0.0, passes=PASSES):
    each = (Noise("draw", "fresh"),) if ancestral else ()
    return Program(
        tensors=(
            spec("context", STATE_DIM),
            spec("x", CHUNK, ACTION),
            spec("eps", CHUNK, ACTION),
            spec("t", 1, dtype=DType.INT64),
            spec("fresh", CHUNK, ACTION),
            spec("action", CHUNK, ACTION),
        ),
        steps=(
            Call("encode", "encoder", {"state": "state"}, {"context": "context"}),
            Noise("noise", "x"),
            Repeat(
                "denoise",
                passes,
                (
                    Call("predict", "denoiser", {"x": "x", "t": "t", "context": "context"}, {"eps": "eps"}),
                    *each,
                    Integrate("update", "x", "eps", "table", Prediction.NOISE, clip, "fresh" if ancestral else ""),
                ),
                {"t": "times"},
            ),
            Unnormalise("post", "x", "action", "post"),
        ),
        action="action",
    )


def diffusion_arrays(table):
    post = {"post.offset": np.float32([1, -1]), "post.scale": np.float32([2, 3])}
    return {"times": TIMES, "table": np.array(table), **post}


def ddim_table():
    return [
        [np.sqrt(now), np.sqrt(1 - now), np.sqrt(after), 0, np.sqrt(1 - after), 0] for now, after in pairwise(ALPHA_BAR)
    ]


def ddpm_table():
    rows = []
    for now, after in pairwise(ALPHA_BAR):
        alpha = now / after
        p = np.sqrt(after) * (1 - alpha) / (1 - now)
        q = np.sqrt(alpha) * (1 - after) / (1 - now)
        s = np.sqrt((1 - after) / (1 - now) * (1 - alpha))
        rows.append([np.sqrt(now), np.sqrt(1 - now), p, q, 0, s])
    return rows


def diffused(table, state, x, fresh=None, clip=0.0):
    x = x.astype(float)
    for index, (a, b, p, q, r, s) in enumerate(table):
        eps = eps_of(x, state, TIMES[index])
        x0 = (x - b * eps) / a
        x0 = np.clip(x0, -clip, clip) if clip else x0
        x = p * x0 + q * x + r * eps + (s * fresh[index] if fresh is not None else 0)
    return x * [2, 3] + [1, -1]


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_an_encoder_and_a_denoiser_with_ddim(build, clip):
    run = build(policy(), diffusion(clip=clip), [encoder(), denoiser()], diffusion_arrays(ddim_table())).run
    for seed in (0, 1):
        state, x = random_state(seed), random_normal(CHUNK, ACTION, seed=seed)
        expected = diffused(ddim_table(), state, x, clip=clip)
        np.testing.assert_allclose(run({"state": state}, given={"x": x}), expected, rtol=1e-4, atol=1e-4)


def test_an_encoder_and_a_denoiser_with_ddpm_and_the_noise_of_each_pass(build):
    run = build(policy(), diffusion(ancestral=True), [encoder(), denoiser()], diffusion_arrays(ddpm_table())).run
    state, x, fresh = random_state(), random_normal(CHUNK, ACTION), random_normal(PASSES, CHUNK, ACTION, seed=3)
    found = run({"state": state}, given={"x": x, "fresh": fresh})
    np.testing.assert_allclose(found, diffused(ddpm_table(), state, x, fresh), rtol=1e-4, atol=1e-4)


def test_given_noise_is_left_as_it_was(build):
    run = build(policy(), diffusion(), [encoder(), denoiser()], diffusion_arrays(ddim_table())).run
    x = random_normal(CHUNK, ACTION)
    kept = x.copy()
    first = run({"state": random_state()}, given={"x": x})
    np.testing.assert_array_equal(x, kept)
    np.testing.assert_array_equal(run({"state": random_state()}, given={"x": x}), first)


def test_noise_that_is_not_given_is_drawn_by_the_seed_and_anew_at_every_run(build):
    parts = [encoder(), denoiser()]
    program, arrays = diffusion(ancestral=True), diffusion_arrays(ddpm_table())
    one, same, other = (build(policy(), program, parts, arrays, seed=seed).run for seed in (1, 1, 2))
    observation = {"state": random_state()}
    first = one(observation)
    np.testing.assert_array_equal(first, same(observation))
    assert (first != other(observation)).any()
    assert (first != one(observation)).any()


def test_every_pass_of_a_loop_has_spans_of_its_own(build):
    executor = build(policy(), diffusion(), [encoder(), denoiser()], diffusion_arrays(ddim_table()))
    assert [(site.step, site.index, site.passes) for site in executor.sites] == [
        ("encode", -1, 1),
        ("noise", -1, 1),
        *((step, at, PASSES) for at in range(PASSES) for step in ("predict", "update")),
        ("post", -1, 1),
    ]
    assert executor.spans_per_run == len(executor.sites)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"x": random_normal(CHUNK, ACTION + 1)}, r"the noise 'x' is float32\[4, 3\]; the policy takes \[4, 2\]"),
        ({"x": random_normal(PASSES, CHUNK, ACTION)}, r"the noise 'x' is float32\[4, 4, 2\]"),
        ({"x": np.zeros((CHUNK, ACTION), np.int64)}, r"the noise 'x' is int64\[4, 2\]"),
        ({"fresh": random_normal(CHUNK, ACTION)}, r"the noise 'fresh' is .* the policy takes \[4, 4, 2\]"),
        ({"fresh": random_normal(PASSES - 1, CHUNK, ACTION)}, "the noise 'fresh' is"),
    ],
)
def test_noise_of_another_length_or_type_is_refused(build, given, complaint):
    run = build(policy(), diffusion(ancestral=True), [encoder(), denoiser()], diffusion_arrays(ddpm_table())).run
    with pytest.raises(ShapeError, match=complaint):
        run({"state": random_state()}, given=given)


@pytest.mark.parametrize(
    ("changed", "error", "complaint"),
    [
        ({"table": None}, ProgramError, "step 'update' names the array 'table'; the release has: post.offset"),
        ({"times": None}, ProgramError, "step 'denoise' names the array 'times'"),
        ({"post.scale": None}, StatisticsError, "post.scale"),
        ({"table": np.ones((PASSES - 1, 6))}, ProgramError, "has 3 rows, wanted 4"),
        ({"table": np.ones((PASSES, 5))}, ProgramError, r"not \[passes, 6\]"),
        ({"times": np.arange(PASSES - 1)}, ProgramError, "wanted 4 rows"),
        ({"times": np.ones((PASSES, 2))}, ProgramError, "wanted 4 rows"),
        ({"times": np.array(["a"] * PASSES)}, ProgramError, "no numbers"),
    ],
)
def test_an_array_that_is_missing_or_too_short_is_refused_before_anything_runs(build, changed, error, complaint):
    arrays = diffusion_arrays(ddim_table()) | changed
    arrays = {name: array for name, array in arrays.items() if array is not None}
    with pytest.raises(error, match=complaint):
        build(policy(), diffusion(), [encoder(), denoiser()], arrays)


def test_a_loop_within_a_loop_is_refused(build):
    program = diffusion()
    loop = replace(program.steps[2], id="outer", steps=(program.steps[2],), times=2, each={})
    program = replace(program, steps=(*program.steps[:2], loop, program.steps[3]))
    with pytest.raises(ProgramError, match="repeat inside a loop is not run"):
        build(policy(), program, [encoder(), denoiser()], diffusion_arrays(ddim_table()))


def test_a_component_that_nobody_runs_or_nobody_has_is_refused(build):
    arrays = diffusion_arrays(ddim_table())
    with pytest.raises(ProgramError, match="runs the component 'denoiser'"):
        build(policy(), diffusion(), [encoder()], arrays)
    made, graph = encoder()
    with pytest.raises(ProgramError, match="never runs the component 'idle'"):
        build(policy(), diffusion(), [encoder(), denoiser(), (replace(made, name="idle"), graph)], arrays)


# --- cameras, a prefix that is computed once, and a step that reads it -----------------------------------------------


@pytest.fixture
def flow(tmp_path):
    return numpy_denoiser.lay_out(tmp_path, Tolerance(0.0, 0.0, 0.0, 0.0))


def observed(golden, case):
    return {name: golden[f"in.{name}"][case] for name in ("top", "wrist", "state")}


def test_two_cameras_a_prefix_that_is_computed_once_and_four_euler_steps(flow):
    executor, golden = ExecutorMaker(flow)(), numpy_denoiser.golden()
    for case in (1, 0):
        found = executor.run(observed(golden, case), given={"x": golden["in.x"][case]})
        np.testing.assert_allclose(found, golden["out.action"][case], rtol=1e-4, atol=1e-4)


def test_both_cameras_may_be_seen_side_by_side_and_the_prefix_waits_for_both(flow):
    waiting = waits_for(flow.manifest.program)
    assert waiting["see.top"] == ("norm.top",)
    assert waiting["see.wrist"] == ("norm.wrist",)
    assert set(waiting["prefix"]) == {"see.top", "see.wrist", "norm.state"}
    assert waiting["noise"] == ()
    assert set(waiting["denoise"]) == {"prefix", "noise"}


def test_the_second_call_of_a_component_does_not_overwrite_the_first(flow):
    executor = ExecutorMaker(flow)()
    executor.run(observed(numpy_denoiser.golden(), 0))
    top, wrist = (executor.values[f"{camera}.tokens"] for camera in ("top", "wrist"))
    assert not np.shares_memory(top, wrist)
    assert (top != wrist).all()
