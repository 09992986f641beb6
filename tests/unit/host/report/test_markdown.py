"""The report as Markdown."""

from __future__ import annotations

from dataclasses import replace

from edgectl_host.report.markdown import report
from edgectl_host.runs.record import RunRecord
from edgectl_testkit.runs import counted


def test_the_same_words_stand_in_tables(record):
    text = report(record)
    assert text.startswith("**PASS** 2,100 ticks at 30 Hz · 2 threads · ")
    assert "\ntick p99 ≤ 33.3 ms: 0 % of 2,100 ticks late (0 to 0.87 %) · tick p99 13.0 ms" in text
    assert "| act | 250 | 8.50 ms | 9.90 ms | n/a (need 459) | 13.0 ms | 87.0 % |\n" in text
    assert "| precision | fp32, as asked |\n" in text
    assert "\ndec: video\n" in text


def test_an_undecided_run_has_its_cure(record):
    undecided = counted(record.summary, replace(record.summary.exceedances[0], n=600))
    text = report(RunRecord.of("nuc", undecided, None, None))
    assert text.startswith("**INCONCLUSIVE** ")
    assert "\nCure: measure for longer: edgectl profile --measure " in text


def test_every_table_has_as_many_cells_in_each_row(record):
    blocks = [block for block in report(record).split("\n\n") if block.startswith("|")]
    assert len(blocks) == 3
    for block in blocks:
        assert len({line.replace("\\|", "").count("|") for line in block.strip().split("\n")}) == 1


def test_a_bar_in_a_value_does_not_break_the_table(record):
    facts = replace(record.summary.facts, cpu_model="A | B")
    assert "A \\| B" in report(replace(record, summary=replace(record.summary, facts=facts)))


def test_several_components_have_a_table_of_their_own(several):
    text = report(several)
    assert "| prefix | openvino 2026.4.1 | bf16 | bf16 asked, fp32 USED | CPU |\n" in text
    assert "| &nbsp;&nbsp;loop.step.step 1/4 | 250 |" in text
    assert len([block for block in text.split("\n\n") if block.startswith("|")]) == 3
