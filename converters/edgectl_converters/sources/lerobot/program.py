"""The steps around a policy's core, as data: frames to planes, state normalised, instruction to tokens; and back.

Names: `<camera>.resized`, `<camera>.planes`, `state.normalised`, `task.ids`, `task.mask`, `chunk`, `action`; the steps
are `resize.<camera>`, `norm.<camera>`, `norm.state`, `tok`, `post`. Everything follows from the checkpoint's own files,
so nothing here needs LeRobot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgectl_converters.sources.base import ARRAYS
from edgectl_converters.sources.lerobot.card import TASK, Checkpoint
from edgectl_converters.sources.lerobot.processors import IDENTITY, Observed
from edgectl_converters.sources.lerobot.tokenizer import TOKENIZER
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.program import Anchor, Ensemble, Fit, Normalise, Program, Resize, Step, Tokenise, Unnormalise

__all__ = ["assemble", "entering"]


def entering(one: Observed) -> str:
    """The tensor in which an observation enters the core: its planes, or its normalised values."""
    if one.visual:
        return f"{one.short}.planes"
    return f"{one.short}.normalised"


def assemble(
    checkpoint: Checkpoint, steps: Sequence[Step], tensors: Sequence[TensorSpec], chunk: str, pad_id: int
) -> Program:
    """The whole program around a core whose normalised actions are the tensor `chunk`."""
    front = _Front(checkpoint, pad_id)
    specs = {tensor.name: tensor for tensor in tensors}
    back: list[Step] = []
    made: list[TensorSpec] = []
    policy, last = checkpoint.policy, chunk
    shape = (policy.chunk_size, *policy.action.shape)
    if checkpoint.config.sizes.ensemble is not None:
        back.append(Ensemble("ensemble", last, "ensembled", checkpoint.config.sizes.ensemble))
        made.append(TensorSpec("ensembled", DType.FLOAT32, shape))
        last = "ensembled"
    if checkpoint.processing.action_mode != IDENTITY:
        back.append(Unnormalise("post", last, "action", "action"))
        made.append(TensorSpec("action", DType.FLOAT32, shape))
        last = "action"
    return Program(
        tensors=(*front.tensors, *specs.values(), *made),
        steps=(*front.steps, *steps, *back),
        action=last,
        arrays=ARRAYS,
    )


class _Front:
    """Steps before the core, and the tensors that they write."""

    def __init__(self, checkpoint: Checkpoint, pad_id: int) -> None:
        self.steps: list[Step] = []
        self.tensors: list[TensorSpec] = []
        self._lead = (checkpoint.policy.history,) if checkpoint.policy.history > 1 else ()
        config, processing = checkpoint.config, checkpoint.processing
        for one in processing.observed:
            if one.visual:
                self._frame(one, config.frame_size, centred=config.type != "smolvla")
            else:
                width = one.feature.shape[-1]
                if config.type in ("smolvla", "pi0"):
                    width = max(width, int(config.values.get("max_state_dim", 32)))
                self._vector(one, width)
        prompting = processing.prompting
        if prompting is not None:
            state = next(one for one in processing.observed if not one.visual)
            self.steps.append(
                Tokenise(
                    "tok",
                    TASK,
                    f"{TASK}.ids",
                    f"{TASK}.mask",
                    TOKENIZER,
                    pad_id,
                    prompting.suffix,
                    prompting.template,
                    entering(state) if prompting.template else "",
                )
            )
            self.tensors.append(TensorSpec(f"{TASK}.ids", DType.INT64, (prompting.length,)))
            self.tensors.append(TensorSpec(f"{TASK}.mask", DType.BOOL, (prompting.length,)))

    def _frame(self, one: Observed, size: tuple[int, int] | None, *, centred: bool) -> None:
        source, (height, width, channels) = one.feature.name, one.feature.shape
        if size is not None and size != (height, width):
            resized = f"{one.short}.resized"
            anchor = Anchor.CENTRE if centred else Anchor.BOTTOM_RIGHT
            self.steps.append(Resize(f"resize.{one.short}", source, resized, Fit.PAD, anchor))
            source, (height, width) = resized, size
            self.tensors.append(TensorSpec(resized, DType.FLOAT32, (*self._lead, height, width, channels)))
        self.steps.append(Normalise(f"norm.{one.short}", source, entering(one), one.short, planes=True))
        self.tensors.append(TensorSpec(entering(one), DType.FLOAT32, (*self._lead, channels, height, width)))

    def _vector(self, one: Observed, width: int) -> None:
        shape: tuple[Any, ...] = (*self._lead, *one.feature.shape[:-1], width)
        self.steps.append(Normalise(f"norm.{one.short}", one.feature.name, entering(one), one.short))
        self.tensors.append(TensorSpec(entering(one), DType.FLOAT32, shape))
