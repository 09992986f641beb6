"""The document of devices that were added."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from edgectl_host.fleet.inventory import LOCAL, load_inventory, parse_inventory
from edgectl_host.fleet.registry import Home, Registered, Registry, check_device_name, parse_labels
from edgectl_host.fleet.selectors import parse_selector, select
from edgectl_protos.domain.errors import FleetError, UsageError

HOME = Home("ubuntu@orin-1", ("-p2222",), "/opt/edgectl", "/var/lib/edgectl", "/run/edgectl/agent.sock", "system", True)
ORIN = Registered(
    "orin-1", ("tls:orin-1:7443", "tls:10.0.0.7:7443"), "ab" * 16, "jetson-agx-orin", HOME, {"lab": "", "site": "hall"}
)


def test_what_was_put_is_read_again(tmp_path):
    registry = Registry(tmp_path / "config")
    assert registry.read() == {}
    registry.put(ORIN)
    registry.put(replace(ORIN, name="orin-2", labels={}))
    assert Registry(tmp_path / "config").read() == {"orin-1": ORIN, "orin-2": replace(ORIN, name="orin-2", labels={})}
    registry.put(replace(ORIN, board="other"))
    registry.remove("orin-2")
    registry.remove("orin-2")
    assert [device.board for device in registry.read().values()] == ["other"]


def test_two_commands_at_once_lose_nothing(tmp_path):
    names = [f"orin-{number}" for number in range(24)]
    threads = [threading.Thread(target=Registry(tmp_path).put, args=(replace(ORIN, name=name),)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(Registry(tmp_path).read()) == sorted(names)
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("devices.json", ".devices.json.lock")] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ('{"devices": [{"name": 3}]}', r"devices\[0\]"),
        ('{"devices": [], "more": 1}', "unknown key 'more'"),
        ("[" * 100_000, "devices.json"),
        (" " * ((8 << 20) + 1), "larger than"),
    ],
)
def test_a_damaged_document_is_named_with_the_way_out(tmp_path, text, message):
    registry = Registry(tmp_path)
    registry.path.write_text(text)
    with pytest.raises(FleetError, match=message) as caught:
        registry.read()
    assert str(registry.path) in caught.value.message
    assert f"mv {registry.path}" in caught.value.hint
    with pytest.raises(FleetError):
        registry.put(ORIN)
    assert registry.path.read_text() == text


def test_an_unknown_device_is_named_with_those_that_are_known(tmp_path):
    registry = Registry(tmp_path)
    registry.put(ORIN)
    with pytest.raises(FleetError, match="no device 'nano'.*orin-1"):
        registry.get("nano")
    assert registry.get("orin-1") == ORIN


@pytest.mark.parametrize("name", ["", "local", "all", "Orin", "a b", "-a", "a/b", "ä", "a" * 64, "a\n"])
def test_names_that_files_and_certificates_do_not_take_are_refused(name):
    with pytest.raises(UsageError, match="no name for a device"):
        check_device_name(name)


def test_labels_are_groups_or_pairs():
    assert parse_labels(("lab", "site=hall", "arm=")) == {"lab": "", "site": "hall", "arm": ""}
    for text in ("", "=x", "all"):
        with pytest.raises(UsageError):
            parse_labels((text,))


def test_registered_devices_join_the_fleet_file_and_their_bare_labels_are_groups():
    text = "devices:\n  nuc: {address: 'unix:/n', labels: {lab: ''}}\ngroups:\n  both: [nuc, orin-1]\n"
    inventory = parse_inventory(text, Path("fleet.yaml"), {"orin-1": ORIN.device})
    assert [device.name for device in inventory.fleet("lab")] == ["orin-1", "nuc"]
    assert [device.name for device in inventory.fleet("both")] == ["nuc", "orin-1"]
    assert [device.name for device in inventory.fleet("all")] == ["orin-1", "nuc"]
    assert inventory.devices["orin-1"].addresses == ORIN.addresses
    assert [device.name for device in select(inventory, "all", [parse_selector("site")])] == ["orin-1"]


def test_without_a_file_registered_devices_are_all_there_is():
    inventory = load_inventory(None, {"orin-1": ORIN.device})
    assert [device.name for device in inventory.fleet("lab")] == ["orin-1"]
    assert [device.name for device in inventory.remote] == ["orin-1"]
    assert LOCAL in inventory.devices


def test_a_name_in_both_is_refused_with_the_line():
    with pytest.raises(FleetError, match=r"fleet.yaml:2: devices.orin-1: registered too: edgectl device rm orin-1"):
        parse_inventory("devices:\n  orin-1: {address: 'unix:/n'}\n", Path("fleet.yaml"), {"orin-1": ORIN.device})


def test_a_label_that_is_a_devices_name_means_the_device():
    other = replace(ORIN, name="lab", labels={})
    inventory = load_inventory(None, {"orin-1": ORIN.device, "lab": other.device})
    assert [device.name for device in inventory.fleet("lab")] == ["lab"]


def test_the_document_is_readable_by_people(tmp_path):
    Registry(tmp_path).put(ORIN)
    document = json.loads((tmp_path / "devices.json").read_text())
    assert document["devices"][0]["home"]["destination"] == "ubuntu@orin-1"
