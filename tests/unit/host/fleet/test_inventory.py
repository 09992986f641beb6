"""The fleet file."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from edgectl_converters.assignment import Choice
from edgectl_host.fleet.inventory import LOCAL, find_fleet_file, load_inventory, parse_inventory
from edgectl_protos.domain.errors import FleetError

GOOD = """\
devices:
  nuc-1:
    address: unix:/run/edgectl/nuc-1.sock
    board: intel-nuc-13
    labels: {site: lab}
    runtime: onnxrt
    scheme: vision=int8,bf16
  pi-1: {address: "unix:/tmp/pi.sock", board: raspberry-pi-5, stand_in: true}
groups:
  all-of-lab: [nuc-1]
  mixed: [nuc-1, pi-1, nuc-1]
"""
PATH = Path("fleet.yaml")


def test_a_good_file_has_its_devices_and_groups():
    inventory = parse_inventory(GOOD, PATH)
    nuc = inventory.devices["nuc-1"]
    assert (nuc.addresses, nuc.board, nuc.labels) == (
        ("unix:/run/edgectl/nuc-1.sock",),
        "intel-nuc-13",
        {"site": "lab"},
    )
    assert (nuc.runtime, nuc.scheme) == (Choice.parse("onnxrt"), Choice.parse("vision=int8,bf16"))
    assert inventory.devices["pi-1"].stand_in
    assert [device.name for device in inventory.fleet("mixed")] == ["nuc-1", "pi-1"]
    assert [device.name for device in inventory.fleet("all")] == ["nuc-1", "pi-1"]
    assert [device.name for device in inventory.fleet("pi-1")] == ["pi-1"]
    assert [device.name for device in inventory.fleet(LOCAL)] == [LOCAL]


def test_a_label_is_a_text_whatever_yaml_makes_of_it_elsewhere():
    text = "devices:\n  7: {address: 'unix:/a', labels: {day: 2001-01-01, arm: yes, count: '1'}}"
    assert parse_inventory(text, PATH).devices["7"].labels == {"day": "2001-01-01", "arm": "yes", "count": "1"}


def test_without_a_file_there_is_the_embedded_agent_alone():
    inventory = load_inventory(None)
    assert [device.name for device in inventory.fleet(LOCAL)] == [LOCAL]
    with pytest.raises(FleetError, match="there is no fleet file"):
        inventory.fleet("all")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("devices: {a: {address: 'unix:/a'", "fleet.yaml: line 1: expected ',' or '}'"),
        ("devices:\n  a: {adress: 'unix:/a'}", r"fleet.yaml:2: devices.a: Object .*"),
        ("devices:\n  a:\n    address: 3", "fleet.yaml:3: devices.a.address: Expected `str | array`, got `int`"),
        ("devices:\n  a:\n    address: []", "fleet.yaml:3: devices.a.address: expected an address at least"),
        ("devices:\n  a:\n    address: 10.0.0.1:80", "fleet.yaml:3: devices.a.address: '10.0.0.1:80' is no address of"),
        ("devices:\n  a:\n    address: 'unix:/u'\n    labels: {x: 1}", r"fleet.yaml:4: devices.a.labels"),
        ("devices:\n  a: {address: 'unix:/u', scheme: FP 8}", "fleet.yaml:2: devices.a.scheme: 'FP 8' is no scheme"),
        ("devices:\n  a: {address: 'unix:/u', stand_in: true}", "fleet.yaml:2: devices.a.stand_in: a stand-in needs"),
        (
            "devices:\n  a: {address: 'unix:/u'}\n  a: {address: 'unix:/v'}",
            "fleet.yaml: line 3: the key 'a' stands twice",
        ),
        ("devices:\n  local: {address: 'unix:/u'}", "fleet.yaml:2: devices.local: the name is reserved"),
        ("devices: [a, b]", "fleet.yaml:1: devices: expected a mapping"),
        ("devices:\n  '': {address: 'unix:/u'}", "fleet.yaml:1: devices: expected a name as key"),
        ("device:\n  a: {address: 'unix:/u'}", "fleet.yaml:1: device: unknown key; known: devices, groups"),
        ("devices:\n  a: {address: 'unix:/u'}\ngroups:\n  g: [b]", "fleet.yaml:4: groups.g: no device 'b'"),
        ("devices:\n  a: {address: 'unix:/u'}\ngroups:\n  a: [a]", "fleet.yaml:4: groups.a: a device has this name"),
        ("devices:\n  a: {address: 'unix:/u'}\ngroups:\n  g: a", "fleet.yaml:4: groups.g: expected a list"),
        ("groups:\n  g: [local]", "no device 'local'"),
        ("[1, 2]", "expected a mapping, got"),
        ("a: \x07", "fleet.yaml: unacceptable character"),
        ("[" * 5000, "fleet.yaml: line 1: nested deeper than"),
        ("#" * (1 << 20) + "\n", "longer than"),
        ("devices:\n  a: &a {address: 'unix:/u'}\n  b: *a", "fleet.yaml: line 2: an anchor or alias"),
    ],
)
def test_a_broken_file_names_file_line_and_key(text, message):
    with pytest.raises(FleetError, match=message):
        parse_inventory(text, PATH)


def test_an_unknown_fleet_lists_the_known_ones_and_guesses():
    with pytest.raises(FleetError, match=r"no fleet, group or device 'mixd' in fleet\.yaml.*all-of-lab.*mixed") as info:
        parse_inventory(GOOD, PATH).fleet("mixd")
    assert info.value.hint == "did you mean --fleet mixed?"


def test_the_file_is_the_one_asked_for_else_the_nearest(tmp_path):
    cwd, config = tmp_path / "cwd", tmp_path / "config"
    cwd.mkdir()
    config.mkdir()
    assert find_fleet_file(None, cwd=cwd, config_dir=config) is None
    (config / "fleet.yaml").touch()
    assert find_fleet_file(None, cwd=cwd, config_dir=config) == config / "fleet.yaml"
    (cwd / "fleet.yaml").touch()
    assert find_fleet_file(None, cwd=cwd, config_dir=config) == cwd / "fleet.yaml"
    with pytest.raises(FleetError, match="is not there"):
        find_fleet_file(tmp_path / "mine.yaml", cwd=cwd, config_dir=config)


def test_a_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "fleet.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FleetError, match="cannot be read"):
        load_inventory(path)


@given(st.text(max_size=200))
def test_any_text_is_a_fleet_or_a_fleet_error(text):
    # Any other exception would fail the test.
    with suppress(FleetError):
        parse_inventory(text, PATH)


names = st.from_regex(r"[a-z][a-z0-9-]{0,12}", fullmatch=True).filter(lambda name: name not in ("local", "all"))


@given(st.dictionaries(names, st.dictionaries(names, names, max_size=3), max_size=5))
def test_every_fleet_that_is_written_is_read_back(labels_by_device):
    document = {
        "devices": {name: {"address": f"unix:/{name}", "labels": labels} for name, labels in labels_by_device.items()}
    }
    inventory = parse_inventory(yaml.safe_dump(document), PATH)
    assert {n: d.labels for n, d in inventory.devices.items() if n != LOCAL} == labels_by_device
