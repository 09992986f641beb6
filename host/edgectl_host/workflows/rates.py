"""Rates that were measured on machines, by the machine's id: what floors are computed from where they are known."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edgectl_host.machine import generic_board
from edgectl_profiles.schema import Unit
from edgectl_protos.codec.document import canonical_bytes, from_bytes
from edgectl_protos.domain.errors import EdgectlError
from edgectl_protos.domain.roofline import Ceiling

__all__ = ["MachineRates", "RateStore"]


@dataclass(frozen=True, slots=True)
class MachineRates:
    """What was measured on the processor of a machine, called `host` in its network; `by` names what reached each rate,
    by precision.
    """

    machine_id: str
    host: str
    cpu: Ceiling
    by: dict[str, str]


class RateStore:
    """A folder with a file for each machine; `host` is this one. A file that cannot be read counts as not there."""

    def __init__(self, folder: Path, *, host: str) -> None:
        self.host = host
        self._folder = folder

    def find(self, machine_id: str) -> MachineRates | None:
        """What was measured on this machine."""
        return self._read(self._path(machine_id))

    def here(self) -> MachineRates | None:
        """What was measured on the machine that this process runs on."""
        known = map(self._read, sorted(self._folder.glob("*.json")))
        return next((rates for rates in known if rates is not None and rates.host == self.host), None)

    def of_board(self, board: str) -> Mapping[Unit, Ceiling]:
        """The ceilings for a plan that asked no device: this machine's where the board is any machine like it."""
        found = self.here() if board == generic_board() else None
        return {"cpu": found.cpu} if found else {}

    def of(self, machine_id: str) -> Mapping[Unit, Ceiling]:
        """A machine's ceilings by unit; empty where nothing was measured."""
        found = self.find(machine_id)
        return {"cpu": found.cpu} if found else {}

    def keep(self, rates: MachineRates) -> None:
        """Keep what was measured, in place of what was known."""
        self._folder.mkdir(parents=True, exist_ok=True)
        aside = self._path(rates.machine_id).with_suffix(".new")
        aside.write_bytes(canonical_bytes(rates))
        aside.replace(self._path(rates.machine_id))

    def _path(self, machine_id: str) -> Path:
        return self._folder / f"{machine_id}.json"

    def _read(self, path: Path) -> MachineRates | None:
        with suppress(OSError, EdgectlError):
            return from_bytes(MachineRates, path.read_bytes(), what="rates")
        return None
