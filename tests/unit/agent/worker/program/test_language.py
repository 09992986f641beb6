"""Programs that read an instruction and decode an answer."""

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from edgectl_agent.worker.spans import SpanTable
from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.errors import ProgramError, ShapeError
from edgectl_protos.domain.policy import Feature, FeatureKind
from edgectl_protos.domain.program import Call, Generate, Program, Tokenise
from edgectl_testkit.programs import component, graph_of, language_component, language_graph, language_text, spec
from edgectl_testkit.small_policies import ACTION, policy

SAID, STOP = 5, 0


def speaker():
    """Tokens to actions: row [token, -token]."""
    made = component("actor", [spec("tokens", 1, SAID, dtype=DType.INT64)], [spec("chunk", 1, SAID, ACTION)])
    rows = np.stack([np.arange(7), -np.arange(7)], axis=1).astype(np.float32)
    return made, graph_of(made, [("Gather", ["rows", "tokens"], ["chunk"])], {"rows": rows})


def speaking(**changes):
    tokens = {"dtype": DType.INT64}
    return Program(
        tensors=(
            spec("ids", 4, **tokens),
            spec("mask", 4, dtype=DType.BOOL),
            spec("tokens", SAID, **tokens),
            spec("action", SAID, ACTION),
        ),
        steps=(
            Tokenise("read", "task", "ids", "mask", "tokenizer.json", 0),
            Generate(
                "say",
                **({"component": "language", "ids": "ids", "mask": "mask"} | changes),
                output="tokens",
                stop_id=STOP,
            ),
            Call("act", "actor", {"tokens": "tokens"}, {"chunk": "action"}),
        ),
        action="action",
    )


@pytest.fixture
def tokenizer(tmp_path):
    made = Tokenizer(models.WordLevel({str(at): at for at in range(7)}, unk_token="0"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.save(str(tmp_path / "tokenizer.json"))


@pytest.fixture
def talker(build, tokenizer):
    task = Feature("task", FeatureKind.LANGUAGE, DType.TEXT, ())
    return build(policy(task, chunk=SAID), speaking(), [(language_component(), language_graph()), speaker()])


def test_an_instruction_is_read_and_decoded_token_by_token(talker):
    texts = [[1], [2, 3], [6, 5, 4], [1, 2, 3, 4], [4, 4]]
    said = [language_text(text, SAID, STOP) for text in texts]
    # Some of them stop early, or the stop token proves nothing.
    assert any(STOP in text[:-1] for text in said)
    assert any(STOP not in text for text in said)
    for text, expected in zip(texts, said, strict=True):
        found = talker.run({"task": np.array(" ".join(map(str, text)))})
        np.testing.assert_array_equal(found, np.stack([expected, np.negative(expected)], axis=1))


def test_prefill_and_every_token_are_spans_within_the_step(talker):
    text = next([a, b] for a in range(1, 7) for b in range(1, 7) if STOP not in language_text([a, b], SAID, STOP))
    moments = iter(range(1000))
    spans = SpanTable(talker.sites, talker.spans_per_run, lambda: next(moments))
    talker.run({"task": np.array(" ".join(map(str, text)))}, spans)
    names = [talker.sites[site].step for site in spans.rows[:, 1]]
    assert sorted(names) == sorted(["read", "say", "act", "say.prefill", *["say.token"] * (SAID - 1)])
    within = {site.step: site.within for site in talker.sites}
    assert within["say.prefill"] == within["say.token"] == "say"


def test_a_text_without_a_token_cannot_be_gone_on_with(talker):
    with pytest.raises(ShapeError, match="step 'say' has no token to begin with"):
        talker.run({"task": np.array("")})


def test_a_component_without_a_cache_cannot_generate(build, tokenizer):
    task = Feature("task", FeatureKind.LANGUAGE, DType.TEXT, ())
    program = speaking(component="actor")
    with pytest.raises(ProgramError, match="'actor' keeps no cache to generate with"):
        build(policy(task, chunk=SAID), program, [speaker()])


def test_an_instruction_is_checked_as_a_text(talker):
    talker.check("task", np.array("pick"))
    with pytest.raises(ShapeError, match="task is text"):
        talker.check("task", np.zeros(3))
