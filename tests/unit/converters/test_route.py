from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from edgectl_converters.assignment import Choice
from edgectl_converters.card import CheckpointCard
from edgectl_converters.route import RouteRequest, plan_routes
from edgectl_converters.targets.registry import target
from edgectl_profiles.library import load
from edgectl_profiles.schema import BoardOptions, BoardRuntime
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.device import DeviceFacts, RuntimeFacts
from edgectl_protos.domain.errors import RouteError, UsageError
from edgectl_testkit.bundles import tiny_policy

CARD = CheckpointCard(
    Path("act"), "lerobot", tiny_policy(), 50_000_000, 200_000_000, "lerobot-0.4", Digest("0" * 64), ("vision", "step")
)
CPU = ("fp32", "int8")
RUNTIMES = (
    RuntimeFacts("openvino", "2026.4", ("CPU",), (*CPU, "bf16")),
    RuntimeFacts("onnxrt", "1.32", ("CPUExecutionProvider",), CPU),
    RuntimeFacts("reference", "1.23", ("onnx",), ("fp32",)),
)
FACTS = DeviceFacts(
    device="bench", machine_id="m", board="", arch="x86_64", os="Debian", kernel="6", libc="glibc 2.36",
    python="3.11", cpu_model="AMD EPYC", cpu_count=2, isa=("avx2", "avx512_bf16"), memory_bytes=8 << 30,
    disk_free_bytes=1 << 33, governor="", temperature_c=None, load_1min=0.0, preempt_rt=False, runtimes=RUNTIMES,
)  # fmt: skip
X86 = load("generic-x86_64")


def names(plan):
    return [str(route.assignment.runtime) for route in plan.routes]


def reason(plan, runtime):
    return next(rejected.reason for rejected in plan.rejected if str(rejected.assignment.runtime) == runtime)


def test_routes_stand_in_the_boards_order_at_fp32():
    plan = plan_routes(CARD, X86, FACTS, RouteRequest())
    assert names(plan) == ["openvino", "onnxrt", "reference"]
    assert {str(route.assignment.scheme) for route in plan.routes} == {"fp32"}
    assert str(plan.best().assignment.runtime) == "openvino"


def test_a_scheme_is_never_chosen_but_asked_for():
    plan = plan_routes(CARD, X86, FACTS, RouteRequest(scheme=Choice("int8")))
    assert names(plan) == ["openvino", "onnxrt"]
    assert "fp32" in reason(plan, "reference")


def test_a_runtime_that_is_asked_for_is_the_only_one_considered():
    assert names(plan_routes(CARD, X86, FACTS, RouteRequest(runtime=Choice("reference")))) == ["reference"]


def test_fp16_on_x86_is_refused_with_what_there_is():
    plan = plan_routes(CARD, X86, FACTS, RouteRequest(Choice("onnxrt"), Choice("fp16")))
    with pytest.raises(RouteError, match="\n  onnxrt fp16: .*fp32, int8") as caught:
        plan.best()
    assert len(caught.value.message.splitlines()) == 1 + len(plan.rejected)


def test_a_checkpoint_without_a_form_that_a_target_reads_says_which_it_has():
    plan = plan_routes(replace(CARD, forms=("pt2",)), X86, FACTS, RouteRequest(Choice("openvino")))
    assert reason(plan, "openvino") == "openvino is built from onnx; this checkpoint gives pt2"


def test_a_planned_runtime_says_so():
    board = load("jetson-orin-nano")
    board = msgspec.structs.replace(board, runtimes=(BoardRuntime("teleport", ("fp32",)), *board.runtimes[1:]))
    plan = plan_routes(CARD, board, None, RouteRequest())
    assert "planned" in reason(plan, "teleport")
    assert str(plan.best().assignment.runtime) == "onnxrt"


def test_an_unknown_runtime_is_named():
    with pytest.raises(RouteError, match="tensorflow fp32: edgectl has no such runtime"):
        plan_routes(CARD, X86, FACTS, RouteRequest(runtime=Choice("tensorflow"))).best()


def test_what_the_device_lacks_rejects_the_way_and_the_next_is_taken():
    without = replace(FACTS, runtimes=RUNTIMES[1:])
    plan = plan_routes(CARD, X86, without, RouteRequest())
    assert str(plan.best().assignment.runtime) == "onnxrt"
    assert "bench does not know it" in reason(plan, "openvino")
    broken = replace(FACTS, runtimes=(replace(RUNTIMES[0], problem="glibc 2.31"), *RUNTIMES[1:]))
    assert "glibc 2.31" in reason(plan_routes(CARD, X86, broken, RouteRequest()), "openvino")


def test_kernels_that_the_processor_lacks_reject_a_precision():
    old = replace(FACTS, runtimes=(replace(RUNTIMES[0], precisions=CPU), *RUNTIMES[1:]))
    plan = plan_routes(CARD, X86, old, RouteRequest(Choice("openvino"), Choice("bf16")))
    assert "no bf16 kernels on bench" in reason(plan, "openvino")


def test_another_machine_than_the_board_is_rejected_everywhere():
    plan = plan_routes(CARD, load("raspberry-pi-5"), FACTS, RouteRequest())
    assert not plan.routes
    assert "bench is x86_64, raspberry-pi-5 is aarch64" in reason(plan, "onnxrt")


def test_a_declared_stand_in_is_taken_with_a_note():
    stand_in = replace(FACTS, stand_in_for="raspberry-pi-5")
    plan = plan_routes(CARD, load("raspberry-pi-5"), stand_in, RouteRequest())
    assert str(plan.best().assignment.runtime) == "onnxrt"
    assert plan.best().notes == ("stand-in for raspberry-pi-5",)


def test_every_rejection_is_in_the_error():
    nothing = replace(FACTS, runtimes=())
    with pytest.raises(RouteError) as caught:
        plan_routes(CARD, X86, nothing, RouteRequest()).best()
    assert all(name in str(caught.value) for name in ("openvino", "onnxrt", "reference"))


def test_estimates_grow_with_the_weights_and_fall_with_the_precision():
    fp32 = plan_routes(CARD, X86, FACTS, RouteRequest()).best()
    int8 = plan_routes(CARD, X86, FACTS, RouteRequest(scheme=Choice("int8"))).best()
    assert fp32.disk_bytes == 200_000_000
    assert fp32.memory_bytes > fp32.disk_bytes
    assert int8.disk_bytes < fp32.disk_bytes
    assert int8.memory_bytes < fp32.memory_bytes


@pytest.mark.parametrize(("what", "word"), [("memory_bytes", "memory"), ("disk_free_bytes", "disk")])
def test_a_policy_that_does_not_fit_is_rejected_with_both_numbers(what, word):
    plan = plan_routes(CARD, X86, replace(FACTS, **{what: 100 << 20}), RouteRequest())
    assert not plan.routes
    assert word in reason(plan, "openvino")
    assert "0.1 GB" in reason(plan, "openvino")


def test_components_may_differ_and_each_is_asked_about():
    mixed = RouteRequest(Choice.parse("step=onnxrt,openvino"), Choice.parse("vision=int8,bf16"))
    assert "step: the board lists fp32, int8" in reason(plan_routes(CARD, X86, FACTS, mixed), "step=onnxrt,openvino")
    fine = RouteRequest(Choice.parse("step=onnxrt,openvino"), Choice.parse("vision=int8"))
    best = plan_routes(CARD, X86, FACTS, fine).best().assignment
    assert [best.runtime.of(name) for name in CARD.components] == ["openvino", "onnxrt"]
    assert [best.scheme.of(name) for name in CARD.components] == ["int8", "fp32"]


def test_a_way_carries_what_its_targets_read_of_the_board_and_nothing_else(monkeypatch):
    first, *others = X86.runtimes
    told = BoardOptions(soc="Q1", sm="8.7")
    runtimes = (msgspec.structs.replace(first, options={"device": "NPU", "soc": "Q2"}), *others)
    board = msgspec.structs.replace(X86, options=told, runtimes=runtimes)
    assert not plan_routes(CARD, board, FACTS, RouteRequest()).best().assignment.options_of("reference")
    for name in ("openvino", "onnxrt"):
        monkeypatch.setattr(type(target(name)), "reads_options", ("soc", "device"))
    found = {
        str(route.assignment.runtime): route.assignment
        for route in plan_routes(CARD, board, FACTS, RouteRequest()).routes
    }
    assert found["openvino"].options_of("openvino") == {"device": "NPU", "soc": "Q2"}
    assert found["onnxrt"].options_of("onnxrt") == {"soc": "Q1"}
    assert found["onnxrt"].options_of("openvino") == {}
    assert str(found["onnxrt"]) == "onnxrt fp32 (soc=Q1)"
    mixed = plan_routes(CARD, board, FACTS, RouteRequest(Choice.parse("step=onnxrt,openvino"))).best().assignment
    assert (mixed.options_of("onnxrt")["soc"], mixed.options_of("openvino")["soc"]) == ("Q1", "Q2")


def test_a_component_that_the_policy_lacks_is_named():
    with pytest.raises(UsageError, match="no component 'prefix'; it has: vision, step"):
        plan_routes(CARD, X86, FACTS, RouteRequest(scheme=Choice.parse("prefix=int8")))


def test_a_graph_that_is_something_already_keeps_it_where_that_runs():
    quantised = replace(CARD, schemes=("int8", "fp32"))
    assert str(plan_routes(quantised, X86, FACTS, RouteRequest()).best().assignment.scheme) == "int8"
    halves = replace(CARD, schemes=("fp16", "fp32"))
    plan = plan_routes(halves, X86, FACTS, RouteRequest())
    assert str(plan.best().assignment.scheme) == "fp32"
    assert any(str(rejected.assignment.scheme) == "fp16" for rejected in plan.rejected)
    with pytest.raises(RouteError, match="fp16 already"):
        plan_routes(halves, X86, FACTS, RouteRequest(scheme=Choice("int8"))).best()


def test_every_way_is_shown_with_its_reason_when_asked_for():
    plan = plan_routes(CARD, load("raspberry-pi-5"), None, RouteRequest(every=True))
    ways = [(str(route.assignment.runtime), str(route.assignment.scheme)) for route in plan.routes]
    assert ("onnxrt", "fp32") in ways
    assert ("onnxrt", "int8") in ways
    assert "does not list it" in reason(plan, "openvino")
    # Runtimes stay in the board's order, with their schemes beside each other.
    assert [name for name, _ in ways] == sorted((name for name, _ in ways), key=[name for name, _ in ways].index)


def test_a_c_library_that_is_too_old_is_named_on_the_device_and_by_the_board():
    first, *others = X86.runtimes
    board = msgspec.structs.replace(X86, runtimes=(msgspec.structs.replace(first, glibc="2.35"), *others))
    old = plan_routes(CARD, board, replace(FACTS, libc="glibc 2.31"), RouteRequest())
    assert "need glibc 2.35, there is 2.31" in reason(old, "openvino")
    assert names(plan_routes(CARD, board, replace(FACTS, libc="glibc 2.35"), RouteRequest()))[0] == "openvino"
    planned = plan_routes(CARD, msgspec.structs.replace(board, glibc="2.31"), None, RouteRequest())
    assert "does not load on generic-x86_64" in reason(planned, "openvino")


def test_a_policy_that_the_board_cannot_hold_is_rejected_before_any_device_is_asked():
    big = replace(CARD, parameters=8_000_000_000)
    plan = plan_routes(big, load("raspberry-pi-5"), None, RouteRequest())
    assert "GB of memory, the board has 8.0 GB" in reason(plan, "onnxrt")
