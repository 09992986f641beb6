"""What a CPU-only torch lacks for torchvision's Python part to import. Runs inside a toolchain."""

from __future__ import annotations

import contextlib

__all__ = ["declare_torchvision_operators"]

# torchvision registers shape functions for these at import and fails when the operators do not exist.
_OPERATORS = ("nms", "qnms")


def declare_torchvision_operators() -> None:
    """Declare the operators of torchvision's compiled part where it is absent; calling one still fails."""
    import torch

    if torch.version.cuda is not None:
        return
    for name in _OPERATORS:
        # It is declared already where torchvision's compiled part fits this torch.
        with contextlib.suppress(RuntimeError):
            torch.library.define(f"torchvision::{name}", "(Tensor boxes, Tensor scores, float threshold) -> Tensor")
