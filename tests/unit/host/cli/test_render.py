"""Plans, bundles of several components, and the demo, as they are shown."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from edgectl_converters.assignment import Assignment
from edgectl_converters.floors import ComponentFloor, CountedComponent
from edgectl_converters.plan import ConversionPlan, ConvertRequest, PlannedStep
from edgectl_host.cli.render.checkpoint import human_bundle, json_bundle
from edgectl_host.cli.render.conversion import human_conversions, human_floors, json_conversions
from edgectl_host.cli.render.demo import human_demo, json_demo
from edgectl_host.cli.render.plan import human_plan
from edgectl_host.cli.render.runs import human_runs
from edgectl_host.fleet.inventory import Device
from edgectl_host.runs.comparison import compare
from edgectl_host.runs.record import RunRecord
from edgectl_host.workflows.blocks import Blocks, pool
from edgectl_host.workflows.bundle import Bundle
from edgectl_host.workflows.demo import DemoResult, DemoRow
from edgectl_host.workflows.plan import DeployPlan, DevicePlan, Way
from edgectl_protos.codec.document import from_bytes
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.bundle import MANIFEST_NAME, GateResult, Manifest
from edgectl_protos.domain.deployment import Failure
from edgectl_protos.domain.roofline import Work
from edgectl_testkit.runs import run_summary
from edgectl_testkit.stub_bundles import Part, stub_bundle

STEPS = (
    PlannedStep("export", "smolvla_base_finetuned", "lerobot", "lerobot-0.6", "ab" * 32, True),
    PlannedStep("capture", "vision", "program", "host", "cd" * 32, False, 12.0, 40_000_000, 900_000_000),
    PlannedStep("build", "vision", "openvino", "host", "ef" * 32, False, 95.0, 120_000_000, 2_400_000_000, "32 cases"),
    PlannedStep("prove", "all components", "worker", "host", "12" * 32, False),
    PlannedStep("bundle", "smolvla_base_finetuned", "edgectl", "", "34" * 32, False, 1.0, 250_000_000),
)


def plan(*steps: PlannedStep) -> ConversionPlan:
    return ConversionPlan(ConvertRequest(Path("policy"), Assignment.of("openvino", "vision=int8,bf16")), steps)


def printed(renderable, width: int = 100) -> list[str]:
    console = Console(width=width)
    with console.capture() as captured:
        console.print(renderable, highlight=False, markup=False)
    return [line.rstrip() for line in captured.get().rstrip("\n").split("\n")]


@pytest.mark.parametrize("width", [100, 80])
def test_a_plan_shows_every_step_with_its_cost_and_fits(width):
    lines = printed(human_conversions([plan(*STEPS)], width), width)
    assert max(map(len, lines)) <= width
    assert "…" not in "\n".join(lines)
    assert " ".join(" ".join(lines).split()).startswith(
        "openvino vision=int8,bf16 4 of 5 steps to do, about 2 min and 1 of unknown time, 410.0 MB of disk, 2.4 GB of"
    )
    rows = {line.split()[0]: line for line in lines[1:] if line and not line.startswith(" ")}
    assert "cached" in rows["export"]
    assert "≈ 95" not in rows["build"]
    assert "≈ 2 min" in rows["build"]
    assert "2.4 GB" in rows["build"]


def test_a_plan_on_a_narrow_terminal_breaks_no_word():
    lines = printed(human_conversions([plan(*STEPS)], 60), 60)
    assert max(map(len, lines)) <= 60
    assert lines[-5].split() == ["export", "smolvla_base_finetuned", "lerobot", "cached"]


@pytest.mark.parametrize("width", [100, 60])
def test_what_bounds_a_floor_is_seen_at_every_width(width):
    component = ComponentFloor(CountedComponent("act", 1, Work(1_360_000_000, 11_700_000, 0)), None)
    ways = [Way("generic-x86_64", Assignment.of("openvino", "fp32"), floors=(component,))]
    text = " ".join(" ".join(printed(human_floors(ways, width), width)).split())
    assert text.endswith("neither rate nor bandwidth is known")


def test_a_plan_of_which_everything_is_cached_says_so():
    done = plan(*(replace(step, cached=True) for step in STEPS))
    assert printed(human_conversions([done], 100))[0].endswith("converted before: nothing is left to do")
    assert json_conversions([done])[0]["cached"] is True


def test_a_plan_as_data_has_the_whole_keys():
    document = json_conversions([plan(*STEPS)])[0]
    assert document["assignment"] == {"runtime": "openvino", "scheme": "vision=int8,bf16"}
    assert document["steps"][2]["key"] == "ef" * 32
    assert document["steps"][3]["estimate_s"] is None


def test_a_bundle_needs_no_conversion():
    assert printed(human_conversions([], 100)) == ["nothing to convert: it is a bundle"]


@pytest.fixture
def bundle(tmp_path) -> Bundle:
    parts = (Part("vision", "openvino", "int8"), Part("prefix", "openvino", "bf16"), Part("step", "onnxrt", passes=4))
    folder = stub_bundle(tmp_path / "several", name="several", parts=parts)
    data = (folder / MANIFEST_NAME).read_bytes()
    gates = (
        GateResult("parity", "vision", 0.021, 0.1, True),
        GateResult("parity", "prefix", 0.0, 0.05, False, "no such runtime here", pending=True),
    )
    manifest = replace(from_bytes(Manifest, data, what=MANIFEST_NAME), gates=gates)
    return Bundle(folder, manifest, Digest(hashlib.sha256(data).hexdigest()))


def test_a_bundle_shows_its_components_and_which_gates_the_device_will_decide(bundle):
    text = "\n".join(printed(human_bundle(bundle)))
    assert "component vision  openvino int8 · " in text
    assert "component step    onnxrt fp32" in text
    assert "passed" in text
    assert "pending on the device" in text
    assert "FAILED" not in text
    assert json_bundle(bundle)["assignment"] == {
        "runtime": "step=onnxrt,openvino",
        "scheme": "prefix=bf16,step=fp32,int8",
    }


# --- the demo


def demo_result(*paces, record):
    """Rows of these paces, the first one 10 ms, as a demo would have found them."""
    rows = []
    for index, pace in enumerate(paces):
        random = np.random.default_rng(index)
        blocks = Blocks(
            f"way-{index}", (record,) * 5, tuple(0.01 * pace * random.normal(1, 0.01, 40) for _ in range(5))
        )
        ratio = compare(rows[0].blocks.responses_s, blocks.responses_s)[0] if rows else None
        rows.append(DemoRow(Assignment.of("way", str(index)), None, blocks, pool(blocks), ratio))
    ranked = DemoResult(tuple(rows)).ranked
    return DemoResult(tuple(rows), compare(*(row.blocks.responses_s for row in ranked[:2]))[0])


@pytest.fixture
def record():
    return RunRecord.of("local", run_summary(), None, None)


def test_the_demo_gives_every_ratio_its_interval_and_names_the_fastest(record):
    result = demo_result(1.0, 0.5, 0.8, record=record)
    lines = printed(human_demo("press_pad", result))
    header, first, second = lines[:3]
    text = " ".join(" ".join(lines).split())
    assert "p50 of way 0" in header
    assert "  1  " in first
    assert "0.50× (0." in second
    assert "press_pad: fastest here is way 1, tick p50 5.0" in text
    assert "the next takes 1.6" in text
    assert json_demo(result)["fastest"] == "way 1"


def test_the_demo_says_when_no_difference_is_shown(record):
    result = demo_result(1.0, 0.5, 0.5, record=record)
    text = " ".join(" ".join(printed(human_demo("press_pad", result))).split())
    assert "press_pad: no difference shown between way" in text
    assert "would have been" in text
    assert json_demo(result)["fastest"] is None


def test_the_demo_names_no_fastest_on_a_machine_that_was_not_quiet(record):
    result = replace(demo_result(1.0, 0.5, record=record), conditions=("way 0: machine busy",))
    text = " ".join(" ".join(printed(human_demo("press_pad", result))).split())
    assert "press_pad: which one is fastest cannot be said: the machine was not quiet" in text
    assert "no evidence: way 0: machine busy" in text


def test_a_device_without_runs_does_not_hide_that_others_have_some():
    assert printed(human_runs((), device="nuc-1"))[0].startswith("no run of nuc-1 is recorded yet")


def test_a_plan_says_below_its_table_what_a_device_does_not_get():
    ways = Way("generic-x86_64", Assignment.of("openvino", "fp32"), ("not qnn fp32: the board lists w8a8",))
    rows = (
        DevicePlan(Device("nuc-1"), way=ways),
        DevicePlan(Device("gone"), failure=Failure("agent_unreachable", "-")),
    )
    lines = printed(human_plan(DeployPlan("pick", rows, ()), 80), 80)
    assert "nuc-1: not qnn fp32: the board lists w8a8" in lines
    (gone,) = (line for line in lines if line.startswith("gone") and "none" in line)
    assert gone.endswith("agent_unreachable")
