"""Faults that people have shipped are refused: in an export by the oracle, in a build by parity, at fp32 and at int8.

The releases are laid out as a conversion does it, and only then broken. What was measured is kept in
`docs/faults.json` (with EDGECTL_WRITE_DOCS=1), from which the tables of `docs/conversion.md` are written.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgectl_converters.assignment import Assignment
from edgectl_converters.conversion import run_conversion
from edgectl_converters.job import Job
from edgectl_converters.plan import ConvertRequest
from edgectl_converters.release import lay_out
from edgectl_converters.stages import Stages
from edgectl_converters.toolchain import Toolchains
from edgectl_converters.workshop import Workshop
from edgectl_protos.domain.errors import ParityError, ToolchainError
from edgectl_testkit import fault_record, injected, lerobot_policies, policy_faults, vla_denoiser
from edgectl_testkit.bundles import release_dir
from edgectl_testkit.documents import check_section
from edgectl_testkit.fault_record import GATES

ROOT = Path(__file__).resolve().parents[3]
CACHE = ROOT / ".cache" / "tests"
EXAMPLE = ROOT / "examples" / "press_pad"
RECORD = ROOT / "docs" / "faults.json"

OF_ANY = {
    "a dimension scaled by 2 % (at int8: 15 %), in the statistics",
    "a flipped sign, in the statistics",
    "an action's joint not un-normalised",
    "a state's joint not normalised",
    "the state by another deviation (× 1.1)",
    "two cameras swapped, as they enter",
    "two cameras swapped, in the graph",
    "a chunk shifted by a step",
}
OF_ACTIONS = {
    "a dimension of the action scaled by 2 % (at int8: 15 %), in the graph",
    "a flipped sign of the action, in the graph",
}
OF_DENOISERS = {
    "a dimension of the velocity scaled by 2 % (at int8: 15 %), in the graph",
    "a flipped sign of the velocity, in the graph",
    "one denoising step too few",
}
OF_LANGUAGE = {
    "a stale KV cache",
    "the wrong RoPE base",
    "another suffix of the instruction",
}
OF_RESIZED = {"a resize of another kind"}
OF_GRIPPERS = {"an inverted gripper, in the statistics", "an inverted gripper, in the graph"}


@dataclass(frozen=True, slots=True)
class Subject:
    """A policy's releases by scheme, and the faults that it can have; `cases` 0 are all golden cases."""

    name: str
    releases: dict[str, Path]
    faults: set[str]
    cases: int = 0


def check(subject: Subject, gate: str, folder: Path) -> None:
    """Inject every fault at this gate; each must be refused, and the faultless release of fp32 not."""
    scheme = "fp32" if gate == "oracle" else gate
    clean = injected.Laid.copy(subject.releases[scheme], folder / "clean")
    if subject.cases:
        clean.keep_cases(subject.cases)
    if gate == "oracle":
        injected.as_oracle(clean)
    faultless = _measure(gate, clean.folder, folder)
    assert scheme != "fp32" or not faultless.failures
    faults = policy_faults.faults_of(clean.folder, scale=1.15 if gate == "int8" else 1.02)
    assert {fault.name for fault in faults} == subject.faults
    entries = []
    for fault in faults:
        # The oracle runs a program as it is told to: a fault of the one that runs it is none of the export.
        if gate == "oracle" and fault.inside is not None:
            continue
        broken = injected.Laid.copy(clean.folder, folder / "broken")
        fault.inject(broken)
        found = injected.seen(_measure(gate, broken.folder, folder, fault), faultless)
        entries.append(fault_record.entry(subject.name, gate, fault.name, found, faultless))
    fault_record.keep(RECORD, entries)
    # A build that is refused as it is, is so with a fault.
    unseen = [one for one in entries if one.value <= one.limit and not one.refused]
    assert not unseen


def _measure(gate: str, release: Path, folder: Path, fault: injected.Fault | None = None):
    return injected.trace(release, folder / "trace.npz") if gate == "oracle" else injected.measure(release, fault)


def laid_out(request: ConvertRequest, shop: Workshop, folder: Path) -> Path:
    """The release, as its conversion leaves it; of one that is refused the last that was tried."""
    try:
        return release_dir(run_conversion(request, shop, print).bundle_dir, folder)
    except ParityError:
        job = Job.read(request, shop)
        with Stages(job, shop, print) as stages:
            lay_out(stages._parts(job.attempts[-1]), folder, shop.digests)
        return folder


def converted(checkpoint: Path, folder: Path, toolchains: Toolchains, **options) -> dict[str, Path]:
    shop = Workshop(folder / "cache", toolchains)
    return {
        scheme: laid_out(ConvertRequest(checkpoint, Assignment.of("onnxrt", scheme), **options), shop, folder / scheme)
        for scheme in ("fp32", "int8")
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Subject:
    folder = tmp_path_factory.mktemp("small")
    fp32 = vla_denoiser.lay_out_fp32(folder)
    releases = {"fp32": fp32, "int8": vla_denoiser.lay_out_int8(fp32, folder)}
    faults = OF_ANY | OF_DENOISERS | OF_LANGUAGE | OF_RESIZED | OF_GRIPPERS
    return Subject("a small policy of random weights", releases, faults)


@pytest.fixture(scope="module")
def example(tmp_path_factory) -> Subject:
    folder = tmp_path_factory.mktemp("example")
    toolchains = Toolchains(folder / "cache", folder / "config")
    releases = converted(EXAMPLE / "policy", folder, toolchains, footage=EXAMPLE / "footage")
    return Subject("the example's ACT", releases, OF_ANY | OF_ACTIONS)


@pytest.fixture(scope="module")
def smolvla(tmp_path_factory) -> Subject:
    folder = tmp_path_factory.mktemp("smolvla")
    toolchains = Toolchains(CACHE, CACHE / "config")
    try:
        found = toolchains.get("lerobot-0.4", print)
    except ToolchainError as exc:
        pytest.skip(exc.message)
    command = [str(found.python), str(Path(lerobot_policies.__file__)), "smolvla", str(folder / "policy")]
    done = subprocess.run(command, env=found.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    releases = converted(folder / "policy", folder, toolchains, task="pick up the cube")
    return Subject("a small SmolVLA", releases, OF_ANY | OF_DENOISERS | OF_LANGUAGE, cases=2)


@pytest.mark.parametrize("gate", GATES)
def test_every_fault_of_a_small_policy_is_refused(small, gate, tmp_path):
    check(small, gate, tmp_path)


def test_the_small_policy_passes_at_int8_too(small):
    assert not injected.measure(small.releases["int8"]).failures


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("gate", GATES)
def test_every_fault_of_the_example_is_refused(example, gate, tmp_path):
    check(example, gate, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("gate", GATES)
def test_every_fault_of_smolvla_is_refused(smolvla, gate, tmp_path):
    check(smolvla, gate, tmp_path)


def test_the_tables_of_the_documents_are_what_was_recorded():
    check_section(ROOT / "docs" / "conversion.md", "faults", fault_record.table(fault_record.read(RECORD)))
