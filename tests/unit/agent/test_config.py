"""What an agent is told at its start."""

from __future__ import annotations

from importlib.metadata import version

from edgectl_agent.config import VERSION, default_board


def test_the_version_is_that_of_the_distribution():
    assert version("edgectl-agent") == VERSION


def test_the_default_board_names_the_architecture():
    assert default_board().startswith("generic-")
