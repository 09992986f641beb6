"""What is handed out: the same bytes each time, of one version, with everything in it."""

from __future__ import annotations

import plistlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgectl_protos.version import VERSION

ROOT = Path(__file__).resolve().parents[3]
PROJECTS = ("edgectl_agent", "edgectl_converters", "edgectl_host", "edgectl_profiles", "edgectl_protos")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """Built twice, in two places."""
    folders = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    for folder in folders:
        command = [sys.executable, "tools/dist.py", "--wheels-only", "--out", str(folder)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folders


def test_all_five_have_the_one_version_and_the_same_bytes(wheels):
    first, second = wheels
    names = sorted(path.name for path in first.glob("*.whl"))
    assert names == [f"{project}-{VERSION}-py3-none-any.whl" for project in PROJECTS]
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)


@pytest.mark.parametrize(
    ("project", "files"),
    [
        ("edgectl_host", ("provision/device/survey.sh", "provision/units/system.service", "provision/units/start")),
        ("edgectl_profiles", ("boards/jetson-agx-orin.yaml",)),
        ("edgectl_converters", ("toolchains/lerobot-0.6/toolchain.json",)),
    ],
)
def test_what_is_no_code_is_in_them_too(wheels, project, files):
    with zipfile.ZipFile(wheels[0] / f"{project}-{VERSION}-py3-none-any.whl") as archive:
        assert {f"{project}/{file}" for file in files} <= set(archive.namelist())


def test_the_mac_recipe_starts_the_agent_by_mutual_tls_alone():
    document = plistlib.loads((ROOT / "packaging/launchd/org.edgectl.agent.plist").read_bytes())
    listens = [word for word in document["ProgramArguments"] if word.startswith(("unix:", "tls:", "tcp:"))]
    assert listens == ["unix:HOME/.edgectl/agent.sock", "tls:0.0.0.0:7443"]
    assert document["RunAtLoad"]


def test_a_debian_package_that_would_lack_a_wheel_is_not_built(wheels, tmp_path):
    script = ROOT / "packaging" / "deb" / "build.py"
    for own, missing in ((tmp_path, f"edgectl-agent, edgectl-protos {VERSION}"), (wheels[0], "blake3, cffi")):
        command = [sys.executable, script, "--arch", "x86_64", "--wheels", own, "--wheelhouse", tmp_path]
        done = subprocess.run([*command, "--out", tmp_path / "out"], capture_output=True, text=True)
        assert done.returncode == 1
        assert missing in done.stderr
    assert list((tmp_path / "out").iterdir()) == []
