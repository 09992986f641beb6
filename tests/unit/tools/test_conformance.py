import os
import re
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgectl_converters.toolchain import Toolchain, Toolchains
from edgectl_protos.domain.errors import InternalError, OperatorError, ParityError

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
    import trial
    from pool import run_trials
    from trial import Trial, Verdict, Way

    def load(model):
        if b"dies" in model:
            os.kill(os.getpid(), signal.SIGKILL)
        if b"hangs" in model:
            time.sleep(60)
        return lambda feeds: [feeds["x"]]

    monkeypatch.setattr("bare.RUNTIMES", {"onnxrt": load})
    cases = [case("first"), case("dies"), case("hangs"), case("last")]
    trials = [Trial(index, "onnxrt", Way.BARE) for index in range(4)]
    found = run_trials(cases, trials, trial.begin, limit_s=2.0, log=tmp_path / "log", progress=lambda done: None)
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


def test_a_parity_failure_is_wrong_another_error_a_refusal_and_any_other_exception_internal():
    from trial import Outcome, Verdict, bare_outcome, conversion_outcome

    def fails(error):
        def convert():
            raise error

        return convert

    assert conversion_outcome(lambda: None) == Outcome(Verdict.RIGHT)
    assert conversion_outcome(fails(ParityError("differs"))).verdict is Verdict.WRONG
    refused = conversion_outcome(fails(OperatorError("aten::x is not known")))
    assert refused == Outcome(Verdict.REFUSED, "operator_unsupported", "aten::x is not known")
    assert conversion_outcome(fails(InternalError("KeyError: 1"))).verdict is Verdict.INTERNAL
    assert conversion_outcome(fails(KeyError(1))).verdict is Verdict.INTERNAL
    assert bare_outcome(fails(AssertionError("differs"))).verdict is Verdict.WRONG
    assert bare_outcome(fails(KeyError(1))) == Outcome(Verdict.REFUSED, "KeyError", "1")


def test_values_agree_by_size_and_tolerance_and_not_by_a_batch_of_one():
    from bare_modules import agree

    agree(np.ones((1, 2, 3)), np.ones((2, 3)) + 1e-5)
    with pytest.raises(AssertionError):
        agree(np.ones((1, 2, 3)), np.ones((2, 3)) + 1e-2)
    with pytest.raises(AssertionError, match=re.escape("(1, 2) for (2, 3)")):
        agree(np.ones((1, 2)), np.ones((2, 3)))


def test_a_bare_runtime_that_dies_costs_the_one_module(monkeypatch, tmp_path):
    import torch_modules
    from trial import Outcome, Verdict

    (tmp_path / "bare_modules.py").write_text(
        "import json, os, sys\n"
        "for line in sys.stdin:\n"
        "    if line.strip() == 'dies':\n"
        "        os.abort()\n"
        "    print(json.dumps(['right', '', '']), flush=True)\n"
    )
    monkeypatch.setattr(torch_modules, "_TOOL", tmp_path)
    bare = torch_modules._Bare("executorch", tmp_path, Toolchain("executorch", Path(sys.executable), "x", "a test's"))
    found = [bare.ask(name) for name in ("first", "dies", "last")]
    bare.end()
    assert found == [
        Outcome(Verdict.RIGHT),
        Outcome(Verdict.CRASHED, "crashed", "the process ended with -6"),
        Outcome(Verdict.RIGHT),
    ]


def test_a_runtime_whose_toolchain_is_not_made_is_left_out_by_name(tmp_path):
    from torch_modules import MODULE_RUNTIMES, lacking

    toolchains = Toolchains(tmp_path / "cache", tmp_path / "config")
    assert {lacking(runtime, toolchains) for runtime in MODULE_RUNTIMES} == {"torch"}
    assert not (tmp_path / "cache" / "toolchains").exists()


def test_there_are_at_least_60_modules_each_of_a_name_of_its_own():
    names = re.findall(r'^    yield (?:conv\()?\(?\s*"(\w+)"', (TOOL / "modules.py").read_text(), re.MULTILINE)
    assert len(names) >= 60
    assert len(set(names)) == len(names)


def test_a_record_keeps_the_other_part_and_the_runtimes_that_were_not_tried():
    from run import merge

    def part(runtime, right, models=4):
        missed = [{"where": f"{runtime} with its data", "kind": "…"}]
        return {"models": models, "sample": "all", "rows": [{"runtime": runtime, "right": right}], "not_right": missed}

    kept = merge({}, part("onnxrt", 3), modules=False)
    kept = merge(kept, part("litert", 4), modules=True)
    kept = merge(kept, part("aoti", 2), modules=True)
    assert kept["rows"] == [{"runtime": "onnxrt", "right": 3}]
    assert kept["torch_modules"]["rows"] == [{"runtime": "aoti", "right": 2}, {"runtime": "litert", "right": 4}]
    kept = merge(kept, part("litert", 1), modules=True)
    assert [row["right"] for row in kept["torch_modules"]["rows"]] == [2, 1]
    assert [one["where"].split()[0] for one in kept["torch_modules"]["not_right"]] == ["aoti", "litert"]
    # Figures over other models do not stand beside these.
    kept = merge(kept, part("litert", 9, models=9), modules=True)
    assert [row["right"] for row in kept["torch_modules"]["rows"]] == [9]
    assert merge(kept, part("openvino", 5), modules=False)["torch_modules"] == kept["torch_modules"]
