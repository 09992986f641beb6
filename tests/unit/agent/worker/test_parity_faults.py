"""Faults of a release whose trace was right: each is refused at both tolerances, by what it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgectl_converters.targets.registry import target
from edgectl_testkit import numpy_denoiser
from edgectl_testkit.executors import ExecutorMaker
from edgectl_testkit.parity_reports import (
    failing,
    figure_of,
    parity,
    traced,
    with_manifest,
)

FP32, INT8 = (target("onnxrt").tolerance(scheme) for scheme in ("fp32", "int8"))
BOTH = pytest.mark.parametrize("tolerance", [FP32, INT8], ids=["fp32", "int8"])


@pytest.fixture
def broken(tmp_path):
    """The report on a release, of which the trace was written before this was changed in it."""

    def make(tolerance, *, arrays=None, program=None, spoil=None, golden=None):
        release = traced(numpy_denoiser.lay_out(tmp_path, tolerance))
        release = replace(release, arrays=release.arrays | (arrays or {}))
        if program is not None:
            release = with_manifest(release, program=program(release.manifest.program))
        maker = ExecutorMaker(release)
        if spoil is not None:
            spoil(maker.graphs)
        return parity(release, maker)

    return make


def step_of(program, id_):
    return next(step for step in program.steps if step.id == id_)


def changed_step(program, id_, **changes):
    steps = (replace(step, **changes) if step.id == id_ else step for step in program.steps)
    return replace(program, steps=tuple(steps))


@BOTH
def test_a_stale_cache_is_refused_where_it_is(broken, tolerance):
    def stale(graphs):
        infer, first = graphs["prefix"].infer, {}

        def remembered(feeds):
            if not first:
                first.update({port: values.copy() for port, values in infer(feeds).items()})
            return first

        graphs["prefix"].infer = remembered

    report = broken(tolerance, spoil=stale)
    assert {"prefix", "executed"} <= failing(report)
    assert figure_of(report, "processing").passed


@BOTH
def test_exchanged_cameras_are_refused_by_that_name(broken, tolerance):
    def exchanged(program):
        inputs = {"top": "wrist.tokens", "wrist": "top.tokens", "felt": "felt"}
        return changed_step(program, "prefix", inputs=inputs)

    report = broken(tolerance, program=exchanged)
    assert {"taken for top and wrist exchanged", "prefix"} <= failing(report)
    assert figure_of(report, "taken for top and wrist exchanged", "share").value == pytest.approx(1, abs=0.1)


@BOTH
def test_exchanged_frames_are_refused_as_processing(broken, tolerance):
    def exchanged(program):
        return changed_step(changed_step(program, "norm.top", input="wrist"), "norm.wrist", input="top")

    report = broken(tolerance, program=exchanged)
    assert {"taken for top and wrist exchanged", "processing"} <= failing(report)


@BOTH
@pytest.mark.parametrize("part", [1.02, 1.15])
def test_a_state_normalised_with_a_wrong_deviation_is_refused_at_the_precision_of_floats(broken, tolerance, part):
    scale = np.array([40, 30 * part, 0.03], np.float32)
    report = broken(tolerance, arrays={"pre.state.scale": scale})
    figure = figure_of(report, "processing")
    assert (figure.passed, figure.at) == (False, "input felt of prefix")


@BOTH
@pytest.mark.parametrize(("index", "name"), [(1, "lift"), (2, "gripper")])
@pytest.mark.parametrize("factor", [1.02, 1.15, -1.0])
def test_one_dimension_that_is_scaled_after_the_components_is_refused_by_name(broken, tolerance, index, name, factor):
    scale = np.array([40, 30, 0.03], np.float32)
    scale[index] *= factor
    report = broken(tolerance, arrays={"post.action.scale": scale})
    figure = next(figure for figure in report.failures if figure.subject == "processing")
    assert figure.at == name


@BOTH
def test_a_joint_that_is_not_normalised_is_refused(broken, tolerance):
    arrays = {
        "post.action.scale": np.array([40, 1, 0.03], np.float32),
        "post.action.offset": np.array([10, 0, 0.04], np.float32),
    }
    report = broken(tolerance, arrays=arrays)
    assert {"executed", "rest of the chunk", "processing"} <= failing(report)
    assert report.worst.name == "lift"


@BOTH
def test_one_denoising_step_too_few_is_refused(broken, tolerance):
    def fewer(program):
        return changed_step(program, "denoise", times=3)

    euler = np.array([[0, 0, 0, 1, -1 / 3, 0]] * 3, np.float32)
    times = np.array([[1], [2 / 3], [1 / 3]], np.float32)
    report = broken(tolerance, program=fewer, arrays={"euler": euler, "times": times})
    assert "processing" in failing(report)
    assert figure_of(report, "processing").value > 0.05


@BOTH
def test_the_times_of_the_denoising_steps_are_part_of_the_processing(broken, tolerance):
    times = np.linspace(1, 0.25, 4, dtype=np.float32)[::-1, None].copy()
    report = broken(tolerance, arrays={"times": times})
    assert not figure_of(report, "processing").passed
    assert "input time of step" in figure_of(report, "processing").at


@BOTH
def test_a_denoiser_that_is_wrong_in_its_last_pass_is_named_with_the_pass(broken, tolerance):
    def late(graphs):
        infer, calls = graphs["step"].infer, [0]

        def wrong(feeds):
            calls[0] += 1
            found = infer(feeds)
            return {"velocity": -found["velocity"]} if calls[0] % 4 == 0 else found

        graphs["step"].infer = wrong

    report = broken(tolerance, spoil=late)
    assert "step 4/4" in failing(report)
    assert not {"step 1/4", "step 2/4", "step 3/4", "processing"} & failing(report)
