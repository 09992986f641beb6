"""The export of a LeRobot policy by LeRobot itself. Runs inside a LeRobot toolchain.

Needs the standard library, numpy, safetensors, torch, lerobot, onnx and onnxscript there, and of edgectl only the
domain and this package. In order: LeRobot loads the policy and its processors; golden actions come from LeRobot's own
pre-processor, policy and post-processor on raw observations with given noise; the policy is cut into parts, each
exported to ONNX; the program is assembled around them and checked against their ports.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgectl_converters.sources.base import ARRAYS, GOLDEN, Export, ExportedComponent, ExportRequest
from edgectl_converters.sources.lerobot import flow_parts, parts_act, parts_diffusion, parts_pi, parts_smolvla
from edgectl_converters.sources.lerobot.card import TASK, Checkpoint, read_checkpoint
from edgectl_converters.sources.lerobot.golden import (
    Predict,
    batches_of,
    golden_actions,
    golden_noise,
    read_observations,
)
from edgectl_converters.sources.lerobot.loading import Loaded, load, running, versions
from edgectl_converters.sources.lerobot.parts import Part, Split, export_part
from edgectl_converters.sources.lerobot.processors import processing_arrays
from edgectl_converters.sources.lerobot.program import assemble
from edgectl_converters.sources.lerobot.tokenizer import TOKENIZER
from edgectl_converters.toolchain_shim import declare_torchvision_operators
from edgectl_protos.domain.errors import CheckpointError, TokenizerError
from edgectl_protos.domain.program import Program
from edgectl_protos.domain.program_checks import check_components, check_program

__all__ = ["export"]

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _PolicyType:
    """How a type of policy is run by LeRobot, and cut."""

    predict: Predict
    split: Callable[[Loaded, Checkpoint, list[dict[str, Any]], int], AbstractContextManager[Split]]


_TYPES = {
    "act": _PolicyType(parts_act.predict, parts_act.split),
    "diffusion": _PolicyType(parts_diffusion.predict, parts_diffusion.split),
    "smolvla": _PolicyType(flow_parts.predict, parts_smolvla.split),
    "pi0": _PolicyType(flow_parts.predict, parts_pi.split),
    "pi05": _PolicyType(flow_parts.predict, parts_pi.split),
}


def export(request: ExportRequest, progress: Progress) -> Export:
    """Export `request.checkpoint` into the folder `request.out`.

    Raises:
        ToolchainError: the environment lacks a package.
        CheckpointError: LeRobot cannot load or run the policy, or a part cannot be exported.
        TokenizerError: the tokenizer's file gives other tokens than LeRobot's.
    """
    import numpy as np

    found = versions()
    declare_torchvision_operators()
    checkpoint = read_checkpoint(Path(request.checkpoint))
    out = Path(request.out)
    raw = read_observations(checkpoint, request.observations)
    tokenizer = _tokenizer_alone(checkpoint)
    progress("loading the policy with LeRobot")
    loaded = load(checkpoint)
    kind = _TYPES[checkpoint.config.type]
    pad_id = _carry_tokenizer(tokenizer, loaded, checkpoint, raw, out)
    with running(checkpoint):
        example = batches_of(loaded, checkpoint, raw, 0)
        with kind.split(loaded, checkpoint, example, pad_id) as split:
            components = tuple(_component(part, out, request.forms, progress) for part in split.parts)
    program = assemble(checkpoint, split.steps, split.tensors, split.chunk, pad_id)
    _check(checkpoint, program, components)
    progress("computing golden actions with LeRobot")
    cases = len(next(iter(raw.values())))
    noise = golden_noise(split.noise, cases, request.seed)
    with running(checkpoint):
        actions = golden_actions(loaded, checkpoint, raw, noise, kind.predict)
    golden: dict[str, Any] = {f"in.{name}": values for name, values in (raw | noise).items()}
    golden[f"out.{program.action}"] = actions
    np.savez(out / GOLDEN, **golden)
    arrays: dict[str, Any] = dict(processing_arrays(checkpoint.path, checkpoint.config, checkpoint.processing))
    np.savez(out / ARRAYS, **(arrays | split.arrays))
    return Export(
        policy=checkpoint.policy,
        program=program,
        components=components,
        reference=f"lerobot {found['lerobot']}, torch {found['torch']}",
        inputs_kind=request.inputs_kind,
        cases=cases,
        versions=found,
    )


def _component(part: Part, out: Path, forms: tuple[str, ...], progress: Progress) -> ExportedComponent:
    progress(f"exporting {part.name} as {' and '.join(forms)}")
    try:
        return export_part(part, out, forms)
    except Exception as exc:  # torch's exporter raises whatever its passes do
        raise CheckpointError(
            f"torch cannot export {part.name} as {' and '.join(forms)}: "
            f"{type(exc).__name__}: {str(exc).splitlines()[:1]}",
            hint="is the net your own? make it traceable by torch.export, or report it with the checkpoint's config",
        ) from exc


def _tokenizer_alone(checkpoint: Checkpoint) -> Any:
    """The tokenizer as a device loads it, from its one file; None where no instruction is taken."""
    if checkpoint.tokenizer is None:
        return None
    from tokenizers import Tokenizer

    try:
        alone = Tokenizer.from_file(str(checkpoint.tokenizer / TOKENIZER))
    except Exception as exc:  # the library raises bare Exception for everything
        raise TokenizerError(
            f"{TOKENIZER} of {checkpoint.tokenizer} is not a tokenizer: {exc}", hint="copy it again"
        ) from exc
    alone.no_padding()
    alone.no_truncation()
    return alone


def _carry_tokenizer(alone: Any, loaded: Loaded, checkpoint: Checkpoint, raw: dict[str, Any], out: Path) -> int:
    """Copy the tokenizer's file, after seeing that it alone gives LeRobot's tokens; the id of its padding."""
    if checkpoint.tokenizer is None:
        return 0
    tokenizer = next(step.input_tokenizer for step in loaded.before.steps if hasattr(step, "input_tokenizer"))
    for text in {f"{text}\n" for text in raw[TASK].tolist()}:
        if list(tokenizer(text)["input_ids"]) != alone.encode(text).ids:
            raise TokenizerError(
                f"{TOKENIZER} alone gives other tokens for {text!r} than LeRobot's tokenizer",
                hint="save the tokenizer again: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)",
            )
    shutil.copyfile(checkpoint.tokenizer / TOKENIZER, out / TOKENIZER)
    pad_id = tokenizer.pad_token_id
    return int(pad_id) if pad_id is not None else 0


def _check(checkpoint: Checkpoint, program: Program, components: tuple[ExportedComponent, ...]) -> None:
    check_program(checkpoint.policy, program)
    ports = {component.name: (component.inputs, component.outputs) for component in components}
    check_components(program, checkpoint.policy, ports)
