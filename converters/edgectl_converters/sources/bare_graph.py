"""The policy and the program of a graph about which nothing is known but its ports: one component, called once.

Its inputs are observations as they are, a leading 1 left out; its first output is the action: `[1, chunk, action …]` is
a chunk, anything of lower rank is one action.
"""

from __future__ import annotations

from edgectl_protos.domain.artifact import TensorSpec
from edgectl_protos.domain.policy import Call, Feature, FeatureKind, Policy, Program

__all__ = ["bare_policy", "bare_program"]


def bare_policy(type_: str, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> Policy:
    """What such a graph observes and does."""
    action = outputs[0]
    batched = action.shape[:1] == (1,)
    chunk = action.shape[1] if batched and len(action.shape) >= 3 else 1
    shape = action.shape[2:] if batched and len(action.shape) >= 3 else _without_batch(action).shape
    return Policy(
        type=type_,
        observations=tuple(Feature(s.name, FeatureKind.TENSOR, s.dtype, _without_batch(s).shape) for s in inputs),
        action=Feature(action.name, FeatureKind.ACTION, action.dtype, shape),
        chunk_size=chunk,
        n_action_steps=1,
    )


def bare_program(
    component: str, policy: Policy, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
) -> Program:
    """One call, ports and tensors of one name."""
    action = TensorSpec(policy.action.name, policy.action.dtype, (policy.chunk_size, *policy.action.shape))
    call = Call(component, component, {s.name: s.name for s in inputs}, {s.name: s.name for s in outputs})
    return Program(tensors=(action, *outputs[1:]), steps=(call,), action=action.name)


def _without_batch(spec: TensorSpec) -> TensorSpec:
    return TensorSpec(spec.name, spec.dtype, spec.shape[1:]) if spec.shape[:1] == (1,) else spec
