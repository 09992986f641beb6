"""What pip said, read for people: the lines that say why it failed, without its warnings beside them."""

from __future__ import annotations

__all__ = ["no_index_words", "no_room_words", "why"]

_LINES = 3
_BESIDE = ("WARNING:", "DEPRECATION:", "[notice]")
_NO_ROOM = ("No space left on device", "Disk quota exceeded")
_NO_INDEX = ("WARNING: Retrying", "Could not fetch URL", "Could not connect")


def why(said: str) -> str:
    """The first lines from pip's own ERROR on; the last ones where it has none."""
    lines = [line.strip() for line in said.splitlines()]
    lines = [line for line in lines if line and not line.startswith(_BESIDE)]
    error = next((index for index, line in enumerate(lines) if line.startswith("ERROR:")), None)
    shown = lines[-_LINES:] if error is None else lines[error : error + _LINES]
    return " | ".join(line.removeprefix("ERROR: ") for line in shown) or "it said nothing"


def no_room_words(said: str) -> str:
    """How it said that a disk is full; empty where it did not."""
    return next((words for words in _NO_ROOM if words in said), "")


def no_index_words(said: str) -> str:
    """How it said that the index was not to be reached, so that what it did not find may well be there; else empty."""
    told = [line.strip() for line in said.splitlines() if any(words in line for words in _NO_INDEX)]
    return told[-1].removeprefix("WARNING: ").removeprefix("ERROR: ") if told else ""
