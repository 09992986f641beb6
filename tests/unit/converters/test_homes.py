"""Runtimes that live in a toolchain."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from edgectl_converters import homes
from edgectl_converters.homes import homes_of, ready_homes, seat_of
from edgectl_converters.targets.reference import ReferenceTarget
from edgectl_converters.toolchain import Toolchain
from edgectl_protos.domain.errors import ToolchainError
from edgectl_protos.domain.program import Call, Generate


class Elsewhere(ReferenceTarget):
    """A target whose runtime needs another interpreter."""

    home = "torch"


class Chains:
    """Toolchains that note what is made."""

    def __init__(self, lock: str) -> None:
        self.lock = lock
        self.made: list[str] = []

    def find(self, name):
        if self.lock == "gone":
            raise ToolchainError("gone")
        return Toolchain(name, Path(f"/{name}/python"), self.lock, "")

    def get(self, name, progress):
        self.made.append(name)
        return Toolchain(name, Path(f"/{name}/python"), "made", "")


@pytest.fixture
def one_elsewhere(monkeypatch):
    monkeypatch.setattr(homes, "TARGETS", {"here": "", "there": ""})
    monkeypatch.setattr(homes, "target", {"here": ReferenceTarget, "there": Elsewhere}.__getitem__)


def test_the_toolchain_of_a_runtime_that_lives_in_one_is_made(one_elsewhere):
    chains = Chains("")
    assert homes_of(["here", "there", "unknown"], chains, print) == {"there": "/torch/python"}
    assert chains.made == ["torch"]


def test_a_runtime_of_the_agents_own_interpreter_needs_none(one_elsewhere):
    chains = Chains("")
    assert homes_of(["here"], chains, print) == {}
    assert chains.made == []


@pytest.mark.parametrize(("lock", "found"), [("made", {"there": "/torch/python"}), ("", {}), ("gone", {})])
def test_those_are_ready_whose_toolchain_is_there(one_elsewhere, lock, found):
    chains = Chains(lock)
    assert ready_homes(chains) == found
    assert chains.made == []


def test_a_release_that_generates_is_judged_where_its_cache_lives(one_elsewhere):
    def manifest(runtime, step):
        component = SimpleNamespace(name="model", runtime=runtime)
        return SimpleNamespace(components=(component,), program=SimpleNamespace(steps=(step,)))

    generating, calling = Generate("say", "model", "ids", "tokens", 0), Call("run", "model", {}, {})
    assert seat_of(manifest("there", generating)) == "torch"
    assert seat_of(manifest("here", generating)) == "host"
    # What is only called is lent.
    assert seat_of(manifest("there", calling)) == "host"
