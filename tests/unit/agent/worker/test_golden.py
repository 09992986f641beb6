"""The golden cases of a release: which are refused, and how they are run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgectl_agent.worker.golden import read_golden
from edgectl_agent.worker.program import Executor
from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.errors import BundleCorruptError, BundleError, ShapeError
from edgectl_protos.domain.parity import Tolerance
from edgectl_protos.domain.policy import Dimension, Feature, FeatureKind, Policy
from edgectl_protos.domain.program import Ensemble, Program, Unnormalise
from edgectl_testkit import numpy_denoiser
from edgectl_testkit.bundles import CAMERAS, STATE, STATE_DIM, tiny_golden
from edgectl_testkit.executors import ExecutorMaker
from edgectl_testkit.programs import spec


def with_golden(release, count, **arrays):
    np.savez(release.path("golden.npz"), **arrays)
    return with_manifest(release, golden=replace(release.manifest.golden, count=count))


def with_manifest(release, **changes):
    return replace(release, manifest=replace(release.manifest, **changes))


def rewritten(release, **arrays):
    return with_golden(release, 3, **(tiny_golden() | arrays))


# --- reading ---------------------------------------------------------------------------------------------------------


def test_cases_are_read_one_by_one(release):
    golden = read_golden(release)
    assert len(golden.observations) == len(golden.noise) == 3
    assert sorted(golden.observations[0]) == sorted([*CAMERAS, STATE])
    np.testing.assert_array_equal(golden.observations[2][STATE], tiny_golden()[f"in.{STATE}"][2])
    assert golden.noise[0] == {}
    assert list(golden.expected) == ["action"]
    assert not golden.sequence


def test_a_release_without_golden_cases_has_none(release):
    assert read_golden(with_manifest(release, golden=None)) is None


@pytest.mark.parametrize("lacking", [f"in.{CAMERAS[1]}", "out.action"])
def test_cases_that_lack_a_tensor_are_refused(release, lacking):
    arrays = {key: value for key, value in tiny_golden().items() if key != lacking}
    with pytest.raises(BundleError, match=f"no {lacking}; it has: in.observation"):
        read_golden(with_golden(release, 3, **arrays))


def test_an_empty_file_has_nothing(release):
    with pytest.raises(BundleError, match=r"has no in\.observation\.images\.top; it has: nothing"):
        read_golden(with_golden(release, 3))


def test_cases_without_the_noise_of_their_reference_prove_nothing_and_are_refused(tmp_path):
    release = numpy_denoiser.lay_out(tmp_path, Tolerance(0.0, 0.0, 0.0, 0.0))
    arrays = {key: value for key, value in numpy_denoiser.golden().items() if key != "in.x"}
    with pytest.raises(BundleError, match=r"has no in\.x"):
        read_golden(with_golden(release, 6, **arrays))


def test_no_cases_are_refused(release):
    with pytest.raises(BundleError, match="cannot hold 0 golden cases"):
        read_golden(with_golden(release, 0, **{key: value[:0] for key, value in tiny_golden().items()}))


@pytest.mark.parametrize("rows", [np.zeros(()), np.zeros((2, 4, 2)), np.zeros((4, 4, 2)), np.zeros((0, 4, 2))])
def test_cases_of_another_number_are_refused(release, rows):
    with pytest.raises(BundleError, match=r"out\.action has not the 3 cases"):
        read_golden(rewritten(release, **{"out.action": rows}))


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("out.action", np.array(["a", "b", "c"])),
        ("out.action", np.zeros(3, np.complex64)),
        (f"in.{STATE}", np.zeros(3, "datetime64[s]")),
        ("in.unasked", np.zeros(3, [("a", np.float32)])),
    ],
)
def test_cases_that_are_no_numbers_are_refused(release, key, values):
    with pytest.raises(BundleError, match=rf"{key} holds .*, no numbers"):
        read_golden(rewritten(release, **{key: values}))


def test_a_tensor_that_the_program_does_not_have_is_refused(release):
    with pytest.raises(BundleError, match=r"out\.features.*no such tensor"):
        read_golden(rewritten(release, **{"out.features": np.zeros((3, 2), np.float32)}))


def test_a_file_that_is_no_archive_is_refused(release):
    release.path("golden.npz").write_bytes(b"no archive")
    with pytest.raises(BundleCorruptError, match=r"golden\.npz cannot be read"):
        read_golden(release)


# --- running ---------------------------------------------------------------------------------------------------------


class Log:
    """Notes what a run does with an executor."""

    def __init__(self, executor):
        self.executor = executor
        self.lines = []

    def reset(self):
        self.lines.append("reset")
        self.executor.reset()

    def check(self, name, value):
        self.executor.check(name, value)

    def run(self, observation, given):
        self.lines.append("run")
        return self.executor.run(observation, given=given)

    def noted(self, golden, **options):
        def begin(case):
            self.lines.append(f"begin {case}")

        def end(case):
            self.lines.append(f"end {case}")

        return golden.run(self, begin=begin, end=end, **options)


def case(index):
    return ["reset", f"begin {index}", "run", f"end {index}"]


@pytest.fixture
def tiny(release):
    return Log(ExecutorMaker(release)())


def test_each_case_begins_anew_and_the_actions_come_in_the_order_of_cases(release, tiny):
    actions = tiny.noted(read_golden(release))
    np.testing.assert_allclose(actions, tiny_golden()["out.action"], atol=1e-5)
    assert tiny.lines == ["reset", *case(0), *case(1), *case(2), "reset"]


def test_backwards_they_are_run_from_the_last_and_come_in_the_same_order(release, tiny):
    golden = read_golden(release)
    np.testing.assert_array_equal(tiny.noted(golden, backwards=True), golden.run(tiny.executor))
    assert tiny.lines == ["reset", *case(2), *case(1), *case(0), "reset"]


def test_other_observations_may_be_fewer(release, tiny):
    golden = read_golden(release)
    found = golden.run(tiny, observations=golden.observations[1:])
    np.testing.assert_array_equal(found, golden.run(tiny)[1:])


def test_an_observation_of_another_shape_is_refused_by_its_name(release, tiny):
    golden = read_golden(rewritten(release, **{f"in.{CAMERAS[0]}": np.zeros((3, 4, 4, 3), np.uint8)}))
    with pytest.raises(ShapeError, match=CAMERAS[0]):
        golden.run(tiny)


def test_each_case_has_its_own_noise(tmp_path):
    release = numpy_denoiser.lay_out(tmp_path, Tolerance(0.0, 0.0, 0.0, 0.0))
    golden = read_golden(release)
    found = golden.run(ExecutorMaker(release)(), observations=(golden.observations[0],) * 6)
    assert len(np.unique(found[:, 0, 0])) == 6


def remembering(release):
    """What the state was the time before is the action now: the program keeps it, from a reset on."""
    policy = Policy(
        type="remembering",
        observations=(Feature(STATE, FeatureKind.STATE, DType.FLOAT32, (STATE_DIM,)),),
        action=Feature("action", FeatureKind.ACTION, DType.FLOAT32, (STATE_DIM,)),
        chunk_size=1,
        n_action_steps=1,
    )
    program = Program(
        tensors=(spec("kept", 1, STATE_DIM), spec("action", 1, STATE_DIM)),
        steps=(Unnormalise("out", "kept", "action", "same"), Unnormalise("keep", STATE, "kept", "same")),
        action="action",
        states=("kept",),
        arrays="arrays.npz",
    )
    arrays = {"same.offset": np.zeros(STATE_DIM, np.float32), "same.scale": np.ones(STATE_DIM, np.float32)}
    manifest = replace(release.manifest, policy=policy, program=program, components=())
    states = np.arange(9, dtype=np.float32).reshape(3, 3)
    changed = replace(release, manifest=manifest, arrays=arrays)
    before = np.concatenate([np.zeros((1, 3), np.float32), states[:-1]])[:, None]
    return with_golden(changed, 3, **{f"in.{STATE}": states, "out.action": before, "out.kept": states[:, None]})


@pytest.mark.parametrize("backwards", [False, True])
def test_cases_of_a_program_that_remembers_are_one_sequence_also_backwards(release, backwards):
    changed = remembering(release)
    golden = read_golden(changed)
    assert golden.sequence
    log = Log(ExecutorMaker(changed)())
    np.testing.assert_array_equal(log.noted(golden, backwards=backwards), golden.expected["action"])
    assert log.lines == ["reset", *case(0)[1:], *case(1)[1:], *case(2)[1:], "reset"]


def test_at_the_end_of_a_case_a_state_is_what_it_left(release):
    changed = remembering(release)
    golden = read_golden(changed)
    executor: Executor = ExecutorMaker(changed)()
    left = []
    golden.run(executor, end=lambda index: left.append(executor.values["kept"].copy()))
    np.testing.assert_array_equal(left, golden.expected["kept"])


def test_a_program_that_ensembles_remembers_too(release):
    program = release.manifest.program
    chunk = spec("whole", 4, 2)
    steps = (*program.steps[:-1], replace(program.steps[-1], output="whole"), Ensemble("mean", "whole", "action", 0.1))
    kept = tuple(one for one in program.tensors if one.name != "action")
    changed = replace(program, tensors=(*kept, chunk, spec("action", 1, 2)), steps=steps)
    one = replace(release.manifest.policy, chunk_size=1, n_action_steps=1)
    assert read_golden(with_manifest(release, program=changed, policy=one)).sequence


# --- what is expected ------------------------------------------------------------------------------------------------


def test_what_is_expected_is_a_chunk_of_rows_with_the_names_of_the_policy(tmp_path):
    release = numpy_denoiser.lay_out(tmp_path, Tolerance(0.0, 0.0, 0.0, 0.0))
    other = {"another state": np.zeros((4, 5, 3))}
    expected = read_golden(release).wanted(release, other)
    assert expected.actions.shape == (6, 5, 3)
    assert expected.dimensions == tuple(Dimension(name) for name in numpy_denoiser.DIMENSIONS)
    assert (expected.use, expected.drawn) == (2, True)
    assert expected.contrasts is other


def test_dimensions_that_nobody_named_have_numbers(release):
    expected = read_golden(release).wanted(release, {})
    assert [one.name for one in expected.dimensions] == ["action[0]", "action[1]"]
    assert not expected.drawn


def test_an_action_that_is_no_chunk_is_refused(release):
    golden = read_golden(rewritten(release, **{"out.action": np.zeros((3, 9, 3), np.float32)}))
    with pytest.raises(ShapeError, match=r"out\.action of the golden cases is \[3, 9, 3\]; the policy says 4 actions"):
        golden.wanted(release, {})
