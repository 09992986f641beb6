"""Subjects: checkpoints that find their way to a device, and bundles that are what they are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgectl_converters.assignment import Assignment, Choice
from edgectl_host.cli.wiring import Wiring
from edgectl_host.config import HostConfig
from edgectl_host.fleet.inventory import Device
from edgectl_host.workflows.convert import BundleSubject, CheckpointSubject, Wishes, copied, open_subject
from edgectl_host.workflows.demo import DEMO_SCHEMES
from edgectl_host.workflows.progress import silent
from edgectl_protos.domain.device import RuntimeFacts
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
    wiring = Wiring(HostConfig.from_environment({"EDGECTL_HOME": str(tmp_path / "home"), "USER": "ada"}, uid=1000))

    def open_(path, runtime="", scheme="", **wishes):
        runtime, scheme = (Choice.parse(text) if text else None for text in (runtime, scheme))
        return open_subject(path, Wishes(runtime, scheme, **wishes), wiring.workshop())

    return open_


@pytest.fixture
def graph(tmp_path):
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_graph())
    return path


@pytest.fixture
def folder(tmp_path):
    return tiny_bundle(tmp_path / "bundle")[0]


NUC = Device("nuc", board="generic-x86_64")
REFERENCE = Assignment.of("reference", "fp32")


def test_a_graph_is_a_checkpoint_and_takes_the_board_s_first_runtime(open_at, graph):
    subject = open_at(graph)
    assert isinstance(subject, CheckpointSubject)
    assert subject.name == "tiny"
    way = subject.way(NUC, device_facts())
    assert (way.board, way.assignment) == ("generic-x86_64", Assignment.of("openvino", "fp32"))


def test_the_command_goes_before_the_fleet_file_and_that_before_the_board(open_at, graph):
    device = replace(NUC, runtime=Choice("onnxrt"), scheme=Choice("int8"))
    assert open_at(graph).way(device, None).assignment == Assignment.of("onnxrt", "int8")
    assert open_at(graph, runtime="reference", scheme="fp32").way(device, None).assignment == REFERENCE


def test_the_board_is_recognised_by_the_facts_when_the_fleet_file_names_none(open_at, graph):
    facts = replace(device_facts(), board="")
    assert open_at(graph).way(Device("nuc"), facts).board == "generic-x86_64"


def test_a_device_that_neither_answers_nor_has_a_board_cannot_be_planned(open_at, graph):
    with pytest.raises(UnreachableError, match=r"fleet\.yaml names no board"):
        open_at(graph).way(Device("nuc"), None)


def test_a_declared_stand_in_may_be_another_board_and_nobody_else(open_at, graph):
    facts = device_facts()
    subject = open_at(graph)
    stand_in = Device("pi", board="raspberry-pi-5", stand_in=True)
    assert subject.way(stand_in, facts).board == "raspberry-pi-5"
    with pytest.raises(RouteError, match="x86_64, raspberry-pi-5 is aarch64"):
        subject.way(replace(stand_in, stand_in=False), facts)


def test_an_unknown_board_and_an_impossible_wish_say_why(open_at, graph):
    with pytest.raises(ProfileError, match="no board 'pi'"):
        open_at(graph).way(Device("x", board="pi"), None)
    with pytest.raises(RouteError, match="bf16"):
        open_at(graph, runtime="onnxrt", scheme="bf16").way(NUC, None)


def test_a_component_that_the_policy_does_not_have_is_refused_before_anything_is_done(open_at, graph):
    with pytest.raises(UsageError, match="no component 'vision'"):
        open_at(graph, scheme="vision=int8").way(NUC, None)


def test_side_by_side_stand_the_runtimes_that_can_do_all_schemes_in_the_board_s_order(open_at, graph):
    ways = open_at(graph).ways(NUC, device_facts(), DEMO_SCHEMES)
    # The reference evaluator has no int8, and is left out.
    assert [str(way) for way in ways] == ["openvino fp32", "openvino int8", "onnxrt fp32", "onnxrt int8"]


def test_side_by_side_stands_nothing_that_takes_a_toolchain(open_at, graph):
    facts = device_facts()
    facts = replace(facts, runtimes=(*facts.runtimes, RuntimeFacts("ncnn", "1", ("CPU",), ("fp32",))))
    ways = open_at(graph).ways(NUC, facts, ("fp32",))
    assert [str(way) for way in ways] == ["openvino fp32", "onnxrt fp32", "reference fp32"]


def test_side_by_side_stands_what_there_is_when_no_runtime_can_do_all(open_at, graph):
    facts = device_facts()
    only = replace(facts, runtimes=tuple(runtime for runtime in facts.runtimes if runtime.name == "reference"))
    assert open_at(graph).ways(NUC, only, DEMO_SCHEMES) == (REFERENCE,)


async def test_a_bundle_goes_anywhere_as_what_it_is(open_at, folder):
    subject = open_at(folder)
    assert isinstance(subject, BundleSubject)
    assert subject.way(NUC, None).assignment == REFERENCE
    bundle = await subject.bundle(REFERENCE, silent)
    assert (bundle.directory, bundle.cached) == (folder, True)
    assert subject.converted(REFERENCE) == bundle
    assert subject.steps(REFERENCE) is None
    assert subject.ways(NUC, None, DEMO_SCHEMES) == (REFERENCE,)


@pytest.mark.parametrize("wish", [{"runtime": "openvino"}, {"scheme": "int8"}, {"task": "push"}])
def test_a_bundle_is_not_converted_again(open_at, folder, wish):
    with pytest.raises(UsageError, match="is a bundle"):
        open_at(folder, **wish)


def test_a_damaged_bundle_is_refused_at_the_door(open_at, folder):
    next((folder / "blobs" / "sha256").iterdir()).unlink()
    with pytest.raises(BundleCorruptError):
        open_at(folder)


def test_what_is_neither_is_refused(open_at, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(CheckpointFormatError):
        open_at(tmp_path / "notes.txt")


async def test_a_conversion_tells_its_steps_and_is_cached_the_second_time(open_at, graph, updates, tmp_path):
    subject = open_at(graph)
    assert subject.converted(REFERENCE) is None
    assert not subject.steps(REFERENCE).cached
    first = await subject.bundle(REFERENCE, updates.append)
    assert not first.cached
    assert first.assignment == REFERENCE
    assert {update.subject for update in updates} == {"reference fp32"}
    assert updates[0].text == "converting"
    assert updates[-1].done
    second = await subject.bundle(REFERENCE, silent)
    assert second.cached
    assert second.digest == first.digest
    assert subject.converted(REFERENCE).digest == first.digest
    assert subject.steps(REFERENCE).cached
    elsewhere = copied(first, tmp_path / "mine")
    assert open_at(elsewhere.directory).digest == first.digest
