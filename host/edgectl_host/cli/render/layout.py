"""What looks alike everywhere: tables without boxes, keys with values, failures with their hints."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from edgectl_protos.domain.deployment import Failure

__all__ = ["facts_table", "human_failures", "minute_words", "rows_table"]


def rows_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[RenderableType]],
    *,
    right: Sequence[str] = (),
    wraps: Sequence[str] = (),
) -> Table:
    """A table with a header, where a column has a name; columns in `right` hold numbers, those in `wraps` and the last
    one may wrap.
    """
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold", show_header=any(columns))
    for name in columns:
        wrap = name == columns[-1] or name in wraps
        table.add_column(
            name,
            justify="right" if name in right else "left",
            no_wrap=not wrap,
            overflow="fold" if wrap else "ellipsis",
        )
    for row in rows:
        table.add_row(*row)
    return table


def facts_table(rows: Iterable[tuple[str, str]]) -> Table:
    """Keys and values."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for key, value in rows:
        table.add_row(key, Text(value))
    return table


def human_failures(failures: Sequence[tuple[str, Failure | None]]) -> Text:
    """Failures by name, each with its hint; those that are None are left out."""
    text = Text()
    for name, failure in failures:
        if failure is None:
            continue
        # What a client says of its device begins with its name already.
        message = failure.message.removeprefix(f"{name}: ")
        text.append(f"{name}: error[{failure.reason}]: {message}\n", style="red")
        if failure.hint:
            text.append(f"hint: {failure.hint}\n")
    text.rstrip()
    return text


def minute_words(at_s: float) -> str:
    """A moment, to the minute, where the user is."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at_s))
