import subprocess
import sys
import time

from edgectl_agent.worker.process import age_s, die_first, peak_rss_bytes, temperature_c, usable_cores


def test_the_age_counts_from_the_start_of_the_process():
    code = "import time; time.sleep(0.2); from edgectl_agent.worker.process import age_s; print(age_s())"
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # The kernel counts in hundredths.
    assert 0.2 <= float(done.stdout) <= time.monotonic() - begun + 0.011


def test_without_proc_the_processor_time_is_the_lower_bound(tmp_path):
    assert 0 < age_s(tmp_path / "stat") <= time.process_time()


def test_memory_is_that_of_this_process_and_not_of_its_parent():
    kept = b"x" * (300 << 20)
    code = "from edgectl_agent.worker.process import peak_rss_bytes; print(peak_rss_bytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 1 << 20 < int(done.stdout) < 200 << 20
    assert peak_rss_bytes() > len(kept)


def test_memory_is_known_without_proc_too(tmp_path):
    assert peak_rss_bytes(tmp_path / "status") > 1 << 20


def test_the_hottest_plausible_zone_is_the_temperature(tmp_path):
    for index, text in enumerate(["41500\n", "0", "255000", "junk", "63000", "-1000"]):
        (tmp_path / f"thermal_zone{index}").mkdir()
        (tmp_path / f"thermal_zone{index}" / "temp").write_text(text)
    assert temperature_c(tmp_path) == 63.0
    assert temperature_c(tmp_path / "none") is None


def test_there_is_a_core_to_use():
    assert usable_cores() >= 1


def test_a_builder_offers_itself_to_a_kernel_that_needs_memory(tmp_path):
    (tmp_path / "oom_score_adj").write_text("0")
    die_first(tmp_path / "oom_score_adj")
    assert (tmp_path / "oom_score_adj").read_text() == "1000"
    # Elsewhere there is no such file.
    die_first(tmp_path / "no" / "such")
