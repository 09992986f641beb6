"""Results, progress and JSON, each where it belongs."""

from __future__ import annotations

import io
import json
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Group
from rich.text import Text

from edgectl_host.cli.console import Console
from edgectl_host.workflows.progress import Update


@pytest.fixture
def streams(monkeypatch):
    class Stream(io.StringIO):
        tty = False

        def isatty(self):
            return self.tty

    out, err = Stream(), Stream()

    def replace_streams():
        # Called in the test: pytest puts its own streams in place after the fixtures.
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        return out, err

    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return replace_streams


RED = Text("red", style="bold red")


def test_a_pipe_gets_plain_text_of_a_hundred_columns(streams, home):
    out, _ = streams()
    console = Console(home)
    console.show(RED)
    assert out.getvalue() == "red\n"
    assert console.width == 100


def test_a_path_that_is_to_be_copied_stays_in_one_piece(streams, home):
    out, _ = streams()
    path = "/" + "x" * 300
    Console(home).show(Group(Text(path, no_wrap=True, overflow="ignore")))
    assert out.getvalue() == f"{path}\n"


def test_a_terminal_gets_colour(streams, home):
    out, _ = streams()
    out.tty = True
    Console(home).show(RED)
    assert out.getvalue() == "\x1b[1;31mred\x1b[0m\n"


def test_no_color_is_obeyed_on_a_terminal(streams, home):
    out, _ = streams()
    out.tty = True
    Console(replace(home, no_colour=True)).show(RED)
    assert "31m" not in out.getvalue()


def test_force_color_survives_a_pipe(streams, home):
    out, _ = streams()
    Console(replace(home, force_colour=True)).show(RED)
    assert out.getvalue() == "\x1b[1;31mred\x1b[0m\n"


def test_columns_set_the_width(streams, home):
    streams()
    assert Console(replace(home, columns=72)).width == 72


def test_json_mode_prints_one_document_and_nothing_else(streams, home):
    out, _ = streams()
    console = Console(home, json_mode=True)
    console.show(RED)
    console.show_json({"a": [1, None, "µ"]})
    assert json.loads(out.getvalue()) == {"a": [1, None, "µ"]}


def test_without_json_mode_no_document_is_printed(streams, home):
    out, _ = streams()
    Console(home).show_json({"a": 1})
    assert out.getvalue() == ""


def test_progress_in_a_pipe_is_a_line_at_each_change_of_step(streams, home):
    out, err = streams()
    with Console(home).progress() as progress:
        for fraction in (0.1, 0.5, 1.0):
            progress(Update("nuc", "sending 3.0 MB", fraction))
        progress(Update("pi", "asking the device"))
        progress(Update("nuc", "installed", done=True))
    assert err.getvalue() == "nuc: sending 3.0 MB\npi: asking the device\nnuc: installed\n"
    assert out.getvalue() == ""


def test_progress_on_a_terminal_leaves_nothing_behind(streams, home):
    out, err = streams()
    err.tty = True
    with Console(home).progress() as progress:
        progress(Update("nuc", "sending 3.0 MB", 0.5))
        progress(Update("nuc", "measuring"))
        progress(Update("nuc", "pass", done=True))
    shown = err.getvalue()
    assert "measuring" in shown or "pass" in shown
    assert shown.rstrip().endswith("\x1b[2K")
    assert out.getvalue() == ""


def test_nothing_is_drawn_while_something_is_measured(streams, home, monkeypatch):
    _, err = streams()
    err.tty = True
    ticks = []

    class Ticker(threading.Event):
        def wait(self, timeout=None):
            ticks.append(timeout)
            return super().wait(timeout)

    monkeypatch.setattr("edgectl_host.cli.console._TICK_S", 0.005)
    monkeypatch.setattr("edgectl_host.cli.console.threading", SimpleNamespace(**{**vars(threading), "Event": Ticker}))
    with Console(home).progress() as progress:
        progress(Update("nuc", "warming up"))
        wait_for_growth(err)
        progress(Update("nuc", "measuring", quiet=True))
        drawn, ticked = len(err.getvalue()), len(ticks)
        wait_until(lambda: len(ticks) > ticked + 5)
        assert len(err.getvalue()) == drawn
        progress(Update("nuc", "measured"))
        wait_for_growth(err)


def test_what_is_over_in_a_moment_says_nothing(streams, home):
    _, err = streams()
    with Console(home).busy("cache", "adding up sizes"):
        pass
    assert err.getvalue() == ""


def test_what_takes_longer_says_what_it_is_doing(streams, home, monkeypatch):
    _, err = streams()
    monkeypatch.setattr("edgectl_host.cli.console._MOMENT_S", 0.0)
    with Console(home).busy("cache", "adding up sizes"):
        wait_until(err.getvalue)
    assert err.getvalue() == "cache: adding up sizes\n"


def wait_for_growth(stream):
    """The ticker draws by itself."""
    drawn = len(stream.getvalue())
    wait_until(lambda: len(stream.getvalue()) != drawn)


def wait_until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)
