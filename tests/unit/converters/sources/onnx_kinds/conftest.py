"""A graph in a folder, as people have it before a conversion."""

from __future__ import annotations

import numpy as np
import pytest

from edgectl_converters.card import Declared, sha256_of
from edgectl_converters.sources.base import ExportRequest
from edgectl_converters.sources.onnx import OnnxSource


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


class Bench:
    """A graph in a folder, looked at and exported as a conversion does."""

    def __init__(self, folder):
        self.folder = folder
        self.path = folder / "net.onnx"

    def card(self, model, footage=None, **declared):
        self.path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        return OnnxSource().declared_card(self.path, sha256_of, Declared(**declared), footage)

    def export(self, model, observations=None, footage=None, **declared):
        card = self.card(model, footage, **declared)
        out = self.folder / "out"
        out.mkdir()
        rng = np.random.default_rng(0)
        raw = observations or {
            feature.name: rng.normal(0, 1, (4, *feature.shape)).astype(feature.dtype.value)
            for feature in card.policy.observations
        }
        np.savez(out / "observations.npz", **raw)
        request = ExportRequest(
            "onnx", str(self.path), str(out), str(out / "observations.npz"), "synthetic", 0, card.declared
        )
        return OnnxSource().export(request, lambda text: None)

    @property
    def golden(self):
        with np.load(self.folder / "out/golden.npz") as file:
            return dict(file)

    def bring(self, **arrays):
        np.savez(self.folder / "net.golden.npz", **{name.replace("_", ".", 1): a for name, a in arrays.items()})
