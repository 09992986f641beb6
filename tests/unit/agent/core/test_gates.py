"""What a release must fulfil on a device."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgectl_agent.core.gates import check_loaded, check_parity, check_runtimes, only_component
from edgectl_agent.core.store import parse_manifest
from edgectl_agent.frames import Loaded
from edgectl_protos.domain.artifact import Precision
from edgectl_protos.domain.bundle import MANIFEST_NAME
from edgectl_protos.domain.deployment import ParityFigure
from edgectl_protos.domain.device import RuntimeFacts
from edgectl_protos.domain.errors import BundleError, ParityError, PrecisionError, RuntimeMissingError
from edgectl_testkit.stub_bundles import stub_bundle


@pytest.fixture
def manifest(tmp_path):
    return parse_manifest((stub_bundle(tmp_path) / MANIFEST_NAME).read_bytes())


@pytest.fixture
def component(manifest):
    return only_component(manifest)


def facts(*precisions, problem=""):
    return (RuntimeFacts("stub", "1.0", ("none",), precisions, problem),)


def test_a_release_of_two_graphs_is_refused(manifest):
    twice = replace(manifest, components=manifest.components * 2)
    with pytest.raises(BundleError, match="full, full"):
        only_component(twice)


def test_a_release_without_a_graph_is_refused(manifest):
    with pytest.raises(BundleError, match="none"):
        only_component(replace(manifest, components=()))


def test_a_runtime_that_is_here_and_has_the_kernels_is_taken(component):
    check_runtimes(component, facts(Precision.INT8, Precision.FP32))


def test_a_missing_runtime_is_refused_with_those_that_are_there(component):
    with pytest.raises(RuntimeMissingError, match="'stub'; it has: onnxrt") as caught:
        check_runtimes(component, (RuntimeFacts("onnxrt", "1", (), (Precision.FP32,)),))
    assert "pip install" in caught.value.hint


def test_a_broken_runtime_is_refused_with_its_problem(component):
    with pytest.raises(RuntimeMissingError, match="no libgomp"):
        check_runtimes(component, facts(Precision.FP32, problem="no libgomp"))


def test_a_precision_without_kernels_is_refused(component):
    with pytest.raises(RuntimeMissingError, match=r"no fp32 kernels.*int8"):
        check_runtimes(component, facts(Precision.INT8))


def loaded(**changes):
    return replace(Loaded("stub", "1.0", "fp32", "CPU", 0.0, 0.0), **changes)


def test_the_precision_asked_for_passes(component):
    check_loaded(component, loaded())


@pytest.mark.parametrize("used", ["bf16", ""])
def test_another_precision_is_refused(component, used):
    with pytest.raises(PrecisionError, match=r"fp32 was asked for.*CPU"):
        check_loaded(component, loaded(precision=used))


def test_another_runtime_is_refused(component):
    with pytest.raises(PrecisionError, match="other was loaded"):
        check_loaded(component, loaded(runtime="other"))


def figure(error=1e-6, cosine=1.0, passed=True):
    return ParityFigure("action", 3, error, error, cosine, passed)


def test_figures_within_the_limit_pass(manifest):
    check_parity(manifest.golden, (figure(),))


def test_a_figure_over_the_limit_is_named_with_its_limit(manifest):
    with pytest.raises(ParityError, match=r"action: largest error 2.00e-02 of the range \(allowed 1.00e-04\)"):
        check_parity(manifest.golden, (figure(), figure(error=0.02, passed=False)))


def test_a_figure_that_is_not_a_number_never_passes(manifest):
    with pytest.raises(ParityError):
        check_parity(manifest.golden, (figure(cosine=float("nan")),))


def test_golden_cases_that_nobody_compared_are_no_proof(manifest):
    with pytest.raises(ParityError, match="compared nothing"):
        check_parity(manifest.golden, ())


def test_a_release_without_golden_cases_is_not_judged():
    check_parity(None, ())
