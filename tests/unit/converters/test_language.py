"""Language models as policies: one prompt in, one answer out, within what the model was trained on."""

from __future__ import annotations

import numpy as np
import pytest

from edgectl_converters.language import answer_of, context_of, language_policy, language_program, padded, ports_of
from edgectl_protos.domain.errors import CheckpointError
from edgectl_protos.domain.program_checks import check_components, check_program


@pytest.mark.parametrize(("trained", "context", "answer"), [(131_072, 1024, 32), (1024, 1024, 32), (40, 40, 20)])
def test_prompt_and_answer_fit_into_the_context(trained, context, answer):
    assert (context_of(trained), answer_of(context)) == (context, answer)
    policy, program = language_policy("llama", context), language_program(100, context, (7,))
    check_program(policy, program)
    check_components(program, policy, {"model": ports_of(100)})
    shapes = {spec.name: spec.shape for spec in program.tensors}
    assert shapes == {"ids": (context - answer,), "mask": (context - answer,), "logits": (100,), "tokens": (1, answer)}
    assert policy.is_text


def test_a_model_without_an_end_token_answers_in_full_length():
    assert language_program(100, 64, ()).steps[-1].stop_id == -1
    assert language_program(100, 64, (7, 9)).steps[-1].stop_id == 7


def test_a_prompt_is_filled_up_and_one_that_is_too_long_is_refused():
    program = language_program(100, 40, ())
    np.testing.assert_array_equal(padded([5, 6], program), [5, 6] + [0] * 18)
    with pytest.raises(CheckpointError, match="the prompt has 21 tokens; with its answer the model takes 20"):
        padded(range(21), program)
