from __future__ import annotations

from pathlib import Path

import pytest

from edgectl_testkit.lerobot_dirs import LeRobotDir


@pytest.fixture
def directory() -> LeRobotDir:
    """The parts of a sound LeRobot directory, to be spoiled."""
    return LeRobotDir()


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A sound LeRobot directory."""
    return LeRobotDir().write(tmp_path / "policy")
