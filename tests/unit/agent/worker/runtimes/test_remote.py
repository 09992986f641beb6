import sys

import pytest

from contracts.runtime import OnnxRuntimeContract
from edgectl_agent.worker.runtimes.registry import create
from edgectl_protos.domain.errors import BundleError, RuntimeMissingError


class TestRemote(OnnxRuntimeContract):
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
        with pytest.raises(RuntimeMissingError, match="No module named") as caught:
            runtime.import_library()
        assert "edgectl-agent[onnxrt]" in caught.value.hint
        assert str(bare) in caught.value.hint
        # The message may get into a release, which is the same on any machine.
        assert str(bare) not in caught.value.message
        runtime.close()

    def test_a_free_dimension_may_have_another_size_at_every_call(self, runtime, artifact):
        # Memory is shared once, for one size.
        with pytest.raises(BundleError, match="'x' has a free dimension"):
            runtime.load(artifact, self.scaled(artifact, -1), 1)
