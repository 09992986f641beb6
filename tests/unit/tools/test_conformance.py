import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

TOOL = Path(__file__).parents[3] / "tools" / "conformance"
pytestmark = pytest.mark.usefixtures("tool")


def case(name, kind=TensorProto.FLOAT, value=0.0):
    from cases import Case

    ports = [helper.make_tensor_value_info(port, kind, [2]) for port in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], name, ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    data = np.full(2, value, helper.tensor_dtype_to_np_dtype(kind))
    return Case(name, model, (((data,), (data,)),), 1e-3, 1e-7)


def test_a_runtime_that_dies_or_hangs_costs_the_one_trial_and_is_named(monkeypatch, tmp_path):
    import bare
    from pool import run_trials
    from trial import Trial, Verdict, Way

    def load(model):
        if b"dies" in model:
            os.kill(os.getpid(), signal.SIGKILL)
        if b"hangs" in model:
            time.sleep(60)
        return lambda feeds: [feeds["x"]]

    monkeypatch.setattr(bare, "RUNTIMES", {"onnxrt": load})
    cases = [case("first"), case("dies"), case("hangs"), case("last")]
    trials = [Trial(index, "onnxrt", Way.BARE) for index in range(4)]
    found = run_trials(cases, trials, limit_s=2.0, log=tmp_path / "log", progress=lambda done: None)
    assert [found[trial].verdict for trial in trials] == [
        *(Verdict.RIGHT, Verdict.CRASHED, Verdict.CRASHED, Verdict.RIGHT),
    ]
    assert found[trials[1]].message == "the process ended with -9"
    assert found[trials[2]].message == "not done after 2 s"


def test_texts_and_infinite_results_are_refused_by_design_and_infinite_inputs_are_not():
    assert case("numbers").ruled_out == ""
    assert case("texts", TensorProto.STRING, "a").ruled_out == "text"
    assert case("nothing", value=np.inf).ruled_out == "expected values not finite"
    none = np.zeros((0, 2), np.float32)
    assert replace(case("empty"), data=(((none,), (none,)),)).ruled_out == "an action of no values"


@pytest.mark.parametrize(
    ("changed", "short"),
    [
        ({}, []),
        ({1: ("WITHOUT_DATA", "REFUSED")}, []),
        (
            {1: ("WITH_DATA", "REFUSED")},
            ["onnxrt with its data: 90.0% of what the bare runtime gets right; wanted 98%"],
        ),
        # Bare ONNX Runtime gets the last one wrong; still nothing may be internal.
        ({10: ("WITH_DATA", "WRONG")}, []),
        ({10: ("WITH_DATA", "INTERNAL")}, ["onnxrt with its data: 1 internal; wanted none"]),
        ({10: ("WITHOUT_DATA", "CRASHED")}, ["onnxrt without: 1 crashed; wanted none"]),
    ],
)
def test_what_misses_a_threshold_is_said(changed, short):
    from table import rows, shortcomings
    from trial import Outcome, Trial, Verdict, Way

    outcomes = {Trial(index, "onnxrt", way): Outcome(Verdict.RIGHT) for index in range(11) for way in Way}
    outcomes[Trial(10, "onnxrt", Way.BARE)] = Outcome(Verdict.WRONG)
    for index, (way, verdict) in changed.items():
        outcomes[Trial(index, "onnxrt", Way[way])] = Outcome(Verdict[verdict])
    found = rows([case(str(index)) for index in range(11)], outcomes)
    assert shortcomings(found) == short


def test_the_share_of_all_counts_what_is_refused_by_design_as_missed():
    from table import record, rows, table
    from trial import Outcome, Trial, Verdict, Way

    cases = [*(case(str(index)) for index in range(10)), case("texts", TensorProto.STRING, "a")]
    outcomes = {Trial(index, "onnxrt", way): Outcome(Verdict.RIGHT) for index in range(11) for way in Way}
    outcomes[Trial(10, "onnxrt", Way.WITH_DATA)] = Outcome(Verdict.REFUSED, "checkpoint_invalid")
    found = rows(cases, outcomes)
    assert (found[0].share, found[0].strict_share) == (1.0, pytest.approx(10 / 11))
    assert "| 1: 1 text | 10 | 100.0% | 90.9% |" in table(found)
    kept = record(found, 11, 3, {}, {})
    assert (kept["sample"], kept["rows"][0]["share_of_all_bare_right"]) == ("one in 3", 0.9091)
