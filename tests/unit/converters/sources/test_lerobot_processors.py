from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from edgectl_converters.sources import lerobot
from edgectl_protos.domain.errors import CheckpointCorruptError, CheckpointError, ProcessorError, StatisticsError
from edgectl_testkit.lerobot_dirs import CAMERAS, STATE, LeRobotDir

EPS = 1e-8
PAIRS = {"MIN_MAX": ("min", "max"), "QUANTILES": ("q01", "q99"), "QUANTILE10": ("q10", "q90")}


def arrays_of(path):
    return lerobot.policy_arrays(path, lerobot.card(path).policy)


def applied(arrays, key, values):
    return values * arrays[f"{key}.mul"].astype(np.float64) + arrays[f"{key}.add"].astype(np.float64)


def test_mean_and_std_divide_by_std_plus_eps_and_multiply_by_std_alone(directory, tmp_path):
    # An eps that is no rounding error, so that the asymmetry shows.
    directory.normaliser["config"]["eps"] = directory.unnormaliser["config"]["eps"] = 0.5
    statistics = directory.pre_statistics
    arrays = arrays_of(directory.write(tmp_path / "p"))
    x = np.array([0.3, -1.0, 2.0])
    expected = (x - statistics[f"{STATE}.mean"]) / (statistics[f"{STATE}.std"].astype(np.float64) + 0.5)
    np.testing.assert_allclose(applied(arrays, f"pre.{STATE}", x), expected, rtol=1e-6)
    y = np.array([0.3, -1.0])
    expected = y * statistics["action.std"] + statistics["action.mean"]
    np.testing.assert_allclose(applied(arrays, "post.action", y), expected, rtol=1e-6)


@pytest.mark.parametrize("mode", PAIRS)
def test_ranges_map_to_minus_one_and_one_and_back(directory, tmp_path, mode):
    low, high = (directory.pre_statistics[f"{STATE}.{name}"] for name in PAIRS[mode])
    arrays = arrays_of(directory.normalise_by(STATE=mode, ACTION=mode).write(tmp_path / "p"))
    np.testing.assert_allclose(applied(arrays, f"pre.{STATE}", low), -1, atol=1e-6)
    np.testing.assert_allclose(applied(arrays, f"pre.{STATE}", high), 1, atol=1e-6)
    low, high = (directory.post_statistics[f"action.{name}"] for name in PAIRS[mode])
    np.testing.assert_allclose(applied(arrays, "post.action", np.array([-1, -1])), low, atol=1e-6)
    np.testing.assert_allclose(applied(arrays, "post.action", np.array([1, 1])), high, atol=1e-6)


def test_a_range_of_nothing_is_eps_wide_before_and_nothing_wide_after(directory, tmp_path):
    for name in (STATE, "action"):
        same = directory.pre_statistics[f"{name}.min"]
        directory.pre_statistics[f"{name}.max"] = directory.post_statistics[f"{name}.max"] = same
        directory.post_statistics[f"{name}.min"] = same
    directory.normaliser["config"]["eps"] = directory.unnormaliser["config"]["eps"] = 0.25
    directory.normalise_by(STATE="MIN_MAX", ACTION="MIN_MAX")
    low = directory.pre_statistics[f"{STATE}.min"].astype(np.float64)
    arrays = arrays_of(directory.write(tmp_path / "p"))
    np.testing.assert_allclose(applied(arrays, f"pre.{STATE}", low + 0.1), 2 * 0.1 / 0.25 - 1, rtol=1e-5)
    # LeRobot replaces a difference of nothing by eps in both directions.
    low = directory.post_statistics["action.min"].astype(np.float64)
    np.testing.assert_allclose(applied(arrays, "post.action", np.array([1.0, 1.0])), low + 0.25, rtol=1e-6)


def test_frames_take_in_the_division_by_255_that_the_json_does_not_mention(directory, tmp_path):
    statistics = directory.pre_statistics
    arrays = arrays_of(directory.write(tmp_path / "p"))
    mean, std = (statistics[f"{CAMERAS[0]}.{name}"].reshape(3).astype(np.float64) for name in ("mean", "std"))
    for raw in (0.0, 127.0, 255.0):
        expected = (raw / 255 - mean) / (std + EPS)
        np.testing.assert_allclose(applied(arrays, f"pre.{CAMERAS[0]}", raw), expected, rtol=2e-6, atol=1e-6)


def test_identity_frames_are_still_divided_by_255(directory, tmp_path):
    arrays = arrays_of(directory.normalise_by(VISUAL="IDENTITY").write(tmp_path / "p"))
    np.testing.assert_allclose(applied(arrays, f"pre.{CAMERAS[0]}", 255.0), np.ones(3), rtol=1e-6)


def test_identity_state_and_action_are_left_alone(directory, tmp_path):
    directory.normalise_by(STATE="IDENTITY", ACTION="IDENTITY")
    for statistics in (directory.pre_statistics, directory.post_statistics):
        for key in [key for key in statistics if key.startswith((STATE, "action"))]:
            del statistics[key]
    path = directory.write(tmp_path / "p")
    policy = lerobot.card(path).policy
    assert [entry.feature for entry in policy.pre] == list(CAMERAS)
    assert policy.post == ()
    assert not [key for key in arrays_of(path) if STATE in key or "action" in key]


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
        lerobot.card(directory.write(tmp_path / "p"))
    assert f"{feature}.{statistic}" in str(caught.value)
    assert directory.normaliser["state_file"] in str(caught.value)


def test_a_missing_action_statistic_names_the_file_of_the_post_processor(directory, tmp_path):
    del directory.post_statistics["action.std"]
    with pytest.raises(StatisticsError, match=r"policy_postprocessor_step_0.*action\.std"):
        lerobot.card(directory.write(tmp_path / "p"))


def test_statistics_for_another_feature_name_are_refused_and_listed(directory, tmp_path):
    renamed = {k.replace("images.top", "images.front"): v for k, v in directory.pre_statistics.items()}
    directory.pre_statistics = renamed
    with pytest.raises(StatisticsError) as caught:
        lerobot.card(directory.write(tmp_path / "p"))
    assert "observation.images.top.mean" in str(caught.value)
    assert "observation.images.front" in str(caught.value)


@pytest.mark.parametrize("shape", [(2,), (4,), (3, 2)])
def test_statistics_of_another_size_are_refused(directory, tmp_path, shape):
    directory.pre_statistics[f"{STATE}.mean"] = np.zeros(shape, np.float32)
    with pytest.raises(StatisticsError, match=STATE):
        lerobot.card(directory.write(tmp_path / "p"))


def test_action_statistics_of_another_size_are_refused(directory, tmp_path):
    for name in ("mean", "std"):
        directory.post_statistics[f"action.{name}"] = np.ones(5, np.float32)
    with pytest.raises(StatisticsError, match="action"):
        lerobot.card(directory.write(tmp_path / "p"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_statistics_that_are_not_finite_are_refused(directory, tmp_path, value):
    directory.pre_statistics[f"{STATE}.mean"] = np.full(3, value, np.float32)
    with pytest.raises(StatisticsError, match="finite"):
        lerobot.card(directory.write(tmp_path / "p"))


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
    before = lerobot.card(path).digest
    directory.pre_statistics[f"{STATE}.mean"] = directory.pre_statistics[f"{STATE}.mean"] + 1
    save_file(directory.pre_statistics, path / "stats/ours.safetensors")
    assert lerobot.card(path).digest != before


@pytest.mark.parametrize("name", ["/etc/stats.safetensors", "../stats.safetensors", "a/../../b.safetensors"])
def test_a_state_file_outside_the_checkpoint_is_refused(directory, tmp_path, name):
    path = directory.write(tmp_path / "p")
    directory.normaliser["state_file"] = name
    (path / "policy_preprocessor.json").write_text(json.dumps(directory.pre))
    with pytest.raises(ProcessorError, match="leaves the checkpoint"):
        lerobot.card(path)


@pytest.mark.parametrize("artifact", ["/abs/tokenizer", "../tokenizer"])
def test_an_artifact_path_outside_the_checkpoint_is_refused(directory, tmp_path, artifact):
    directory.normaliser["artifacts"] = {"tokenizer": artifact}
    with pytest.raises(ProcessorError, match="leaves the checkpoint"):
        lerobot.card(directory.write(tmp_path / "p"))


def test_a_state_file_that_is_not_there_is_named(directory, tmp_path):
    path = directory.write(tmp_path / "p")
    (path / directory.normaliser["state_file"]).unlink()
    with pytest.raises(CheckpointCorruptError, match="policy_preprocessor_step_3"):
        lerobot.card(path)


def test_a_normaliser_without_a_state_file_has_no_statistics(directory, tmp_path):
    path = directory.write(tmp_path / "p")
    del directory.normaliser["state_file"]
    (path / "policy_preprocessor.json").write_text(json.dumps(directory.pre))
    with pytest.raises(StatisticsError, match="state_file"):
        lerobot.card(path)


@pytest.mark.parametrize("pipeline", ["pre", "post"])
def test_a_step_that_nobody_registered_is_named(directory, tmp_path, pipeline):
    getattr(directory, pipeline)["steps"].insert(0, {"registry_name": "smooth_gripper_processor", "config": {}})
    with pytest.raises(ProcessorError, match="'smooth_gripper_processor'"):
        lerobot.card(directory.write(tmp_path / "p"))


@pytest.mark.parametrize("pipeline", ["pre", "post"])
def test_a_step_of_custom_code_is_named(directory, tmp_path, pipeline):
    getattr(directory, pipeline)["steps"].append({"class": "our_lab.steps.Smooth", "config": {}})
    with pytest.raises(ProcessorError, match=r"our_lab\.steps\.Smooth"):
        lerobot.card(directory.write(tmp_path / "p"))


def test_two_normalisers_are_not_silently_one(directory, tmp_path):
    directory.pre["steps"].append(dict(directory.normaliser))
    with pytest.raises(ProcessorError, match="twice"):
        lerobot.card(directory.write(tmp_path / "p"))


def test_a_pipeline_without_a_normaliser_contradicts_a_config_that_asks_for_one(directory, tmp_path):
    path = directory.write(tmp_path / "p")
    directory.pre["steps"] = [s for s in directory.pre["steps"] if s["registry_name"] != "normalizer_processor"]
    (path / "policy_preprocessor.json").write_text(json.dumps(directory.pre))
    with pytest.raises(ProcessorError, match="normalizer_processor"):
        lerobot.card(path)


def test_a_device_step_that_lowers_the_precision_is_refused(directory, tmp_path):
    directory.pre["steps"][2]["config"]["float_dtype"] = "float16"
    with pytest.raises(ProcessorError, match="float16"):
        lerobot.card(directory.write(tmp_path / "p"))


def test_an_unknown_mode_is_refused_by_name(directory, tmp_path):
    with pytest.raises(ProcessorError, match="ZSCORE"):
        lerobot.card(directory.normalise_by(STATE="ZSCORE").write(tmp_path / "p"))


def test_a_rename_map_gives_the_robots_own_names(directory, tmp_path):
    expected = arrays_of(directory.write(tmp_path / "plain"))
    directory.pre["steps"][0]["config"]["rename_map"] = {"observation.images.front": CAMERAS[0]}
    path = directory.write(tmp_path / "renamed")
    policy = lerobot.card(path).policy
    assert [f.name for f in policy.observations] == ["observation.images.front", CAMERAS[1], STATE]
    assert policy.observations[0].tensor == "images_top"
    arrays = arrays_of(path)
    np.testing.assert_array_equal(arrays["pre.observation.images.front.mul"], expected[f"pre.{CAMERAS[0]}.mul"])


def test_a_pipeline_that_is_not_json_is_corrupt(written):
    (written / "policy_preprocessor.json").write_text('{"steps": [')
    with pytest.raises(CheckpointCorruptError, match=r"policy_preprocessor\.json"):
        lerobot.card(written)


@pytest.mark.parametrize("document", ['{"steps": 3}', '{"name": "x"}', '{"steps": [4]}', "[]", "null"])
def test_a_pipeline_of_another_shape_is_refused(written, document):
    (written / "policy_preprocessor.json").write_text(document)
    with pytest.raises(CheckpointError, match=r"policy_preprocessor\.json"):
        lerobot.card(written)


@pytest.mark.parametrize(
    "config", [None, [], {"norm_map": None}, {"norm_map": {"STATE": "MEAN_STD"}, "eps": "small"}, {"norm_map": []}]
)
def test_a_normaliser_with_a_senseless_config_is_refused(directory, tmp_path, config):
    path = directory.write(tmp_path / "p")
    directory.normaliser["config"] = config
    (path / "policy_preprocessor.json").write_text(json.dumps(directory.pre))
    with pytest.raises(CheckpointError, match=r"policy_preprocessor\.json"):
        lerobot.card(path)


def test_half_precision_statistics_are_read_as_numbers(directory, tmp_path):
    expected = arrays_of(directory.write(tmp_path / "full"))
    directory.pre_statistics = {k: v.astype(np.float16) for k, v in directory.pre_statistics.items()}
    found = arrays_of(directory.write(tmp_path / "half"))
    np.testing.assert_allclose(found[f"pre.{STATE}.mul"], expected[f"pre.{STATE}.mul"], rtol=5e-3)


def test_every_mode_is_in_the_fixture():
    assert {statistic for pair in PAIRS.values() for statistic in pair} <= {
        key.rsplit(".", 1)[1] for key in LeRobotDir().pre_statistics
    }
