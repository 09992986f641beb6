"""Whether a loop fits a policy: pure, and asked before anything is opened.

What would be silently skipped or silently wrong is refused: a feature without a source, a normalisation
without a stage, a chunk of another length than the policy predicts.
"""

from __future__ import annotations

from edgectl_protos.domain.errors import LoopSpecError
from edgectl_protos.domain.loop import FeatureKind, LoopSpec, Mode, Op, Policy, SourceKind

__all__ = ["MAX_TICKS", "check_fits"]

MAX_TICKS = 1_000_000
"""Ticks of one run; their stamps are kept in memory while measuring."""

_HINT = "print a loop that fits: edgectl init"
_RESERVED = ("merge", "pub")
_DECODED = (SourceKind.VIDEO, SourceKind.IMAGE)


def check_fits(spec: LoopSpec, policy: Policy) -> None:
    """Refuse a loop that cannot run this policy as it was trained.

    Raises:
        LoopSpecError: saying what is missing.
    """
    names = {feature.name for feature in policy.observations}
    fed = {source.feature for source in spec.sources}
    if lacking := sorted(names - fed):
        raise LoopSpecError(f"the loop has no source for {lacking[0]}", hint=_HINT)
    if unknown := sorted(fed - names):
        raise LoopSpecError(
            f"the loop has a source for {unknown[0]}, which the policy does not observe; "
            f"it observes: {', '.join(sorted(names))}",
            hint=_HINT,
        )
    for source in spec.sources:
        feature = policy.observation(source.feature)
        if source.kind in _DECODED:
            if feature is None or feature.kind is not FeatureKind.VISUAL:
                raise LoopSpecError(f"a {source.kind.value} cannot feed {source.feature}, which is no camera")
            if not spec.has(Op.DECODE):
                raise LoopSpecError(
                    f"the {source.kind.value} of {source.feature} must be decoded",
                    hint="add the stage {id: dec, op: decode}",
                )
        if source.fps < 0:
            raise LoopSpecError(f"the source of {source.feature} has a rate of {source.fps} Hz")
    _check_stages(spec, policy)
    if spec.execution.chunk != policy.chunk_size:
        raise LoopSpecError(
            f"the loop executes chunks of {spec.execution.chunk} actions; the policy predicts {policy.chunk_size}",
            hint=_HINT,
        )
    if spec.mode is Mode.PACED and spec.measure_s * spec.rate_hz > MAX_TICKS:
        raise LoopSpecError(
            f"{spec.measure_s:g} s at {spec.rate_hz:g} Hz are more than {MAX_TICKS} ticks",
            hint="measure for a shorter time: edgectl profile --measure",
        )


def _check_stages(spec: LoopSpec, policy: Policy) -> None:
    wanted = {Op.NORMALISE: policy.pre, Op.UNNORMALISE: policy.post}
    for op, steps in wanted.items():
        open_steps = [step.feature for step in steps if not step.folded]
        if open_steps and not spec.has(op):
            raise LoopSpecError(
                f"{open_steps[0]} must be processed ({op.value}), and the loop has no stage for it",
                hint=f"add the stage {{id: {'norm' if op is Op.NORMALISE else 'post'}, op: {op.value}}}",
            )
    for stage in spec.stages:
        if stage.id in _RESERVED:
            raise LoopSpecError(f"the stage id {stage.id!r} is edgectl's own")
