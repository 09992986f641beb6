"""What is put where: pure choices."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgectl_host.provision.plan import (
    Offer,
    Plan,
    Seat,
    addresses_of,
    choose_place,
    choose_python,
    offers,
    own_libraries,
    target_of,
)
from edgectl_host.provision.survey import Libc, Python, Survey
from edgectl_host.provision.wheels import Wheel
from edgectl_protos.domain.errors import InstallError, UsageError

SYSTEM = Python("/usr/bin/python3", (3, 10, 12), True, ("vendor",))
NEWER = Python("/usr/local/bin/python3.12", (3, 12, 1), True)
OLD = Python("/usr/bin/python3", (3, 8, 10), True)
ORIN = Survey(
    system="Linux",
    arch="aarch64",
    kernel="5.15",
    host="orin-1",
    user="ubuntu",
    uid=1000,
    home="/home/ubuntu",
    clock_s=0,
    os="Ubuntu 22.04",
    libc=Libc("glibc", 2, 35),
    board="",
    cpu="",
    isa=(),
    l4t="",
    jetpack="",
    root="sudo",
    systemd=("system", "user"),
    tools=("tar", "sha256sum", "setsid", "nohup"),
    free_bytes={"/opt": 10**10, "/home/ubuntu": 10**10},
    addresses=("10.0.0.7", "172.17.0.1", "fd00::7"),
    agents={},
    pythons=(SYSTEM, NEWER),
)


def test_the_systems_own_python_is_taken_where_it_is_new_enough():
    assert choose_python(ORIN) == SYSTEM
    assert choose_python(replace(ORIN, pythons=(OLD, NEWER))) == NEWER
    assert choose_python(ORIN, NEWER.path) == NEWER


def test_without_a_fit_python_the_command_is_named():
    for pythons in ((), (OLD,), (replace(NEWER, venv=False),)):
        with pytest.raises(InstallError, match="no Python of at least 3.10") as caught:
            choose_python(replace(ORIN, pythons=pythons))
        assert "on orin-1: sudo apt-get install" in caught.value.hint
    with pytest.raises(UsageError, match="the agent needs 3.10"):
        choose_python(replace(ORIN, pythons=(OLD, NEWER)), OLD.path)
    with pytest.raises(UsageError, match="not a Python there"):
        choose_python(ORIN, "/nowhere")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"system": "Darwin"}, "runs Darwin"),
        ({"arch": "armv7l"}, "is armv7l"),
        ({"libc": None}, "C library"),
        ({"tools": ("tar", "nohup")}, "no sha256sum and no setsid"),
    ],
)
def test_machines_without_wheels_are_refused(changed, message):
    with pytest.raises(InstallError, match=message):
        target_of(replace(ORIN, **changed), SYSTEM)


@pytest.mark.parametrize(
    ("changed", "service", "kind", "prefix", "sudo"),
    [
        ({}, True, "system", "/opt/edgectl", True),
        ({"root": "self", "uid": 0}, True, "system", "/opt/edgectl", False),
        ({"root": "none"}, True, "user", "/home/ubuntu/.edgectl", False),
        ({"root": "none", "systemd": ()}, True, "none", "/home/ubuntu/.edgectl", False),
        ({}, False, "none", "/home/ubuntu/.edgectl", False),
        ({"root": "self", "uid": 0, "systemd": ()}, True, "none", "/opt/edgectl", False),
    ],
)
def test_the_place_follows_from_what_root_and_systemd_allow(changed, service, kind, prefix, sudo):
    home = choose_place(replace(ORIN, **changed), "ubuntu@orin-1", ("-p22",), service=service).home
    assert (home.service, home.prefix, home.sudo, home.destination) == (kind, prefix, sudo, "ubuntu@orin-1")


def test_a_full_disk_is_named_before_anything_is_sent():
    with pytest.raises(InstallError, match="1 MiB free in /opt"):
        choose_place(replace(ORIN, free_bytes={"/opt": 1 << 20}), "orin-1", (), service=True)


def test_a_runtime_without_a_library_of_its_own_is_offered_where_a_python_has_it():
    extras = {"vendor": ("numpy",), "wheels": ("numpy", "wheels"), "language": ("numpy", "tokenizers")}
    assert own_libraries(extras, ("vendor", "wheels")) == ("vendor",)
    assert offers(("vendor", "wheels", "unknown"), extras, ORIN) == (Offer("vendor", True), Offer("wheels", False))
    assert offers(("vendor", "wheels"), extras, replace(ORIN, pythons=(NEWER,))) == (Offer("wheels", False),)


def test_addresses_are_what_was_asked_for_or_what_ssh_and_the_device_say():
    assert addresses_of("orin-1", ORIN, 7443) == ("tls:orin-1:7443", "tls:10.0.0.7:7443", "tls:[fd00::7]:7443")
    assert addresses_of("10.0.0.7", ORIN, 7443)[:2] == ("tls:10.0.0.7:7443", "tls:[fd00::7]:7443")
    assert addresses_of("orin-1", ORIN, 9, "jump.lab") == ("tls:jump.lab:9",)
    assert addresses_of("orin-1", ORIN, 9, "tls:x:1") == ("tls:x:1",)


def plan(**changed) -> Plan:
    home = choose_place(ORIN, "orin-1", (), service=True).home
    own = (Wheel("edgectl_agent-0.1.0-py3-none-any.whl", "a" * 64, 1), Wheel("edgectl_protos-0.1.0.whl", "b" * 64, 1))
    given = {
        "name": "orin-1",
        "board": "jetson-agx-orin",
        "home": home,
        "why": "",
        "python": SYSTEM,
        "target": target_of(ORIN, SYSTEM),
        "runtimes": ("vendor",),
        "seats": (Seat("vendor", SYSTEM),),
        "extras": (),
        "own": own,
        "wheels": (Wheel("pip-1-py3-none-any.whl", "c" * 64, 1),),
        "seat_wheels": {"vendor": (Wheel("numpy-2.whl", "d" * 64, 1),)},
        "addresses": (),
        "port": 7443,
        "refused": {},
    }
    return Plan(**{**given, **changed})


def test_another_installation_has_another_name_and_the_same_one_the_same():
    assert plan().version == plan().version
    assert plan().version.startswith("0.1.0-")
    others = [
        plan(python=NEWER),
        plan(port=1),
        plan(wheels=(Wheel("pip-1-py3-none-any.whl", "e" * 64, 1),)),
        plan(seats=()),
        plan(board="x"),
    ]
    assert len({other.version for other in others} | {plan().version}) == len(others) + 1


def test_the_agent_is_told_where_its_runtimes_live_and_listens_by_tls_alone():
    script = plan().run_script
    assert "--listen unix:/run/edgectl/agent.sock --listen tls:0.0.0.0:7443" in script
    assert "/opt/edgectl/current/seat-vendor/bin/python" in plan().interpreters
