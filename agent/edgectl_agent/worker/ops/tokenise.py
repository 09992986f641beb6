"""Instructions to token ids, by the `tokenizer.json` that the release carries: nothing is loaded from a hub.

The last text's ids are kept: an instruction changes rarely, and tokenising costs as much as a small graph.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgectl_agent.worker.release import Array
from edgectl_protos.domain.artifact import TensorSpec
from edgectl_protos.domain.errors import LoopSpecError, RuntimeMissingError, TokenizerError
from edgectl_protos.domain.program import Tokenise

__all__ = ["tokeniser"]

# pi0.5's bins over -1..1: the lower edges, one less than there are edges.
_EDGES = np.linspace(-1, 1, 257)[:-1]


def tokeniser(
    step: Tokenise, path: Path, ids: TensorSpec, mask: TensorSpec
) -> Callable[[str, Array | None], tuple[Array, Array]]:
    """What turns (text, state or None) into (ids, mask).

    Raises:
        RuntimeMissingError: the tokenizers library is not installed here.
        TokenizerError: the file is not a tokenizer.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError as exc:
        raise RuntimeMissingError(
            "tokenizers is not installed on this device, and the policy takes an instruction",
            hint="install it on the device: pip install 'edgectl-agent[language]'",
        ) from exc
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as exc:  # the library raises bare Exception for everything
        raise TokenizerError(f"{path.name} is not a tokenizer: {exc}", hint="convert again: edgectl convert") from exc
    tokenizer.no_padding()
    tokenizer.no_truncation()
    length = ids.shape[-1]
    found = np.empty(ids.shape, ids.dtype.value)
    real = np.empty(mask.shape, mask.dtype.value)
    known: list[str] = []

    def tokenise(text: str, state: Array | None) -> tuple[Array, Array]:
        prompt = _prompt(step, text, state)
        if known[:1] != [prompt]:
            tokens = tokenizer.encode(prompt).ids
            if len(tokens) > length:
                raise LoopSpecError(
                    f"the instruction has {len(tokens)} tokens, the policy takes {length}",
                    hint="shorten it: edgectl deploy --task TEXT",
                )
            found[...] = step.pad_id
            found[..., : len(tokens)] = tokens
            real[...] = 0
            real[..., : len(tokens)] = 1
            known[:] = [prompt]
        return found, real

    return tokenise


def _prompt(step: Tokenise, text: str, state: Array | None) -> str:
    if step.template:
        text = text.strip().replace("_", " ").replace("\n", " ")
        bins = "" if state is None else " ".join(map(str, np.digitize(state.reshape(-1), _EDGES) - 1))
        text = step.template.replace("{state}", bins).replace("{text}", text)
    return text if text.endswith(step.suffix) else text + step.suffix
