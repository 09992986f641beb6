from __future__ import annotations

import pytest

from edgectl_converters.targets.registry import target


@pytest.mark.parametrize(
    ("scheme", "rmse", "cosine"),
    [
        ("fp32", 0.005, 0.99999),
        *(("fp16", 0.02, 0.9999), ("w16/a32", 0.02, 0.9999), ("bf16", 0.05, 0.999)),
        *(("int8", 0.1, 0.999), ("w8/a16", 0.1, 0.999), ("int8-dynamic", 0.1, 0.999), ("w8a16", 0.1, 0.999)),
        *(("w4g32/a32", 0.1, 0.99), ("w4a8-dynamic", 0.1, 0.99)),
    ],
)
def test_the_limits_are_those_of_the_weights(scheme, rmse, cosine):
    found = target("onnxrt").tolerance(scheme)
    assert found.rmse == rmse
    assert 1 - found.inner**2 / 2 == pytest.approx(cosine)
