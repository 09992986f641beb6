"""The Debian package: built from wheels, installed in a Debian root by dpkg alone, used, and purged."""

from __future__ import annotations

import json
import pwd
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgectl_host.provision.survey import Libc
from edgectl_host.provision.wheels import INSTALLER, Target, WheelStore, requirements_of
from edgectl_protos.version import VERSION
from edgectl_testkit.machines import lacking, overlay_machine

ROOT = Path(__file__).resolve().parents[2]
MISSING = lacking("dpkg", "dpkg-deb", "systemd-analyze") or ("" if Path("/etc/debian_version").exists() else "Debian")
# What dpkg and useradd keep about everything that was ever installed.
DPKG = ("/var/lib/dpkg", "/var/log", "/var/cache", "/etc", "/tmp", "/var/lib/systemd", "/run/systemd")
DPKG += (f"{pwd.getpwuid(0).pw_dir}/.cache",)


CAPABILITIES = ",".join(
    f"+{name.removeprefix('CAP_').lower()}"
    for line in (ROOT / "host/edgectl_host/provision/units/system.service").read_text().splitlines()
    if line.startswith("CapabilityBoundingSet=")
    for name in line.partition("=")[2].split()
)
ASK_FACTS = """
import grpc
from edgectl_protos.agent.v1 import info_service_pb2 as pb, info_service_pb2_grpc as services
with grpc.insecure_channel("unix:/run/edgectl/agent.sock") as channel:
    print("|".join(services.InfoServiceStub(channel).GetFacts(pb.GetFactsRequest(), timeout=100).isolation))
"""


@pytest.fixture(scope="module")
def package(wheels, tmp_path_factory):
    folder = tmp_path_factory.mktemp("package")
    house = folder / "house"
    house.mkdir()
    store = WheelStore(ROOT / ".cache" / "wheels")
    target = Target("x86_64", Libc("glibc", 2, 31), "3.11")
    for wheel in store.fetch(target, (INSTALLER, *requirements_of(("trust", "worker"), target))):
        shutil.copyfile(store.path(wheel), house / wheel.name)
    for out in (folder / "one", folder / "two"):
        script = ROOT / "packaging" / "deb" / "build.py"
        command = [sys.executable, script, "--arch", "x86_64", "--wheels", wheels, "--wheelhouse", house, "--out", out]
        subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    name = f"edgectl-agent_{VERSION}_amd64.deb"
    assert (folder / "one" / name).read_bytes() == (folder / "two" / name).read_bytes()
    return folder / "one" / name


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=f"needs {MISSING}")
def test_it_installs_without_a_network_answers_and_is_purged(package, tmp_path):
    with overlay_machine(tmp_path) as machine:
        shutil.copyfile(package, machine.root / "tmp" / "agent.deb")

        def inside(text: str) -> str:
            # No network: what a package brings must be in it.
            command = ["unshare", "--net", "chroot", str(machine.root), "/bin/sh", "-ec", text]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
            assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
            return done.stdout

        inside("dpkg -i /tmp/agent.deb")
        assert inside("edgectl-agent --version").strip() == f"edgectl-agent {VERSION}"
        inside("systemd-analyze verify /lib/systemd/system/edgectl-agent.service")
        hello, facts = inside(
            # As the unit has it: root with what CapabilityBoundingSet leaves.
            f"setpriv --no-new-privs --bounding-set=-all,{CAPABILITIES} /opt/edgectl/current/run "
            ">/tmp/agent.log 2>&1 </dev/null & agent=$!\n"
            "edgectl-agent hello unix:/run/edgectl/agent.sock --timeout 60\n"
            f"/opt/edgectl/current/agent/bin/python -c '{ASK_FACTS}'\n"
            "kill $agent; wait $agent || true"
        ).splitlines()
        assert json.loads(hello)["agent_version"] == VERSION
        isolation = facts.split("|")
        worker = re.search(r"^edgectl-worker:x:(\d+):", (machine.root / "etc/passwd").read_text(), re.MULTILINE)
        assert f"user {worker[1]}" in isolation
        assert "no network" in isolation
        inside("dpkg -i /tmp/agent.deb")
        # What the first run has left does not keep it from the second.
        inside(
            "/opt/edgectl/current/run >/tmp/agent.log 2>&1 </dev/null & agent=$!\n"
            "edgectl-agent hello unix:/run/edgectl/agent.sock --timeout 60; kill $agent; wait $agent || true"
        )
        inside("dpkg --purge edgectl-agent")
        assert machine.left_behind(beside=DPKG) == []
        assert "edgectl" not in (machine.root / "etc/passwd").read_text()
