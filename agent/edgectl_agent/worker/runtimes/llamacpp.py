"""llama.cpp on the CPU through its C interface: language models as GGUF files.

Facts: it computes in what the file stores, so the types of its tensors and the size of what was loaded say the
precision; logits are computed for those positions of a batch that ask for them, and lie in one place until the next
call; the cache is kept in half precision; a text begins anew once the memory is cleared; why a file does not load is
said to the log alone.
"""

from __future__ import annotations

import ctypes
import functools
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from edgectl_agent.worker.release import Array
from edgectl_agent.worker.runtimes.base import Graph, LoadedFacts, Runtime, sentence
from edgectl_agent.worker.runtimes.generator import TextGraph
from edgectl_protos.codec.gguf import GgufFile, read_gguf
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.device import RuntimeFacts
from edgectl_protos.domain.errors import (
    BundleCorruptError,
    BundleError,
    DeviceError,
    DocumentError,
    EdgectlError,
    PrecisionError,
    ShapeError,
)

__all__ = ["LlamaCppRuntime"]

_PRECISIONS = {"F16": "f16", "Q8_0": "q8_0", "Q4_K": "q4_k_m", "TQ2_0": "tq2_0"}
_CACHE_ITEM_BYTES = 2
_ERROR = 4


class LlamaCppRuntime(Runtime):
    """A context of `llama_cpp` over a GGUF file."""

    name = "llamacpp"
    options = frozenset({"context"})

    def _import(self) -> str:
        import llama_cpp

        return str(llama_cpp.__version__)

    def _facts(self, version: str) -> RuntimeFacts:
        return RuntimeFacts(self.name, version, ("CPU",), tuple(_PRECISIONS.values()))

    def _load(self, artifact: Path, component: Component, threads: int, alone: bool) -> Graph:
        import llama_cpp

        try:
            file = read_gguf(artifact)
        except DocumentError as exc:
            raise BundleCorruptError(exc.message) from exc
        said = _log()
        said.clear()
        parameters = llama_cpp.llama_model_default_params()
        parameters.n_gpu_layers = 0
        model = llama_cpp.llama_model_load_from_file(str(artifact).encode(), parameters)
        if not model:
            raise BundleCorruptError(f"{artifact.name} is no model that llama.cpp can load: {' '.join(said)[-300:]}")
        try:
            loaded = llama_cpp.llama_model_size(model)
            if loaded != file.size_bytes:
                raise PrecisionError(
                    f"llama.cpp holds {loaded:,} bytes of weights, {file.size_bytes:,} are in the file"
                )
            precision = _PRECISIONS.get(file.layer_type, file.layer_type.lower())
            facts = LoadedFacts(precision, "CPU", self._import())
            context = int(component.options.get("context", 0)) or llama_cpp.llama_model_n_ctx_train(model)
            graph = _Text(self.name, component, facts, _Model(model, file), context, threads)
            found = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
            if graph.vocabulary != found:
                raise BundleError(
                    f"the model has {found} tokens; the manifest says {graph.vocabulary}",
                    hint="convert the checkpoint again: edgectl convert",
                )
        except BaseException:
            llama_cpp.llama_model_free(model)
            raise
        return graph

    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        return (RuntimeError, ValueError, TypeError, ctypes.ArgumentError)

    def _load_error(self, error: BaseException, artifact: Path) -> EdgectlError:
        return BundleCorruptError(f"{artifact.name} is no model that llama.cpp can load: {sentence(error)}")


class _Model:
    """Loaded weights, and what a token reads of them."""

    def __init__(self, handle: Any, file: GgufFile) -> None:
        self.handle = handle
        heads = file.of_model("attention.head_count") or 1
        size = (file.of_model("embedding_length") or 0) // heads
        sizes = [file.of_model(f"attention.{one}_length") or size for one in ("key", "value")]
        layers, keys = file.of_model("block_count") or 0, file.of_model("attention.head_count_kv") or heads
        self.cache_bytes = layers * keys * sum(sizes) * _CACHE_ITEM_BYTES
        # The embedding is read a row at a time, unless it is the output layer too.
        apart = any(tensor.name == "output.weight" for tensor in file.tensors)
        self.weight_bytes = sum(t.size_bytes for t in file.tensors if not (apart and t.name == "token_embd.weight"))


class _Text(TextGraph):
    """A context: the cache of one text, and a batch of its length."""

    def __init__(
        self,
        runtime: str,
        component: Component,
        facts: LoadedFacts,
        model: _Model,
        context: int,
        threads: int,
        *,
        fork: bool = False,
    ) -> None:
        import llama_cpp

        super().__init__(runtime, component, facts)
        self._library = llama_cpp
        self._model, self._size, self._threads, self._is_fork = model, context, threads, fork
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = parameters.n_batch = context
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.no_perf = True
        self._context = llama_cpp.llama_init_from_model(model.handle, parameters)
        if not self._context:
            raise DeviceError(f"llama.cpp makes no context of {context} tokens: {' '.join(_log())[-300:]}")
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = llama_cpp.llama_batch_init(context, 0, 1)
        self._tokens = np.ctypeslib.as_array(self._batch.token, (context,))
        self._positions = np.ctypeslib.as_array(self._batch.pos, (context,))
        self._wanted = np.ctypeslib.as_array(self._batch.logits, (context,))
        for at in range(context):
            self._batch.n_seq_id[at] = 1
            self._batch.seq_id[at][0] = 0
        self._length = 0
        self._place, self._logits = 0, np.zeros(0, np.float32)

    def token_bytes(self, length: int) -> int:
        """The weights as they are stored, and the cache."""
        return self._model.weight_bytes + self._model.cache_bytes * length

    def _fork(self) -> Graph:
        return _Text(self._runtime, self.component, self.facts, self._model, self._size, self._threads, fork=True)

    def _prefill(self, ids: Array) -> Array:
        if not 0 < ids.size <= self._size:
            raise ShapeError(f"{ids.size} tokens: a text has 1 to {self._size} of them")
        self._library.llama_memory_clear(self._memory, False)
        self._length = 0
        self._tokens[: ids.size] = ids
        return self._run_batch(ids.size)

    def _decode(self, token: int) -> Array:
        if self._length >= self._size:
            raise ShapeError(f"a text has at most {self._size} tokens")
        self._tokens[0] = token
        return self._run_batch(1)

    def _run_batch(self, count: int) -> Array:
        library, batch = self._library, self._batch
        batch.n_tokens = count
        if count == 1:
            self._positions[0] = self._length
            self._wanted[0] = 1
        else:
            self._positions[:count] = np.arange(self._length, self._length + count)
            self._wanted[:count] = 0
            self._wanted[count - 1] = 1
        status = library.llama_decode(self._context, batch)
        if status:
            raise DeviceError(f"llama_decode ended with {status} after {self._length} tokens")
        self._length += count
        pointer = library.llama_get_logits_ith(self._context, -1)
        place = ctypes.cast(pointer, ctypes.c_void_p).value or 0
        if place != self._place:
            self._place, self._logits = place, np.ctypeslib.as_array(pointer, (self.vocabulary,))
        return self._logits

    def _close(self) -> None:
        library = self._library
        library.llama_batch_free(self._batch)
        library.llama_free(self._context)
        if not self._is_fork:
            library.llama_model_free(self._model.handle)

    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        return (RuntimeError, ValueError, ctypes.ArgumentError)


@functools.cache
def _log() -> deque[str]:
    """The last errors of the library, which would print them, and everything else that it says."""
    import llama_cpp

    kept: deque[str] = deque(maxlen=8)

    @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
    def keep(level: int, text: bytes, _: object) -> None:
        if level >= _ERROR:
            kept.append(text.decode(errors="replace").strip())

    llama_cpp.llama_log_set(keep, ctypes.c_void_p(0))
    # The library calls it as long as the process lives.
    _KEPT.append(keep)
    return kept


_KEPT: list[Any] = []
