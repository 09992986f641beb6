"""What is here, what is missing, and the command that helps."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from edgectl_host.workflows import doctor
from edgectl_host.workflows.doctor import Health
from edgectl_protos.domain.errors import FleetError, RunsError


def test_this_environment_is_well():
    checks = [doctor.check_python(), *doctor.check_packages(), doctor.check_board("generic-x86_64")]
    assert [check.subject for check in checks if check.health is not Health.OK] == []


def test_a_package_that_is_missing_is_a_problem_with_the_command(monkeypatch):
    monkeypatch.setattr(doctor, "_PACKAGES", {"no-such-package-here": "nothing"})
    check = doctor.check_packages()[0]
    assert check.health is Health.PROBLEM
    assert "pip install" in check.hint


def test_a_toolchain_that_would_be_made_is_absent_and_no_problem(tmp_path):
    checks = {check.subject: check for check in doctor.check_toolchains(tmp_path / "cache", tmp_path / "config")}
    assert checks["toolchain host"].health is Health.OK
    assert checks["toolchain lerobot"].health is Health.ABSENT
    assert "edgectl toolchain make lerobot" in checks["toolchain lerobot"].hint
    assert not (tmp_path / "cache").exists()


def test_an_unknown_kind_of_machine_is_a_problem():
    assert doctor.check_board("generic-riscv64").health is Health.PROBLEM


@pytest.mark.parametrize(("free", "health"), [(10**10, Health.OK), (10**9, Health.PROBLEM)])
def test_room_is_looked_for_where_the_cache_will_be(tmp_path, monkeypatch, free, health):
    asked = []
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: asked.append(path) or SimpleNamespace(free=free))
    assert doctor.check_disk(tmp_path / "not" / "yet").health is health
    assert asked == [tmp_path]


def test_the_fleet_file_is_there_absent_or_broken():
    def broken(path):
        raise FleetError("fleet.yaml:3: no", hint="look")

    assert doctor.check_fleet(lambda: None, lambda path: 0).health is Health.ABSENT
    assert "3 devices" in doctor.check_fleet(lambda: Path("fleet.yaml"), lambda path: 3).detail
    check = doctor.check_fleet(lambda: Path("fleet.yaml"), broken)
    assert (check.health, check.detail, check.hint) == (Health.PROBLEM, "fleet.yaml:3: no", "look")


def test_a_database_that_cannot_be_used_is_a_problem():
    def broken():
        raise RunsError("it is locked", hint="wait")

    assert doctor.check_runs(lambda: 3, "runs.db").health is Health.OK
    assert doctor.check_runs(broken, "runs.db").detail == "it is locked"
