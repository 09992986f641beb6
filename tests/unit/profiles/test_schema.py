from __future__ import annotations

import pytest

from edgectl_profiles.schema import parse_profile
from edgectl_protos.domain.errors import ProfileError

TEXT = """\
board: bench
title: A bench
arch: x86_64
isa: [avx2]
options: {soc: Q1}
runtimes:
  - {name: onnxrt, schemes: [fp32, int8], note: fast, options: {unit: npu}}
"""


def parse(folder, text):
    path = folder / "bench.yaml"
    path.write_text(text)
    return parse_profile(path)


def test_a_sound_file_is_read(tmp_path):
    profile = parse(tmp_path, TEXT)
    assert profile.runtimes[0].schemes == ("fp32", "int8")
    assert profile.runtime("onnxrt") is profile.runtimes[0]
    assert profile.runtime("other") is None
    assert profile.isa == ("avx2",)
    assert profile.facts()["soc"] == "Q1"
    assert profile.runtimes[0].options == {"unit": "npu"}


@pytest.mark.parametrize(
    ("old", "new", "seen"),
    [
        ("arch: x86_64", "arch: x86_64\ncolour: red", "colour"),
        ("arch: x86_64\n", "", "arch"),
        ("isa: [avx2]", "isa: avx2", "isa"),
        ("int8]", "INT 8]", "INT 8"),
        ("note: fast", "note: fast, proof: native", "proof"),
        ("note: fast", "note: fast, speed: 3", "speed"),
        ("board: bench", "board: other", "other"),
        ("runtimes:", "runtimes: [", "YAML|parsing|expected"),
        ("runtimes:", "memory_gb: 8\nruntimes:", "memory_gb has no source"),
        ("runtimes:", "peaks: {npu: {int8: 6}}\nruntimes:", "peaks.npu has no source"),
        ("runtimes:", "peaks: {tpu: {int8: 6}}\nsources: {peaks.tpu: a sheet}\nruntimes:", "tpu"),
        ("runtimes:", "sources: {peaks.gpu: a sheet}\nruntimes:", "no figure"),
        ("runtimes:", "memory_gb: -8\nsources: {memory_gb: a sheet}\nruntimes:", "negative"),
        ("runtimes:", "options: {colour: red}\nruntimes:", "colour"),
        ("note: fast", "note: fast, unit: dsp", "dsp"),
    ],
)
def test_a_mistake_names_file_and_key(tmp_path, old, new, seen):
    assert old in TEXT
    with pytest.raises(ProfileError, match=seen) as caught:
        parse(tmp_path, TEXT.replace(old, new, 1))
    assert "bench.yaml" in str(caught.value)


def test_a_runtime_listed_twice_is_refused(tmp_path):
    line = TEXT.splitlines()[-1]
    with pytest.raises(ProfileError, match="onnxrt"):
        parse(tmp_path, TEXT + line + "\n")


def test_a_file_that_is_not_there_is_a_profile_error(tmp_path):
    with pytest.raises(ProfileError, match="absent"):
        parse_profile(tmp_path / "absent.yaml")
