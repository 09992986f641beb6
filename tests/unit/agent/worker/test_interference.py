"""What the machine did: from a folder that looks like a kernel's, and from this machine's own."""

from __future__ import annotations

import os
import time

import pytest

from edgectl_agent.worker.interference import Watch

S = 1_000_000_000


class FakeClock:
    def __init__(self):
        self.ns = 0

    def __call__(self):
        return self.ns


class Machine:
    """A root folder with the files that a kernel would have there."""

    def __init__(self, root):
        self.root = root
        self.clock = FakeClock()

    def put(self, path, text):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def thread(self, task, ran_s, waited_s, process="self"):
        self.put(f"proc/{process}/task/{task}/schedstat", f"{round(ran_s * S)} {round(waited_s * S)} 7\n")

    def cpu(self, busy_ticks, stolen_ticks=0):
        self.put("proc/stat", f"cpu  {busy_ticks} 0 0 900 5 0 0 {stolen_ticks} 0 0\ncpu0 1 2 3\n")

    def watch(self):
        return Watch(self.root, self.clock)


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_a_kernel_that_tells_nothing_is_believed(machine):
    found = machine.watch().stop()
    assert found.disturbances == ()
    assert (found.waited_share, found.pressure_share, found.others_cpus, found.stolen_cpus) == (None,) * 4
    assert (found.clock_start_hz, found.clock_min_hz, found.throttle_events) == (None,) * 3


def test_the_thread_that_waited_most_is_told_and_idle_ones_are_not(machine):
    machine.thread(1, 1.0, 0.5)
    machine.thread(2, 1.0, 0.0)
    machine.thread(3, 0.0, 0.0)
    watch = machine.watch()
    machine.clock.ns = 10 * S
    machine.thread(1, 5.0, 1.5)
    machine.thread(2, 4.0, 0.1)
    machine.thread(3, 0.01, 0.99)
    assert watch.stop().waited_share == pytest.approx(1 / 5)


def test_a_kernel_that_keeps_no_account_of_threads_tells_nothing_of_them(machine):
    machine.thread(1, 0.0, 0.0)
    machine.cpu(100)
    watch = machine.watch()
    machine.clock.ns = S
    machine.cpu(200)
    found = watch.stop()
    assert (found.waited_share, found.others_cpus) == (None, None)


def test_threads_of_a_child_count_and_so_does_one_that_began_later(machine):
    machine.thread(1, 1.0, 0.0)
    machine.put("proc/self/task/1/children", "77 \n")
    watch = machine.watch()
    machine.clock.ns = 10 * S
    machine.thread(1, 2.0, 0.0)
    machine.thread(77, 1.0, 3.0, process="77")
    assert watch.stop().waited_share == pytest.approx(0.75)


def test_what_other_processes_and_the_hypervisor_took_is_counted_in_cpus(machine):
    tick = os.sysconf("SC_CLK_TCK")
    machine.thread(1, 0.0, 0.0)
    machine.cpu(100)
    watch = machine.watch()
    machine.clock.ns = 10 * S
    machine.thread(1, 4.0, 0.0)
    machine.cpu(100 + 9 * tick, 2 * tick)
    found = watch.stop()
    assert (found.others_cpus, found.stolen_cpus) == (pytest.approx(0.5), pytest.approx(0.2))


def test_pressure_is_a_share_of_the_time(machine):
    line = "some avg10=0.00 avg60=0.00 avg300=0.00 total={}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    machine.put("proc/pressure/cpu", line.format(1_000_000))
    watch = machine.watch()
    machine.clock.ns = 10 * S
    machine.put("proc/pressure/cpu", line.format(3_500_000))
    assert watch.stop().pressure_share == pytest.approx(0.25)


def test_thermal_throttling_of_any_core_is_counted(machine):
    for core in (0, 1):
        machine.put(f"sys/devices/system/cpu/cpu{core}/thermal_throttle/core_throttle_count", "4\n")
    watch = machine.watch()
    machine.put("sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", "7\n")
    assert watch.stop().throttle_events == 3


# --- what has no counter ---------------------------------------------------------------------------------------------


def set_clocks(machine, *khz):
    for core, value in enumerate(khz):
        machine.put(f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq", f"{value}\n")


def set_temperature(machine, celsius):
    machine.put("sys/class/thermal/thermal_zone0/temp", f"{celsius * 1000}\n")


def test_clocks_and_temperature_are_looked_at_once_a_second_between_ticks(machine):
    set_clocks(machine, 1_000_000, 2_000_000)
    set_temperature(machine, 40)
    watch = machine.watch()
    for second, khz, celsius in ((0.5, 1, 99), (1.5, 800_000, 55), (2.0, 1, 99), (2.6, 1_500_000, 70)):
        machine.clock.ns = round(second * S)
        set_clocks(machine, khz, 0)
        set_temperature(machine, celsius)
        watch.between_ticks(5_000_000)
    set_clocks(machine, 1_700_000)
    set_temperature(machine, 60)
    found = watch.stop()
    assert (found.clock_start_hz, found.clock_min_hz, found.clock_end_hz) == (2e9, 0.8e9, 1.7e9)
    assert (watch.temperature_start_c, watch.temperature_max_c) == (40, 70)


def test_nothing_is_looked_at_where_there_is_no_time_for_it(tmp_path):
    costs = iter(range(0, 1000 * S, 2 * S))
    watch = Watch(tmp_path, lambda: next(costs))
    looked = watch._looked_ns
    watch.between_ticks(7 * S)
    assert watch._looked_ns == looked
    watch.between_ticks(9 * S)
    assert watch._looked_ns > looked


# --- this machine ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not os.path.exists("/proc/self/schedstat"), reason="the kernel has no schedstat")
def test_a_worker_beside_others_on_its_cpu_is_seen_to_wait():
    stop = time.perf_counter() + 1.5
    watch = Watch()
    cores = os.sched_getaffinity(0)
    children = []
    try:
        os.sched_setaffinity(0, {min(cores)})
        for _ in range(3):
            pid = os.fork()
            if not pid:
                while time.perf_counter() < stop:
                    pass
                os._exit(0)
            children.append(pid)
        while time.perf_counter() < stop:
            pass
        found = watch.stop()
    finally:
        os.sched_setaffinity(0, cores)
        for pid in children:
            os.waitpid(pid, 0)
    assert found.waited_share > 0.3
    assert found.involuntary_switches > 0


def test_a_machine_that_neither_sleeps_nor_sets_its_clock_is_not_said_to():
    # A thread that loses its CPU between two clocks sees them apart: one undisturbed look is enough.
    found = [Watch().stop() for _ in range(20)]
    assert min(abs(one.suspended_s) for one in found) < 0.005
    assert min(abs(one.clock_step_s) for one in found) < 0.005


def test_a_clock_that_is_set_and_a_machine_that_sleeps_are_told_apart(machine, monkeypatch):
    ahead = {time.CLOCK_MONOTONIC: 0.0, time.CLOCK_BOOTTIME: 0.0, time.CLOCK_REALTIME: 0.0}
    monkeypatch.setattr(time, "clock_gettime", lambda clock: 1000.0 + ahead[clock])
    for slept_s, set_s in ((0.0, -3600.0), (5.0, 0.0), (5.0, 60.0)):
        watch = machine.watch()
        ahead[time.CLOCK_BOOTTIME] += slept_s
        # The wall clock goes on while the machine sleeps.
        ahead[time.CLOCK_REALTIME] += slept_s + set_s
        found = watch.stop()
        assert (found.suspended_s, found.clock_step_s) == (pytest.approx(slept_s), pytest.approx(set_s))
