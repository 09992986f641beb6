import numpy as np

from edgectl_agent.worker.loop.queue import ActionQueue


def test_only_the_used_part_of_a_chunk_is_executed():
    queue = ActionQueue(use=2)
    assert queue.empty
    queue.put(np.arange(4), source_ns=7)
    assert [queue.pop(), queue.pop()] == [0, 1]
    assert queue.empty
    assert queue.source_ns == 7


def test_clearing_asks_for_a_new_chunk():
    queue = ActionQueue(use=3)
    queue.put(np.arange(3), source_ns=0)
    queue.clear()
    assert queue.empty
