"""A program that was lowered elsewhere, by its toolchain, made in the checkout's `.cache/tests` once."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from contracts.target import INPUTS, OUTPUTS, frames, ignore
from contracts.torch_chains import CONVOLUTION, write_programs
from edgectl_converters.card import sha256_of
from edgectl_converters.process import ToolchainProcess
from edgectl_converters.sources.base import ExportRequest
from edgectl_converters.sources.pte import PteSource
from edgectl_converters.targets.base import BuildRequest, Built
from edgectl_protos.domain.errors import CheckpointCorruptError, CheckpointError
from edgectl_testkit.toolchains import toolchain_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def lowered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    chain, folder = toolchain_of("executorch"), tmp_path_factory.mktemp("lowered")
    graph = write_programs(chain, CONVOLUTION, folder) / "graph.pt2"
    with ToolchainProcess() as process:
        request = BuildRequest(
            "executorch", "c", "pt2", str(graph), INPUTS, OUTPUTS, "fp32", "default", "", str(folder)
        )
        process.run(chain, request, Built, ignore)
    return folder / "model.pte"


@pytest.fixture
def policy(lowered: Path, tmp_path: Path) -> Path:
    shutil.copyfile(lowered, tmp_path / "policy.pte")
    cases = {"in.image": frames(3), "out.action": np.zeros((3, 1, 4), np.float32)}
    np.savez(tmp_path / "policy.golden.npz", allow_pickle=False, **cases)
    return tmp_path / "policy.pte"


def test_the_file_says_its_ports_and_its_scheme_and_the_golden_cases_their_names(policy):
    card = PteSource().card(policy, sha256_of)
    assert (card.forms, card.schemes, card.toolchain) == (("pte",), ("fp32",), "host")
    assert [feature.name for feature in card.policy.observations] == ["image"]
    assert card.policy.action.shape == (4,)
    assert "layers by weights: 2 fp32" in card.notes


def test_it_is_exported_as_it_is(policy, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    export = PteSource().export(ExportRequest("pte", str(policy), str(out), "", "", 0, forms=("pte",)), ignore)
    (component,) = export.components
    assert (out / component.files["pte"]).read_bytes() == policy.read_bytes()
    assert (component.inputs[0].shape, component.outputs[0].shape) == ((1, 3, 16, 16), (1, 4))
    assert (export.cases, export.reference) == (3, "policy.golden.npz")


def test_without_golden_cases_or_with_others_it_is_refused_with_what_to_record(policy):
    golden = policy.with_suffix(".golden.npz")
    np.savez(golden, **{"in.image": frames(3), "in.state": frames(3), "out.action": np.zeros((3, 4), np.float32)})
    with pytest.raises(CheckpointError, match="has 2 arrays in.<name>, and policy.pte 1"):
        PteSource().card(policy, sha256_of)
    golden.unlink()
    with pytest.raises(CheckpointError, match="policy.golden.npz is missing") as caught:
        PteSource().card(policy, sha256_of)
    assert "numpy.savez('policy.golden.npz'" in caught.value.hint


def test_what_is_no_program_or_cut_off_is_damaged(policy):
    data = policy.read_bytes()
    for damaged in (b"", b"PK\3\4" + bytes(90), data[: len(data) // 2]):
        policy.write_bytes(damaged)
        with pytest.raises(CheckpointCorruptError, match="policy.pte cannot be read"):
            PteSource().card(policy, sha256_of)
