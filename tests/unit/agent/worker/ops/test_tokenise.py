import sys

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from edgectl_agent.worker.ops.tokenise import tokeniser
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import LoopSpecError, RuntimeMissingError, TokenizerError
from edgectl_protos.domain.program import Tokenise

WORDS = ["pick", "the", "red", "cube", "\n", "Task:", "State:", ";", *map(str, range(-1, 256))]
IDS = {word: at + 1 for at, word in enumerate(WORDS)}
PAD = 99999


@pytest.fixture
def path(tmp_path):
    tokenizer = Tokenizer(models.WordLevel({"?": 0, **IDS}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ", "removed"), pre_tokenizers.Split("\n", "isolated")]
    )
    # Settings of the file that would cut or fill: the step alone says how long a text is.
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=5)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def made(path, *, length=6, shape=None, dtype=DType.INT64, **changes):
    step = Tokenise("tokens", "task", "ids", "mask", "tokenizer.json", PAD, **changes)
    shape = shape or (length,)
    return tokeniser(step, path, TensorSpec("ids", dtype, shape), TensorSpec("mask", DType.BOOL, shape))


def words(ids):
    return [WORDS[at - 1] for at in ids.reshape(-1) if at != PAD]


@pytest.mark.parametrize("dtype", [DType.INT64, DType.INT32])
@pytest.mark.parametrize("shape", [(6,), (1, 6)])
def test_a_text_becomes_ids_and_a_mask_of_fixed_length(path, dtype, shape):
    ids, mask = made(path, shape=shape, dtype=dtype)("pick the red cube", None)
    assert (ids.shape, ids.dtype, mask.shape, mask.dtype) == (shape, dtype.value, shape, np.bool_)
    assert ids.reshape(-1).tolist() == [1, 2, 3, 4, PAD, PAD]
    assert mask.reshape(-1).tolist() == [True] * 4 + [False] * 2


def test_another_text_leaves_nothing_of_the_one_before(path):
    convert = made(path)
    for text in ("pick the red cube", "red cube", "pick the red cube", ""):
        ids, mask = convert(text, None)
        assert words(ids) == text.split()
        assert mask.sum() == len(text.split())


def test_ids_have_the_same_place_every_time(path):
    convert = made(path)
    assert convert("pick", None)[0] is convert("the red", None)[0]


def test_a_suffix_is_appended_where_the_text_does_not_end_with_it(path):
    convert = made(path, suffix="\n")
    assert words(convert("pick", None)[0]) == words(convert("pick\n", None)[0]) == ["pick", "\n"]


def test_a_template_takes_the_text_cleaned_and_the_state_in_bins(path):
    convert = made(path, length=12, template="Task: {text} State: {state} ;", state="state")
    state = np.float32([[-1, -0.999, 0, 0.5, 1]])
    found = words(convert("  pick_the\nred ", state)[0])
    bins = [str(np.digitize(value, np.linspace(-1, 1, 257)[:-1]) - 1) for value in state[0]]
    assert bins == ["0", "0", "128", "192", "255"]
    assert found == ["Task:", "pick", "the", "red", "State:", *bins, ";"]


def test_the_same_text_with_another_state_is_another_prompt(path):
    convert = made(path, template="{text} {state}", state="state")
    assert words(convert("pick", np.float32([0]))[0]) == ["pick", "128"]
    assert words(convert("pick", np.float32([-2]))[0]) == ["pick", "-1"]


def test_braces_in_an_instruction_mean_nothing(path):
    convert = made(path, template="{text} {state}", state="state")
    ids, _ = convert("pick {state}", np.float32([0]))
    # Not put in for twice: a word that the tokenizer does not know.
    assert ids[:3].tolist() == [IDS["pick"], 0, IDS["128"]]


def test_a_text_that_is_too_long_is_refused_and_never_cut(path):
    convert = made(path, length=3)
    convert("pick the red", None)
    with pytest.raises(LoopSpecError, match="has 4 tokens, the policy takes 3") as caught:
        convert("pick the red cube", None)
    assert "--task" in caught.value.hint
    assert words(convert("red", None)[0]) == ["red"]


@pytest.mark.parametrize("data", [b"", b"{}", b'{"version": "1.0"', None])
def test_a_file_that_is_no_tokenizer_is_refused_by_name(path, data):
    if data is None:
        path.unlink()
    else:
        path.write_bytes(data)
    with pytest.raises(TokenizerError, match=r"tokenizer\.json is not a tokenizer"):
        made(path)


def test_a_device_without_tokenizers_says_what_installs_it(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(RuntimeMissingError, match="tokenizers is not installed") as caught:
        made(path)
    assert "edgectl-agent[language]" in caught.value.hint
