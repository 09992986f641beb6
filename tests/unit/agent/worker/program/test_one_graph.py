"""The executor with one real graph in the reference runtime, against plain numpy."""

from dataclasses import replace

import numpy as np
import pytest

from edgectl_agent.worker.program import Executor
from edgectl_agent.worker.spans import SpanTable
from edgectl_protos.domain.errors import NonFiniteError, ProgramError, ShapeError
from edgectl_testkit.bundles import CAMERAS, STATE, tiny_arrays, tiny_component, tiny_golden, tiny_graph
from edgectl_testkit.bundles import tiny_policy as make_tiny_policy
from edgectl_testkit.bundles import tiny_program as make_tiny_program
from edgectl_testkit.programs import spec


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


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_action_that_is_not_a_number_is_refused(tiny, value):
    observation = tiny_observation()
    observation[STATE] = np.float32([value, 0, 0])
    with pytest.raises(NonFiniteError, match="8 of 8 values of 'action'"):
        tiny.run(observation)
    # And the next one is as good as ever.
    np.testing.assert_allclose(tiny.run(tiny_observation()), tiny_golden()["out.action"][0], atol=1e-5)
