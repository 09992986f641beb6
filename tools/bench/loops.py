"""(a), (h): whole loops, beside LeRobot's, and of runtimes beside each other."""

from __future__ import annotations

import functools
import os
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path

from blocks import Spread, interleave
from report import Report
from subjects import EXAMPLE, THREADS, WORK, checkpoint, closed_run, converted, laid_out, precisions_of, toolchain

from edgectl_converters.homes import seat_of
from edgectl_converters.products import write_products
from edgectl_converters.toolchain import HOST
from edgectl_host.workflows.measure_rates import rate_of
from edgectl_protos.domain.errors import GateError, PrecisionError
from edgectl_protos.domain.roofline import calls_of

HERE = Path(__file__).parent
PINNED = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
FLOATS = (("onnxrt", "fp32"), ("openvino", "fp32"), ("openvino", "bf16"))
"""Of random weights: what rounding does to them is not what it does to a policy, and int8 has nothing to be held to."""
TRAINED = (*FLOATS, ("onnxrt", "int8"), ("openvino", "int8"))
PARTS = (
    ("onnxrt", "fp32"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "prefix=int8,vision=int8,fp32"),
    ("openvino", "prefix=int8,vision=int8,bf16"),
    ("onnxrt", "int8"),
    ("prefix=openvino,vision=openvino,onnxrt", "int8"),
)
FAMILIES = (
    ("onnxrt", "fp32"),
    ("litert", "fp32"),
    ("litert", "int8-dynamic"),
    ("executorch", "fp32"),
    ("executorch", "int8-dynamic"),
)
"""Runtimes that live in toolchains of their own, beside the first."""


def bench_loop(report: Report) -> None:
    """(a) Whole loop, raw frames to final actions, against LeRobot's eager loop on the same frames."""
    report.say("(a) raw observations → final actions, against LeRobot's eager loop on the same; interleaved blocks")
    trained = {"0.4": EXAMPLE / "policy"}
    contest(
        report,
        "ACT 11.7 M, trained: the example",
        "act",
        trained,
        TRAINED,
        EXAMPLE / "footage",
        blocks=21,
        inferences=12,
    )
    act, diffusion = ({"0.4": checkpoint(policy, "0.4", report.note)} for policy in ("act", "diffusion"))
    contest(report, "ACT 51.6 M, two 480×640 cameras", "act", act, FLOATS, blocks=21, inferences=4)
    contest(
        report, "Diffusion 16.1 M, two 96×96 cameras, DDIM 10", "diffusion", diffusion, FLOATS, blocks=15, inferences=6
    )
    smolvla = {version: checkpoint("smolvla", version, report.note) for version in ("0.4", "0.6")}
    contest(report, "SmolVLA 96.8 M, one 480×640 camera", "smolvla", smolvla, PARTS, blocks=15, inferences=3)


def bench_families(report: Report) -> None:
    """(h) Runtimes that live in toolchains; only where it is asked for, since those take gigabytes."""
    report.say("(h) raw observations → final actions, by runtimes of toolchains, against the first; interleaved blocks")
    smolvla = {"0.4": checkpoint("smolvla", "0.4", report.note)}
    contest(
        report, "SmolVLA 96.8 M, one 480×640 camera", "smolvla", smolvla, FAMILIES, blocks=11, inferences=3, eager=False
    )


def contest(
    report: Report,
    title: str,
    policy: str,
    paths: Mapping[str, Path],
    schemes: tuple[tuple[str, str], ...],
    footage: Path | None = None,
    *,
    blocks: int,
    inferences: int,
    eager: bool = True,
) -> None:
    """One policy, by LeRobot's version: LeRobot eager, every version, against edgectl's releases of the first; without
    `eager`, the releases against the first of them.
    """
    first = next(iter(paths))
    ours: dict[str, tuple[list[str], dict[str, str]]] = {}
    floor, observations = "", ""
    for runtime, scheme in schemes:
        if "bf16" in scheme and "bf16" not in precisions_of(runtime):
            report.say(f"    {runtime} {scheme}: this processor has no bf16 kernels")
            continue
        try:
            conversion = converted(paths[first], runtime, scheme, report.note, footage)
        except GateError as exc:
            report.say(f"    {runtime} {scheme}: refused, {exc.message}")
            continue
        release = laid_out(conversion)
        observations = observations or str(release / "golden.npz")
        if not floor:
            calls = calls_of(conversion.manifest.program)
            works = {component.name: component.work for component in conversion.manifest.components}
            total = sum(work.operations * calls[name] for name, work in works.items() if work is not None)
            floors = [f"{name} {total / rate * 1e3:.0f} ms" for name, rate in product_rates(report).items()]
            floor = f"{total / 1e9:.1f} GFLOP an inference; at the rate of large products here: {', '.join(floors)}"
        seat = seat_of(conversion.manifest)
        chain = toolchain(seat, report.note) if seat != HOST else None
        python = str(chain.python) if chain else sys.executable
        command = [python, str(HERE / "edgectl_blocks.py"), str(release), str(release / "golden.npz"), str(THREADS)]
        environment = {**chain.environment(), "OMP_NUM_THREADS": str(THREADS)} if chain else dict(PINNED)
        ours[f"edgectl {runtime} {scheme}"] = (command, environment)
    theirs = {}
    for version, path in paths.items() if eager else ():
        chain = toolchain(f"lerobot-{version}", report.note)
        command = [str(chain.python), str(HERE / "lerobot_blocks.py"), policy, str(path), observations, str(THREADS)]
        theirs[f"LeRobot {version} eager"] = (command, {**chain.environment(), "OMP_NUM_THREADS": str(THREADS)})
    report.note(f"{policy}: interleaving blocks")
    medians = interleave({**theirs, **ours}, blocks=blocks, inferences=inferences, log=WORK / "blocks.log")
    report.say(f"    {title}; {blocks} blocks of {inferences}")
    report.say(f"      {floor}")
    base = next(iter(medians.values()))
    for name, values in medians.items():
        ratios = [one / own for one, own in zip(base, values, strict=True)]
        spread = f"{statistics.median(ratios):5.2f}× ({min(ratios):.2f} to {max(ratios):.2f})"
        report.say(f"      {name:51} {Spread.of(values)}   {spread}")


@functools.cache
def product_rates(report: Report) -> dict[str, float]:
    """Operations a second of large matrix products by OpenVINO, by scheme; of those that this processor has."""
    products, rates = write_products(WORK / "products.onnx"), {}
    for scheme in ("fp32", "bf16"):
        conversion = converted(products, "openvino", scheme, report.note)
        try:
            rates[scheme] = rate_of(conversion.manifest, closed_run(laid_out(conversion), measure_s=4.0))
        except PrecisionError:
            report.note(f"no {scheme} here")
    return rates
