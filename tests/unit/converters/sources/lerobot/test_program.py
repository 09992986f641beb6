from __future__ import annotations

import pytest

from edgectl_converters.sources.lerobot.card import read_checkpoint
from edgectl_converters.sources.lerobot.program import assemble, entering
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.program import Anchor, Ensemble, Noise, Resize, Tokenise
from edgectl_protos.domain.program_checks import check_program
from edgectl_testkit.lerobot_dirs import diffusion_dir, language_dir


def program_of(checkpoint):
    policy = checkpoint.policy
    chunk = TensorSpec("chunk", DType.FLOAT32, (policy.chunk_size, *policy.action.shape))
    program = assemble(checkpoint, (Noise("core", "chunk"),), (chunk,), "chunk", 7)
    check_program(policy, program)
    return program


def ids(program):
    return [step.id for step in program.steps]


def test_act_normalises_acts_and_unnormalises(written):
    assert ids(program_of(read_checkpoint(written))) == ["norm.top", "norm.wrist", "norm.state", "core", "post"]


def test_an_ensemble_stands_before_the_units_of_the_robot(directory, tmp_path):
    directory.config |= {"temporal_ensemble_coeff": 0.01, "n_action_steps": 1}
    program = program_of(read_checkpoint(directory.write(tmp_path / "p")))
    assert ids(program)[-3:] == ["core", "ensemble", "post"]
    assert next(step for step in program.steps if isinstance(step, Ensemble)).coefficient == 0.01


def test_identity_actions_need_no_last_step(directory, tmp_path):
    program = program_of(read_checkpoint(directory.normalise_by(ACTION="IDENTITY").write(tmp_path / "p")))
    assert (ids(program)[-1], program.action) == ("core", "chunk")


def test_a_history_is_a_leading_dimension(tmp_path):
    checkpoint = read_checkpoint(diffusion_dir().write(tmp_path / "p"))
    program = program_of(checkpoint)
    shapes = [program.tensor(entering(one)).shape for one in checkpoint.processing.observed]
    assert shapes == [(2, 3, 8, 10), (2, 3, 8, 10), (2, 3)]


@pytest.mark.parametrize(
    ("kind", "anchor", "width"),
    [("smolvla", Anchor.BOTTOM_RIGHT, 32), ("pi0", Anchor.CENTRE, 32), ("pi05", Anchor.CENTRE, 3)],
)
def test_frames_are_fitted_and_the_state_is_filled_up(tmp_path, kind, anchor, width):
    checkpoint = read_checkpoint(language_dir(kind).write(tmp_path / "p"))
    program = program_of(checkpoint)
    assert ids(program) == ["resize.top", "norm.top", "resize.wrist", "norm.wrist", "norm.state", "tok", "core", "post"]
    assert program.steps[0].anchor is anchor
    assert isinstance(program.steps[0], Resize)
    assert program.tensor("top.resized").shape == (48, 64, 3)
    assert program.tensor("top.planes").shape == (3, 48, 64)
    assert program.tensor("state.normalised").shape == (width,)


def test_frames_of_the_right_size_are_not_resized(tmp_path):
    directory = language_dir("pi0")
    directory.config["image_resolution"] = [8, 10]
    assert not [name for name in ids(program_of(read_checkpoint(directory.write(tmp_path / "p")))) if "resize" in name]


@pytest.mark.parametrize(
    ("kind", "suffix", "state"), [("smolvla", "\n", ""), ("pi0", "\n", ""), ("pi05", "", "state.normalised")]
)
def test_the_instruction_becomes_tokens_as_the_policy_was_taught(tmp_path, kind, suffix, state):
    program = program_of(read_checkpoint(language_dir(kind).write(tmp_path / "p")))
    step = next(step for step in program.steps if isinstance(step, Tokenise))
    assert (step.suffix, step.state, step.pad_id, step.file) == (suffix, state, 7, "tokenizer.json")
    assert bool(step.template) == (kind == "pi05")
    assert program.tensor(step.ids).shape == program.tensor(step.mask).shape == (48,)
    assert program.files == ("arrays.npz", "tokenizer.json")
