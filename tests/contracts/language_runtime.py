"""What every runtime with a cache of its own must do. Bind it in the runtime's test file: a class with its name, its
library, and a small model, of which the binding knows what it computes.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgectl_agent.worker.runtimes.base import Runtime
from edgectl_agent.worker.runtimes.generator import TextGraph
from edgectl_agent.worker.runtimes.registry import create
from edgectl_converters.language import ports_of
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.errors import (
    BundleCorruptError,
    BundleError,
    RuntimeMissingError,
    ShapeError,
    StateError,
)
from edgectl_protos.domain.parity import Tolerance

TEXT = (3, 1, 4, 1, 5, 9, 2, 6)
CONTEXT = 16


class LanguageRuntimeContract:
    """Inherited by one test class per runtime."""

    runtime_name: str
    library: str
    scheme: str
    entry: str
    vocabulary: int
    tolerance: float
    """In parts of the logits' deviation."""

    def write(self, folder: Path) -> None:
        """The small model."""
        raise NotImplementedError

    def logits(self, ids: tuple[int, ...]) -> np.ndarray:
        """What it computes for the token after these."""
        raise NotImplementedError

    def damage(self, folder: Path) -> None:
        """Make it unreadable."""
        raise NotImplementedError

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        self.write(tmp_path)
        return tmp_path

    @pytest.fixture
    def runtime(self) -> Runtime:
        made = create(self.runtime_name)
        made.import_library()
        return made

    @pytest.fixture
    def graph(self, runtime: Runtime, folder: Path):
        found = runtime.load(folder / self.entry, self.component(), 1)
        yield found
        found.close()

    def component(self) -> Component:
        inputs, outputs = ports_of(self.vocabulary)
        tolerance = Tolerance(1.0, 1.0, 1.0, 1.0)
        options = {"context": str(CONTEXT)}
        return Component("model", self.runtime_name, self.scheme, self.entry, inputs, outputs, tolerance, options)

    def same(self, found: np.ndarray, ids: tuple[int, ...]) -> None:
        expected = self.logits(ids)
        assert found.shape == (self.vocabulary,)
        np.testing.assert_allclose(found, expected, atol=self.tolerance * float(expected.std()), rtol=0)

    def test_what_it_really_uses_is_read_back(self, graph: TextGraph) -> None:
        assert (graph.facts.precision, graph.facts.provider) == (self.scheme, "CPU")
        assert graph.facts.version[0].isdigit()

    def test_a_token_at_a_time_gives_what_the_whole_text_gives(self, graph: TextGraph) -> None:
        self.same(graph.prefill(np.array(TEXT[:3])), TEXT[:3])
        for end in range(4, len(TEXT) + 1):
            self.same(graph.decode(TEXT[end - 1]), TEXT[:end])

    def test_every_prefill_begins_a_new_text_with_the_same_bits(self, graph: TextGraph) -> None:
        first = np.array(graph.prefill(np.array(TEXT)))
        graph.decode(7)
        graph.prefill(np.array([2]))
        np.testing.assert_array_equal(graph.prefill(np.array(TEXT)), first)

    def test_infer_is_a_prefill(self, graph: TextGraph) -> None:
        found = graph.infer({"ids": np.array([TEXT], np.int64)})["logits"]
        assert found.shape == (1, self.vocabulary)
        self.same(found[0], TEXT)

    def test_a_fork_has_a_text_of_its_own(self, graph: TextGraph) -> None:
        fork = graph.fork()
        assert isinstance(fork, TextGraph)
        graph.prefill(np.array(TEXT[:4]))
        fork.prefill(np.array(TEXT[::-1]))
        self.same(graph.decode(TEXT[4]), TEXT[:5])
        fork.close()
        self.same(graph.decode(TEXT[5]), TEXT[:6])

    def test_a_text_has_one_token_at_least_and_no_more_than_the_context(self, graph: TextGraph) -> None:
        with pytest.raises(ShapeError, match="tokens"):
            graph.prefill(np.array([], np.int64))
        with pytest.raises(ShapeError, match="17 tokens"):
            graph.prefill(np.arange(CONTEXT + 1) % self.vocabulary)
        graph.prefill(np.arange(CONTEXT) % self.vocabulary)
        with pytest.raises(ShapeError, match="tokens"):
            graph.decode(1)
        self.same(graph.prefill(np.array(TEXT)), TEXT)

    def test_a_closed_graph_says_so_and_closing_twice_is_fine(self, graph: TextGraph) -> None:
        fork = graph.fork()
        graph.close()
        graph.close()
        for closed in (graph, fork):
            with pytest.raises(StateError, match="no graph loaded"):
                closed.prefill(np.array(TEXT))

    def test_a_damaged_file_is_named(self, runtime: Runtime, folder: Path) -> None:
        self.damage(folder)
        with pytest.raises(BundleCorruptError):
            runtime.load(folder / self.entry, self.component(), 1)

    def test_a_manifest_of_another_vocabulary_is_refused(self, runtime: Runtime, folder: Path) -> None:
        inputs, outputs = ports_of(self.vocabulary + 1)
        with pytest.raises(BundleError, match=rf"{self.vocabulary} tokens; the manifest says {self.vocabulary + 1}"):
            runtime.load(folder / self.entry, replace(self.component(), inputs=inputs, outputs=outputs), 1)

    def test_a_setting_that_it_does_not_know_is_refused(self, runtime: Runtime, folder: Path) -> None:
        with pytest.raises(BundleError, match="does not take from a bundle"):
            runtime.load(folder / self.entry, replace(self.component(), options={"gpu": "1"}), 1)

    def test_without_its_library_it_says_how_to_get_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, self.library, None)
        with pytest.raises(RuntimeMissingError) as caught:
            create(self.runtime_name).import_library()
        assert f"edgectl-agent[{self.runtime_name}]" in caught.value.hint
        assert create(self.runtime_name).probe().problem

    def test_a_probe_offers_the_scheme(self, runtime: Runtime) -> None:
        found = runtime.probe()
        assert (found.name, found.problem) == (self.runtime_name, "")
        assert self.scheme in found.precisions
