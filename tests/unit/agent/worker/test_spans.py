import numpy as np

from edgectl_agent.worker.spans import SPAN_COLUMNS, Site, SpanTable

SITES = (Site("act", "component", "act"), Site("post", "unnormalise"))


def table(capacity):
    return SpanTable(SITES, capacity, lambda: 0)


def test_a_span_stands_under_the_inference_that_runs():
    spans = table(4)
    spans.add(0, 1, 2)
    spans.inference = 3
    spans.add(1, 5, 8)
    assert SPAN_COLUMNS == ("inference", "site", "begin", "end")
    assert spans.rows.tolist() == [[-1, 0, 1, 2], [3, 1, 5, 8]]
    assert spans.rows.dtype == np.int64


def test_a_full_table_records_no_more_and_says_so():
    spans = table(2)
    spans.add(0, 1, 2)
    assert not spans.full
    spans.add(0, 3, 4)
    assert spans.full
    spans.add(0, 5, 6)
    assert spans.rows.tolist() == [[-1, 0, 1, 2], [-1, 0, 3, 4]]


def test_a_cleared_table_has_all_its_room_again():
    spans = table(1)
    spans.inference = 5
    spans.add(0, 1, 2)
    spans.clear()
    assert (len(spans.rows), spans.full, spans.inference) == (0, False, -1)
    spans.add(1, 3, 4)
    assert spans.rows.tolist() == [[-1, 1, 3, 4]]


def test_a_table_for_nothing_can_be_made():
    assert len(table(0).rows) == 0


def test_moments_beyond_32_bits_are_kept():
    spans = table(1)
    spans.add(0, 2**40, 2**62)
    assert spans.rows.tolist() == [[-1, 0, 2**40, 2**62]]
