"""What a workflow says while it works. The command line draws it; a test collects it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Progress", "Update", "silent"]


@dataclass(frozen=True, slots=True)
class Update:
    """Where one subject (a device, a conversion) stands. `fraction` None: nobody knows how far it is.

    `quiet`: a measurement has begun, and whoever draws on this machine must leave it alone until the next update.
    """

    subject: str
    text: str
    fraction: float | None = None
    done: bool = False
    quiet: bool = False


Progress = Callable[[Update], None]
"""May be called from any thread, and raises nothing."""


def silent(update: Update) -> None:
    """For callers that show nothing."""
