"""The real worker on a machine without a GPU, which says that it has one: what it builds is real, nothing of it loads.

    python builder_worker.py --reply-fd N

The double is the answer to two questions alone: what the runtime can do here, and what its builds are bound to.
"""

from __future__ import annotations

import os
import sys

from edgectl_agent.worker.__main__ import main
from edgectl_agent.worker.runtimes import registry
from edgectl_agent.worker.runtimes.tensorrt_rtx import TensorRtRtxRuntime
from edgectl_protos.domain.device import RuntimeFacts


class DoubleGpu(TensorRtRtxRuntime):
    """As if there were a GPU of compute capability 8.6, whose driver is what $EDGECTL_DRIVER says."""

    def probe(self) -> RuntimeFacts:
        """What it would offer."""
        return RuntimeFacts(self.name, self.import_library(), ("Double of a GPU",), ("fp32", "fp16", "int8"))

    def _bound_to(self, version: str) -> dict[str, str]:
        return {"version": version, "sm": "8.6", "driver": os.environ.get("EDGECTL_DRIVER", "550.54")}


if __name__ == "__main__":
    # No other one is wanted, and each would be imported when the agent asks what there is.
    registry.RUNTIMES = {DoubleGpu.name: f"{__name__}:DoubleGpu"}
    sys.exit(main())
