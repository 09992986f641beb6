"""What is here, what is missing, and the command that helps."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from edgectl_converters.toolchain import Toolchain
from edgectl_host.fleet.inventory import Device, Inventory
from edgectl_host.workflows import doctor
from edgectl_host.workflows.doctor import Health
from edgectl_host.workflows.toolchains import Listed
from edgectl_protos.domain.deployment import Failure
from edgectl_protos.domain.errors import FleetError, RunsError


def test_this_environment_is_well():
    findings = [doctor.check_python(), *doctor.check_extras(), doctor.check_board("generic-x86_64")]
    assert [finding.subject for finding in findings if finding.health is not Health.OK] == []


def test_an_extra_that_is_not_installed_is_absent_with_the_command(monkeypatch):
    monkeypatch.setattr(doctor, "requires", lambda name: ["numpy>=2", "no-such-package>=1; extra == 'fast'"])
    (finding,) = doctor.check_extras()
    assert (finding.subject, finding.health) == ("extra fast", Health.ABSENT)
    assert finding.hint.startswith("pip install no-such-package")


def test_what_is_for_another_platform_is_not_missed_and_runtimes_of_a_toolchain_neither(monkeypatch):
    lines = [
        "mac-only>=9; sys_platform == 'darwin' and extra == 'far'",
        "tensorrt-rtx-cu13>=1; extra == 'tensorrt-rtx'",
    ]
    monkeypatch.setattr(doctor, "requires", lambda name: lines)
    monkeypatch.setattr(doctor.sys, "platform", "linux")
    assert doctor.check_extras() == []


def test_a_distribution_that_is_not_installed_has_no_extras(monkeypatch):
    monkeypatch.setattr(doctor, "_DISTRIBUTIONS", ("no-such-distribution",))
    assert doctor.check_extras() == []


def test_a_toolchain_that_would_be_made_is_absent_and_no_problem():
    ready = Toolchain("host", Path("python"), "ab" * 32, "this environment", {"onnx": "1"})
    later = Toolchain("trained", Path("python"), "", "made on first use")
    found = doctor.check_toolchains([Listed("host", ready), Listed("trained", later)])
    findings = {finding.subject: finding for finding in found}
    assert findings["toolchain host"].health is Health.OK
    assert findings["toolchain trained"].health is Health.ABSENT
    assert "edgectl toolchain make trained" in findings["toolchain trained"].hint


def test_a_toolchain_without_a_python_is_not_offered_to_be_made():
    (finding,) = doctor.check_toolchains([Listed("trained", Toolchain("trained", Path(), "", "needs Python 3.12"))])
    assert "toolchain make" not in finding.hint
    assert "edgectl toolchain use trained --python PATH" in finding.hint


def test_a_toolchain_that_is_gone_is_a_problem_with_what_mends_it():
    gone = Listed("trained", failure=Failure("toolchain_failed", "its Python is gone", "forget it"))
    (finding,) = doctor.check_toolchains([gone])
    assert (finding.health, finding.detail, finding.hint) == (Health.PROBLEM, "its Python is gone", "forget it")


def test_an_unknown_kind_of_machine_is_a_problem():
    assert doctor.check_board("generic-riscv64").health is Health.PROBLEM


@pytest.mark.parametrize(("free", "health"), [(10**10, Health.OK), (10**9, Health.PROBLEM)])
def test_room_is_looked_for_where_the_cache_will_be(tmp_path, monkeypatch, free, health):
    asked = []
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: asked.append(path) or SimpleNamespace(free=free))
    assert doctor.check_disk(tmp_path / "not" / "yet").health is health
    assert asked == [tmp_path]


def test_the_fleet_file_is_there_absent_or_broken():
    def broken():
        raise FleetError("fleet.yaml:3: no", hint="look")

    devices = {name: Device(name) for name in ("local", "a", "b")}
    assert doctor.check_fleet(lambda: Inventory({"local": Device("local")}, {})).health is Health.ABSENT
    assert doctor.check_fleet(lambda: Inventory(devices, {}, Path("fleet.yaml"))).detail == "fleet.yaml · 2 devices"
    assert doctor.check_fleet(lambda: Inventory(devices, {})).health is Health.OK
    check = doctor.check_fleet(broken)
    assert (check.health, check.detail, check.hint) == (Health.PROBLEM, "fleet.yaml:3: no", "look")


def test_a_database_that_cannot_be_used_is_a_problem():
    def broken():
        raise RunsError("it is locked", hint="wait")

    assert doctor.check_runs(lambda: 3, "runs.db").health is Health.OK
    assert doctor.check_runs(broken, "runs.db").detail == "it is locked"
