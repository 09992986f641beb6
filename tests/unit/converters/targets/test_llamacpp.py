"""GGUF files, converted and quantised in the toolchain `llamacpp`, from models that transformers made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import ClassVar

import pytest

from contracts.language_target import LanguageTargetContract, exports
from edgectl_converters.sources.hf.export import FOLDER
from edgectl_converters.toolchain import Toolchain
from edgectl_protos.codec.gguf import read_gguf
from edgectl_protos.domain.errors import RouteError, TokenizerError
from edgectl_testkit.language_models import TEMPLATE
from edgectl_testkit.language_toolchains import borrow, compiled

__all__ = ["exports"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(autouse=True)
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    borrow(compiled("llamacpp"), monkeypatch)


class TestLlamaCppTarget(LanguageTargetContract):
    target_name = "llamacpp"
    schemes = ("f16", "q8_0", "q4_k_m", "tq2_0")
    exact = "f16"
    kinds: ClassVar = {"tq2_0": "ternary"}

    def toolchain(self) -> Toolchain:
        return compiled("llamacpp")

    def changed(self, exported, tmp_path: Path, file: str, change) -> tuple[Path, object]:
        """The export with one of the checkpoint's documents changed."""
        folder = tmp_path / "changed"
        shutil.copytree(exported[0], folder)
        document = json.loads((folder / FOLDER / file).read_text())
        change(document)
        (folder / FOLDER / file).write_text(json.dumps(document))
        return folder, exported[1]

    def test_tokenizer_and_chat_template_are_in_the_file(self, chosen, exports, tmp_path):
        built = self.build(chosen, exports, "qwen3", tmp_path / "out", "q8_0")
        values = read_gguf(tmp_path / "out" / built.entry).values
        assert values["tokenizer.chat_template"] == TEMPLATE
        assert values["tokenizer.ggml.pre"] == "qwen2"
        assert "llama.cpp's ids are tokenizer.json's" in built.gates[0].note

    def test_types_are_read_back_from_the_file(self, chosen, exports, tmp_path):
        types = {}
        for scheme in ("f16", "q8_0", "q4_k_m"):
            built = self.build(chosen, exports, "llama", tmp_path / scheme, scheme)
            types[scheme] = built.settings["tensors"]
        assert types == {"f16": "F16, F32", "q8_0": "F32, Q8_0", "q4_k_m": "F32, Q4_K, Q6_K"}

    def test_weights_that_are_not_ternary_are_refused_with_what_was_measured(self, chosen, exports, tmp_path):
        with pytest.raises(RouteError, match=r"tq2_0 is for ternary weights: of model\.layers\.\d+\.\S+ 0\.\d% are 0"):
            self.build(chosen, exports, "llama", tmp_path / "out", "tq2_0")

    def test_a_tokenizer_that_cuts_texts_in_a_way_of_its_own_is_refused(self, chosen, exports, tmp_path):
        def change(document):
            document["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\d+|\D+"

        changed = self.changed(exports("qwen3"), tmp_path, "tokenizer.json", change)
        with pytest.raises(TokenizerError, match="no pre-tokenizer that cuts texts as this one does"):
            self.build_of(chosen, exports, changed, tmp_path / "out", "f16")
