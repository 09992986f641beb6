from edgectl_agent.worker.loop.warm_up import WarmUpRule


def feed(durations, seconds_each=0.01):
    rule = WarmUpRule()
    for index, duration in enumerate(durations):
        if rule.add(duration, (index + 1) * seconds_each):
            return rule.result
    raise AssertionError("the rule never ended the warm-up")


def test_two_windows_that_agree_end_the_warm_up():
    assert feed([1000] * 20 + [1049] * 20 + [1] * 500) == feed([1000] * 40)
    result = feed([1000] * 40)
    assert (result.inferences, result.met) == (40, True)


def test_windows_that_differ_by_more_than_five_percent_do_not():
    result = feed([1000] * 20 + [900] * 20 + [890] * 20)
    assert (result.inferences, result.met) == (60, True)


def test_one_slow_inference_does_not_spoil_a_window():
    assert feed([90_000] + [1000] * 39).inferences == 40


def test_the_cap_of_inferences_ends_it_unmet():
    durations = [1000 * 2 ** (index // 20) for index in range(400)]
    result = feed(durations)
    assert (result.inferences, result.met) == (200, False)


def test_the_cap_of_time_ends_it_unmet():
    result = feed([1000] * 100, seconds_each=7.0)
    assert (result.inferences, result.met) == (9, False)
    assert result.seconds == 63.0
