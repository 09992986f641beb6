import sys

import pytest

from contracts.runtime import RuntimeContract
from edgectl_agent.worker.runtimes.registry import create
from edgectl_protos.domain.errors import RuntimeMissingError


class TestRemote(RuntimeContract):
    """A runtime in another process does what every runtime does."""

    runtime_name = "onnxrt"
    library = "onnxruntime"

    def create(self):
        return create(self.runtime_name, sys.executable)

    def test_a_missing_library_is_said_with_what_installs_it(self, tmp_path):
        # An interpreter that has no agent at all.
        bare = tmp_path / "python"
        bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
        bare.chmod(0o755)
        runtime = create(self.runtime_name, str(bare))
        with pytest.raises(RuntimeMissingError, match=str(bare)) as caught:
            runtime.import_library()
        assert "edgectl-agent[onnxrt]" in caught.value.hint
        runtime.close()
