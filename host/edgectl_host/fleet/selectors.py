"""Which devices a command is for: a fleet, narrowed by labels and a limit. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgectl_host.fleet.inventory import Device, Inventory
from edgectl_protos.domain.errors import FleetError, UsageError

__all__ = ["Selector", "parse_selector", "select"]


@dataclass(frozen=True, slots=True)
class Selector:
    """One condition on labels: `key=value`, `key!=value`, which a device without the label meets too, or a bare
    `key`, which every device with that label meets: `value` None.
    """

    key: str
    value: str | None
    equal: bool

    def matches(self, device: Device) -> bool:
        """Whether the device meets the condition."""
        if self.value is None:
            return self.key in device.labels
        return (device.labels.get(self.key) == self.value) is self.equal

    def __str__(self) -> str:
        return self.key if self.value is None else f"{self.key}{'=' if self.equal else '!='}{self.value}"


def parse_selector(text: str) -> Selector:
    """Read `key=value`, `key!=value` or `key`.

    Raises:
        UsageError: the text is none of them.
    """
    key, sign, value = text.partition("=")
    if not sign and key.strip() and "!" not in key:
        return Selector(key.strip(), None, equal=True)
    equal = not key.endswith("!")
    key = key if equal else key[:-1]
    if not sign or not key.strip() or not value.strip():
        raise UsageError(f"label selector {text!r} is none of key=value, key!=value and key", hint="-l site=lab")
    return Selector(key.strip(), value.strip(), equal)


def select(
    inventory: Inventory, fleet: str, selectors: Sequence[Selector] = (), limit: int | None = None
) -> tuple[Device, ...]:
    """The devices, in the order of the file.

    Raises:
        FleetError: the fleet is not known, or no device of it meets the conditions.
    """
    members = inventory.fleet(fleet)
    chosen = [device for device in members if all(selector.matches(device) for selector in selectors)]
    if not chosen:
        asked = " and ".join(str(selector) for selector in selectors) or "any"
        labels = sorted({f"{k}={value}" if value else k for device in members for k, value in device.labels.items()})
        raise FleetError(
            f"no device of {fleet!r} has {asked}; its labels: {', '.join(labels) or 'none'}",
            hint="leave -l out to take the whole fleet",
        )
    return tuple(chosen[:limit])
