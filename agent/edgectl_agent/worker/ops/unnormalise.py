"""Turns the graph's action output into actions in the robot's units: y = x * mul + add, and checks them."""

from __future__ import annotations

import numpy as np

from edgectl_agent.worker.ops.normalise import scale_and_offset
from edgectl_agent.worker.release import Array
from edgectl_protos.domain.errors import NonFiniteError, ShapeError
from edgectl_protos.domain.loop import Policy

__all__ = ["Unnormaliser"]


class Unnormaliser:
    """The graph's output to a chunk of actions `[chunk, *action]`, a new array each time."""

    def __init__(self, policy: Policy, arrays: dict[str, Array]) -> None:
        self._name = policy.action.tensor
        self._free = -1 in policy.action.shape
        self._shape = (policy.chunk_size, *policy.action.shape)
        self._size = int(np.prod(self._shape, dtype=np.int64))
        self._processed = any(not step.folded for step in policy.post)
        if self._processed:
            size = int(np.prod(policy.action.shape, dtype=np.int64))
            mul, add = scale_and_offset("post", policy.action.name, arrays, size)
            self._mul = mul.reshape(policy.action.shape)
            self._add = add.reshape(policy.action.shape)

    def __call__(self, outputs: dict[str, Array]) -> Array:
        """The actions.

        Raises:
            ShapeError: the output is not a chunk of actions.
            NonFiniteError: an action holds NaN or infinity.
        """
        output = outputs[self._name]
        if self._free:
            # Nothing is known of a bare graph's output but its rank.
            chunk = output.reshape(1, *output.shape[output.ndim - len(self._shape) + 1 :])
        elif output.size == self._size:
            chunk = output.reshape(self._shape)
        else:
            raise ShapeError(
                f"the graph's output {self._name!r} is {list(output.shape)}; the policy says {list(self._shape)}",
                hint="convert the checkpoint again: edgectl convert",
            )
        actions: Array = chunk * self._mul + self._add if self._processed else chunk.copy()
        if not np.isfinite(actions).all():
            bad = actions.size - int(np.count_nonzero(np.isfinite(actions)))
            raise NonFiniteError(
                f"{bad} of {actions.size} values of {self._name!r} are NaN or infinite",
                hint="see which step of the conversion made them: edgectl inspect",
            )
        return actions
