"""What is wrong with the agent itself, for whoever says hello: it goes on as well as it can, and never hides it."""

from __future__ import annotations

import logging

from edgectl_agent.core.store.atomic import Disk, disk_error
from edgectl_agent.core.store.layout import Layout
from edgectl_protos.domain.errors import EdgectlError

__all__ = ["Health"]

_LOG = logging.getLogger(__name__)


class Health:
    """What went wrong at the start, and the disk as its last durable change left it."""

    def __init__(self, layout: Layout, disk: Disk) -> None:
        self._layout = layout
        self._disk = disk
        self._at_start: list[str] = []

    @property
    def problems(self) -> tuple[str, ...]:
        """One sentence each; none when all is well."""
        return (*self._at_start, *([self._disk.problem] if self._disk.problem else []))

    def note(self, what: str, error: OSError | EdgectlError) -> str:
        """Remember that something could not be done at the start; the sentence that says so."""
        if isinstance(error, OSError):
            error = disk_error(error, self._layout.root, "reading")
        said = f"{what}: {error.message}"
        _LOG.error("%s", said)
        self._at_start.append(said)
        return said
