from __future__ import annotations

import numpy as np
import pytest

from edgectl_converters.sources.lerobot.card import card, read_checkpoint
from edgectl_converters.sources.lerobot.processors import processing_arrays
from edgectl_protos.domain.errors import CheckpointFormatError, StatisticsError
from edgectl_testkit.lerobot_dirs import CAMERAS, STATE, LeRobotDir, diffusion_dir, language_dir


def arrays_of(path):
    checkpoint = read_checkpoint(path)
    return processing_arrays(path, checkpoint.config, checkpoint.processing)


def buffered(directory, folder, *, tags=("",), without=""):
    """The directory as LeRobot before 0.4 wrote it: no pipelines, statistics among the weights."""
    for name, values in directory.pre_statistics.items():
        feature, _, statistic = name.rpartition(".")
        for tag in tags:
            parts = ["normalize_targets", "unnormalize_outputs"] if feature == "action" else ["normalize_inputs"]
            for part in parts:
                key = f"{part}.{tag}buffer_{feature.replace('.', '_')}.{statistic}"
                if not (without and key.endswith(without)):
                    directory.weights[key] = values
    directory.write(folder)
    for file in folder.glob("policy_*"):
        file.unlink()
    return folder


@pytest.mark.parametrize("tag", ["", "so100_", "my-robot_v2_"])
@pytest.mark.parametrize("mode", ["MEAN_STD", "MIN_MAX"])
def test_statistics_in_the_weights_give_what_those_in_pipelines_give(tmp_path, tag, mode):
    directory = LeRobotDir().normalise_by(STATE=mode, ACTION=mode)
    directory.post_statistics = directory.pre_statistics
    expected = arrays_of(directory.write(tmp_path / "new"))
    found = arrays_of(buffered(directory, tmp_path / "old", tags=(tag,)))
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


def test_the_card_says_so_and_counts_no_statistics_as_parameters(tmp_path):
    new = card(LeRobotDir().write(tmp_path / "new"))
    old = card(buffered(LeRobotDir(), tmp_path / "old"))
    assert old.parameters == new.parameters
    assert any("read from the weights" in note for note in old.notes)
    assert old.policy == new.policy


def test_pipelines_win_over_statistics_in_the_weights_as_in_lerobot(tmp_path):
    directory = LeRobotDir()
    expected = arrays_of(directory.write(tmp_path / "new"))
    directory.weights[f"normalize_inputs.buffer_{STATE.replace('.', '_')}.mean"] = np.full(3, 9, np.float32)
    found = arrays_of(directory.write(tmp_path / "both"))
    np.testing.assert_array_equal(found["state.offset"], expected["state.offset"])


def test_statistics_of_several_datasets_are_refused_by_name(tmp_path):
    with pytest.raises(CheckpointFormatError, match="2 datasets \\(aloha, so100\\)") as caught:
        card(buffered(LeRobotDir(), tmp_path / "old", tags=("so100_", "aloha_")))
    assert "migrate_policy_normalization" in caught.value.hint


def test_a_statistic_that_is_missing_is_named(tmp_path):
    with pytest.raises(StatisticsError, match=f"{CAMERAS[0]}.std"):
        card(buffered(LeRobotDir(), tmp_path / "old", without=f"{CAMERAS[0].replace('.', '_')}.std"))


def test_statistics_that_lerobot_never_filled_are_refused(tmp_path):
    directory = LeRobotDir()
    directory.pre_statistics[f"{STATE}.mean"] = np.full(3, np.inf, np.float32)
    with pytest.raises(StatisticsError, match="not finite"):
        card(buffered(directory, tmp_path / "old"))


def test_a_type_whose_pipelines_do_more_is_migrated_by_lerobot(tmp_path):
    assert card(buffered(diffusion_dir(), tmp_path / "diffusion")).policy.type == "diffusion"
    with pytest.raises(CheckpointFormatError, match="act, diffusion") as caught:
        card(buffered(language_dir("smolvla"), tmp_path / "smolvla"))
    assert "migrate_policy_normalization" in caught.value.hint
