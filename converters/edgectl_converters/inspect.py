"""Which source reads this checkpoint, and what it says about it. Nothing heavy is imported.

Facts: LeRobot's training writes `RUN/checkpoints/<step>/pretrained_model`, where `last` links to the newest step, and
the Hub's cache `models--<owner>--<name>/snapshots/<revision>`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from edgectl_converters.bundle import is_bundle
from edgectl_converters.card import CheckpointCard, Declared, Sha256, sha256_of
from edgectl_converters.sources.lerobot.foreign import refuse_pointer
from edgectl_converters.sources.registry import sources
from edgectl_protos.domain.errors import CheckpointError, CheckpointFormatError

__all__ = ["inspect"]

_NOTHING = Declared()
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# Where a policy lies in the folders around it, the newest last.
_INSIDE = (
    "pretrained_model",
    "last/pretrained_model",
    "checkpoints/last/pretrained_model",
    "[0-9]*/pretrained_model",
    "checkpoints/[0-9]*/pretrained_model",
    "snapshots/*",
    "*",
)


def inspect(
    path: Path, sha256: Sha256 = sha256_of, declared: Declared = _NOTHING, footage: Path | None = None
) -> CheckpointCard:
    """The card of a checkpoint, by the first source that knows it; `sha256` may remember digests of big files.

    `declared` and `footage` say what a bare graph leaves open. A folder around one policy, or around one file of a
    kind that is read, stands for it: the card's path is then the policy's own.

    Raises:
        CheckpointError: there is nothing at this path, or it cannot be read as what it claims to be.
        CheckpointCorruptError: a file is a Git LFS pointer, or damaged.
        CheckpointFormatError: no source reads it, it is a bundle, or there are several policies inside.
        UsageError: what is declared does not fit it.
    """
    if not path.exists():
        raise _absent(path)
    if path.is_file():
        refuse_pointer(path)
    for source in sources():
        if source.sniff(path):
            return source.declared_card(path, sha256, declared, footage)
    if is_bundle(path):
        raise CheckpointFormatError(
            f"{path} is a bundle, what a checkpoint was converted into",
            hint=f"what is in it: edgectl convert {path}; onto a device: edgectl deploy {path}",
        )
    inside = _policy_inside(path) if path.is_dir() else None
    if inside is not None:
        card = inspect(inside, sha256, declared, footage)
        return replace(card, notes=(f"read from {inside.relative_to(path)}", *card.notes))
    ends = f"ends in {path.suffix}" if path.suffix else "has no ending"
    what = "is a directory without a config.json or a policy.yaml" if path.is_dir() else ends
    raise CheckpointFormatError(
        f"{path} {what}; edgectl reads LeRobot policies and language models, each a directory with its config.json, "
        "policies in parts with their policy.yaml, and files of the kinds .onnx, .pt2, .gguf, .tflite and .pte",
        hint="name the directory that holds config.json and model.safetensors, or one of those files",
    )


def _policy_inside(path: Path) -> Path | None:
    for pattern in _INSIDE:
        found = sorted(folder for folder in path.glob(pattern) if (folder / "config.json").exists())
        if len(found) > 1 and "[0-9]" not in pattern:
            names = ", ".join(str(folder.relative_to(path)) for folder in found)
            raise CheckpointFormatError(
                f"{path} holds {len(found)} policies: {names[:400]}", hint=f"name one: edgectl inspect {found[-1]}"
            )
        if found:
            return max(found, key=_step)
    # What a YAML file of any name is for, nobody knows: only policy.yaml is taken from a directory.
    files = sorted(file for file in path.iterdir() if file.is_file() and file.suffix not in (".yaml", ".yml"))
    files = [file for file in files if any(known.sniff(file) for known in sources())]
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise CheckpointFormatError(
            f"{path} holds {len(files)} files that each could be meant: {names[:400]}",
            hint=f"name one: edgectl inspect {files[0]}; a policy in several: docs/policy-file.md",
        )
    return files[0] if files else None


def _step(folder: Path) -> int:
    """The training step of `<step>/pretrained_model`."""
    name = folder.parent.name
    return int(name) if name.isdecimal() else -1


def _absent(path: Path) -> CheckpointError:
    if _HUB_ID.fullmatch(str(path)):
        return CheckpointError(
            f"no checkpoint at {path}; edgectl downloads nothing",
            hint=f"a policy of the Hub? hf download {path} --local-dir {path.name}; edgectl inspect {path.name}",
        )
    return CheckpointError(f"no checkpoint at {path}", hint="edgectl inspect PATH")
