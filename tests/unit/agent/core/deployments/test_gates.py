"""What a release must fulfil on a device."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgectl_agent.core.deployments.gates import check_loaded, check_loop, check_parity, check_recipes, check_runtimes
from edgectl_agent.core.store.store import parse_manifest
from edgectl_protos.codec.document import canonical_bytes
from edgectl_protos.domain.bundle import MANIFEST_NAME, BuildRecipe
from edgectl_protos.domain.device import ComponentFacts, RuntimeFacts
from edgectl_protos.domain.errors import (
    DocumentError,
    LoopSpecError,
    ParityError,
    PrecisionError,
    RuntimeMissingError,
)
from edgectl_protos.domain.parity import ParityFigure, ParityReport, Tolerance
from edgectl_testkit.stub_bundles import Part, stub_bundle, stub_loop

PARTS = (Part("vision", "onnxrt", "fp32"), Part("denoise", "tensorrt", "w4g64/a16", passes=10))


@pytest.fixture
def manifest(tmp_path):
    return parse_manifest((stub_bundle(tmp_path, parts=PARTS) / MANIFEST_NAME).read_bytes())


@pytest.fixture
def components(manifest):
    return manifest.components


def facts(name="onnxrt", *precisions, problem=""):
    return RuntimeFacts(name, "1.0", ("none",), precisions, problem)


# --- runtimes ------------------------------------------------------------------------------------------------------


def test_runtimes_that_are_here_and_have_the_kernels_are_taken(components):
    check_runtimes(components, (facts("onnxrt", "int8", "fp32"), facts("tensorrt", "fp16")))


def test_the_one_runtime_that_is_missing_is_named_with_those_that_are_there(components):
    with pytest.raises(RuntimeMissingError, match="'tensorrt' for component 'denoise'; it has: onnxrt") as caught:
        check_runtimes(components, (facts("onnxrt", "fp32"),))
    assert "pip install 'edgectl-agent[tensorrt]'" in caught.value.hint


def test_a_broken_runtime_is_refused_with_its_problem(components):
    with pytest.raises(RuntimeMissingError, match=r"'onnxrt', which component 'vision' needs.*no libgomp"):
        check_runtimes(components, (facts("onnxrt", "fp32", problem="no libgomp"), facts("tensorrt", "fp16")))


def test_a_scheme_without_kernels_is_refused_with_the_precision_it_needs(components):
    with pytest.raises(RuntimeMissingError, match=r"'denoise' is w4g64/a16: tensorrt has no fp16 kernels.*has: fp32"):
        check_runtimes(components, (facts("onnxrt", "fp32"), facts("tensorrt", "fp32")))


def test_a_scheme_that_nobody_knows_here_is_refused_by_its_name(components):
    strange = replace(components[0], scheme="nf3")
    with pytest.raises(RuntimeMissingError, match="'vision' is nf3: onnxrt has no nf3 kernels"):
        check_runtimes((strange,), (facts("onnxrt", "fp32"),))
    check_runtimes((strange,), (facts("onnxrt", "nf3"),))


# --- recipes -------------------------------------------------------------------------------------------------------


def test_a_recipe_of_another_builder_than_its_runtime_is_refused(components):
    recipe = BuildRecipe("tensorrt", {"workspace": "2G"})
    unbuilt = (components[0], replace(components[1], recipe=recipe))
    check_recipes(unbuilt)
    other = (components[0], replace(components[1], recipe=BuildRecipe("make")))
    with pytest.raises(RuntimeMissingError, match="'denoise' must be built on the device by 'make'.*is tensorrt"):
        check_recipes(other)


def test_what_is_built_already_needs_no_builder(components):
    check_recipes(components)


# --- the loop ------------------------------------------------------------------------------------------------------


def test_a_loop_that_fits_is_taken(manifest):
    assert check_loop(manifest, canonical_bytes(stub_loop())) == stub_loop()


def test_a_loop_that_does_not_fit_its_policy_is_refused(manifest):
    with pytest.raises(LoopSpecError, match="executes 2 actions of a chunk; the policy predicts 1"):
        check_loop(manifest, canonical_bytes(stub_loop(use=2)))


def test_bytes_that_are_no_loop_are_refused_under_its_path(manifest):
    with pytest.raises(DocumentError, match=r"loop\.json is not JSON"):
        check_loop(manifest, b"\0")


# --- what was loaded -----------------------------------------------------------------------------------------------


def loaded(**changes):
    vision = ComponentFacts("vision", "onnxrt", "1.0", "fp32", "fp32", "CPU")
    return (replace(vision, **changes), ComponentFacts("denoise", "tensorrt", "10.3", "w4g64/a16", "fp16", "GPU"))


def test_the_precisions_asked_for_pass(components):
    check_loaded(components, loaded())


@pytest.mark.parametrize("used", ["bf16", ""])
def test_another_precision_is_refused(components, used):
    with pytest.raises(PrecisionError, match=r"'vision': fp32 was asked for.*on CPU computes"):
        check_loaded(components, loaded(precision=used))


def test_another_runtime_is_refused(components):
    with pytest.raises(PrecisionError, match="'vision': onnxrt was asked for, other was loaded"):
        check_loaded(components, loaded(runtime="other"))


def test_a_component_that_was_not_loaded_is_named(components):
    with pytest.raises(PrecisionError, match="'denoise' was not loaded"):
        check_loaded(components, loaded()[:1])


def test_a_component_that_the_release_does_not_have_is_named(components):
    with pytest.raises(PrecisionError, match="denoise was loaded, which the release does not have"):
        check_loaded(components[:1], loaded())


# --- parity --------------------------------------------------------------------------------------------------------


def figure(error=1e-6, limit=5e-3, subject="executed", at="shoulder"):
    return ParityFigure(subject, "rmse", error, limit, at)


def report(*figures, cases=3):
    return ParityReport(cases, figures)


def test_figures_within_their_limits_pass(manifest):
    check_parity(manifest, report(figure(), figure(subject="call")))


def test_what_is_only_shown_is_not_judged(manifest):
    check_parity(manifest, report(figure(), figure(error=9.0, limit=None)))


def test_the_limit_of_a_release_is_that_of_its_loosest_component(manifest):
    loose = Tolerance(0.1, 0.0, 0.3, 0.02)
    mixed = (manifest.components[0], replace(manifest.components[1], tolerance=loose))
    assert replace(manifest, components=mixed).tolerance == Tolerance(0.1, 2.5e-2, 0.3, 0.02)


def test_a_figure_over_its_limit_is_named_with_where_and_what_it_was_against(manifest):
    over = figure(error=0.02, subject="processing", at="gripper")
    complaint = r"^processing: rmse 0\.02 in gripper \(limit 0\.005\), over 3 cases against testkit$"
    with pytest.raises(ParityError, match=complaint) as caught:
        check_parity(manifest, report(figure(), over))
    assert "--scheme fp32" in caught.value.hint


def test_of_many_figures_over_their_limits_the_first_is_named_and_the_others_counted(manifest):
    over = [figure(error=0.02, at=name) for name in ("shoulder", "elbow", "wrist")]
    with pytest.raises(ParityError, match=r"in shoulder \(limit 0\.005\), and 2 more, over 3 cases"):
        check_parity(manifest, report(*over))


@pytest.mark.parametrize("error", [float("nan"), float("inf")])
def test_an_error_that_is_no_number_is_no_pass(manifest, error):
    with pytest.raises(ParityError):
        check_parity(manifest, report(figure(error=error)))


@pytest.mark.parametrize(
    "nothing", [None, report(), report(figure(limit=None)), report(figure(), cases=2), report(figure(), cases=0)]
)
def test_golden_cases_that_nobody_compared_are_no_proof(manifest, nothing):
    with pytest.raises(ParityError, match="has 3 golden cases; the worker compared nothing with them"):
        check_parity(manifest, nothing)


def test_a_release_without_golden_cases_is_not_judged(manifest):
    check_parity(replace(manifest, golden=None), None)
