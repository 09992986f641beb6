"""A denoiser as SmolVLA is one, of tensors alone: two cameras through one component, a prefix, ten steps, the first six
numbers of each. What checks of programs begin from; nothing runs it.
"""

from __future__ import annotations

from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.policy import Feature, FeatureKind, Policy
from edgectl_protos.domain.program import (
    Call,
    Integrate,
    Noise,
    Normalise,
    Prediction,
    Program,
    Repeat,
    Slice,
    Tokenise,
    Unnormalise,
)
from edgectl_testkit.programs import spec

__all__ = ["POLICY", "PORTS", "PROGRAM"]

POLICY = Policy(
    type="denoiser",
    observations=(
        Feature("left", FeatureKind.VISUAL, DType.UINT8, (4, 4, 3)),
        Feature("right", FeatureKind.VISUAL, DType.UINT8, (4, 4, 3)),
        Feature("state", FeatureKind.STATE, DType.FLOAT32, (6,)),
        Feature("task", FeatureKind.LANGUAGE, DType.TEXT, ()),
    ),
    action=Feature("action", FeatureKind.ACTION, DType.FLOAT32, (6,)),
    chunk_size=5,
    n_action_steps=5,
)
PROGRAM = Program(
    tensors=(
        *(spec(name, 3, 4, 4) for name in ("left.planes", "right.planes")),
        *(spec(name, 8) for name in ("left.tokens", "right.tokens", "kv")),
        spec("ids", 16, dtype=DType.INT64),
        spec("mask", 16, dtype=DType.BOOL),
        *(spec(name, 5, 8) for name in ("x", "v", "memory")),
        spec("t"),
        *(spec(name, 5, 6) for name in ("raw", "action")),
    ),
    steps=(
        Normalise("norm.left", "left", "left.planes", "pre.images", planes=True),
        Normalise("norm.right", "right", "right.planes", "pre.images", planes=True),
        Call("vision.left", "vision", {"image": "left.planes"}, {"tokens": "left.tokens"}),
        Call("vision.right", "vision", {"image": "right.planes"}, {"tokens": "right.tokens"}),
        Tokenise("tok", "task", "ids", "mask", "tokenizer.json", 0),
        Call(
            "prefix",
            "prefix",
            {"a": "left.tokens", "b": "right.tokens", "ids": "ids", "mask": "mask"},
            {"kv": "kv"},
        ),
        Noise("noise", "x"),
        Repeat(
            "denoise",
            10,
            (
                Call("step", "expert", {"x": "x", "t": "t", "kv": "kv", "memory": "memory"}, {"v": "v"}),
                Integrate("euler", "x", "v", "euler", Prediction.VELOCITY),
            ),
            {"t": "times"},
        ),
        Slice("take", "x", "raw"),
        Unnormalise("post", "raw", "action", "post.action"),
    ),
    action="action",
    states=("memory",),
    arrays="arrays.npz",
)
PORTS = {
    "vision": ((spec("image", 1, 3, 4, 4),), (spec("tokens", 1, 8),)),
    "prefix": (
        (
            *(spec("a", 1, 8), spec("b", -1, 8)),
            *(spec("ids", 1, 16, dtype=DType.INT64), spec("mask", 1, 16, dtype=DType.BOOL)),
        ),
        (spec("kv", 1, 8),),
    ),
    "expert": ((spec("x", 1, 5, 8), spec("t", 1), spec("kv", 1, -1), spec("memory", 5, 8)), (spec("v", 1, 5, 8),)),
}
