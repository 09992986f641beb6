"""What a program says about itself."""

from __future__ import annotations

from edgectl_protos.domain.program import Generate, Program, flat_steps
from edgectl_testkit.checked_program import PROGRAM


def test_components_files_and_noise_are_found_also_inside_loops():
    assert PROGRAM.components == ("vision", "prefix", "expert")
    assert PROGRAM.files == ("arrays.npz", "tokenizer.json")
    assert PROGRAM.noise == ("x",)
    assert {found.id: passes for found, passes in flat_steps(PROGRAM.steps)}["step"] == 10


def test_a_component_that_generates_is_one_of_the_components():
    assert Program((), (Generate("say", "decoder", "ids", "tokens", 2),), "tokens").components == ("decoder",)
