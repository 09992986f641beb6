"""A step that generates a text: prefill of the prompt, then token by token, each with a span inside the step's own."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from edgectl_agent.worker.runtimes.generator import Generator
from edgectl_agent.worker.spans import Site
from edgectl_agent.worker.tensors import Operation, Tensors, Values
from edgectl_protos.domain.errors import ShapeError
from edgectl_protos.domain.program import Generate

__all__ = ["Generating", "generation"]


@dataclass(slots=True)
class Generating:
    """A step that generates at most `tokens` tokens; `prompt_tokens` are those of its last prompt."""

    step: str
    component: str
    generator: Generator
    tokens: int
    prompt_tokens: int = 0


def generation(step: Generate, generating: Generating, tensors: Tensors, sites: list[Site]) -> Operation:
    """The operation of the step; the places of its spans are added to `sites`."""
    generator = generating.generator
    buffer = tensors.buffer(step.output)
    first = tensors.buffer(step.logits) if step.logits else None
    tokens = buffer.reshape(-1)
    prefill, token_site = len(sites), len(sites) + 1
    sites.append(Site(f"{step.id}.prefill", "prefill", step.component, within=step.id))
    sites.append(Site(f"{step.id}.token", "token", step.component, note="each token", within=step.id))

    def run(values: Values) -> None:
        ids = values[step.ids].reshape(-1)
        if step.mask:
            ids = ids[values[step.mask].reshape(-1).astype(bool)]
        if not ids.size:
            raise ShapeError(f"step {step.id!r} has no token to begin with: {step.mask!r} masks all of them")
        spans = tensors.spans
        now = time.perf_counter_ns if spans is None else spans.now_ns
        tokens.fill(step.stop_id)
        generating.prompt_tokens = ids.size
        begin = now()
        logits = generator.prefill(ids)
        tokens[0] = token = int(logits.argmax())
        end = now()
        if spans is not None:
            spans.add(prefill, begin, end)
        if first is not None:
            if logits.size != first.size:
                raise ShapeError(f"step {step.id!r}: {logits.size} logits, and {step.logits!r} has {first.size}")
            np.copyto(first, logits.reshape(first.shape))
            values[step.logits] = first
            end = now()
        for at in range(1, tokens.size):
            if token == step.stop_id:
                break
            begin = end
            tokens[at] = token = int(generator.decode(token).argmax())
            end = now()
            if spans is not None:
                spans.add(token_site, begin, end)
        values[step.output] = buffer

    return run
