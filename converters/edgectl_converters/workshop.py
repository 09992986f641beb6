"""What conversions share: the cache, the toolchains, remembered digests, and the command that starts a device's worker.

The host makes one and passes it in; nothing here reads the environment.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from edgectl_converters.code import Code
from edgectl_converters.digests import FileDigests
from edgectl_converters.steps import StepCache
from edgectl_converters.toolchain import Toolchains

__all__ = ["Progress", "Workshop"]

Progress = Callable[[str], None]

_WORKER = (sys.executable, "-m", "edgectl_agent.worker")


class Workshop:
    """The collaborators of every conversion.

    `worker` is the command of the device's own worker on this host: in this interpreter, unless another one holds the
    runtimes. `threads` 0 means one per core; `timeout_s` is how long the worker may take for one request.
    """

    def __init__(
        self,
        cache_dir: Path,
        toolchains: Toolchains,
        *,
        worker: tuple[str, ...] = _WORKER,
        threads: int = 0,
        timeout_s: float = 1800.0,
        code: Code | None = None,
    ) -> None:
        self.brake = toolchains.brake
        self.steps = StepCache(cache_dir)
        self.toolchains = toolchains
        self.digests = FileDigests(cache_dir)
        self.worker = worker
        self.threads = threads
        self.timeout_s = timeout_s
        self.code = code or Code()
