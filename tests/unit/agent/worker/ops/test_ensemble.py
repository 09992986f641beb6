import numpy as np
import pytest

from edgectl_agent.worker.ops.ensemble import TemporalEnsemble


def naive(chunks, coefficient):
    """For each tick the mean over every chunk that predicted it, all of them remembered, in float64."""
    length = len(chunks[0])
    for tick in range(len(chunks)):
        # The oldest first: the chunk of tick t predicts t .. t + length - 1.
        known = [chunks[at][tick - at] for at in range(max(0, tick - length + 1), tick + 1)]
        weights = np.exp(-coefficient * np.arange(len(known)))
        yield sum(w * k for w, k in zip(weights, known, strict=True)) / weights.sum()


@pytest.mark.parametrize("coefficient", [0.01, 0.0, 1.5, -0.5])
@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("inner", [(3,), (), (2, 2)])
def test_an_action_is_the_weighted_mean_of_all_predictions_for_its_tick(coefficient, length, inner):
    chunks = np.random.default_rng(0).standard_normal((17, length, *inner)).astype(np.float32)
    ensemble = TemporalEnsemble(length, coefficient)
    for chunk, expected in zip(chunks, naive(chunks.astype(float), coefficient), strict=True):
        found = ensemble(chunk)
        assert found.shape == (1, *inner)
        np.testing.assert_allclose(found[0], expected, atol=1e-5)


def test_a_chunk_is_neither_kept_nor_changed():
    chunk = np.ones((3, 2), np.float32)
    ensemble = TemporalEnsemble(3, 0.1)
    ensemble(chunk)
    assert (chunk == 1).all()
    # A graph gives its next chunk in the same array.
    chunk[:] = 4
    weights = np.exp([0, -0.1])
    np.testing.assert_allclose(ensemble(chunk), [[(weights @ [1, 4]) / weights.sum()] * 2], rtol=1e-6)


def test_after_a_reset_nothing_is_remembered():
    ensemble = TemporalEnsemble(3, 0.01)
    for value in (1, 2, 3):
        ensemble(np.full((3, 2), value, np.float32))
    ensemble.reset()
    assert (ensemble(np.full((3, 2), 9, np.float32)) == 9).all()
