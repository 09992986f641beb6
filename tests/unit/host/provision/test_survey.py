"""What a machine says about itself: recorded answers, and the script on this one."""

from __future__ import annotations

import contextlib
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl_host.provision.survey import Libc, Python, parse_survey, script, survey_script
from edgectl_protos.domain.errors import EdgectlError, InstallError

ORIN = """\
Welcome to the robot. Do not touch.
system\tLinux
arch\taarch64
kernel\t5.15.148-tegra
host\torin-1
user\tubuntu
uid\t1000
home\t/home/ubuntu
clock\t1764500000
os\tUbuntu 22.04.5 LTS
libc\tglibc 2.35
board\tNVIDIA Jetson AGX Orin Developer Kit
cpu\t
flags\tasimd asimddp
l4t\t# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64
jetpack\t6.2+b77
root\tsudo
systemd\tsystem
systemd\tuser
tool\ttar
tool\tsha256sum
free\t/opt 41234567
free\t/home/ubuntu 41234567
address\t10.0.0.7
address\t172.17.0.1
agent\t/opt/edgectl versions/0.1.0-0123456789ab
python\t/usr/bin/python3 3.10.12 venv tensorrt
python\t/usr/local/bin/python3.12 3.12.1 bare
python\tnonsense
"""


def test_an_orins_answer_is_read():
    survey = parse_survey(ORIN)
    assert (survey.arch, survey.libc, survey.root) == ("aarch64", Libc("glibc", 2, 35), "sudo")
    assert survey.jetpack_words == "JetPack 6.2"
    assert survey.profile == "jetson-agx-orin"
    assert survey.pythons == (
        Python("/usr/bin/python3", (3, 10, 12), True, ("tensorrt",)),
        Python("/usr/local/bin/python3.12", (3, 12, 1), False),
    )
    assert survey.agents == {"/opt/edgectl": "versions/0.1.0-0123456789ab"}
    assert survey.free_bytes["/opt"] == 41234567 * 1024
    assert survey.systemd == ("system", "user")


def test_the_release_of_l4t_stands_in_for_a_jetpack_that_is_not_installed():
    assert parse_survey(ORIN.replace("jetpack\t6.2+b77", "jetpack\t")).jetpack_words == "JetPack 6.2"
    strange = ORIN.replace("jetpack\t6.2+b77", "jetpack\t").replace("REVISION: 4.3", "REVISION: 9.9")
    assert parse_survey(strange).jetpack_words == "L4T 36.9.9"


def test_a_login_that_is_no_shell_is_named():
    with pytest.raises(InstallError, match="it said: This account is disabled"):
        parse_survey("This account is disabled.\n")
    with pytest.raises(InstallError, match="it said: nothing"):
        parse_survey("")


@given(st.text(max_size=2000))
def test_any_text_is_a_survey_or_our_error(text):
    for answer in (text, f"arch\tx86_64\n{text}", f"arch\ta\nuid\t{text}\nlibc\t{text}\npython\t{text}\nfree\t{text}"):
        with contextlib.suppress(EdgectlError):
            parse_survey(answer)


def test_the_script_tells_what_this_machine_is(tmp_path):
    (tmp_path / "home").mkdir()
    text = survey_script(("/opt/edgectl", "$HOME/.edgectl"), ("json", "no_such_module"))
    done = subprocess.run(
        ["sh", "-s"],
        input=text,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path / "home")},
    )
    survey = parse_survey(done.stdout)
    assert survey.system == "Linux"
    assert survey.libc is not None
    assert survey.home == str(tmp_path / "home")
    assert {"tar", "sha256sum"} <= set(survey.tools)
    assert all("json" in python.modules and len(python.modules) == 1 for python in survey.pythons)
    assert list((tmp_path / "home").iterdir()) == []


@pytest.mark.parametrize(
    "name",
    ["survey", "hold", "receive", "venv", "activate", "functions", "start", "switch", "detach", "as_agent", "remove"],
)
def test_every_script_is_posix_shell(name):
    subprocess.run(["sh", "-n"], input=script(name, prefix="/it's/here"), text=True, check=True)
