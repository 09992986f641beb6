from __future__ import annotations

from dataclasses import replace

import pytest

from edgectl_host.machine import generic_board
from edgectl_host.workflows import doctor
from edgectl_host.workflows.doctor import Health
from edgectl_host.workflows.measure_rates import measure_bandwidth, measure_rates
from edgectl_host.workflows.rates import MachineRates, RateStore
from edgectl_profiles.library import load
from edgectl_protos.domain.roofline import Ceiling

RATES = MachineRates("m-1", "bench", Ceiling({"fp32": 350e9}, 15e9, measured=True), {"fp32": "onnxrt"})


def test_what_was_measured_is_found_by_its_machine_and_by_its_host(tmp_path):
    store = RateStore(tmp_path / "rates", host="bench")
    assert store.find("m-1") is None
    assert store.here() is None
    store.keep(RATES)
    assert store.find("m-1") == RATES
    assert store.here() == RATES
    assert store.of("m-1") == {"cpu": RATES.cpu}
    assert store.of("m-2") == {}
    assert RateStore(tmp_path / "rates", host="other").here() is None


def test_a_plan_for_any_machine_like_this_one_uses_its_rates(tmp_path):
    store = RateStore(tmp_path, host="bench")
    store.keep(RATES)
    assert store.of_board(generic_board()) == {"cpu": RATES.cpu}
    assert store.of_board("raspberry-pi-5") == {}
    assert RateStore(tmp_path, host="other").of_board(generic_board()) == {}


def test_a_damaged_file_counts_as_not_there(tmp_path):
    store = RateStore(tmp_path, host="bench")
    (tmp_path / "m-1.json").write_text("{")
    assert store.find("m-1") is None
    assert store.here() is None


def test_the_doctor_says_what_was_measured_or_the_command():
    assert doctor.check_rates(RATES).detail == "fp32 350 G/s by onnxrt · memory 15.0 GB/s"
    missing = doctor.check_rates(None)
    assert (missing.health, missing.hint) == (Health.ABSENT, "edgectl doctor --measure")


def test_memory_moves_some_bytes():
    assert 1e8 < measure_bandwidth(2) < 1e13


@pytest.mark.slow
def test_this_machine_is_measured_by_the_first_runtime_that_has_the_precision(tmp_path):
    from edgectl_converters.toolchain import Toolchains
    from edgectl_converters.workshop import Workshop
    from edgectl_testkit.runs import device_facts

    shop = Workshop(tmp_path / "cache", Toolchains(tmp_path / "cache", tmp_path / "config"))
    facts = device_facts()
    only = tuple(runtime for runtime in facts.runtimes if runtime.name == "onnxrt")
    rates = measure_rates(replace(facts, runtimes=only), load("generic-x86_64"), shop, lambda _: None)
    assert set(rates.by.values()) == {"onnxrt"}
    assert set(rates.by) == {"fp32", "int8"}
    assert rates.cpu.operations_per_s["fp32"] > 1e9
    assert rates.cpu.measured
    assert rates.machine_id == facts.machine_id
