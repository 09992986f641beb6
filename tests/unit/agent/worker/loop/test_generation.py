"""Figures of generated texts, from spans whose times are known."""

from __future__ import annotations

import numpy as np
import pytest

from edgectl_agent.worker.generating import Generating
from edgectl_agent.worker.loop.generation import generation_figures
from edgectl_agent.worker.loop.recorder import Recorder
from edgectl_agent.worker.runtimes.generator import Generator
from edgectl_agent.worker.spans import Site

SITES = (
    Site("tokenise", "tokenise"),
    Site("say", "generate", "model"),
    Site("say.prefill", "prefill", "model", within="say"),
    Site("say.token", "token", "model", within="say"),
    Site("other.token", "token", "model", within="other"),
)


class _Still(Generator):
    def prefill(self, ids):
        return np.zeros(4, np.float32)

    def decode(self, token):
        return np.zeros(4, np.float32)

    def token_bytes(self, length):
        return 1000 + length


@pytest.fixture
def recorder():
    made = Recorder(SITES, 1, 1000, lambda: 0)
    for _ in range(40):
        made.spans.add(0, 0, 5_000)
        made.spans.add(2, 5_000, 3_005_000)
        for _ in range(3):
            made.spans.add(3, 0, 500_000)
        made.spans.add(4, 0, 9_000_000)
    return made


def test_first_and_next_tokens_are_told_apart_and_only_those_of_the_step(recorder):
    (found,) = generation_figures(recorder, [Generating("say", "model", _Still(), 32, 12)])
    assert (found.step, found.component, found.prompt_tokens) == ("say", "model", 12)
    assert (found.first_token.n, found.first_token.p50) == (40, 0.003)
    assert (found.next_token.n, found.next_token.p50) == (120, 0.0005)
    assert found.tokens_per_s == pytest.approx(2000)
    # Half way through the answer.
    assert found.token_bytes == 1000 + 12 + 16


def test_an_answer_of_one_token_has_no_rate(recorder):
    recorder.spans.clear()
    recorder.spans.add(2, 0, 1_000_000)
    (found,) = generation_figures(recorder, [Generating("say", "model", _Still(), 1, 5)])
    assert (found.tokens_per_s, found.next_token.n, found.first_token.n) == (0.0, 0, 1)
