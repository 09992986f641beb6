"""The terminal: results on standard output, progress on standard error, JSON when asked for.

A terminal gets a live line for each subject; anything else gets a plain line when what it does changes.
Colour follows NO_COLOR and FORCE_COLOR, and is left out in a pipe.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from edgectl_host.config import HostConfig
from edgectl_host.workflows.progress import Progress, Update

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.console import RenderableType
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

__all__ = ["Console"]

_WIDTH_IN_A_PIPE = 100
_MAX_WIDTH = 120
_TICK_S = 0.25
_MOMENT_S = 0.7


class Console:
    """What one command shows."""

    def __init__(self, config: HostConfig, *, json_mode: bool = False) -> None:
        self._config = config
        self.json_mode = json_mode

    def show(self, *renderables: RenderableType) -> None:
        """Print results for people; nothing in JSON mode."""
        if self.json_mode:
            return
        console = self._rich(stderr=False)
        with console.capture() as captured:
            for renderable in renderables:
                console.print(renderable, highlight=False, markup=False, crop=False)
        text = captured.get()
        if not console.is_terminal:
            text = "\n".join(line.rstrip() for line in text.split("\n"))
        sys.stdout.write(text)
        sys.stdout.flush()

    def show_json(self, document: Any) -> None:
        """Print the one JSON document; nothing otherwise."""
        if self.json_mode:
            sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")
            sys.stdout.flush()

    @property
    def width(self) -> int:
        """Columns that results may use."""
        return self._rich(stderr=False).width

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """A callback that shows updates while the block runs, from any thread."""
        if not sys.stderr.isatty():
            yield _Lines()
            return
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        columns = (
            TextColumn("{task.fields[subject]}", style="bold"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TimeElapsedColumn(),
        )
        console = self._rich(stderr=True)
        with RichProgress(*columns, console=console, transient=True, auto_refresh=False) as bars:
            shown = _Bars(bars)
            try:
                yield shown
            finally:
                shown.stop()

    @contextmanager
    def busy(self, subject: str, text: str) -> Iterator[None]:
        """Say what is being done, if it takes longer than a moment."""
        with self.progress() as progress:
            timer = threading.Timer(_MOMENT_S, progress, [Update(subject, text)])
            timer.daemon = True
            timer.start()
            try:
                yield
            finally:
                timer.cancel()
                timer.join()

    def _rich(self, *, stderr: bool) -> RichConsole:
        from rich.console import Console as RichConsole

        config = self._config
        stream = sys.stderr if stderr else sys.stdout
        colour = None if config.no_colour or not config.force_colour else True
        console = RichConsole(stderr=stderr, no_color=config.no_colour or None, force_terminal=colour)
        if config.columns is not None:
            console.width = config.columns
        elif not stream.isatty():
            console.width = _WIDTH_IN_A_PIPE
        console.width = min(console.width, _MAX_WIDTH)
        return console


class _Lines:
    """Plain lines, one when a subject does something else; how far it is would only repeat them."""

    def __init__(self) -> None:
        self._last: dict[str, str] = {}
        self._lock = threading.Lock()

    def __call__(self, update: Update) -> None:
        with self._lock:
            if self._last.get(update.subject) == update.text:
                return
            self._last[update.subject] = update.text
            # Whoever read along may have gone; what is being done goes on.
            with suppress(OSError):
                sys.stderr.write(f"{update.subject}: {update.text}\n")
                sys.stderr.flush()


class _Bars:
    """A live line for each subject. While one is measured nothing is drawn: it may share our cores."""

    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}
        self._quiet: set[str] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)
        self._ticker.start()

    def __call__(self, update: Update) -> None:
        text = update.text.split("\n", 1)[0]
        if update.quiet:
            text += ", not drawn meanwhile"
        known = update.fraction is not None or update.done
        total, completed = (1.0 if known else None), (1.0 if update.done else update.fraction or 0.0)
        with self._lock:
            task = self._tasks.get(update.subject)
            if task is None:
                self._tasks[update.subject] = self._bars.add_task(text, subject=update.subject, total=total)
            else:
                self._bars.update(task, description=text, total=total, completed=completed)
            (self._quiet.add if update.quiet else self._quiet.discard)(update.subject)
            self._bars.refresh()

    def stop(self) -> None:
        """End the ticking."""
        self._stopped.set()
        self._ticker.join()

    def _tick(self) -> None:
        while not self._stopped.wait(_TICK_S):
            with self._lock:
                if not self._quiet:
                    self._bars.refresh()
