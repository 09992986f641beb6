"""The policy and the program of a graph about which nothing is known but its ports: one component, called once.

Its inputs are observations as they are, a leading 1 left out; its first output that is no state is the action:
`[1, chunk, action …]` is a chunk, anything of lower rank is one action. A state enters where it left one tick before.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgectl_protos.domain.artifact import TensorSpec
from edgectl_protos.domain.policy import Feature, FeatureKind, Policy
from edgectl_protos.domain.program import Call, Program

__all__ = ["bare_policy", "bare_program"]

_NO_STATES: Mapping[str, str] = {}


def bare_policy(
    type_: str,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    states: Mapping[str, str] = _NO_STATES,
) -> Policy:
    """What such a graph observes and does; `states` names the output that is fed back to an input."""
    action = next(spec for spec in outputs if spec.name not in states.values())
    batched = action.shape[:1] == (1,)
    chunk = action.shape[1] if batched and len(action.shape) >= 3 else 1
    shape = action.shape[2:] if batched and len(action.shape) >= 3 else _without_batch(action).shape
    return Policy(
        type=type_,
        observations=tuple(
            Feature(s.name, FeatureKind.TENSOR, s.dtype, _without_batch(s).shape)
            for s in inputs
            if s.name not in states
        ),
        action=Feature(action.name, FeatureKind.ACTION, action.dtype, shape),
        # How many are not known before the graph has run.
        chunk_size=max(chunk, 1),
        n_action_steps=1,
    )


def bare_program(
    component: str,
    policy: Policy,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    states: Mapping[str, str] = _NO_STATES,
) -> Program:
    """One call, ports and tensors of one name; a state's is that of the output."""
    action = TensorSpec(policy.action.name, policy.action.dtype, (policy.chunk_size, *policy.action.shape))
    call = Call(
        component,
        component,
        {s.name: states.get(s.name, s.name) for s in inputs},
        {s.name: s.name for s in outputs},
    )
    others = tuple(spec for spec in outputs if spec.name != action.name)
    return Program((action, *others), (call,), action.name, states=tuple(states.values()))


def _without_batch(spec: TensorSpec) -> TensorSpec:
    return TensorSpec(spec.name, spec.dtype, spec.shape[1:]) if spec.shape[:1] == (1,) else spec
