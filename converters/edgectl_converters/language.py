"""A language model as a policy: a prompt is observed, and the tokens that answer it are the action.

One inference is one answer: tokenise, prefill, and greedy decoding. Sources of language models describe them with this,
and targets have their runtimes keep a cache of `context_of`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import CheckpointError
from edgectl_protos.domain.policy import Feature, FeatureKind, Policy
from edgectl_protos.domain.program import Generate, Program, Tokenise

__all__ = [
    "COMPONENT",
    "PROMPT",
    "TOKENIZER",
    "UNJUDGED",
    "answer_of",
    "context_of",
    "language_policy",
    "language_program",
    "padded",
    "ports_of",
]

COMPONENT, PROMPT, TOKENIZER = "model", "prompt", "tokenizer.json"
_CUT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLITS = {"qwen2": _CUT % r"\p{N}", "llama-bpe": _CUT % r"\p{N}{1,3}"}
"""How texts are cut before byte-pair encoding: GGUF's name for it, and the regular expression of tokenizer.json."""
_CONTEXT = 1024
_ANSWER = 32
_NO_STOP = -1
UNJUDGED = -1
"""In place of the tokens of an expected answer that follow where the reference itself can hardly tell two apart."""


def context_of(trained: int) -> int:
    """How many tokens a text has at most, prompt and answer, of a model that was trained on texts of this many."""
    return min(trained, _CONTEXT)


def answer_of(context: int) -> int:
    """How many of them are the answer's."""
    return min(_ANSWER, context // 2)


def padded(ids: Sequence[int], program: Program) -> Any:
    """The ids of a prompt as the program has them, int64 [prompt].

    Raises:
        CheckpointError: the prompt is longer than a text may be with its answer.
    """
    import numpy as np

    length = next(spec.shape[0] for spec in program.tensors if spec.name == "ids")
    if len(ids) > length:
        raise CheckpointError(
            f"the prompt has {len(ids)} tokens; with its answer the model takes {length}",
            hint="give a shorter one: --task TEXT",
        )
    return np.pad(np.array(ids, np.int64), (0, length - len(ids)))


def language_policy(family: str, context: int) -> Policy:
    """One answer of int64 tokens for one prompt."""
    action = Feature("tokens", FeatureKind.LANGUAGE, DType.INT64, (answer_of(context),))
    return Policy(family, (Feature(PROMPT, FeatureKind.LANGUAGE, DType.TEXT, ()),), action, 1, 1)


def language_program(vocabulary: int, context: int, stops: tuple[int, ...]) -> Program:
    """Tokenise, prefill, decode: the tokens, and the logits [vocabulary] after the prompt. The first stop ends a text;
    without one it has its full length.
    """
    answer = answer_of(context)
    prompt = context - answer
    stop = stops[0] if stops else _NO_STOP
    return Program(
        tensors=(
            TensorSpec("ids", DType.INT64, (prompt,)),
            TensorSpec("mask", DType.BOOL, (prompt,)),
            TensorSpec("logits", DType.FLOAT32, (vocabulary,)),
            TensorSpec("tokens", DType.INT64, (1, answer)),
        ),
        steps=(
            Tokenise("tokenise", PROMPT, "ids", "mask", TOKENIZER, pad_id=0),
            Generate("generate", COMPONENT, "ids", "tokens", stop, mask="mask", logits="logits"),
        ),
        action="tokens",
    )


def ports_of(vocabulary: int) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of the component: token ids [1, n], and logits [1, vocabulary] of the token after them."""
    return (
        (TensorSpec("ids", DType.INT64, (1, -1)),),
        (TensorSpec("logits", DType.FLOAT32, (1, vocabulary)),),
    )
