"""What hosts call deployments, runs and themselves: fit to name a file, and to be shown."""

from __future__ import annotations

import re

from edgectl_protos.domain.artifact import MAX_NAME_CHARACTERS
from edgectl_protos.domain.errors import UsageError

__all__ = ["check_id", "check_label"]

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def check_id(text: str, *, what: str) -> str:
    """Refuse an identifier that is not fit to name a file.

    Raises:
        UsageError: it has other characters than letters, digits, dot, dash and underscore, or is too long.
    """
    if not _ID.fullmatch(text):
        raise UsageError(f"{what} {text[:200]!r} is not 1 to 100 letters, digits, dots, dashes or underscores")
    return text


def check_label(text: str, *, what: str) -> str:
    """Refuse a name that nobody could be shown.

    Raises:
        UsageError: it is longer than 200 characters, or not printable.
    """
    if len(text) > MAX_NAME_CHARACTERS or not text.isprintable():
        raise UsageError(f"{text[:80]!r} is no name of {what}: at most {MAX_NAME_CHARACTERS} printable characters")
    return text
