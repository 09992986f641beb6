"""The devices that are known: those of the fleet file, those that `edgectl device add` registered, and groups of them.

Order: parse YAML, and note the line of every key → convert device by device, so that an error names its line and key →
merge with the registered ones, refusing a name in both → check that groups name devices. A label without a value is a
group of all devices that carry it. The fleet `local` (the embedded agent) is always there and cannot be redefined.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import yaml

from edgectl_converters.assignment import Choice
from edgectl_converters.bounded_yaml import YamlError, parse_yaml
from edgectl_protos.domain.address import parse_address
from edgectl_protos.domain.artifact import check_scheme
from edgectl_protos.domain.errors import AddressError, EdgectlError, FleetError

__all__ = ["ALL", "LOCAL", "Device", "Inventory", "find_fleet_file", "load_inventory", "parse_inventory"]

LOCAL = "local"
"""The device and fleet that need no file: an agent on this machine, started when needed."""

ALL = "all"
FILE_NAME = "fleet.yaml"
_Lines = dict[tuple[str, ...], int]


@dataclass(frozen=True, slots=True)
class Device:
    """One named device. `board` empty: recognised by its facts. No `addresses`: the embedded agent.

    `addresses` are tried in turn; whoever answers on a network must prove to be `identity`, the device's id for life.
    `runtime` and `scheme` are what this device is to be given, unless the command says otherwise.
    """

    name: str
    addresses: tuple[str, ...] = ()
    identity: str = ""
    board: str = ""
    stand_in: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    runtime: Choice | None = None
    scheme: Choice | None = None


@dataclass(frozen=True, slots=True)
class Inventory:
    """All known devices and groups, those of bare labels among them. `path` is None when there is no fleet file."""

    devices: dict[str, Device]
    groups: dict[str, tuple[str, ...]]
    path: Path | None = None

    def fleet(self, name: str) -> tuple[Device, ...]:
        """The devices of a group, the one device of this name, or `all` but the embedded agent.

        Raises:
            FleetError: the name is not known.
        """
        if name == ALL and self.remote:
            return self.remote
        if name in self.groups:
            return tuple(self.devices[member] for member in self.groups[name])
        if name in self.devices:
            return (self.devices[name],)
        known = [*self.groups, *self.devices]
        close = difflib.get_close_matches(name, known, n=1)
        where = f" in {self.path}" if self.path else " (there is no fleet file)"
        raise FleetError(
            f"no fleet, group or device {name!r}{where}; known: {', '.join(sorted(known))}",
            hint=f"did you mean --fleet {close[0]}?"
            if close
            else "install an agent on it: edgectl device add USER@HOST, or add it to fleet.yaml",
        )

    @property
    def remote(self) -> tuple[Device, ...]:
        """Every device but the embedded agent."""
        return tuple(device for device in self.devices.values() if device.name != LOCAL)


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    """A device as the file has it. `identity` is what `edgectl device ls --json` shows of it."""

    address: str | tuple[str, ...]
    identity: str = ""
    board: str = ""
    stand_in: bool = False
    labels: dict[str, str] = {}
    runtime: str | None = None
    scheme: str | None = None


_BUILTIN = {LOCAL: Device(LOCAL)}


def find_fleet_file(explicit: Path | None, *, cwd: Path, config_dir: Path) -> Path | None:
    """The fleet file to read: the one asked for, else ./fleet.yaml, else the one in the config directory.

    Raises:
        FleetError: the one asked for is not there.
    """
    if explicit is not None:
        if not explicit.is_file():
            raise FleetError(f"fleet file {explicit} is not there", hint="check --fleet-file PATH")
        return explicit
    for path in (cwd / FILE_NAME, config_dir / FILE_NAME):
        if path.is_file():
            return path
    return None


def load_inventory(path: Path | None, registered: Mapping[str, Device] = MappingProxyType({})) -> Inventory:
    """Read a fleet file, and join it with the devices that are registered; None is no file.

    Raises:
        FleetError: the file cannot be read, or is not a valid fleet; names file, line and key.
    """
    if path is None:
        devices = {**_BUILTIN, **registered}
        return Inventory(devices, _label_groups(devices, {}))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise FleetError(f"{path}: cannot be read: {exc}") from exc
    return parse_inventory(text, path, registered)


def parse_inventory(text: str, path: Path, registered: Mapping[str, Device] = MappingProxyType({})) -> Inventory:
    """The inventory written in a fleet file, joined with the devices that are registered.

    Raises:
        FleetError: not YAML, an unknown or duplicate key, a wrong type, a device that is registered too, or a group of
            unknown devices.
    """
    document, lines = _read_yaml(text, path)
    top = _mapping(document, (), lines, path)
    for key in top:
        if key not in ("devices", "groups"):
            raise _error(path, lines, (key,), "unknown key; known: devices, groups")
    devices = {**_BUILTIN, **registered}
    for name, raw in _mapping(top.get("devices"), ("devices",), lines, path).items():
        if name in (LOCAL, ALL):
            raise _error(path, lines, ("devices", name), "the name is reserved")
        if name in registered:
            raise _error(
                path, lines, ("devices", name), f"registered too: edgectl device rm {name}, or remove it from the file"
            )
        devices[name] = _device(name, raw, lines, path)
    groups: dict[str, tuple[str, ...]] = {}
    for name, raw in _mapping(top.get("groups"), ("groups",), lines, path).items():
        if name in devices or name == ALL:
            raise _error(path, lines, ("groups", name), "a device has this name, or it is reserved")
        groups[name] = _group(name, raw, devices, lines, path)
    return Inventory(devices, _label_groups(devices, groups), path)


def _label_groups(devices: Mapping[str, Device], written: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The groups of the file, and one for each label without a value; those of one name are one."""
    groups = dict(written)
    for device in devices.values():
        for label, value in device.labels.items():
            # A device of that name is what is meant by it.
            if not value and label not in devices and label != ALL:
                groups[label] = tuple(dict.fromkeys((*groups.get(label, ()), device.name)))
    return groups


def _device(name: str, raw: Any, lines: _Lines, path: Path) -> Device:
    try:
        entry = msgspec.convert(raw, _Entry)
    except msgspec.ValidationError as exc:
        message, _, place = str(exc).partition(" - at ")
        # msgspec writes `$.labels[...]` for some value of a mapping.
        inside = tuple(part for part in place.replace("[...]", "").strip("`$.").split(".") if part)
        raise _error(path, lines, ("devices", name, *inside), message) from exc
    if entry.stand_in and not entry.board:
        raise _error(path, lines, ("devices", name, "stand_in"), "a stand-in needs the board it stands in for")
    runtime = _choice(entry.runtime, (name, "runtime"), lines, path)
    scheme = _choice(entry.scheme, (name, "scheme"), lines, path)
    addresses = (entry.address,) if isinstance(entry.address, str) else entry.address
    if not addresses:
        raise _error(path, lines, ("devices", name, "address"), "expected an address at least")
    try:
        for address in addresses:
            parse_address(address)
    except AddressError as exc:
        raise _error(path, lines, ("devices", name, "address"), f"{exc.message}; {exc.hint}") from exc
    return Device(name, addresses, entry.identity, entry.board, entry.stand_in, entry.labels, runtime, scheme)


def _choice(text: str | None, place: tuple[str, str], lines: _Lines, path: Path) -> Choice | None:
    if text is None:
        return None
    try:
        choice = Choice.parse(text)
        for word in choice.words if place[1] == "scheme" else ():
            check_scheme(word)
        return choice
    except EdgectlError as exc:
        raise _error(path, lines, ("devices", *place), exc.message) from exc


def _group(name: str, raw: Any, devices: dict[str, Device], lines: _Lines, path: Path) -> tuple[str, ...]:
    place = ("groups", name)
    if not isinstance(raw, list) or not raw:
        raise _error(path, lines, place, f"expected a list of device names, got {raw!r}")
    for member in raw:
        if member not in (name for name in devices if name != LOCAL):
            raise _error(path, lines, place, f"no device {member!r}; known: {', '.join(sorted(devices))}")
    return tuple(dict.fromkeys(raw))


def _mapping(value: Any, place: tuple[str, ...], lines: _Lines, path: Path) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _error(path, lines, place, f"expected a mapping, got {value!r}")
    if "" in value:
        raise _error(path, lines, place, "expected a name as key, got ''")
    return value


def _read_yaml(text: str, path: Path) -> tuple[Any, _Lines]:
    """The values of a fleet file, and the line of every key."""
    lines: _Lines = {}
    try:
        document = parse_yaml(text)
    except YamlError as exc:
        raise FleetError(f"{path}: {exc}", hint=_HINT) from exc
    if isinstance(document, dict):
        _walk(yaml.compose(text, Loader=yaml.SafeLoader), (), lines)
    return document, lines


def _walk(node: Any, place: tuple[str, ...], lines: _Lines) -> None:
    """Note the line of every key down to a device's labels; the file has no deeper places."""
    if not isinstance(node, yaml.MappingNode) or len(place) > 3:
        return
    for key, value in node.value:
        inner = (*place, str(key.value))
        lines[inner] = key.start_mark.line + 1
        _walk(value, inner, lines)


_HINT = "the form of a fleet file is shown in README.md"


def _error(path: Path, lines: _Lines, place: tuple[str, ...], message: str) -> FleetError:
    nearest = next((place[:end] for end in range(len(place), 0, -1) if place[:end] in lines), ())
    line = f":{lines[nearest]}" if nearest else ""
    key = f" {'.'.join(place)}:" if place else ""
    return FleetError(f"{path}{line}:{key} {message}", hint=_HINT)
