"""ONNX Runtime GenAI on the CPU: language models with the cache kept by the library.

Facts: logits are those of the last position, [1, 1, vocabulary]; `append_tokens` computes them at once, so a token is
decoded by appending it, and the library's own choice of tokens is never asked for; `rewind_to(0)` begins a new text in
the same buffers, with the same bits as a new generator; a session's threads are set by an overlay of its config.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from edgectl_agent.worker.release import Array
from edgectl_agent.worker.runtimes.base import Graph, LoadedFacts, Runtime, sentence
from edgectl_agent.worker.runtimes.generator import TextGraph
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.device import RuntimeFacts
from edgectl_protos.domain.errors import BundleCorruptError, BundleError, EdgectlError, PrecisionError, ShapeError

__all__ = ["GenAiRuntime"]

_CONFIG = "genai_config.json"
_CACHE_ITEM_BYTES = 4


class GenAiRuntime(Runtime):
    """`onnxruntime_genai.Model` from a folder."""

    name = "genai"
    options = frozenset({"context", "weight_bytes"})

    def _import(self) -> str:
        import onnxruntime_genai

        return str(onnxruntime_genai.__version__)

    def _facts(self, version: str) -> RuntimeFacts:
        # Weights of 4 bits are multiplied in float32 too.
        return RuntimeFacts(self.name, version, ("CPU",), ("fp32",))

    def _load(self, artifact: Path, component: Component, threads: int, alone: bool) -> Graph:
        import onnxruntime_genai as library

        try:
            described = json.loads((artifact / _CONFIG).read_bytes())["model"]
            decoder = described["decoder"]
            cache = decoder["num_hidden_layers"] * decoder["num_key_value_heads"] * decoder["head_size"] * 2
            vocabulary = int(described["vocab_size"])
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise BundleCorruptError(f"{_CONFIG} cannot be read: {exc}") from exc
        config = library.Config(str(artifact))
        session = {"intra_op_num_threads": threads, "inter_op_num_threads": 1}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": session}}}))
        model = library.Model(config)
        if model.device_type != "CPU":
            raise PrecisionError(f"{self.name} would run on {model.device_type}, not on the CPU")
        facts = LoadedFacts("fp32", "CPU", self._import())
        graph = _Text(self.name, component, facts, model, cache * _CACHE_ITEM_BYTES)
        if graph.vocabulary != vocabulary:
            raise BundleError(
                f"the model has {vocabulary} tokens; the manifest says {graph.vocabulary}",
                hint="convert the checkpoint again: edgectl convert",
            )
        return graph

    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        return (RuntimeError, ValueError, TypeError)

    def _load_error(self, error: BaseException, artifact: Path) -> EdgectlError:
        return BundleCorruptError(f"{artifact.name} is no model that {self.name} can load: {sentence(error)}")


class _Text(TextGraph):
    """A model and one generator, whose buffers hold the text."""

    def __init__(self, runtime: str, component: Component, facts: LoadedFacts, model: Any, cache_bytes: int) -> None:
        import onnxruntime_genai as library

        super().__init__(runtime, component, facts)
        self._model = model
        self._cache_bytes = cache_bytes
        self._context = int(component.options.get("context", 0)) or 1
        self._weight_bytes = int(component.options.get("weight_bytes", 0))
        parameters = library.GeneratorParams(model)
        parameters.set_search_options(max_length=self._context, batch_size=1, do_sample=False)
        self._generator = library.Generator(model, parameters)
        self._token = np.zeros((1, 1), np.int32)
        self._length = 0

    def token_bytes(self, length: int) -> int:
        """The weights as they are stored, and the cache in float32."""
        return self._weight_bytes + self._cache_bytes * length if self._weight_bytes else 0

    def _fork(self) -> Graph:
        return _Text(self._runtime, self.component, self.facts, self._model, self._cache_bytes)

    def _prefill(self, ids: Array) -> Array:
        if self._length:
            self._generator.rewind_to(0)
            self._length = 0
        return self._append(ids.astype(np.int32)[None])

    def _decode(self, token: int) -> Array:
        self._token[0, 0] = token
        return self._append(self._token)

    def _append(self, ids: Array) -> Array:
        count = ids.shape[1]
        if not 0 < count <= self._context - self._length:
            raise ShapeError(f"{count} tokens after {self._length}: a text has 1 to {self._context} of them")
        self._generator.append_tokens(ids)
        self._length += count
        logits: Array = self._generator.get_logits().reshape(-1)
        return logits

    def _close(self) -> None:
        self._generator = self._model = None

    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        return (RuntimeError, ValueError, TypeError)
