"""Passphrases: from a prompt or a file descriptor. Never from the command line, which other users can read."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from edgectl_protos.domain.errors import UsageError

__all__ = ["passphrase_option", "read_new_passphrase", "reader"]

F = TypeVar("F", bound=Callable[..., Any])
_MAX_BYTES = 1024


def passphrase_option(command: F) -> F:
    """--passphrase-fd."""
    return click.option(
        "--passphrase-fd",
        type=click.IntRange(min=0),
        metavar="N",
        help="Read the passphrase of the authority's key from this file descriptor; else it is asked for.",
    )(command)


def reader(passphrase_fd: int | None) -> Callable[[], bytes]:
    """Asks for the passphrase of a key that has one, when it is needed."""

    def read() -> bytes:
        if passphrase_fd is not None:
            return _from_descriptor(passphrase_fd)
        return _asked("passphrase of the authority")

    return read


def read_new_passphrase(passphrase_fd: int | None) -> bytes:
    """A passphrase to be set.

    Raises:
        UsageError: it is empty, or there is nobody to ask.
    """
    if passphrase_fd is not None:
        passphrase = _from_descriptor(passphrase_fd)
    else:
        passphrase = _asked("new passphrase", twice=True)
    if not passphrase:
        raise UsageError("the passphrase is empty", hint="leave --encrypt out to have none")
    return passphrase


def _asked(what: str, *, twice: bool = False) -> bytes:
    if not sys.stdin.isatty():
        raise UsageError(
            f"there is no terminal to ask for the {what}", hint="--passphrase-fd N reads it from a file descriptor"
        )
    return str(click.prompt(what, hide_input=True, confirmation_prompt=twice, err=True)).encode()


def _from_descriptor(number: int) -> bytes:
    """Its first line, in however many pieces it comes."""
    data = b""
    try:
        while b"\n" not in data and len(data) <= _MAX_BYTES and (piece := os.read(number, _MAX_BYTES)):
            data += piece
    except OSError as exc:
        raise UsageError(f"file descriptor {number} cannot be read: {exc.strerror}") from exc
    passphrase = data.split(b"\n")[0]
    if len(passphrase) > _MAX_BYTES:
        raise UsageError(f"the passphrase is longer than {_MAX_BYTES} bytes")
    return passphrase
