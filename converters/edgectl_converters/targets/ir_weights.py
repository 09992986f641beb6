"""Weights of an intermediate representation that are stored in less than they are computed in: groups of four-bit
integers by NNCF, and what is read back of those that were written.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from edgectl_protos.domain.bundle import GateResult
from edgectl_protos.domain.errors import PrecisionError

__all__ = ["GROUP", "check_groups", "check_halves", "compress", "constants_of", "grouped_layers"]

GROUP = 64
_BULK = 0.5
_SHAPING = frozenset({"Convert", "Reshape", "Transpose", "Multiply"})
_PRODUCT = "MatMul"
_UNTOUCHED = ("Parameter", "Constant", "Result")


def constants_of(node: Any) -> list[Any]:
    """The constants that a value is made of; none if it is no constant."""
    if node.get_type_name() == "Constant":
        return [node]
    if node.get_type_name() not in _SHAPING:
        return []
    parts = [constants_of(value.get_node()) for value in node.input_values()]
    return [constant for part in parts for constant in part] if all(parts) else []


def grouped_layers(model: Any, layers: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Those of the layers whose every product has a constant matrix that is as deep as some groups."""
    fitting = {node.get_friendly_name() for node in model.get_ordered_ops() if _fits(node)}
    return {name: nodes for name, nodes in layers.items() if fitting.issuperset(nodes)}


def compress(model: Any, nodes: Collection[str]) -> Any:
    """The model with the weights of these products in groups of four-bit integers, and all others as they are."""
    import nncf

    ordered = model.get_ordered_ops()
    products = [node.get_friendly_name() for node in ordered if node.get_type_name() == _PRODUCT]
    return nncf.compress_weights(
        model,
        mode=nncf.CompressWeightsMode.INT4_SYM,
        group_size=GROUP,
        ratio=1.0,
        all_layers=True,
        backup_mode=nncf.BackupMode.NONE,
        ignored_scope=nncf.IgnoredScope(
            types=sorted({node.get_type_name() for node in ordered} - {_PRODUCT, *_UNTOUCHED}),
            names=[name for name in products if name not in nodes],
            validate=False,
        ),
    )


def check_halves(model: Any, component: str) -> GateResult:
    """That most weights of what was written are halves.

    Raises:
        PrecisionError: they are not.
    """
    stored = _stored(model)
    share = stored["f16"] / max(1, stored["f16"] + stored["f32"])
    if share <= _BULK:
        raise PrecisionError(f"only {share:.0%} of the weights of {component} are in halves: {_words(stored)}")
    return GateResult("weights", component, float(f"{share:.3g}"), _BULK, True, _words(stored))


def check_groups(model: Any, component: str, expected: int) -> GateResult:
    """That so many products of what was written have four-bit weights.

    Raises:
        PrecisionError: others have them, or none.
    """
    note = _words(_stored(model))
    kinds = [_kinds(node) for node in model.get_ordered_ops() if node.get_type_name() == _PRODUCT]
    found = sum("i4" in kind for kind in kinds)
    if not found or found != expected:
        raise PrecisionError(
            f"{found} of {expected} products of {component} have four-bit weights: {note}",
            hint=f"without constant matrices as deep as groups of {GROUP} nothing is gained: --scheme int8, or fp32",
        )
    return GateResult(
        "weights", component, float(found), float(expected), True, f"products with four-bit weights; {note}"
    )


def _fits(node: Any) -> bool:
    if node.get_type_name() != _PRODUCT or not constants_of(node.input_value(1).get_node()):
        return False
    shape = list(node.input_value(1).get_shape())
    depth = shape[-1 if node.get_attributes()["transpose_b"] else -2] if len(shape) > 1 else 1
    return bool(depth % GROUP == 0)


def _kinds(node: Any) -> set[str]:
    found = constants_of(node.input_value(1).get_node())
    return {constant.get_element_type().get_type_name() for constant in found}


def _stored(model: Any) -> Counter[str]:
    """How many weights there are of each type."""
    stored: Counter[str] = Counter()
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Constant" and len(node.get_output_shape(0)) > 1:
            stored[node.get_element_type().get_type_name()] += math.prod(node.get_output_shape(0))
    return stored


def _words(stored: Counter[str]) -> str:
    return ", ".join(f"{count:,} weights in {kind}" for kind, count in stored.most_common())
