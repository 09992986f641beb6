"""From the spans of a measurement to the figures of the texts that it generated. Pure: stamps in, figures out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgectl_agent.worker.generating import Generating
from edgectl_agent.worker.loop.recorder import Recorder
from edgectl_agent.worker.loop.statistics import percentiles
from edgectl_protos.domain.run import Generation

__all__ = ["generation_figures"]

_OPS = ("prefill", "token")


def generation_figures(recorder: Recorder, generations: Sequence[Generating]) -> tuple[Generation, ...]:
    """One for each step that generates."""
    rows, sites = recorder.spans.rows, recorder.spans.sites
    durations = rows[:, 3] - rows[:, 2]
    found = []
    for generating in generations:
        inside = [index for index, site in enumerate(sites) if site.within == generating.step]
        first, after = (durations[np.isin(rows[:, 1], [at for at in inside if sites[at].op == op])] for op in _OPS)
        length = generating.prompt_tokens + generating.tokens // 2
        found.append(
            Generation(
                step=generating.step,
                component=generating.component,
                prompt_tokens=generating.prompt_tokens,
                first_token=percentiles(first),
                next_token=percentiles(after),
                tokens_per_s=after.size / (float(after.sum()) / 1e9) if after.size else 0.0,
                token_bytes=generating.generator.token_bytes(length),
            )
        )
    return tuple(found)
