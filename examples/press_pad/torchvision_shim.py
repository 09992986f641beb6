"""Lets torchvision's Python models import beside a CPU build of torch; import this before LeRobot.

torchvision's compiled part is linked against CUDA and does not load there, yet its package describes two of
that part's operators to torch at import and fails where they are missing. Declaring the names is enough for
ResNet, which calls neither; a model that does fails with torch's error for a missing kernel. With a CUDA
build of torch this module does nothing.
"""

import torch

# Those that torchvision 0.28 describes without first asking whether its compiled part is there.
_OPERATORS = ("nms", "qnms")

if torch.version.cuda is None:
    for _operator in _OPERATORS:
        _signature = "(Tensor boxes, Tensor scores, float threshold) -> Tensor"
        torch.library.define(f"torchvision::{_operator}", _signature)
