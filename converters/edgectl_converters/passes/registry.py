"""Passes between source and targets, in the order in which they are applied. A new one is one line here."""

from __future__ import annotations

from edgectl_converters.passes.base import Pass
from edgectl_converters.plugins import load_plugin

__all__ = ["PASSES", "pass_of"]

PASSES = {"fold": "edgectl_converters.passes.fold:FoldFrames"}


def pass_of(name: str) -> Pass:
    """The pass of this name."""
    found: Pass = load_plugin(PASSES[name])
    return found
