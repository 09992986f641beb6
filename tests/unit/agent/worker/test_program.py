"""The executor with real small graphs in the reference runtime, against plain numpy."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import onnx
import pytest
from onnx import helper
from tokenizers import Tokenizer, models, pre_tokenizers

from edgectl_agent.worker.program import Executor
from edgectl_agent.worker.runtimes.generator import CachedGenerator
from edgectl_agent.worker.runtimes.registry import create
from edgectl_agent.worker.spans import SpanTable
from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.errors import NonFiniteError, ProgramError, ShapeError, StatisticsError
from edgectl_protos.domain.policy import (
    Call,
    Ensemble,
    Feature,
    FeatureKind,
    Generate,
    Integrate,
    Noise,
    Normalise,
    Policy,
    Prediction,
    Program,
    Repeat,
    Resize,
    Slice,
    Tokenise,
    Unnormalise,
    waits_for,
)
from edgectl_testkit.bundles import CAMERAS, STATE, tiny_arrays, tiny_component, tiny_golden, tiny_graph
from edgectl_testkit.bundles import tiny_policy as make_tiny_policy
from edgectl_testkit.bundles import tiny_program as make_tiny_program
from edgectl_testkit.programs import component, graph_of, language_component, language_graph, language_text, spec

HEIGHT, WIDTH = 6, 8
CHUNK, ACTION, STATE_DIM = 4, 2, 3


def policy(*observations, chunk=CHUNK, action=(ACTION,), history=1):
    return Policy(
        type="test",
        observations=observations or (the_state(),),
        action=Feature("action", FeatureKind.ACTION, DType.FLOAT32, action),
        chunk_size=chunk,
        n_action_steps=1,
        history=history,
    )


def the_state():
    return Feature("state", FeatureKind.STATE, DType.FLOAT32, (STATE_DIM,))


def the_frame(name="cam"):
    return Feature(name, FeatureKind.VISUAL, DType.UINT8, (HEIGHT, WIDTH, 3))


def random_state(seed=0, *lead):
    return np.random.default_rng(seed).standard_normal((*lead, STATE_DIM)).astype(np.float32)


def random_frame(seed=0, *lead):
    return np.random.default_rng(seed).integers(0, 256, (*lead, HEIGHT, WIDTH, 3), dtype=np.uint8)


def noise(*shape, seed=9):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.fixture
def build(tmp_path):
    """An executor over these (component, graph) pairs."""

    def make(observed, program, parts, arrays=None, **options):
        graphs, generators = {}, {}
        for made, model in parts:
            path = tmp_path / f"{made.name}.onnx"
            path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
            graphs[made.name] = create("reference").load(path, made, 1)
            if made.states:
                generators[made.name] = CachedGenerator(graphs[made.name], made)
        return Executor(
            observed,
            program,
            arrays or {},
            graphs,
            path_of=lambda path: tmp_path / path,
            generators=generators,
            **options,
        )

    return make


# --- one graph ---------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(build):
    parts = [(tiny_component(), tiny_graph())]
    return build(make_tiny_policy(), make_tiny_program(), parts, tiny_arrays())


def tiny_observation(case=0):
    golden = tiny_golden()
    return {name: golden[f"in.{name}"][case] for name in (*CAMERAS, STATE)}


def test_one_graph_from_raw_observation_to_final_action(tiny):
    for case in (1, 0, 2):
        found = tiny.run(tiny_observation(case))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, tiny_golden()["out.action"][case], atol=1e-5)


def test_an_action_is_the_callers_and_stays_as_it_was(tiny):
    first = tiny.run(tiny_observation(0))
    kept = first.copy()
    tiny.run(tiny_observation(1))
    np.testing.assert_array_equal(first, kept)


def test_the_first_run_is_timed_and_no_other(tiny):
    assert tiny.first_run_s is None
    tiny.run(tiny_observation())
    first = tiny.first_run_s
    assert first > 0
    tiny.run(tiny_observation())
    assert tiny.first_run_s == first


class Watch:
    """A hook that keeps what it is told, and answers with `instead`, if anything."""

    def __init__(self, instead=None):
        self.instead = instead
        self.entered, self.left = [], []

    def before(self, component, inputs):
        self.entered.append((component, {port: array.copy() for port, array in inputs.items()}))
        return self.instead

    def after(self, component, outputs):
        self.left.append((component, {port: array.copy() for port, array in outputs.items()}))


def watched(build, hook):
    parts = [(tiny_component(), tiny_graph())]
    return build(make_tiny_policy(), make_tiny_program(), parts, tiny_arrays(), hook=hook)


def test_what_enters_and_leaves_a_component_is_told(build):
    hook = Watch()
    found = watched(build, hook).run(tiny_observation())
    ((name, inputs),) = hook.entered
    assert name == "act"
    assert {port: array.shape for port, array in inputs.items()} == {
        "top": (1, 3, 8, 10),
        "wrist": (1, 3, 8, 10),
        "state": (1, 3),
    }
    np.testing.assert_allclose(inputs["state"][0], (tiny_observation()[STATE] - 1) / 2, rtol=1e-6)
    ((name, outputs),) = hook.left
    assert name == "act"
    np.testing.assert_allclose(outputs["action"][0] * 2 + 1, found, rtol=1e-6)


def test_what_a_hook_answers_is_taken_in_the_place_of_the_component(build):
    instead = np.arange(8, dtype=np.float32).reshape(1, 4, 2)
    hook = Watch({"action": instead})
    found = watched(build, hook).run(tiny_observation())
    np.testing.assert_allclose(found, instead[0] * 2 + 1)
    assert len(hook.entered) == 1
    assert hook.left == []


@pytest.mark.parametrize(
    ("array", "complaint"),
    [
        (np.zeros((9, 10, 3), np.uint8), r"uint8\[8, 10, 3\] .* got uint8\[9, 10, 3\]"),
        (np.zeros((8, 10, 3), np.float32), r"got float32\[8, 10, 3\]"),
        (np.zeros((8, 10), np.uint8), r"got uint8\[8, 10\]"),
    ],
)
def test_an_observation_that_is_not_the_feature_is_refused(tiny, array, complaint):
    with pytest.raises(ShapeError, match=complaint) as caught:
        tiny.check(CAMERAS[0], array, hint="do this")
    assert caught.value.hint == "do this"


def test_an_observation_that_is_missing_is_refused_by_name(tiny):
    observation = tiny_observation()
    del observation[STATE]
    with pytest.raises(ShapeError, match=STATE):
        tiny.run(observation)


def test_every_operation_of_a_run_is_a_span_of_its_site(tiny):
    moments = iter(range(0, 1000, 10))
    spans = SpanTable(tiny.sites, tiny.spans_per_run, lambda: next(moments))
    spans.inference = 5
    spans.start()
    tiny.run(tiny_observation(), spans)
    assert spans.full
    names = [site.step for site in tiny.sites]
    assert names == [step.id for step in make_tiny_program().steps]
    assert spans.rows.tolist() == [[5, at, 10 * at, 10 * at + 10] for at in range(len(names))]


def test_a_program_that_does_not_feed_its_graph_is_refused(build):
    made = tiny_component()
    for changed in (
        replace(made, inputs=(*made.inputs, spec("depth", 1, 1))),
        replace(made, inputs=made.inputs[1:]),
        replace(made, outputs=(spec("depth", 1, 1),)),
    ):
        with pytest.raises(ProgramError):
            Executor(
                make_tiny_policy(),
                make_tiny_program(),
                tiny_arrays(),
                {made.name: _Described(changed)},
                path_of=lambda path: path,
            )


class _Described:
    def __init__(self, component):
        self.component = component


# --- denoising ---------------------------------------------------------------------------------------------------

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
        state, x = random_state(seed), noise(CHUNK, ACTION, seed=seed)
        expected = diffused(ddim_table(), state, x, clip=clip)
        np.testing.assert_allclose(run({"state": state}, given={"x": x}), expected, rtol=1e-4, atol=1e-4)


def test_an_encoder_and_a_denoiser_with_ddpm_and_the_noise_of_each_pass(build):
    run = build(policy(), diffusion(ancestral=True), [encoder(), denoiser()], diffusion_arrays(ddpm_table())).run
    state, x, fresh = random_state(), noise(CHUNK, ACTION), noise(PASSES, CHUNK, ACTION, seed=3)
    found = run({"state": state}, given={"x": x, "fresh": fresh})
    np.testing.assert_allclose(found, diffused(ddpm_table(), state, x, fresh), rtol=1e-4, atol=1e-4)


def test_given_noise_is_left_as_it_was(build):
    run = build(policy(), diffusion(), [encoder(), denoiser()], diffusion_arrays(ddim_table())).run
    x = noise(CHUNK, ACTION)
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
        ({"x": noise(CHUNK, ACTION + 1)}, r"the noise 'x' is float32\[4, 3\]; the policy takes \[4, 2\]"),
        ({"x": noise(PASSES, CHUNK, ACTION)}, r"the noise 'x' is float32\[4, 4, 2\]"),
        ({"x": np.zeros((CHUNK, ACTION), np.int64)}, r"the noise 'x' is int64\[4, 2\]"),
        ({"fresh": noise(CHUNK, ACTION)}, r"the noise 'fresh' is .* the policy takes \[4, 4, 2\]"),
        ({"fresh": noise(PASSES - 1, CHUNK, ACTION)}, "the noise 'fresh' is"),
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
    with pytest.raises(ProgramError, match="never runs the component 'recurrent'"):
        build(policy(), diffusion(), [encoder(), denoiser(), recurrent()], arrays)


# --- cameras, a prefix, its keys and values, and a step ------------------------------------------------------------

STEPS = 10
LAYERS = ("k0", "v0", "k1", "v1")


def vision():
    made = component("vision", [spec("image", 1, 3, HEIGHT, WIDTH)], [spec("tokens", 1, 1, 3)])
    nodes = [
        helper.make_node("ReduceMean", ["image", "axes"], ["mean"], keepdims=0),
        ("Reshape", ["mean", "shape"], ["tokens"]),
    ]
    return made, graph_of(made, nodes, {"axes": np.array([2, 3]), "shape": np.array([1, 1, 3])})


def prefix():
    """Layer i of [top, wrist, state] is the i + 1 fold of it."""
    made = component(
        "prefix",
        [spec("top", 1, 1, 3), spec("wrist", 1, 1, 3), spec("state", 1, STATE_DIM)],
        [spec(name, 1, 3, 3) for name in LAYERS],
    )
    nodes = [
        ("Reshape", ["state", "shape"], ["own"]),
        helper.make_node("Concat", ["top", "wrist", "own"], ["all"], axis=1),
        *(("Mul", ["all", f"by.{name}"], [name]) for name in LAYERS),
    ]
    constants = {f"by.{name}": np.float32(at + 1) for at, name in enumerate(LAYERS)}
    return made, graph_of(made, nodes, constants | {"shape": np.array([1, 1, 3])})


def stepper():
    """v = 0.1 x + t + mean(k0 * v0 + k1 * v1)"""
    made = component(
        "step",
        [spec("x", 1, CHUNK, ACTION), spec("t", 1), *(spec(name, 1, 3, 3) for name in LAYERS)],
        [spec("v", 1, CHUNK, ACTION)],
    )
    nodes = [
        ("Mul", ["k0", "v0"], ["kv0"]),
        ("Mul", ["k1", "v1"], ["kv1"]),
        ("Add", ["kv0", "kv1"], ["kv"]),
        helper.make_node("ReduceMean", ["kv"], ["mean"], keepdims=0),
        ("Mul", ["x", "tenth"], ["part"]),
        ("Add", ["part", "t"], ["timed"]),
        ("Add", ["timed", "mean"], ["v"]),
    ]
    return made, graph_of(made, nodes, {"tenth": np.float32(0.1)})


def flow():
    cameras = ("top", "wrist")
    return Program(
        tensors=(
            *(spec(f"{camera}.planes", 3, HEIGHT, WIDTH) for camera in cameras),
            *(spec(f"{camera}.tokens", 1, 3) for camera in cameras),
            *(spec(name, 1, 3, 3) for name in LAYERS),
            spec("x", CHUNK, ACTION),
            spec("v", CHUNK, ACTION),
            spec("t", 1),
        ),
        steps=(
            *(Normalise(f"norm.{camera}", camera, f"{camera}.planes", "pre", planes=True) for camera in cameras),
            *(
                Call(f"see.{camera}", "vision", {"image": f"{camera}.planes"}, {"tokens": f"{camera}.tokens"})
                for camera in cameras
            ),
            Call(
                "prefix",
                "prefix",
                {"top": "top.tokens", "wrist": "wrist.tokens", "state": "state"},
                {name: name for name in LAYERS},
            ),
            Noise("noise", "x"),
            Repeat(
                "flow",
                STEPS,
                (
                    Call("step", "step", {"x": "x", "t": "t", **{name: name for name in LAYERS}}, {"v": "v"}),
                    Integrate("euler", "x", "v", "table", Prediction.VELOCITY),
                ),
                {"t": "times"},
            ),
        ),
        action="x",
    )


def flow_arrays():
    return {
        "pre.offset": np.float32([127.5] * 3),
        "pre.scale": np.float32([127.5] * 3),
        "times": np.linspace(1, 0.1, STEPS),
        "table": np.array([[1, 0, 0, 1, -1 / STEPS, 0]] * STEPS),
    }


def test_two_cameras_a_prefix_its_keys_and_values_and_ten_euler_steps(build):
    observed = policy(the_frame("top"), the_frame("wrist"), the_state())
    executor = build(observed, flow(), [vision(), prefix(), stepper()], flow_arrays())
    for seed in (0, 1):
        frames = {"top": random_frame(seed), "wrist": random_frame(seed + 10)}
        state, x = random_state(seed), noise(CHUNK, ACTION, seed=seed)
        tokens = [((frame.astype(float) - 127.5) / 127.5).mean(axis=(0, 1)) for frame in frames.values()]
        own = np.stack([*tokens, state])
        mean = (own * 2 * own + 3 * own * 4 * own).mean()
        expected = x.astype(float)
        for t in flow_arrays()["times"]:
            expected = expected - (0.1 * expected + t + mean) / STEPS
        found = executor.run({**frames, "state": state}, given={"x": x})
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_both_cameras_may_be_seen_side_by_side_and_the_prefix_waits_for_both():
    waiting = waits_for(flow())
    assert waiting["see.top"] == ("norm.top",)
    assert waiting["see.wrist"] == ("norm.wrist",)
    assert set(waiting["prefix"]) == {"see.top", "see.wrist"}
    assert waiting["noise"] == ()
    assert set(waiting["flow"]) == {"prefix", "noise"}


def test_the_second_call_of_a_component_does_not_overwrite_the_first(build):
    observed = policy(the_frame("top"), the_frame("wrist"), the_state())
    executor = build(observed, flow(), [vision(), prefix(), stepper()], flow_arrays())
    executor.run({"top": random_frame(0), "wrist": random_frame(1), "state": random_state()})
    top, wrist = (executor.values[f"{camera}.tokens"] for camera in ("top", "wrist"))
    assert not np.shares_memory(top, wrist)
    assert (top != wrist).all()


# --- language ------------------------------------------------------------------------------------------------------

SAID, STOP = 5, 0


def speaker():
    """Tokens to actions: row [token, -token]."""
    made = component("actor", [spec("tokens", 1, SAID, dtype=DType.INT64)], [spec("chunk", 1, SAID, ACTION)])
    rows = np.stack([np.arange(7), -np.arange(7)], axis=1).astype(np.float32)
    return made, graph_of(made, [("Gather", ["rows", "tokens"], ["chunk"])], {"rows": rows})


def speaking(**changes):
    tokens = {"dtype": DType.INT64}
    return Program(
        tensors=(
            spec("ids", 4, **tokens),
            spec("mask", 4, dtype=DType.BOOL),
            spec("tokens", SAID, **tokens),
            spec("action", SAID, ACTION),
        ),
        steps=(
            Tokenise("read", "task", "ids", "mask", "tokenizer.json", 0),
            Generate(
                "say",
                **({"component": "language", "ids": "ids", "mask": "mask"} | changes),
                output="tokens",
                stop_id=STOP,
            ),
            Call("act", "actor", {"tokens": "tokens"}, {"chunk": "action"}),
        ),
        action="action",
    )


@pytest.fixture
def tokenizer(tmp_path):
    made = Tokenizer(models.WordLevel({str(at): at for at in range(7)}, unk_token="0"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.save(str(tmp_path / "tokenizer.json"))


@pytest.fixture
def talker(build, tokenizer):
    task = Feature("task", FeatureKind.LANGUAGE, DType.TEXT, ())
    return build(policy(task, chunk=SAID), speaking(), [(language_component(), language_graph()), speaker()])


def test_an_instruction_is_read_and_decoded_token_by_token(talker):
    texts = [[1], [2, 3], [6, 5, 4], [1, 2, 3, 4], [4, 4]]
    said = [language_text(text, SAID, STOP) for text in texts]
    # Some of them stop early, or the stop token proves nothing.
    assert any(STOP in text[:-1] for text in said)
    assert any(STOP not in text for text in said)
    for text, expected in zip(texts, said, strict=True):
        found = talker.run({"task": np.array(" ".join(map(str, text)))})
        np.testing.assert_array_equal(found, np.stack([expected, np.negative(expected)], axis=1))


def test_prefill_and_every_token_are_spans_within_the_step(talker):
    text = next([a, b] for a in range(1, 7) for b in range(1, 7) if STOP not in language_text([a, b], SAID, STOP))
    moments = iter(range(1000))
    spans = SpanTable(talker.sites, talker.spans_per_run, lambda: next(moments))
    talker.run({"task": np.array(" ".join(map(str, text)))}, spans)
    names = [talker.sites[site].step for site in spans.rows[:, 1]]
    assert sorted(names) == sorted(["read", "say", "act", "say.prefill", *["say.token"] * (SAID - 1)])
    within = {site.step: site.within for site in talker.sites}
    assert within["say.prefill"] == within["say.token"] == "say"


def test_a_text_without_a_token_cannot_be_gone_on_with(talker):
    with pytest.raises(ShapeError, match="step 'say' has no token to begin with"):
        talker.run({"task": np.array("")})


def test_a_component_without_a_cache_cannot_generate(build, tokenizer):
    task = Feature("task", FeatureKind.LANGUAGE, DType.TEXT, ())
    program = speaking(component="actor")
    with pytest.raises(ProgramError, match="'actor' keeps no cache to generate with"):
        build(policy(task, chunk=SAID), program, [speaker()])


def test_an_instruction_is_checked_as_a_text(talker):
    talker.check("task", np.array("pick"))
    with pytest.raises(ShapeError, match="task is text"):
        talker.check("task", np.zeros(3))


# --- what is remembered --------------------------------------------------------------------------------------------


def recurrent():
    """hidden' = 0.5 hidden + state; action = hidden' + 1"""
    made = component(
        "recurrent",
        [spec("state", 1, STATE_DIM), spec("hidden", 1, STATE_DIM)],
        [spec("next", 1, STATE_DIM), spec("chunk", 1, STATE_DIM)],
    )
    nodes = [
        ("Mul", ["hidden", "half"], ["old"]),
        ("Add", ["old", "state"], ["next"]),
        ("Add", ["next", "one"], ["chunk"]),
    ]
    return made, graph_of(made, nodes, {"half": np.float32(0.5), "one": np.float32(1)})


def remembering():
    return Program(
        tensors=(spec("hidden", STATE_DIM), spec("action", 1, STATE_DIM)),
        steps=(
            Call("run", "recurrent", {"state": "state", "hidden": "hidden"}, {"next": "hidden", "chunk": "action"}),
        ),
        action="action",
        states=("hidden",),
    )


def test_a_state_is_fed_back_from_run_to_run_and_zero_after_a_reset(build):
    executor = build(policy(chunk=1, action=(STATE_DIM,)), remembering(), [recurrent()])
    for _ in range(2):
        hidden = np.zeros(STATE_DIM)
        for seed in range(5):
            state = random_state(seed)
            hidden = 0.5 * hidden + state
            np.testing.assert_allclose(executor.run({"state": state})[0], hidden + 1, rtol=1e-5, atol=1e-6)
        executor.reset()


def test_two_states_may_change_places(build):
    made = component("swap", [spec("a", 1, 2), spec("b", 1, 2)], [spec("a2", 1, 2), spec("b2", 1, 2)])
    model = graph_of(made, [("Identity", ["a"], ["b2"]), ("Add", ["b", "one"], ["a2"])], {"one": np.float32(1)})
    program = Program(
        tensors=(spec("a", 2), spec("b", 2), spec("action", 1, 2)),
        steps=(
            Call("swap", "swap", {"a": "a", "b": "b"}, {"a2": "a", "b2": "b"}),
            Slice("take", "a", "flat"),
            Call("again", "swap", {"a": "flat", "b": "flat"}, {"a2": "action.plus", "b2": "action.same"}),
            Normalise("post", "action.same", "action", "id"),
        ),
        action="action",
        states=("a", "b"),
    )
    program = replace(
        program, tensors=(*program.tensors, *(spec(name, 2) for name in ("flat", "action.plus", "action.same")))
    )
    arrays = {"id.offset": np.zeros(2), "id.scale": np.ones(2)}
    executor = build(policy(chunk=1, action=(2,)), program, [(made, model)], arrays)
    a, b = 0, 0
    for _ in range(5):
        a, b = b + 1, a
        assert (executor.run({"state": random_state()}) == a).all()
        assert (executor.values["b"] == b).all()


def test_a_history_of_observations_enters_with_the_oldest_first(build):
    made = component(
        "both", [spec("states", 1, 2, STATE_DIM), spec("frames", 1, 2, 3, 3, 4)], [spec("chunk", 1, 2, STATE_DIM)]
    )
    nodes = [
        helper.make_node("ReduceMean", ["frames", "axes"], ["means"], keepdims=0),
        ("Mul", ["states", "weights"], ["weighed"]),
        ("Add", ["weighed", "means"], ["chunk"]),
    ]
    weights = np.float32([[1], [10]])
    model = graph_of(made, nodes, {"axes": np.array([3, 4]), "weights": weights})
    program = Program(
        tensors=(
            spec("small", 2, 3, 4, 3),
            spec("frames", 2, 3, 3, 4),
            spec("states", 2, STATE_DIM),
            spec("action", 2, STATE_DIM),
        ),
        steps=(
            Resize("resize", "cam", "small"),
            Normalise("norm.cam", "small", "frames", "pre.cam", planes=True),
            Normalise("norm.state", "state", "states", "pre.state"),
            Call("act", "both", {"states": "states", "frames": "frames"}, {"chunk": "action"}),
        ),
        action="action",
    )
    arrays = {
        "pre.cam.offset": np.zeros(3),
        "pre.cam.scale": np.full(3, 255),
        "pre.state.offset": np.ones(STATE_DIM),
        "pre.state.scale": np.full(STATE_DIM, 2),
    }
    observed = policy(the_frame(), the_state(), chunk=2, action=(STATE_DIM,), history=2)
    executor = build(observed, program, [(made, model)], arrays)
    frames, states = random_frame(0, 2), random_state(0, 2)
    # Half the size without antialiasing: the mean of four pixels each.
    means = frames.reshape(2, 3, 2, 4, 2, 3).astype(float).mean(axis=(1, 2, 3, 4)) / 255
    found = executor.run({"cam": frames, "state": states})
    np.testing.assert_allclose(found, (states - 1) / 2 * weights + means, rtol=1e-4, atol=1e-4)
    executor.check("state", states)
    executor.check("state", states[0], one=True)
    with pytest.raises(ShapeError, match=r"float32\[2, 3\] .* got float32\[3\]"):
        executor.check("state", states[0])


def test_ensembling_is_the_mean_of_all_past_predictions_for_this_tick(build):
    made = component("chunker", [spec("state", 1, STATE_DIM)], [spec("chunk", 1, CHUNK, STATE_DIM)])
    weights = np.arange(1, CHUNK + 1, dtype=np.float32)[:, None]
    model = graph_of(
        made,
        [("Mul", ["state", "weights"], ["flat"]), ("Unsqueeze", ["flat", "axis"], ["chunk"])],
        {"weights": weights, "axis": np.array([0])},
    )
    program = Program(
        tensors=(spec("chunk", 1, CHUNK, STATE_DIM), spec("action", 1, STATE_DIM)),
        steps=(
            Call("act", "chunker", {"state": "state"}, {"chunk": "chunk"}),
            Ensemble("mean", "chunk", "action", 0.1),
        ),
        action="action",
    )
    executor = build(policy(chunk=1, action=(STATE_DIM,)), program, [(made, model)])
    for _ in range(2):
        chunks = []
        for tick in range(9):
            state = random_state(tick)
            chunks.append(state * weights)
            known = [chunks[at][tick - at] for at in range(max(0, tick - CHUNK + 1), tick + 1)]
            share = np.exp(-0.1 * np.arange(len(known)))
            expected = np.average(known, axis=0, weights=share)
            np.testing.assert_allclose(executor.run({"state": state})[0], expected, rtol=1e-4, atol=1e-5)
        executor.reset()


# --- other shapes of policies --------------------------------------------------------------------------------------


def double():
    made = component("double", [spec("in", 1, STATE_DIM)], [spec("out", 1, STATE_DIM)])
    return made, graph_of(made, [("Add", ["in", "in"], ["out"])])


def test_a_policy_of_state_only(build):
    program = Program(
        (spec("action", 1, STATE_DIM),), (Call("c", "double", {"in": "state"}, {"out": "action"}),), "action"
    )
    executor = build(policy(chunk=1, action=(STATE_DIM,)), program, [double()])
    np.testing.assert_array_equal(executor.run({"state": random_state()})[0], 2 * random_state())


def test_a_policy_of_images_only(build):
    program = Program(
        (spec("planes", 3, HEIGHT, WIDTH), spec("tokens", 1, 3)),
        (
            Normalise("norm", "cam", "planes", "pre", planes=True),
            Call("see", "vision", {"image": "planes"}, {"tokens": "tokens"}),
        ),
        "tokens",
    )
    arrays = {"pre.offset": np.zeros(3), "pre.scale": np.full(3, 255)}
    executor = build(policy(the_frame(), chunk=1, action=(3,)), program, [vision()], arrays)
    found = executor.run({"cam": random_frame()})
    np.testing.assert_allclose(found[0], random_frame().mean(axis=(0, 1)) / 255, rtol=1e-4)


def test_two_branches_that_do_not_wait_for_each_other(build):
    observed = policy(the_state(), replace(the_state(), name="other"), chunk=1, action=(STATE_DIM,))
    join = component("join", [spec("a", 1, STATE_DIM), spec("b", 1, STATE_DIM)], [spec("out", 1, STATE_DIM)])
    program = Program(
        (spec("left", STATE_DIM), spec("right", STATE_DIM), spec("action", 1, STATE_DIM)),
        (
            Call("left", "double", {"in": "state"}, {"out": "left"}),
            Call("right", "double", {"in": "other"}, {"out": "right"}),
            Call("join", "join", {"a": "left", "b": "right"}, {"out": "action"}),
        ),
        "action",
    )
    assert waits_for(program) == {"left": (), "right": (), "join": ("left", "right")}
    executor = build(observed, program, [double(), (join, graph_of(join, [("Sub", ["a", "b"], ["out"])]))])
    state, other = random_state(0), random_state(1)
    found = executor.run({"state": state, "other": other})
    np.testing.assert_allclose(found[0], 2 * state - 2 * other, rtol=1e-5, atol=1e-6)


def test_a_part_of_a_tensor_is_taken_out(build):
    made = component("wide", [spec("state", 1, STATE_DIM)], [spec("out", 1, 5, STATE_DIM)])
    rows = np.arange(5, dtype=np.float32)[None, :, None]
    program = Program(
        (spec("wide", 1, 5, STATE_DIM), spec("action", 2, 2)),
        (Call("c", "wide", {"state": "state"}, {"out": "wide"}), Slice("cut", "wide", "action", (1, 1))),
        "action",
    )
    model = graph_of(made, [("Add", ["state", "rows"], ["out"])], {"rows": rows})
    executor = build(policy(chunk=2, action=(2,)), program, [(made, model)])
    for seed in (0, 1):
        state = random_state(seed)
        found = executor.run({"state": state})
        np.testing.assert_allclose(found, (state + np.arange(5)[:, None])[1:3, 1:3], rtol=1e-5, atol=1e-6)


# --- what may come out ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_action_that_is_not_a_number_is_refused(tiny, value):
    observation = tiny_observation()
    observation[STATE] = np.float32([value, 0, 0])
    with pytest.raises(NonFiniteError, match="8 of 8 values of 'action'"):
        tiny.run(observation)
    # And the next one is as good as ever.
    np.testing.assert_allclose(tiny.run(tiny_observation()), tiny_golden()["out.action"][0], atol=1e-5)


def test_a_program_whose_action_has_another_shape_than_the_policy_says_is_refused(build):
    program = Program(
        (spec("action", 1, STATE_DIM),), (Call("c", "double", {"in": "state"}, {"out": "action"}),), "action"
    )
    with pytest.raises(ProgramError, match=r"the program's action is \[1, 3\]; the policy says 1 actions of \[4\]"):
        build(policy(chunk=1, action=(4,)), program, [double()])


def bare(build, shape):
    """A graph of which nothing is known but that it passes its input on."""
    made = component("bare", [spec("x", *[-1] * len(shape))], [spec("y", *[-1] * len(shape))])
    program = Program((spec("y", *[-1] * len(shape)),), (Call("c", "bare", {"x": "x"}, {"y": "y"}),), "y")
    observed = policy(Feature("x", FeatureKind.TENSOR, DType.FLOAT32, (-1,) * len(shape)), chunk=1, action=(-1, 2))
    return build(observed, program, [(made, graph_of(made, [("Identity", ["x"], ["y"])]))])


@pytest.mark.parametrize("shape", [(1, 5, 2), (5, 2)])
def test_a_bare_graph_may_have_free_dimensions_and_no_batch(build, shape):
    assert bare(build, shape).run({"x": np.ones(shape, np.float32)}).shape == (1, 5, 2)


@pytest.mark.parametrize("shape", [(1, 5, 3), (5, 3), (2, 5, 2), (2,)])
def test_an_action_of_another_shape_is_refused_when_it_comes(build, shape):
    with pytest.raises(ShapeError, match=r"the action is \[.*the policy says \[1, -1, 2\]"):
        bare(build, shape).run({"x": np.ones(shape, np.float32)})
