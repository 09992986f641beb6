"""What a trace holds, what stands in for components, and which other observations there are."""

from __future__ import annotations

import errno
import os
from dataclasses import replace

import numpy as np
import pytest

from edgectl_agent.worker.comparison import ANOTHER_OBSERVATION
from edgectl_agent.worker.golden import GoldenCases, read_golden
from edgectl_agent.worker.release import read_npz
from edgectl_agent.worker.trace import Recording, Standing, calls_of, contrasts, write_trace
from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.errors import DiskFullError, WorkerError
from edgectl_protos.domain.parity import Tolerance
from edgectl_protos.domain.policy import Feature, FeatureKind, Policy
from edgectl_protos.domain.program import Call, Program
from edgectl_testkit import numpy_denoiser
from edgectl_testkit.bundles import tiny_program
from edgectl_testkit.executors import ExecutorMaker

LIKE_FP32 = Tolerance(5e-3, 2.5e-2, 5e-3, 0.0)


@pytest.fixture
def flow(tmp_path):
    return numpy_denoiser.lay_out(tmp_path, LIKE_FP32)


def recorded(release, **options):
    recording = Recording(calls_of(release.manifest.program))
    actions = read_golden(release).run(ExecutorMaker(release)(recording), begin=recording.begin, **options)
    return actions, recording.arrays()


# --- calls -----------------------------------------------------------------------------------------------------------


def test_calls_are_in_the_order_of_one_run_with_the_pass_of_each(flow):
    sites = calls_of(flow.manifest.program)
    assert [site.name for site in sites] == [
        *("see.top", "see.wrist", "prefix", "step 1/4", "step 2/4", "step 3/4", "step 4/4")
    ]
    assert [site.component for site in sites] == ["vision", "vision", "prefix", *["step"] * 4]


def test_a_call_says_what_the_programs_own_steps_made_and_what_they_read(flow):
    top, _, prefix, step, *_ = calls_of(flow.manifest.program)
    assert (top.made, top.whole) == ({"image"}, set())
    assert (prefix.made, prefix.whole) == ({"felt"}, set())
    # The time of a pass is a row of an array of the release, the cache another component's.
    assert (step.made, step.whole) == ({"x", "time"}, {"velocity"})


def test_what_is_observed_and_goes_straight_into_a_component_counts_as_made():
    see = Call("see", "vision", {"image": "observation.images.top"}, {"tokens": "tokens"})
    act = Call("act", "act", {"tokens": "tokens", "state": "observation.state"}, {"action": "action"})
    first, second = calls_of(Program((), (see, act), "action"))
    assert (first.made, second.made) == ({"image"}, {"state"})


def test_an_action_that_a_component_makes_itself_is_read():
    program = tiny_program()
    assert calls_of(replace(program, steps=program.steps[:-1], action="chunk"))[0].whole == {"action"}
    assert calls_of(program)[0].whole == {"action"}


# --- recordings ------------------------------------------------------------------------------------------------------


def test_what_enters_and_leaves_each_call_is_kept_by_case(flow):
    _, trace = recorded(flow)
    golden = numpy_denoiser.golden()
    assert {key: rows.shape for key, rows in trace.items() if key[0] in "0123"} == {
        "0.in.image": (6, 3 * 6 * 8),
        "0.out.tokens": (6, 3),
        "1.in.image": (6, 3 * 6 * 8),
        "1.out.tokens": (6, 3),
        "2.in.felt": (6, 3),
        "2.out.cache": (6, 6),
        "3.in.x": (6, 15),
        "3.in.time": (6, 1),
        "3.out.velocity": (6, 1, 5, 3),
    }
    tokens = (golden["in.top"].astype(np.float64) - 127.5).mean(axis=(1, 2)) / 20
    np.testing.assert_allclose(trace["0.out.tokens"], tokens, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(trace["3.in.x"], golden["in.x"].reshape(6, 15))
    np.testing.assert_array_equal(trace["5.in.time"], np.full((6, 1), numpy_denoiser.arrays()["times"][2]))


def test_buffers_that_are_used_again_do_not_change_what_was_kept(flow):
    _, trace = recorded(flow)
    # x is updated in place from pass to pass.
    euler = trace["3.in.x"] - trace["3.out.velocity"].reshape(6, 15) / 4
    np.testing.assert_allclose(trace["4.in.x"], euler, rtol=1e-5, atol=1e-6)


def test_a_recording_of_cases_backwards_is_the_same(flow):
    forwards, backwards = (recorded(flow, backwards=turned) for turned in (False, True))
    np.testing.assert_array_equal(forwards[0], backwards[0])
    assert forwards[1].keys() == backwards[1].keys()
    for key, rows in forwards[1].items():
        np.testing.assert_array_equal(backwards[1][key], rows, err_msg=key)


def site(**changes):
    (act,) = calls_of(tiny_program())
    return replace(act, **({"made": frozenset({"state"}), "whole": frozenset()} | changes))


def call(recording, case, state, action):
    recording.begin(case)
    assert recording.before("act", {"state": state, "top": state}) is None
    recording.after("act", {"action": action})


def test_of_a_large_tensor_a_sample_is_kept_evenly_spread_and_of_one_that_is_read_all():
    large = np.arange(10_000, dtype=np.float32).reshape(1, 100, 100)
    sampled, whole = Recording((site(),)), Recording((site(whole=frozenset({"action"})),))
    for recording in (sampled, whole):
        call(recording, 0, large, large)
    np.testing.assert_array_equal(sampled.arrays()["0.out.action"], np.arange(0, 10_000, 3)[None])
    np.testing.assert_array_equal(sampled.arrays()["0.in.state"], np.arange(0, 10_000, 3)[None])
    np.testing.assert_array_equal(whole.arrays()["0.out.action"], large[None])


def test_a_tensor_whose_size_changes_from_case_to_case_is_left_out():
    recording = Recording((site(),))
    for case in range(2):
        call(recording, case, np.zeros(3), np.zeros((1, 2 + case)))
    assert list(recording.arrays()) == ["0.in.state"]


def test_what_no_step_of_the_program_made_is_not_kept_on_its_way_in():
    recording = Recording((site(made=frozenset()),))
    call(recording, 0, np.zeros(3), np.zeros(2))
    assert list(recording.arrays()) == ["0.out.action"]


# --- in the place of components --------------------------------------------------------------------------------------


def stand_in(release, trace):
    program = release.manifest.program
    recording = Recording(calls_of(program))
    components = {one.name: one for one in release.manifest.components}
    return Standing(calls_of(program), trace, components, recording), recording


def test_the_trace_in_the_place_of_all_components_gives_the_same_actions_and_runs_none(flow):
    actions, trace = recorded(flow)
    hook, recording = stand_in(flow, trace)
    maker = ExecutorMaker(flow)
    for graph in maker.graphs.values():
        graph.infer = None
    np.testing.assert_array_equal(read_golden(flow).run(maker(hook), begin=hook.begin), actions)
    made = recording.arrays()
    assert sorted(made) == sorted(key for key in trace if ".in." in key)
    for key, rows in made.items():
        np.testing.assert_array_equal(rows, trace[key], err_msg=key)


def test_only_what_the_program_reads_is_taken_from_the_trace(flow):
    actions, trace = recorded(flow)
    hook, _ = stand_in(flow, {key: rows for key, rows in trace.items() if key.endswith(".out.velocity")})
    np.testing.assert_array_equal(read_golden(flow).run(ExecutorMaker(flow)(hook), begin=hook.begin), actions)


def test_what_only_components_read_is_zeros_of_their_shape(flow):
    _, trace = recorded(flow)
    hook, _ = stand_in(flow, trace)
    hook.begin(0)
    (found,) = hook.before("vision", {"image": np.zeros((1, 3, 6, 8), np.float32)}).values()
    assert (found.shape, found.dtype, found.any()) == ((1, 3), np.float32, False)


def test_outputs_that_no_step_takes_are_not_given(flow):
    _, trace = recorded(flow)
    hook, _ = stand_in(flow, trace)
    hook.sites = tuple(replace(one, outputs=()) for one in hook.sites)
    hook.begin(0)
    assert hook.before("vision", {"image": np.zeros((1, 3, 6, 8), np.float32)}) == {}


# --- other observations ----------------------------------------------------------------------------------------------


def feature(name, kind, *shape):
    dtypes = {FeatureKind.VISUAL: DType.UINT8, FeatureKind.LANGUAGE: DType.TEXT}
    return Feature(name, kind, dtypes.get(kind, DType.FLOAT32), shape)


def frame(name, *shape):
    return feature(name, FeatureKind.VISUAL, *(shape or (2, 2, 3)))


STATE = feature("state", FeatureKind.STATE, 3)
TASK = feature("task", FeatureKind.LANGUAGE)


def policy(*features):
    action = Feature("action", FeatureKind.ACTION, DType.FLOAT32, (2,))
    return Policy("test", features, action, chunk_size=1, n_action_steps=1)


def observed(features, cases=3, *, tasks=None, same=()):
    rng = np.random.default_rng(1)
    found = []
    for case in range(cases):
        values = {}
        for one in features:
            if one.kind is FeatureKind.LANGUAGE:
                values[one.name] = np.asarray(tasks[case] if tasks else "pick up the cube")
            else:
                values[one.name] = rng.integers(0, 256, one.shape).astype(one.dtype.value)
        found.append(values)
    for name in same:
        for values in found:
            values[name] = found[0][name]
    return GoldenCases(tuple(found), ({},) * cases, {}, "action", sequence=False)


def contrasts_of(*features, **options):
    golden = observed(features, **options)
    return golden.observations, dict(contrasts(golden, policy(*features)))


def test_everything_observed_is_that_of_the_next_case_and_of_the_last_that_of_the_first():
    seen, others = contrasts_of(STATE)
    assert others == {ANOTHER_OBSERVATION: (seen[1], seen[2], seen[0])}


def test_one_feature_is_that_of_the_next_case():
    seen, others = contrasts_of(frame("cam"), STATE)
    assert list(others) == [ANOTHER_OBSERVATION, "another cam", "another state"]
    for case, found in enumerate(others["another state"]):
        assert found["state"] is seen[(case + 1) % 3]["state"]
        assert found["cam"] is seen[case]["cam"]


def test_two_cameras_of_one_shape_are_exchanged():
    seen, others = contrasts_of(frame("top"), frame("wrist"), frame("wide", 2, 4, 3), STATE)
    exchanged = others["top and wrist exchanged"]
    assert [(found["top"], found["wrist"]) for found in exchanged] == [(one["wrist"], one["top"]) for one in seen]
    assert not [name for name in others if "wide" in name and "exchanged" in name]
    # What they were asked about is left as it was.
    assert seen[0]["top"] is not exchanged[0]["top"]


def test_an_instruction_that_is_always_the_same_is_replaced():
    seen, others = contrasts_of(STATE, TASK)
    assert {str(found["task"]) for found in others["another task"]} == {"stop and wait"}
    assert all(found["state"] is one["state"] for one, found in zip(seen, others["another task"], strict=True))
    assert str(seen[0]["task"]) == "pick up the cube"


def test_instructions_that_differ_are_those_of_the_next_case():
    _, others = contrasts_of(STATE, TASK, tasks=["a", "bb", "a"])
    assert [str(found["task"]) for found in others["another task"]] == ["bb", "a", "a"]


def test_a_contrast_that_changes_nothing_is_none():
    _, others = contrasts_of(frame("cam"), STATE, same=["cam"])
    assert list(others) == [ANOTHER_OBSERVATION, "another state"]
    _, others = contrasts_of(frame("cam"), STATE, cases=1)
    assert others == {}
    _, others = contrasts_of(STATE, TASK, cases=1, tasks=["stop and wait"])
    assert others == {}


def test_one_case_has_contrasts_within_itself():
    _, others = contrasts_of(frame("top"), frame("wrist"), TASK, cases=1)
    assert list(others) == ["another task", "top and wrist exchanged"]


def test_there_are_eight_contrasts_of_four_cases_at_most():
    _, others = contrasts_of(*(frame(f"cam{index}") for index in range(6)), STATE, cases=9)
    assert len(others) == 8
    assert {len(found) for found in others.values()} == {4}


# --- the file --------------------------------------------------------------------------------------------------------


def test_a_trace_comes_back_from_its_file(flow, tmp_path):
    _, trace = recorded(flow)
    write_trace(tmp_path / "trace.npz", trace | {"contrast.another state": np.zeros((4, 5, 3))})
    found = read_npz(tmp_path / "trace.npz")
    assert found.keys() == trace.keys() | {"contrast.another state"}
    np.testing.assert_array_equal(found["0.out.tokens"], trace["0.out.tokens"])


def test_the_same_trace_is_the_same_file(flow, tmp_path):
    _, trace = recorded(flow)
    write_trace(tmp_path / "one.npz", trace)
    write_trace(tmp_path / "other.npz", dict(reversed(trace.items())))
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "other.npz").read_bytes()


@pytest.mark.parametrize(("number", "error"), [(errno.ENOSPC, DiskFullError), (errno.EIO, WorkerError)])
def test_a_disk_that_refuses_is_said(tmp_path, monkeypatch, number, error):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(np, "savez", refuse)
    with pytest.raises(error, match=r"cannot be written to trace\.npz"):
        write_trace(tmp_path / "trace.npz", {})
