"""Facts of devices, from files as they were found on some. See `recorded/`."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl_agent.core.device import facts
from edgectl_agent.core.device.facts import Facts, Identity, read_machine_id
from edgectl_agent.core.device.telemetry import Telemetry, parse_load, parse_temperatures
from edgectl_protos.domain.device import RuntimeFacts

RECORDED = Path(__file__).parent / "recorded"
GIB = 1 << 30


class CountingProbe:
    """Finds one runtime, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def runtimes(self) -> tuple[RuntimeFacts, ...]:
        self.asked += 1
        return (RuntimeFacts("stub", "1", (), ("fp32",)),)


def read(machine: str | Path, tmp_path: Path, *, probe: CountingProbe | None = None) -> Facts:
    root = RECORDED / machine
    identity = Identity("bench", "pi-5", "other-board")
    return Facts(identity, Telemetry(tmp_path, root=root), probe or CountingProbe(), lambda: ("no network",), root=root)


def test_a_raspberry_pi(tmp_path):
    found = read("pi5", tmp_path).get()
    assert found.cpu_model == "Raspberry Pi 5 Model B Rev 1.0"
    assert found.isa == ("asimd", "asimddp", "asimdhp", "fphp")
    assert found.memory_bytes == 8245232 * 1024
    assert found.os == "Debian GNU/Linux 12 (bookworm)"
    assert found.governor == "ondemand,performance"
    assert (found.temperature_c, found.load_1min, found.preempt_rt) == (54.85, 0.52, False)
    assert (found.device, found.board, found.stand_in_for) == ("bench", "pi-5", "other-board")
    assert found.disk_free_bytes > 0


def test_an_epyc_without_sensors(tmp_path):
    found = read("epyc", tmp_path).get()
    assert found.cpu_model == "AMD EPYC"
    assert {"avx2", "avx512_bf16", "avx512_vnni", "avx_vnni"} <= set(found.isa)
    assert "rdpid" not in found.isa
    assert found.os == "Some Linux 1"
    assert (found.governor, found.temperature_c, found.load_1min) == ("", None, 0.0)


def test_a_jetson_is_named_by_its_device_tree_and_its_dead_zones_are_ignored(tmp_path):
    found = read("jetson", tmp_path).get()
    assert found.cpu_model == "NVIDIA Jetson Orin Nano Developer Kit"
    assert found.temperature_c == 49.5
    assert found.preempt_rt


def test_a_machine_that_says_nothing_gives_empty_facts_and_no_error(tmp_path):
    found = read(tmp_path / "nothing", tmp_path).get()
    assert (found.cpu_model, found.isa, found.memory_bytes, found.os) == ("", (), 0, "")
    assert found.machine_id


def test_runtimes_and_what_changes_are_asked_for_again_only_when_that_is_wanted(tmp_path):
    probe = CountingProbe()
    device = read("pi5", tmp_path, probe=probe)
    first = device.get()
    assert device.get() is first
    assert probe.asked == 1
    assert device.get(refresh=True).runtimes == first.runtimes
    assert probe.asked == 2


def test_a_failed_probe_is_tried_again(tmp_path):
    class Failing(CountingProbe):
        def runtimes(self):
            if not self.asked:
                self.asked = 1
                raise RuntimeError
            return super().runtimes()

    device = read("pi5", tmp_path, probe=Failing())
    with pytest.raises(RuntimeError):
        device.get()
    assert device.get().runtime("stub")


def test_the_machine_id_is_the_same_for_all_agents_and_not_the_secret_itself():
    assert read_machine_id(RECORDED / "pi5") == read_machine_id(RECORDED / "pi5")
    assert read_machine_id(RECORDED / "pi5") != read_machine_id(RECORDED / "epyc")
    assert "0123456789abcdef" not in read_machine_id(RECORDED / "pi5")


@pytest.mark.parametrize(
    ("version", "realtime", "expected"),
    [
        ("#1 SMP PREEMPT_RT Debian 6.1.0", "", True),
        ("#1 SMP", "1\n", True),
        ("#1 SMP PREEMPT_DYNAMIC", "", False),
        ("#1 SMP", "0", False),
    ],
)
def test_a_preemptible_kernel_is_known_by_either_sign(version, realtime, expected):
    assert facts.parse_preempt_rt(version, realtime) is expected


@given(st.text())
def test_no_text_breaks_a_parser(text):
    assert isinstance(facts.parse_cpu_model(text), str)
    assert set(facts.parse_isa(text)) <= facts.ISA_OF_INTEREST
    assert facts.parse_memory_bytes(text) >= 0
    assert isinstance(facts.parse_os_name(text), str)
    assert isinstance(parse_load(text), float)
    assert parse_temperatures([text]) is None or 0 < parse_temperatures([text]) < 150
