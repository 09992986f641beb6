"""Footage as a folder of recordings, whatever the user named: a dataset is unpacked once, into the cache of steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgectl_converters.card import digest_of_files
from edgectl_converters.observations.dataset import is_dataset, read_dataset, unpack, used_files
from edgectl_converters.steps import key_of
from edgectl_converters.workshop import Workshop
from edgectl_protos.codec.document import to_document
from edgectl_protos.domain.errors import SourceError
from edgectl_protos.domain.policy import Policy

__all__ = ["Unpacked", "open_footage"]


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A dataset's recordings in the step's folder."""

    episodes: int


def open_footage(policy: Policy, footage: Path | None, workshop: Workshop) -> Path | None:
    """The folder of recordings.

    Raises:
        SourceError: a dataset cannot be read, or has nothing of the policy.
        ToolchainError: pyarrow is missing.
    """
    if footage is None or not is_dataset(footage):
        return footage
    dataset = read_dataset(footage)
    files = used_files(dataset, policy)
    if absent := [file for file in files if not file.is_file()]:
        raise SourceError(
            f"the dataset lacks {absent[0].relative_to(footage)}",
            hint="fetch it whole: hf download OWNER/NAME --repo-type dataset --local-dir DIR",
        )
    key = key_of(
        step="footage",
        code=workshop.code.digest("edgectl_converters.observations.dataset"),
        files=str(digest_of_files(footage, files, workshop.digests)),
        observations=to_document(policy.observations),
    )

    def make(out: Path) -> Unpacked:
        unpack(dataset, policy, out)
        return Unpacked(len(dataset.episodes))

    size = sum(file.stat().st_size for file in files)
    made = workshop.steps.make(key, Unpacked, make, kind="footage", subject=footage.name, tool="", weight=size)
    return made.folder
