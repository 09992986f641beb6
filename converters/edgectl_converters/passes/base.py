"""What every pass does: turn an export into another export, in its toolchain."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from edgectl_converters.sources.base import Export
from edgectl_converters.targets.base import Target

__all__ = ["Pass", "PassRequest"]


@dataclass(frozen=True, slots=True)
class PassRequest:
    """An export, its folder, and the folder for the new one, which needs all files that the new export names."""

    tool: str
    export: Export
    folder: str
    out: str


class Pass(abc.ABC):
    """One pass. Components of a form that it does not read stay as they are."""

    name: ClassVar[str]
    toolchain: ClassVar[str] = "host"
    reads: ClassVar[tuple[str, ...]]
    packages: ClassVar[tuple[str, ...]]

    def suits(self, target: Target) -> bool:
        """Whether this target can build what it writes; a pass that does not suit all of a policy is left out."""
        return True

    @abc.abstractmethod
    def apply(self, request: PassRequest, progress: Callable[[str], None]) -> Export:
        """Write the new export."""
