"""What every runtime offers here, each asked in a process of its own: a library that crashes or hangs when its first
kernel is launched costs nothing but the answer.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
import traceback
from dataclasses import replace

from edgectl_agent.worker.runtimes.registry import RUNTIMES, create
from edgectl_protos.codec.document import canonical_bytes, from_bytes
from edgectl_protos.domain.device import RuntimeFacts

__all__ = ["probe_all", "probe_aside"]

_PROBLEM_CHARACTERS = 4000
_TIMEOUT_S = 60.0


def probe_all() -> tuple[RuntimeFacts, ...]:
    """What every known runtime offers in this interpreter."""
    return tuple(probe_aside(name) for name in RUNTIMES)


def probe_aside(name: str, *, timeout_s: float = _TIMEOUT_S) -> RuntimeFacts:
    """What one offers; a problem where it crashes, or does not answer in time."""
    # Apple's frameworks do not work in a process that was forked.
    if sys.platform == "darwin":
        return create(name).probe()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _answer(name, writing)
    os.close(writing)
    try:
        answer = _read(reading, timeout_s)
    finally:
        os.close(reading)
    if answer is None:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if answer is None:
        return RuntimeFacts(name, "", (), (), problem=f"{name} did not run its first kernel within {timeout_s:.0f} s")
    if status or not answer:
        how = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "without an answer"
        return RuntimeFacts(name, "", (), (), problem=f"{name} ended its process ({how}) at its first kernel")
    return from_bytes(RuntimeFacts, answer, what="the answer of a probe")


def _answer(name: str, writing: int) -> None:
    code = 1
    try:
        with os.fdopen(writing, "wb") as file:
            facts = create(name).probe()
            # A library's words may be longer than a document takes.
            file.write(canonical_bytes(replace(facts, problem=facts.problem[:_PROBLEM_CHARACTERS])))
        code = 0
    except Exception:  # noqa: BLE001 (the boundary of the process: its parent says only that there was no answer)
        traceback.print_exc()
    finally:
        # Nothing of the parent's is flushed, closed or run twice.
        os._exit(code)


def _read(reading: int, timeout_s: float) -> bytes | None:
    """Everything until its end; None when the time is over."""
    end_s = time.monotonic() + timeout_s
    found = b""
    while True:
        ready, _, _ = select.select([reading], [], [], max(0.0, end_s - time.monotonic()))
        if not ready:
            return None
        piece = os.read(reading, 1 << 16)
        if not piece:
            return found
        found += piece
