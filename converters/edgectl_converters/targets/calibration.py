"""What enters a component, as quantizers want it: one dict of arrays a call."""

from __future__ import annotations

from typing import Any

from edgectl_converters.targets.base import BuildRequest

__all__ = ["read_calibration"]


def read_calibration(request: BuildRequest) -> list[dict[str, Any]]:
    """The calls that were captured, each array in the shape of its port."""
    import numpy as np

    with np.load(request.calibration, allow_pickle=False) as file:
        captured = {spec.name: file[spec.name] for spec in request.inputs}
    count = len(next(iter(captured.values())))
    shapes = {spec.name: [size if size >= 0 else -1 for size in spec.shape] for spec in request.inputs}
    return [
        {name: np.ascontiguousarray(values[call].reshape(shapes[name])) for name, values in captured.items()}
        for call in range(count)
    ]
