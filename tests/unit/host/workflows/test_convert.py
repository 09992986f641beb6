"""Subjects: checkpoints that find their way to a device, and bundles that are what they are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgectl_host.fleet.inventory import Device
from edgectl_host.workflows.convert import BundleSubject, CheckpointSubject, open_subject
from edgectl_host.workflows.progress import silent
from edgectl_host.workflows.release import Target
from edgectl_protos.domain.artifact import Precision
from edgectl_protos.domain.errors import (
    BundleCorruptError,
    CheckpointFormatError,
    ProfileError,
    RouteError,
    UnreachableError,
    UsageError,
)
from edgectl_testkit.bundles import tiny_bundle, tiny_graph
from edgectl_testkit.runs import device_facts


@pytest.fixture
def open_at(tmp_path):
    def open_(path, **options):
        arguments = {"runtime": None, "precision": None, "footage": None, "loop_file": None}
        return open_subject(path, **(arguments | options), cache_dir=tmp_path / "cache", config_dir=tmp_path / "config")

    return open_


@pytest.fixture
def graph(tmp_path):
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_graph())
    return path


@pytest.fixture
def bundle(tmp_path):
    return tiny_bundle(tmp_path / "bundle")[0]


NUC = Device("nuc", board="generic-x86_64")


def test_a_graph_is_a_checkpoint_and_takes_the_board_s_first_runtime(open_at, graph):
    subject = open_at(graph)
    assert isinstance(subject, CheckpointSubject)
    assert subject.name == "tiny"
    route = subject.route(NUC, device_facts())
    assert (route.board, route.target) == ("generic-x86_64", Target("openvino", Precision.FP32))
    assert route.notes[0].startswith("proof: ")


def test_the_command_goes_before_the_fleet_file_and_that_before_the_board(open_at, graph):
    device = replace(NUC, runtime="onnxrt", precision=Precision.INT8)
    assert open_at(graph).route(device, None).target == Target("onnxrt", Precision.INT8)
    asked = open_at(graph, runtime="reference", precision=Precision.FP32)
    assert asked.route(device, None).target == Target("reference", Precision.FP32)


def test_the_board_is_recognised_by_the_facts_when_the_fleet_file_names_none(open_at, graph):
    facts = replace(device_facts(), board="")
    assert open_at(graph).route(Device("nuc"), facts).board == "generic-x86_64"


def test_a_device_that_neither_answers_nor_has_a_board_cannot_be_planned(open_at, graph):
    with pytest.raises(UnreachableError, match=r"fleet\.yaml names no board"):
        open_at(graph).route(Device("nuc"), None)


def test_a_declared_stand_in_may_be_another_board_and_nobody_else(open_at, graph):
    facts = device_facts()
    subject = open_at(graph)
    stand_in = Device("pi", board="raspberry-pi-5", stand_in=True)
    assert subject.route(stand_in, facts).board == "raspberry-pi-5"
    with pytest.raises(RouteError, match="x86_64, raspberry-pi-5 is aarch64"):
        subject.route(replace(stand_in, stand_in=False), facts)


def test_an_unknown_board_and_an_impossible_wish_say_why(open_at, graph):
    with pytest.raises(ProfileError, match="no board 'pi'"):
        open_at(graph).route(Device("x", board="pi"), None)
    with pytest.raises(RouteError, match="bf16"):
        open_at(graph, runtime="onnxrt", precision=Precision.BF16).route(NUC, None)


def test_a_bundle_goes_anywhere_as_the_target_that_it_is(open_at, bundle):
    subject = open_at(bundle)
    assert isinstance(subject, BundleSubject)
    target = Target("reference", Precision.FP32)
    assert subject.route(NUC, None).target == target
    release = subject.release(target, silent)
    assert (release.directory, release.cached) == (bundle, True)
    assert subject.converted(target) == release


def test_a_bundle_is_not_converted_again(open_at, bundle):
    with pytest.raises(UsageError, match="is a bundle"):
        open_at(bundle, runtime="openvino")


def test_a_damaged_bundle_is_refused_at_the_door(open_at, bundle):
    next((bundle / "blobs" / "sha256").iterdir()).unlink()
    with pytest.raises(BundleCorruptError):
        open_at(bundle)


def test_what_is_neither_is_refused(open_at, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(CheckpointFormatError):
        open_at(tmp_path / "notes.txt")


def test_a_conversion_tells_its_steps_and_is_cached_the_second_time(open_at, graph, steps):
    subject = open_at(graph)
    target = Target("reference", Precision.FP32)
    assert subject.converted(target) is None
    first = subject.release(target, steps.append)
    assert not first.cached
    assert first.target == target
    assert {step.subject for step in steps} == {"reference fp32"}
    assert steps[0].text == "converting"
    assert steps[-1].done
    second = subject.release(target, silent)
    assert second.cached
    assert second.digest == first.digest
    assert subject.converted(target).digest == first.digest
