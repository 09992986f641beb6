"""What the bench measures: policies made by LeRobot, converted by edgectl, laid out as a device lays them out."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from edgectl_converters.assignment import Assignment
from edgectl_converters.conversion import run_conversion
from edgectl_converters.job import Job
from edgectl_converters.plan import Conversion, ConvertRequest
from edgectl_converters.sources.base import Export
from edgectl_converters.toolchain import Toolchain, Toolchains
from edgectl_converters.workshop import Workshop
from edgectl_host.config import HostConfig
from edgectl_protos.domain.loop import LoopOverrides, Mode
from edgectl_protos.domain.run import RunSummary
from edgectl_protos.worker import messages
from edgectl_protos.worker.process import WorkerProcess
from edgectl_testkit.bundles import release_dir
from edgectl_testkit.runs import device_facts

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / ".cache" / "bench"
EXAMPLE = ROOT / "examples" / "press_pad"
THREADS = 2
CONFIG = HostConfig.from_environment(os.environ, uid=os.getuid())
WORKER = (sys.executable, "-m", "edgectl_agent.worker")
_MAKER = Path(__file__).parent / "lerobot_checkpoint.py"
_LANGUAGE_MAKER = ROOT / "tests" / "support" / "edgectl_testkit" / "language_models.py"


def workshop() -> Workshop:
    """edgectl's own cache and toolchains."""
    return Workshop(CONFIG.cache_dir, Toolchains(CONFIG.cache_dir, CONFIG.config_dir, CONFIG.python_search))


def toolchain(name: str, note: Callable[[str], None]) -> Toolchain:
    """A toolchain, made if need be."""
    return workshop().toolchains.get(name, note)


def checkpoint(policy: str, version: str, note: Callable[[str], None]) -> Path:
    """A full-size policy directory, made once by LeRobot itself."""
    folder = WORK / f"{policy}-{version}"
    if not (folder / "policy_postprocessor.json").exists():
        note(f"making {policy} with LeRobot {version}")
        chain = toolchain(f"lerobot-{version}", note)
        shutil.rmtree(folder, ignore_errors=True)
        command = [str(chain.python), str(_MAKER), policy, str(folder)]
        subprocess.run(command, check=True, env=chain.environment(), stdout=subprocess.DEVNULL)
    return folder


def language_model(family: str, note: Callable[[str], None]) -> Path:
    """A language model of 86 M random weights, made once by transformers."""
    folder = WORK / family
    if not (folder / "tokenizer.json").exists():
        note(f"making {family} with transformers")
        chain = toolchain("transformers", note)
        command = [str(chain.python), str(_LANGUAGE_MAKER), family, str(folder), "bench"]
        subprocess.run(command, check=True, env=chain.environment(), stdout=subprocess.DEVNULL)
    return folder


@functools.cache
def precisions_of(runtime: str) -> tuple[str, ...]:
    """The precisions for which a runtime has kernels on this processor."""
    worker = WorkerProcess(list(WORKER), WORK / "worker.log", stop_s=5.0)
    try:
        found = worker.ask(messages.Probe(), messages.ProbeReply, timeout_s=300).runtimes
    finally:
        worker.stop()
    return next(facts.precisions for facts in found if facts.name == runtime)


def converted(
    path: Path, runtime: str, scheme: str, note: Callable[[str], None], footage: Path | None = None
) -> Conversion:
    """The release in edgectl's own cache."""
    note(f"converting {path.name} for {runtime} {scheme}")
    return run_conversion(ConvertRequest(path, Assignment.of(runtime, scheme), footage), workshop(), note)


def exported(path: Path, runtime: str, scheme: str, footage: Path | None) -> tuple[Export, Path]:
    """The export of a conversion that is done, before all passes, and its folder."""
    shop = workshop()
    job = Job.read(ConvertRequest(path, Assignment.of(runtime, scheme), footage), shop)
    found = shop.steps.find(job.export_key, Export)
    assert found is not None, "it was converted a moment ago"
    return found.report, found.folder


def laid_out(conversion: Conversion) -> Path:
    """The release as it lies on a device."""
    folder = WORK / "releases" / f"{conversion.manifest.name}-{conversion.release.short}"
    return folder if folder.exists() else release_dir(conversion.bundle_dir, folder)


def run(release: Path, overrides: LoopOverrides) -> RunSummary:
    """One run by a worker process, as the agent would ask for it."""
    worker = WorkerProcess(list(WORKER), WORK / "worker.log", stop_s=5.0)
    try:
        worker.ask(messages.Load(str(release), THREADS), messages.Loaded, timeout_s=300)
        request = messages.Run("bench", "bench", overrides, device_facts(), str(WORK / "samples.npz"))
        return worker.ask(request, messages.RunReply, timeout_s=600).summary
    finally:
        worker.stop()


def closed_run(release: Path, *, measure_s: float) -> RunSummary:
    """One run in a closed loop, each tick an inference as far as the policy allows."""
    return run(release, LoopOverrides(mode=Mode.CLOSED, measure_s=measure_s, threads=THREADS))
