from __future__ import annotations

import contextlib

import pytest

from edgectl_converters.sources.lerobot.card import TASK, card, read_checkpoint
from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.errors import (
    CheckpointError,
    CheckpointFormatError,
    EdgectlError,
    ProcessorError,
    TokenizerError,
)
from edgectl_protos.domain.policy import FeatureKind
from edgectl_testkit.lerobot_dirs import CAMERAS, STATE, diffusion_dir, language_dir

FLOW = ["smolvla", "pi0", "pi05"]


def test_a_diffusion_policys_chunk_is_what_goes_to_the_queue(tmp_path):
    found = card(diffusion_dir().write(tmp_path / "p"))
    policy = found.policy
    assert (policy.chunk_size, policy.n_action_steps, policy.history) == (8, 8, 2)
    assert policy.observed(policy.observations[0]).shape == (2, 8, 10, 3)
    assert found.components == ("encoder", "denoiser")


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"prediction_type": "v_prediction"}, "v_prediction"),
        ({"noise_scheduler_type": "EDM"}, "EDM"),
        ({"n_action_steps": 16}, "n_action_steps 16"),
        ({"horizon": None}, "horizon"),
    ],
)
def test_a_diffusion_policy_that_cannot_be_followed_is_refused_by_name(tmp_path, change, seen):
    directory = diffusion_dir()
    directory.config |= change
    with pytest.raises(CheckpointError, match=seen):
        card(directory.write(tmp_path / "p"))


def test_act_ensembles_one_action_a_tick(directory, tmp_path):
    directory.config |= {"temporal_ensemble_coeff": 0.01, "n_action_steps": 1}
    policy = card(directory.write(tmp_path / "p")).policy
    assert (policy.chunk_size, policy.n_action_steps) == (1, 1)


@pytest.mark.parametrize("change", [{"n_action_steps": 2}, {"temporal_ensemble_coeff": "much"}])
def test_act_with_a_senseless_ensemble_is_refused(directory, tmp_path, change):
    directory.config |= {"temporal_ensemble_coeff": 0.01, "n_action_steps": 1} | change
    with pytest.raises(CheckpointError, match="temporal_ensemble_coeff"):
        card(directory.write(tmp_path / "p"))


def test_act_without_the_robots_state_is_refused_as_lerobot_cannot_run_it(directory, tmp_path):
    del directory.config["input_features"][STATE]
    with pytest.raises(CheckpointError, match=r"observation\.state"):
        card(directory.write(tmp_path / "p"))


def test_vectors_that_the_policy_never_reads_are_no_observations(directory, tmp_path):
    directory.config["input_features"]["observation.velocity"] = {"type": "STATE", "shape": [3]}
    found = card(directory.write(tmp_path / "p"))
    assert [feature.name for feature in found.policy.observations] == [*CAMERAS, STATE]
    assert any("observation.velocity" in note for note in found.notes)


@pytest.mark.parametrize("kind", FLOW)
def test_a_policy_that_is_told_what_to_do_observes_a_task(kind, tmp_path):
    found = card(language_dir(kind).write(tmp_path / "p"))
    task = found.policy.observation(TASK)
    assert task is not None
    assert (task.kind, task.dtype, task.shape) == (FeatureKind.LANGUAGE, DType.TEXT, ())
    assert found.components == ("vision", "prefix", "step")


@pytest.mark.parametrize("kind", FLOW)
def test_a_tokenizer_that_is_only_named_is_refused_with_what_to_copy(kind, tmp_path):
    directory = language_dir(kind)
    directory.files.clear()
    with pytest.raises(TokenizerError, match="does not hold its tokenizer") as caught:
        card(directory.write(tmp_path / "p"))
    assert "cp -rL" in caught.value.hint
    name = {"smolvla": "SmolVLM2-500M-Video-Instruct"}.get(kind, "paligemma-3b-pt-224")
    assert name in caught.value.message


def test_a_folder_called_like_the_tokenizer_is_taken(tmp_path):
    directory = language_dir("pi0")
    directory.files = {"paligemma-3b-pt-224/tokenizer.json": directory.files["tokenizer/tokenizer.json"]}
    checkpoint = read_checkpoint(directory.write(tmp_path / "p"))
    assert checkpoint.tokenizer == tmp_path / "p" / "paligemma-3b-pt-224"


def test_the_digest_follows_the_tokenizer(tmp_path):
    directory = language_dir("smolvla")
    before = card(directory.write(tmp_path / "p")).digest
    directory.files["tokenizer/tokenizer.json"] += " "
    assert card(directory.write(tmp_path / "p")).digest != before


def test_normalised_frames_are_refused_where_the_vision_tower_takes_them_as_they_are(tmp_path):
    with pytest.raises(ProcessorError, match="MEAN_STD"):
        card(language_dir("smolvla").normalise_by(VISUAL="MEAN_STD").write(tmp_path / "p"))


@pytest.mark.parametrize(
    ("kind", "change", "seen"),
    [
        ("smolvla", {"adapt_to_pi_aloha": True}, "adapt_to_pi_aloha"),
        ("smolvla", {"use_cache": False}, "use_cache"),
        ("smolvla", {"rtc_config": {"enabled": True}}, "rtc_config"),
        ("smolvla", {"use_peft": True}, "use_peft"),
        ("smolvla", {"resize_imgs_with_padding": None}, "resize_imgs_with_padding"),
        ("smolvla", {"empty_cameras": -1}, "empty_cameras"),
        ("pi05", {"use_relative_actions": True}, "use_relative_actions"),
        ("pi0", {"image_resolution": [224]}, "image_resolution"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_name(tmp_path, kind, change, seen):
    directory = language_dir(kind)
    directory.config |= change
    with pytest.raises(CheckpointError, match=seen):
        card(directory.write(tmp_path / "p"))


@pytest.mark.parametrize(("kind", "declared", "empty"), [("smolvla", 1, 1), ("pi05", 0, 2), ("pi05", 3, 3)])
def test_cameras_that_never_come_are_no_observations(tmp_path, kind, declared, empty):
    directory = language_dir(kind)
    for index in range(2):
        name = f"observation.images.empty_camera_{index}"
        directory.config["input_features"][name] = {"type": "VISUAL", "shape": [3, 8, 10]}
    directory.config["empty_cameras"] = declared
    checkpoint = read_checkpoint(directory.write(tmp_path / "p"))
    assert checkpoint.config.empty_cameras == empty
    assert [one.feature.name for one in checkpoint.processing.observed] == [*CAMERAS, STATE]


def test_the_prompt_of_pi05_needs_the_state_normalised_before_it(tmp_path):
    directory = language_dir("pi05")
    steps = directory.pre["steps"]
    steps.append(steps.pop(steps.index(directory.normaliser)))
    with pytest.raises(ProcessorError, match="must stand before"):
        card(directory.write(tmp_path / "p"))


@pytest.mark.parametrize("value", [None, True, -1, 1e400, "x", [], {}, [[]], {"a": 1}])
@pytest.mark.parametrize("kind", ["diffusion", *FLOW])
def test_no_value_of_a_config_gives_a_traceback(tmp_path, kind, value):
    make = diffusion_dir if kind == "diffusion" else lambda: language_dir(kind)
    path = tmp_path / "p"
    for key in make().config:
        directory = make()
        directory.config[key] = value
        with contextlib.suppress(EdgectlError):
            card(directory.write(path))


def test_a_type_that_is_not_read_says_which_are(directory, tmp_path):
    directory.config["type"] = "groot"
    with pytest.raises(CheckpointFormatError, match=r"'groot'.*act, diffusion, smolvla, pi0, pi05"):
        card(directory.write(tmp_path / "p"))
