"""The tokenizer of a checkpoint: `tokenizer.json` inside it, never one of a hub or of a path on this machine.

Facts: LeRobot 0.4 stores only a name, which is a hub's or a path of the machine that trained; since 2026-08 LeRobot
saves the tokenizer into `tokenizer/` and says so in the step's `artifacts`. A folder of the checkpoint that is called
like the last part of the name is taken too: `google/paligemma-3b-pt-224` is looked for in `paligemma-3b-pt-224/`.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from edgectl_converters.sources.lerobot.pipeline import Prompting
from edgectl_protos.domain.errors import TokenizerError

__all__ = ["TOKENIZER", "folder_inside", "small_files", "tokenizer_folder"]

TOKENIZER = "tokenizer.json"
_SMALL = (".json", ".model", ".txt", ".jinja")


def tokenizer_folder(checkpoint: Path, prompting: Prompting) -> Path:
    """The folder of the checkpoint that holds the tokenizer.

    Raises:
        TokenizerError: there is none.
    """
    names = dict.fromkeys([prompting.folder, "tokenizer", _last_part(prompting.name)])
    for name in names:
        if name and (checkpoint / name / TOKENIZER).is_file():
            return checkpoint / name
    raise TokenizerError(
        f"{checkpoint} does not hold its tokenizer {prompting.name!r}: no {TOKENIZER} in "
        f"{', '.join(f'{name}/' for name in names if name)}",
        hint=f"copy the files of {prompting.name} there, {TOKENIZER} among them: cp -rL FOLDER {checkpoint}/tokenizer",
    )


def folder_inside(checkpoint: Path, name: object) -> Path | None:
    """A folder of the checkpoint with a model's config.json, called like the last part of `name`."""
    last = _last_part(name) if isinstance(name, str) else ""
    folder = checkpoint / last
    return folder if last and (folder / "config.json").is_file() else None


def small_files(folder: Path) -> list[Path]:
    """The configs, vocabularies and templates that lie directly in a folder."""
    return sorted(file for file in folder.iterdir() if file.suffix in _SMALL and file.is_file())


def _last_part(name: str) -> str:
    last = PurePosixPath(name.replace("\\", "/")).name if "\0" not in name else ""
    return "" if last in ("", ".", "..") or len(last.encode(errors="replace")) > 255 else last
