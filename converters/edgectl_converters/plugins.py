"""Loads a plug-in from a table of names and places: `module:Class`."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["load_plugin", "module_of"]


def load_plugin(place: str) -> Any:
    """A new object of the class at this place."""
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)()


def module_of(plugin: object) -> str:
    """The module in which a plug-in is implemented: what keys its steps."""
    return type(plugin).__module__
