from edgectl_agent.worker.loop.clock import MonotonicClock


def test_a_sleep_never_ends_early():
    clock = MonotonicClock()
    for wait_ns in (0, 50_000, 1_500_000):
        moment = clock.now_ns() + wait_ns
        clock.sleep_until(moment)
        assert clock.now_ns() >= moment


def test_a_moment_that_has_passed_is_not_waited_for():
    clock = MonotonicClock()
    before = clock.now_ns()
    clock.sleep_until(before - 10**9)
    assert clock.now_ns() - before < 10**8
