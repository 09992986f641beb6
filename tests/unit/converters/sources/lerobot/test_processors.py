from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from edgectl_converters.sources.lerobot.card import card, read_checkpoint
from edgectl_converters.sources.lerobot.processors import processing_arrays
from edgectl_protos.domain.errors import CheckpointCorruptError, CheckpointError, ProcessorError, StatisticsError
from edgectl_testkit.lerobot_dirs import CAMERAS, STATE, LeRobotDir

EPS = 1e-8
PAIRS = {"MIN_MAX": ("min", "max"), "QUANTILES": ("q01", "q99"), "QUANTILE10": ("q10", "q90")}


def arrays_of(path):
    checkpoint = read_checkpoint(path)
    return processing_arrays(path, checkpoint.config, checkpoint.processing)


def before(arrays, name, values):
    shift = arrays.get(f"{name}.shift", 0)
    return (values - arrays[f"{name}.offset"].astype(np.float64)) / arrays[f"{name}.scale"].astype(np.float64) + shift


def after(arrays, values):
    return values * arrays["action.scale"].astype(np.float64) + arrays["action.offset"].astype(np.float64)


def test_mean_and_std_divide_by_std_plus_eps_and_multiply_by_std_alone(directory, tmp_path):
    # An eps that is no rounding error, so that the asymmetry shows.
    directory.normaliser["config"]["eps"] = directory.unnormaliser["config"]["eps"] = 0.5
    statistics = directory.pre_statistics
    arrays = arrays_of(directory.write(tmp_path / "p"))
    x = np.array([0.3, -1.0, 2.0])
    expected = (x - statistics[f"{STATE}.mean"]) / (statistics[f"{STATE}.std"].astype(np.float64) + 0.5)
    np.testing.assert_allclose(before(arrays, "state", x), expected, rtol=1e-6)
    y = np.array([0.3, -1.0])
    expected = y * statistics["action.std"] + statistics["action.mean"]
    np.testing.assert_allclose(after(arrays, y), expected, rtol=1e-6)


@pytest.mark.parametrize("mode", PAIRS)
def test_ranges_map_to_minus_one_and_one_and_back(directory, tmp_path, mode):
    low, high = (directory.pre_statistics[f"{STATE}.{name}"] for name in PAIRS[mode])
    arrays = arrays_of(directory.normalise_by(STATE=mode, ACTION=mode).write(tmp_path / "p"))
    np.testing.assert_allclose(before(arrays, "state", low), -1, atol=1e-6)
    np.testing.assert_allclose(before(arrays, "state", high), 1, atol=1e-6)
    low, high = (directory.post_statistics[f"action.{name}"] for name in PAIRS[mode])
    np.testing.assert_allclose(after(arrays, np.array([-1, -1])), low, atol=1e-6)
    np.testing.assert_allclose(after(arrays, np.array([1, 1])), high, atol=1e-6)


def test_a_range_of_nothing_is_eps_wide_before_and_nothing_wide_after(directory, tmp_path):
    for name in (STATE, "action"):
        same = directory.pre_statistics[f"{name}.min"]
        directory.pre_statistics[f"{name}.max"] = directory.post_statistics[f"{name}.max"] = same
        directory.post_statistics[f"{name}.min"] = same
    directory.normaliser["config"]["eps"] = directory.unnormaliser["config"]["eps"] = 0.25
    directory.normalise_by(STATE="MIN_MAX", ACTION="MIN_MAX")
    low = directory.pre_statistics[f"{STATE}.min"].astype(np.float64)
    arrays = arrays_of(directory.write(tmp_path / "p"))
    np.testing.assert_allclose(before(arrays, "state", low + 0.1), 2 * 0.1 / 0.25 - 1, rtol=1e-5)
    # In float32 as well, where half an eps beside a large value is lost.
    np.testing.assert_array_equal(before(arrays, "state", low), -1)
    # LeRobot replaces a difference of nothing by eps in both directions.
    low = directory.post_statistics["action.min"].astype(np.float64)
    np.testing.assert_allclose(after(arrays, np.array([1.0, 1.0])), low + 0.25, rtol=1e-6)


def test_frames_take_in_the_division_by_255_that_the_json_does_not_mention(directory, tmp_path):
    statistics = directory.pre_statistics
    arrays = arrays_of(directory.write(tmp_path / "p"))
    mean, std = (statistics[f"{CAMERAS[0]}.{name}"].reshape(3).astype(np.float64) for name in ("mean", "std"))
    for raw in (0.0, 127.0, 255.0):
        expected = (raw / 255 - mean) / (std + EPS)
        np.testing.assert_allclose(before(arrays, "top", raw), expected, rtol=2e-6, atol=1e-6)


def test_identity_frames_are_still_divided_by_255(directory, tmp_path):
    arrays = arrays_of(directory.normalise_by(VISUAL="IDENTITY").write(tmp_path / "p"))
    np.testing.assert_allclose(before(arrays, "top", 255.0), np.ones(3), rtol=1e-6)


def test_identity_state_and_action_are_left_alone(directory, tmp_path):
    directory.normalise_by(STATE="IDENTITY", ACTION="IDENTITY")
    for statistics in (directory.pre_statistics, directory.post_statistics):
        for key in [key for key in statistics if key.startswith((STATE, "action"))]:
            del statistics[key]
    path = directory.write(tmp_path / "p")
    arrays = arrays_of(path)
    np.testing.assert_array_equal(before(arrays, "state", np.array([0.3, -1.0, 2.0])), [0.3, -1.0, 2.0])
    assert "action.scale" not in arrays


def test_flat_image_statistics_mean_the_same_as_those_with_three_dimensions(directory, tmp_path):
    thick = arrays_of(directory.write(tmp_path / "thick"))
    for key in [key for key in directory.pre_statistics if "images" in key]:
        directory.pre_statistics[key] = directory.pre_statistics[key].reshape(3)
    flat = arrays_of(directory.write(tmp_path / "flat"))
    for key in thick:
        np.testing.assert_array_equal(thick[key], flat[key])


@pytest.mark.parametrize("statistic", ["mean", "std"])
@pytest.mark.parametrize("feature", [STATE, CAMERAS[1]])
def test_a_missing_statistic_names_feature_key_and_file(directory, tmp_path, feature, statistic):
    del directory.pre_statistics[f"{feature}.{statistic}"]
    with pytest.raises(StatisticsError) as caught:
        card(directory.write(tmp_path / "p"))
    assert f"{feature}.{statistic}" in str(caught.value)
    assert directory.normaliser["state_file"] in str(caught.value)


def test_a_missing_action_statistic_names_the_file_of_the_post_processor(directory, tmp_path):
    del directory.post_statistics["action.std"]
    with pytest.raises(StatisticsError, match=r"policy_postprocessor_step_0.*action\.std"):
        card(directory.write(tmp_path / "p"))


def test_statistics_for_another_feature_name_are_refused_and_listed(directory, tmp_path):
    renamed = {k.replace("images.top", "images.front"): v for k, v in directory.pre_statistics.items()}
    directory.pre_statistics = renamed
    with pytest.raises(StatisticsError) as caught:
        card(directory.write(tmp_path / "p"))
    assert "observation.images.top.mean" in str(caught.value)
    assert "observation.images.front" in str(caught.value)


@pytest.mark.parametrize("shape", [(2,), (4,), (3, 2)])
def test_statistics_of_another_size_are_refused(directory, tmp_path, shape):
    directory.pre_statistics[f"{STATE}.mean"] = np.zeros(shape, np.float32)
    with pytest.raises(StatisticsError, match=STATE):
        card(directory.write(tmp_path / "p"))


def test_action_statistics_of_another_size_are_refused(directory, tmp_path):
    for name in ("mean", "std"):
        directory.post_statistics[f"action.{name}"] = np.ones(5, np.float32)
    with pytest.raises(StatisticsError, match="action"):
        card(directory.write(tmp_path / "p"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_statistics_that_are_not_finite_are_refused(directory, tmp_path, value):
    directory.pre_statistics[f"{STATE}.mean"] = np.full(3, value, np.float32)
    with pytest.raises(StatisticsError, match="finite"):
        card(directory.write(tmp_path / "p"))


def test_state_files_are_followed_and_indices_never_assumed(directory, tmp_path):
    expected = arrays_of(directory.write(tmp_path / "usual"))
    decoy = {key: value + 1 for key, value in directory.pre_statistics.items()}
    usual = directory.normaliser["state_file"]
    directory.normaliser["state_file"] = "policy_preprocessor_step_7_normalizer_processor.safetensors"
    path = directory.write(tmp_path / "moved")
    save_file(decoy, path / usual)
    found = arrays_of(path)
    for key in expected:
        np.testing.assert_array_equal(found[key], expected[key])


def test_the_digest_follows_state_files_of_any_name(directory, tmp_path):
    directory.normaliser["state_file"] = "stats/ours.safetensors"
    (tmp_path / "p" / "stats").mkdir(parents=True)
    path = directory.write(tmp_path / "p")
    before = card(path).digest
    directory.pre_statistics[f"{STATE}.mean"] = directory.pre_statistics[f"{STATE}.mean"] + 1
    save_file(directory.pre_statistics, path / "stats/ours.safetensors")
    assert card(path).digest != before


@pytest.mark.parametrize("name", ["/etc/stats.safetensors", "../stats.safetensors", "a/../../b.safetensors"])
def test_a_state_file_outside_the_checkpoint_is_refused(directory, tmp_path, name):
    path = directory.write(tmp_path / "p")
    directory.normaliser["state_file"] = name
    (path / "policy_preprocessor.json").write_text(json.dumps(directory.pre))
    with pytest.raises(ProcessorError, match="leaves the checkpoint"):
        card(path)


@pytest.mark.parametrize("artifact", ["/abs/tokenizer", "../tokenizer"])
def test_an_artifact_path_outside_the_checkpoint_is_refused(directory, tmp_path, artifact):
    directory.normaliser["artifacts"] = {"tokenizer": artifact}
    with pytest.raises(ProcessorError, match="leaves the checkpoint"):
        card(directory.write(tmp_path / "p"))


def test_a_state_file_that_is_not_there_is_named(directory, tmp_path):
    path = directory.write(tmp_path / "p")
    (path / directory.normaliser["state_file"]).unlink()
    with pytest.raises(CheckpointCorruptError, match="policy_preprocessor_step_3"):
        card(path)


def test_a_normaliser_without_a_state_file_has_no_statistics(directory, tmp_path):
    path = directory.write(tmp_path / "p")
    del directory.normaliser["state_file"]
    (path / "policy_preprocessor.json").write_text(json.dumps(directory.pre))
    with pytest.raises(StatisticsError, match="state_file"):
        card(path)


@pytest.mark.parametrize("pipeline", ["pre", "post"])
def test_a_step_that_nobody_registered_is_named(directory, tmp_path, pipeline):
    getattr(directory, pipeline)["steps"].insert(0, {"registry_name": "smooth_gripper_processor", "config": {}})
    with pytest.raises(ProcessorError, match="'smooth_gripper_processor'"):
        card(directory.write(tmp_path / "p"))


@pytest.mark.parametrize("pipeline", ["pre", "post"])
def test_a_step_of_custom_code_is_named(directory, tmp_path, pipeline):
    getattr(directory, pipeline)["steps"].append({"class": "our_lab.steps.Smooth", "config": {}})
    with pytest.raises(ProcessorError, match=r"our_lab\.steps\.Smooth"):
        card(directory.write(tmp_path / "p"))


def test_two_normalisers_are_not_silently_one(directory, tmp_path):
    directory.pre["steps"].append(dict(directory.normaliser))
    with pytest.raises(ProcessorError, match="twice"):
        card(directory.write(tmp_path / "p"))


def test_a_pipeline_without_a_normaliser_contradicts_a_config_that_asks_for_one(directory, tmp_path):
    path = directory.write(tmp_path / "p")
    directory.pre["steps"] = [s for s in directory.pre["steps"] if s["registry_name"] != "normalizer_processor"]
    (path / "policy_preprocessor.json").write_text(json.dumps(directory.pre))
    with pytest.raises(ProcessorError, match="normalizer_processor"):
        card(path)


def test_a_device_step_that_lowers_the_precision_is_refused(directory, tmp_path):
    directory.pre["steps"][2]["config"]["float_dtype"] = "float16"
    with pytest.raises(ProcessorError, match="float16"):
        card(directory.write(tmp_path / "p"))


def test_an_unknown_mode_is_refused_by_name(directory, tmp_path):
    with pytest.raises(ProcessorError, match="ZSCORE"):
        card(directory.normalise_by(STATE="ZSCORE").write(tmp_path / "p"))


def test_a_rename_map_gives_the_robots_own_names(directory, tmp_path):
    expected = arrays_of(directory.write(tmp_path / "plain"))
    directory.pre["steps"][0]["config"]["rename_map"] = {"observation.images.front": CAMERAS[0]}
    path = directory.write(tmp_path / "renamed")
    policy = card(path).policy
    assert [f.name for f in policy.observations] == ["observation.images.front", CAMERAS[1], STATE]
    arrays = arrays_of(path)
    np.testing.assert_array_equal(arrays["top.scale"], expected["top.scale"])


def test_a_pipeline_that_is_not_json_is_corrupt(written):
    (written / "policy_preprocessor.json").write_text('{"steps": [')
    with pytest.raises(CheckpointCorruptError, match=r"policy_preprocessor\.json"):
        card(written)


@pytest.mark.parametrize("document", ['{"steps": 3}', '{"name": "x"}', '{"steps": [4]}', "[]", "null"])
def test_a_pipeline_of_another_shape_is_refused(written, document):
    (written / "policy_preprocessor.json").write_text(document)
    with pytest.raises(CheckpointError, match=r"policy_preprocessor\.json"):
        card(written)


@pytest.mark.parametrize(
    "config", [None, [], {"norm_map": None}, {"norm_map": {"STATE": "MEAN_STD"}, "eps": "small"}, {"norm_map": []}]
)
def test_a_normaliser_with_a_senseless_config_is_refused(directory, tmp_path, config):
    path = directory.write(tmp_path / "p")
    directory.normaliser["config"] = config
    (path / "policy_preprocessor.json").write_text(json.dumps(directory.pre))
    with pytest.raises(CheckpointError, match=r"policy_preprocessor\.json"):
        card(path)


def test_half_precision_statistics_are_read_as_numbers(directory, tmp_path):
    expected = arrays_of(directory.write(tmp_path / "full"))
    directory.pre_statistics = {k: v.astype(np.float16) for k, v in directory.pre_statistics.items()}
    found = arrays_of(directory.write(tmp_path / "half"))
    np.testing.assert_allclose(found["state.scale"], expected["state.scale"], rtol=5e-3)


def test_every_mode_is_in_the_fixture():
    assert {statistic for pair in PAIRS.values() for statistic in pair} <= {
        key.rsplit(".", 1)[1] for key in LeRobotDir().pre_statistics
    }


def test_names_that_would_be_one_are_told_apart(directory, tmp_path):
    directory.config["input_features"]["observation.top"] = {"type": "VISUAL", "shape": [3, 8, 10]}
    for step in (directory.normaliser,):
        step["config"]["features"]["observation.top"] = {"type": "VISUAL", "shape": [3, 8, 10]}
    for key, value in list(directory.pre_statistics.items()):
        if key.startswith(CAMERAS[0]):
            directory.pre_statistics[key.replace("images.top", "top")] = value
    arrays = arrays_of(directory.write(tmp_path / "p"))
    assert sorted(key for key in arrays if key.endswith("top.scale")) == ["o0_top.scale", "o3_top.scale"]


def test_a_scale_of_nothing_is_refused(directory, tmp_path):
    directory.normaliser["config"]["eps"] = 0
    directory.pre_statistics[f"{STATE}.std"] = np.zeros(3, np.float32)
    with pytest.raises(StatisticsError, match="state"):
        card(directory.write(tmp_path / "p"))


def test_a_tokenizer_where_no_instruction_is_taken_is_refused(directory, tmp_path):
    directory.pre["steps"].insert(0, {"registry_name": "tokenizer_processor", "config": {"tokenizer_name": "x"}})
    with pytest.raises(ProcessorError, match="instruction"):
        card(directory.write(tmp_path / "p"))


@pytest.mark.parametrize("pipeline", ["pre", "post"])
def test_relative_actions_are_refused_unless_they_are_off(directory, tmp_path, pipeline):
    name = {"pre": "relative_actions_processor", "post": "absolute_actions_processor"}[pipeline]
    getattr(directory, pipeline)["steps"].insert(0, {"registry_name": name, "config": {"enabled": False}})
    card(directory.write(tmp_path / "off"))
    getattr(directory, pipeline)["steps"][0]["config"]["enabled"] = True
    with pytest.raises(ProcessorError, match="relative actions"):
        card(directory.write(tmp_path / "on"))
