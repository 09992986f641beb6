"""The folders of an agent that has nothing yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgectl_agent.core.store.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "state")
    layout.make()
    return layout
