from __future__ import annotations

import pytest

from edgectl_converters.sources.lerobot.card import card
from edgectl_converters.sources.lerobot.versions import toolchain_of, unknown_keys
from edgectl_testkit.lerobot_dirs import LeRobotDir, diffusion_dir, language_dir


@pytest.mark.parametrize("kind", ["act", "diffusion", "smolvla"])
def test_a_key_that_only_the_newer_lerobot_writes_decides(kind):
    assert toolchain_of(kind, ["type", "n_obs_steps"]) == "lerobot-0.4"
    assert toolchain_of(kind, ["type", "n_obs_steps", "pretrained_revision"]) == "lerobot-0.6"


@pytest.mark.parametrize("kind", ["pi0", "pi05"])
def test_pi_is_read_by_the_newer_lerobot_only(kind):
    assert toolchain_of(kind, ["type"]) == "lerobot-0.6"


def test_a_forks_keys_do_not_decide_and_are_named():
    assert toolchain_of("act", ["type", "our_gripper_loss"]) == "lerobot-0.4"
    assert unknown_keys("act", ["type", "dim_model", "our_gripper_loss"]) == ["our_gripper_loss"]


@pytest.mark.parametrize(
    "make", [LeRobotDir, diffusion_dir, lambda: language_dir("smolvla"), lambda: language_dir("pi05")]
)
def test_the_keys_of_lerobots_own_directories_are_known(make, tmp_path):
    found = card(make().write(tmp_path / "p"))
    assert not [note for note in found.notes if "do not know" in note]


def test_the_card_says_how_to_bring_a_forks_environment(directory, tmp_path):
    directory.config["our_gripper_loss"] = 1
    found = card(directory.write(tmp_path / "p"))
    assert any("our_gripper_loss" in note and "edgectl toolchain use lerobot-0.4" in note for note in found.notes)
