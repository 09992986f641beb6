"""A plausible run for tests of verdicts, reports and the database."""

from __future__ import annotations

from dataclasses import replace

from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.device import ComponentFacts, DeviceFacts, RuntimeFacts
from edgectl_protos.domain.interference import Interference
from edgectl_protos.domain.loop import Deadlines
from edgectl_protos.domain.run import (
    ColdStart,
    Exceedances,
    Misses,
    Percentiles,
    Rates,
    RunSummary,
    SpanFigures,
    WarmUp,
)
from edgectl_testkit.bundles import tiny_loop, with_rate


def device_facts(device: str = "bench-nuc", *, machine_id: str = "m-1", stand_in_for: str = "") -> DeviceFacts:
    """Facts of an x86-64 machine with all three runtimes."""
    return DeviceFacts(
        device=device,
        machine_id=machine_id,
        board="generic-x86_64",
        arch="x86_64",
        os="Debian GNU/Linux 12",
        kernel="6.1.0",
        libc="glibc 2.36",
        python="3.11.7",
        cpu_model="Example CPU",
        cpu_count=2,
        isa=("avx2", "avx512_bf16", "avx512_vnni", "avx512f"),
        memory_bytes=24 << 30,
        disk_free_bytes=80 << 30,
        governor="performance",
        temperature_c=None,
        load_1min=0.1,
        preempt_rt=False,
        runtimes=(
            RuntimeFacts("reference", "1.23.2", ("reference",), ("fp32",)),
            RuntimeFacts("onnxrt", "1.32.0", ("CPUExecutionProvider",), ("fp32", "int8")),
            RuntimeFacts("openvino", "2026.4.1", ("CPU",), ("fp32", "bf16", "int8")),
        ),
        stand_in_for=stand_in_for,
    )


def run_summary(run_id: str = "run-1", *, device: str = "bench-nuc", stand_in_for: str = "") -> RunSummary:
    """A 30 Hz run of 2,100 ticks that holds its deadlines."""
    times = Percentiles(2100, 0.009, 0.0100, 0.0110, 0.0115, 0.0130, None, 0.0150)
    loop = with_rate(tiny_loop(), 30.0)
    return RunSummary(
        run_id=run_id,
        deployment_id="d-1",
        release=Digest("ab" * 32),
        name="tiny",
        loop=loop,
        facts=device_facts(device, stand_in_for=stand_in_for),
        components=(ComponentFacts("act", "onnxrt", "1.32.0", "fp32", "fp32", "CPUExecutionProvider"),),
        threads=2,
        started_s=1.79e9,
        measured_s=70.0,
        ticks=2100,
        inferences=250,
        warm_up=WarmUp(40, 0.4, True),
        cold_start=ColdStart(0.2, 0.1, 0.02, 0.35),
        response=times,
        service=times,
        wake=Percentiles(500, 0.00001, 0.00002, 0.00003, 0.00004, 0.0001, None, 0.0003),
        jitter=Percentiles(500, 0.0, 0.0001, 0.0005, 0.0008, 0.002, None, 0.004),
        age=times,
        misses=Misses(0, 0.0, 0, 0),
        starved_slots=0,
        rates=Rates(30.0, 30.0, 15.0, 15.0),
        spans=(
            SpanFigures("dec", "decode", Percentiles(250, 0.001, 0.0012, 0.0013, 0.0014, max=0.002), 0.12),
            SpanFigures(
                "act", "component", Percentiles(250, 0.008, 0.0085, 0.0095, 0.0099, max=0.013), 0.87, "", "act"
            ),
            SpanFigures("pub", "publish", Percentiles(500, 0.0, 0.00001, 0.00001, 0.00001, 0.00002), 0.01),
        ),
        overhead_share=0.002,
        peak_rss_bytes=180 << 20,
        cpu_utilisation=0.97,
        temperature_start_c=None,
        temperature_max_c=None,
        samples_bytes=40_000,
        exceedances=tuple(Exceedances(limit, 2100, 0, 1.0) for limit in loop.deadlines.limits),
        interference=Interference(0.001, 0.01, 0.0, 0.02, 40, 2.1e9, 2.1e9, 1.9e9, 0, 0.0, 0.0),
        agent_version="0.1",
    )


def counted(summary: RunSummary, *exceedances: Exceedances) -> RunSummary:
    """The run, had its loop these limits and had it counted these samples over them."""
    deadlines = Deadlines(tuple(found.limit for found in exceedances))
    return replace(summary, loop=replace(summary.loop, deadlines=deadlines), exceedances=exceedances)


def with_misses(summary: RunSummary, count: int, *, ticks: int = 2100) -> RunSummary:
    """The run, had so many of its ticks been late by every limit of its loop."""
    limits = summary.loop.deadlines.statements
    return replace(
        summary,
        misses=Misses(count, count / ticks, min(count, 1), 0),
        exceedances=tuple(Exceedances(limit, ticks, count, 1.0) for limit in limits),
    )


def several_components(summary: RunSummary) -> RunSummary:
    """The run of a policy of three components, the last called four times in each inference."""
    passes = tuple(Percentiles(250, 0.001, 0.0011 + index * 1e-4, max=0.003) for index in range(4))
    return replace(
        summary,
        components=(
            ComponentFacts("vision", "openvino", "2026.4.1", "int8", "int8", "CPU"),
            ComponentFacts("prefix", "openvino", "2026.4.1", "bf16", "fp32", "CPU"),
            ComponentFacts("step", "onnxrt", "1.32.0", "fp32", "fp32", "CPUExecutionProvider"),
        ),
        spans=(
            SpanFigures("vision", "component", Percentiles(250, 0.01, 0.012, max=0.02), 0.4, "", "vision"),
            SpanFigures("prefix", "component", Percentiles(250, 0.01, 0.013, max=0.02), 0.4, "", "prefix"),
            SpanFigures("step", "component", Percentiles(250, 0.004, 0.005, max=0.02), 0.2, "", "step", passes),
        ),
    )
