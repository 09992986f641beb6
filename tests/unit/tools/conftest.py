"""The modules of a tool, as they stand beside the script that people start."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tool(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Those of the folder `TOOL` of the test's module, which are forgotten afterwards: tools share names."""
    folder: Path = request.module.TOOL
    monkeypatch.syspath_prepend(str(folder))
    yield
    files = {name: getattr(module, "__file__", None) for name, module in sys.modules.items()}
    for name, file in files.items():
        if folder in Path(file or ".").parents:
            del sys.modules[name]
