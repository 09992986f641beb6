"""ONNX Runtime GenAI's folders, built in the toolchain `transformers` from models that it made."""

from __future__ import annotations

import pytest

from contracts.language_target import LanguageTargetContract, exports

__all__ = ["exports"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class TestGenAiTarget(LanguageTargetContract):
    target_name = "genai"
    schemes = ("fp32", "w4g32/a32")
    exact = "fp32"

    def test_products_of_4_bit_weights_take_activations_as_they_are(self, chosen, exports, tmp_path):
        built = self.build(chosen, exports, "llama", tmp_path / "out", "w4g32/a32")
        assert built.settings == {"accuracy_level": "1", "block_size": "32"}
        # Two layers of five products each, and the output layer.
        assert [gate.note for gate in built.gates] == ["11 products, all w4g32/a32"]
