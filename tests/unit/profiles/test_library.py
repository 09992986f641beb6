from __future__ import annotations

from dataclasses import replace

import pytest

from edgectl_profiles.library import detect, load, names
from edgectl_profiles.match import misfits
from edgectl_protos.domain.device import DeviceFacts
from edgectl_protos.domain.errors import ProfileError

FACTS = DeviceFacts(
    device="bench", machine_id="m", board="", arch="x86_64", os="Debian", kernel="6", libc="glibc 2.36",
    python="3.11", cpu_model="AMD EPYC", cpu_count=2, isa=("avx2",), memory_bytes=8 << 30,
    disk_free_bytes=1 << 33, governor="", temperature_c=None, load_1min=0.0, preempt_rt=False, runtimes=(),
)  # fmt: skip
PI = replace(FACTS, arch="aarch64", cpu_model="Raspberry Pi 5 Model B Rev 1.0", isa=("asimd", "asimddp", "asimdhp"))


@pytest.mark.parametrize("name", names())
def test_every_board_is_valid_and_ends_in_the_specification(name):
    profile = load(name)
    assert profile.arch in ("x86_64", "aarch64")
    # The specification needs a Python with the onnx package, which telephones do not have.
    assert (profile.runtimes[-1].name == "reference") == (profile.os not in ("android", "ios"))
    assert profile.title


@pytest.mark.parametrize("name", names())
def test_no_board_says_by_hand_how_far_it_was_proved(name):
    assert not {"proof", "hardware", "native"} & {word for one in load(name).runtimes for word in one.note.split()}


def test_the_boards_of_the_first_fleet_are_there():
    wanted = {"generic-x86_64", "generic-aarch64", "intel-nuc-13", "raspberry-pi-5", "jetson-orin-nano"}
    assert wanted | {"jetson-agx-orin", "jetson-agx-thor"} <= set(names())


def test_every_other_name_leads_to_one_board():
    aliases = [alias for name in names() for alias in load(name).aliases]
    assert len({*aliases, *names()}) == len(aliases) + len(names())
    assert load("rpi5") is load("raspberry-pi-5")


def test_there_are_boards_of_every_family_that_has_figures():
    with_bandwidth = [name for name in names() if load(name).memory_gb_per_s]
    assert len(names()) >= 20
    assert len(with_bandwidth) >= 14
    # What a document says of a precision that is half as wide is never slower.
    for name in names():
        for peaks in load(name).peaks.values():
            assert peaks.get("fp32", 0) <= peaks.get("fp16", peaks.get("fp32", 0)) <= peaks.get("int8", 1e9)


def test_an_artifact_is_told_the_board_and_what_its_file_says_of_it():
    assert load("jetson-orin-nano").facts() == {"sm": "8.7", "board": "jetson-orin-nano", "os": "linux"}
    assert load("macbook-m4").facts()["deployment_target"] == "macos15"


def test_an_unknown_board_suggests_a_near_one():
    with pytest.raises(ProfileError, match="'raspbery-pi-5'") as caught:
        load("raspbery-pi-5")
    assert "raspberry-pi-5" in caught.value.hint
    with pytest.raises(ProfileError) as caught:
        load("../../etc/passwd")
    assert "generic-x86_64" in caught.value.hint


def test_the_most_particular_board_that_fits_is_found():
    assert detect(FACTS) == "generic-x86_64"
    assert detect(PI) == "raspberry-pi-5"
    assert detect(replace(PI, cpu_model="Some ARM board")) == "generic-aarch64"


def test_a_kind_that_facts_do_not_show_is_named_and_not_found():
    able = replace(FACTS, isa=("avx2", "avx512_vnni", "amx_tile"))
    assert detect(able) == "generic-x86_64"
    assert detect(replace(able, board="x86-amx")) == "generic-x86_64-amx"


def test_what_a_device_was_told_comes_before_what_it_looks_like():
    assert detect(replace(FACTS, board="generic-aarch64")) == "generic-aarch64"
    assert detect(replace(FACTS, stand_in_for="jetson-orin-nano")) == "jetson-orin-nano"
    with pytest.raises(ProfileError, match="toaster"):
        detect(replace(FACTS, board="toaster"))


def test_a_device_like_no_board_says_what_it_is():
    with pytest.raises(ProfileError, match=r"riscv64.*C910") as caught:
        detect(replace(FACTS, arch="riscv64", cpu_model="C910"))
    assert "--board" in caught.value.hint


def test_each_reason_against_a_board_is_given():
    reasons = misfits(load("raspberry-pi-5"), FACTS)
    assert len(reasons) == 3
    assert "x86_64" in reasons[0]
    assert "asimd" in reasons[1]
    assert "AMD EPYC" in reasons[2]


def test_a_stand_in_fits_the_board_it_stands_for_and_no_other():
    stand_in = replace(FACTS, stand_in_for="raspberry-pi-5")
    assert misfits(load("raspberry-pi-5"), stand_in) == ()
    assert misfits(load("jetson-orin-nano"), stand_in)
