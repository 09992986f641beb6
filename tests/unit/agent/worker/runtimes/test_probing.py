"""Runtimes that crash, hang or answer when their first kernel is launched."""

from __future__ import annotations

import os
import signal
import types
from dataclasses import replace

import pytest

from edgectl_agent.worker.runtimes import probing
from edgectl_agent.worker.runtimes.probing import probe_all, probe_aside
from edgectl_agent.worker.runtimes.registry import RUNTIMES
from edgectl_protos.domain.device import RuntimeFacts


def offer(monkeypatch, probe):
    monkeypatch.setattr(probing, "create", lambda _: types.SimpleNamespace(probe=probe))


def test_probing_answers_for_every_runtime():
    assert [facts.name for facts in probe_all()] == list(RUNTIMES)


def test_an_answer_comes_back_as_it_is_however_long_its_words_are(monkeypatch):
    facts = RuntimeFacts("stub", "1", ("CPU",), ("fp32",))
    offer(monkeypatch, lambda: replace(facts, problem="ü" * 100_000))
    assert probe_aside("stub") == replace(facts, problem="ü" * 4000)


def test_a_library_that_segfaults_costs_its_answer_alone(monkeypatch):
    offer(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGSEGV))
    assert probe_aside("stub").problem == "stub ended its process (SIGSEGV) at its first kernel"


def test_a_library_that_exits_is_a_problem(monkeypatch):
    offer(monkeypatch, lambda: os._exit(0))
    assert probe_aside("stub").problem == "stub ended its process (without an answer) at its first kernel"


def test_a_library_that_hangs_is_ended(monkeypatch):
    fork, children = os.fork, []

    def noted():
        children.append(fork())
        return children[-1]

    monkeypatch.setattr(probing.os, "fork", noted)
    offer(monkeypatch, signal.pause)
    assert probe_aside("stub", timeout_s=0.1).problem == "stub did not run its first kernel within 0 s"
    (child,) = children
    with pytest.raises(ChildProcessError):
        os.waitpid(child, os.WNOHANG)


def test_a_defect_of_a_probe_is_in_the_log_of_its_worker(monkeypatch, capfd):
    offer(monkeypatch, lambda: 1 / 0)
    assert "without an answer" in probe_aside("stub").problem
    assert "ZeroDivisionError" in capfd.readouterr().err
