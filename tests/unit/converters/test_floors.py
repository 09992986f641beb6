from __future__ import annotations

from pathlib import Path

import pytest

from edgectl_converters.assignment import Assignment
from edgectl_converters.floors import Counted, CountedComponent, board_ceiling, floors_of
from edgectl_profiles.library import load
from edgectl_protos.domain.roofline import Ceiling, Work

WORK = Work(operations=17_000_000_000, weights=1_000_000, port_bytes=0)
COUNTED = Counted((CountedComponent("vision", 2, WORK), CountedComponent("step", 10, None)))


def test_a_board_is_as_fast_as_its_file_says_and_no_faster_where_it_says_nothing():
    nano = load("jetson-orin-nano")
    assert board_ceiling(nano, "gpu").operations_per_s["fp16"] == pytest.approx(17e12)
    assert board_ceiling(nano, "cpu") == Ceiling({}, pytest.approx(102e9))


def test_the_unit_of_the_runtime_gives_the_rate():
    vision, step = floors_of(COUNTED, Assignment.of("tensorrt", "fp16"), load("jetson-orin-nano"))
    assert vision.floor is not None
    assert (vision.floor.seconds, vision.floor.bound) == (pytest.approx(1e-3), "compute")
    assert vision.inference_s == pytest.approx(2e-3)
    assert step.floor is None
    assert step.inference_s is None


def test_without_a_rate_the_bandwidth_is_the_floor():
    (vision, _) = floors_of(COUNTED, Assignment.of("onnxrt", "fp32"), load("jetson-orin-nano"))
    assert vision.floor is not None
    assert (vision.floor.seconds, vision.floor.bound) == (pytest.approx(4e6 / 102e9), "bandwidth")


def test_measured_rates_stand_before_those_of_the_file():
    measured = {"cpu": Ceiling({"fp32": 17e9}, 1e12, measured=True)}
    (vision, _) = floors_of(COUNTED, Assignment.of("onnxrt", "fp32"), load("raspberry-pi-5"), measured)
    assert vision.floor is not None
    assert vision.floor.seconds == pytest.approx(1.0)


def test_before_the_first_export_there_is_no_floor():
    assert floors_of(None, Assignment.of("onnxrt", "fp32"), load("raspberry-pi-5")) == ()


def test_a_conversion_keeps_the_work_of_its_checkpoint(tmp_path):
    from edgectl_converters.conversion import run_conversion
    from edgectl_converters.floors import counted_work
    from edgectl_converters.inspect import inspect
    from edgectl_converters.plan import ConvertRequest
    from edgectl_converters.toolchain import Toolchains
    from edgectl_converters.workshop import Workshop
    from edgectl_testkit.bundles import conv_graph

    path = Path(tmp_path / "conv.onnx")
    path.write_bytes(conv_graph())
    shop = Workshop(tmp_path / "cache", Toolchains(tmp_path / "cache", tmp_path / "config"))
    card = inspect(path, shop.digests)
    assert counted_work(card, shop.steps) is None
    made = run_conversion(ConvertRequest(path, Assignment.of("reference", "fp32")), shop, lambda _: None)
    counted = counted_work(card, shop.steps)
    assert counted is not None
    (component,) = counted.components
    assert component.calls == 1
    assert component.work == made.manifest.components[0].work
    assert component.work is not None
    assert component.work.operations > 0
