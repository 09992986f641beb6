"""A deploy as data, before anything is changed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgectl_converters.assignment import Assignment
from edgectl_converters.plan import ConversionPlan
from edgectl_host.fleet.inventory import Device
from edgectl_host.workflows.deploy import install
from edgectl_host.workflows.plan import Way, make_plan, with_conversions
from edgectl_host.workflows.progress import silent
from edgectl_protos.domain.errors import RouteError
from edgectl_testkit.fake_device import IMPATIENT, FakeDevice

FP32 = Assignment.of("reference", "fp32")
INT8 = Assignment.of("onnxrt", "int8")


def choose_by_name(device, facts):
    if device.name == "odd":
        raise RouteError("no way to odd")
    return Way(device.board, INT8 if device.name.startswith("quick") else FP32)


async def plan_of(bench):
    return await make_plan("tiny", bench.devices, connect=bench.connect, choosing=choose_by_name)


async def test_equal_assignments_are_converted_once_and_in_order(bench):
    plan = await plan_of(bench(FakeDevice("a"), FakeDevice("quick-1"), FakeDevice("b"), FakeDevice("quick-2")))
    assert plan.assignments == (FP32, INT8)
    assert [row.way.assignment for row in plan.rows] == [FP32, INT8, FP32, INT8]
    assert all(row.facts is not None and row.failure is None for row in plan.rows)


async def test_planning_changes_nothing_on_any_device(bench):
    fake = FakeDevice("a")
    await plan_of(bench(fake))
    assert fake.calls == ["hello", "facts", "installed"]
    assert fake.open_clients == 0


async def test_a_device_that_does_not_answer_is_in_the_plan_with_its_way_and_why(bench):
    plan = await plan_of(bench(FakeDevice("a"), FakeDevice("b", gone=True)))
    gone = plan.rows[1]
    assert gone.failure.reason == "agent_unreachable"
    assert gone.way.assignment == FP32
    assert gone.send_bytes is None


async def test_nothing_is_converted_for_devices_that_do_not_answer(bench):
    plan = await plan_of(bench(FakeDevice("a"), FakeDevice("quick", gone=True)))
    assert plan.assignments == (FP32,)


async def test_a_device_without_a_way_is_in_the_plan_with_the_reason(bench):
    plan = await plan_of(bench(FakeDevice("odd"), FakeDevice("a")))
    assert (plan.rows[0].failure.reason, plan.rows[0].way) == ("no_route", None)
    assert plan.rows[1].failure is None


async def test_what_would_be_sent_is_known_once_the_release_is(bench, bundle):
    here, there = FakeDevice("a"), FakeDevice("b")
    async with await there.connect() as client:
        await install(client, bundle, owner="me", patience=IMPATIENT, progress=silent)
    plan = with_conversions(
        await plan_of(bench(here, there)),
        converted=lambda assignment: bundle,
        steps=lambda assignment: ConversionPlan(None, ()),
    )
    assert len(plan.conversions) == 1
    assert [row.send_bytes for row in plan.rows] == [bundle.manifest.size_bytes, 0]
    assert plan.rows[1].current == plan.rows[1].release == bundle.digest


@pytest.mark.parametrize(("told", "known"), [(True, ""), (False, "raspberry-pi-5")])
async def test_a_stand_in_is_named_whoever_knows_of_it(bench, told, known):
    fakes = bench(FakeDevice("pi", stand_in_for=known))
    fakes.devices = (replace(fakes.devices[0], board="raspberry-pi-5", stand_in=told),)
    assert (await plan_of(fakes)).rows[0].stand_in_for == "raspberry-pi-5"


async def test_a_device_is_no_stand_in_by_itself(bench):
    assert (await plan_of(bench(FakeDevice("a")))).rows[0].stand_in_for == ""
    assert Device("x").stand_in is False
