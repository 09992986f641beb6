"""Checkpoint formats, in the order in which they are asked. A new format is one line here."""

from __future__ import annotations

from edgectl_converters.plugins import load_plugin
from edgectl_converters.sources.base import Source

__all__ = ["SOURCES", "source", "sources"]

SOURCES = {
    # Before LeRobot's, which takes every directory with a config.json.
    "hf": "edgectl_converters.sources.hf.source:HuggingFaceSource",
    "gguf": "edgectl_converters.sources.gguf:GgufSource",
    "lerobot": "edgectl_converters.sources.lerobot.source:LeRobotSource",
    "onnx": "edgectl_converters.sources.onnx:OnnxSource",
    "parts": "edgectl_converters.sources.parts.source:PartsSource",
    "tflite": "edgectl_converters.sources.tflite:TfliteSource",
    "pt2": "edgectl_converters.sources.pt2.source:Pt2Source",
    "pte": "edgectl_converters.sources.pte:PteSource",
}


def source(name: str) -> Source:
    """The source of this name."""
    found: Source = load_plugin(SOURCES[name])
    return found


def sources() -> list[Source]:
    """Every source, in order."""
    return [source(name) for name in SOURCES]
