"""The kinds of error are counted on the density itself, and "90 % sure" means the same to every classifier."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reference.attacks import as_model
from reference.by_hand.model import from_params
from reference.data import Split, toy
from reference.method import losses, network
from reference.method.numerics import softmax
from reference.studies import kinds, measures

SAMPLE = toy.load(3, validation=300, test=300)
EXACT = SAMPLE._replace(test=Split(SAMPLE.test.x.astype(float), SAMPLE.test.y))


def test_the_posterior_as_logits():
    x = np.random.default_rng(0).random((200, 2))
    np.testing.assert_allclose(softmax(kinds.posterior_logits(x)), toy.posterior(x), rtol=1e-9, atol=1e-12)


def test_the_exact_posterior_makes_the_bayes_error():
    found = measures.on_toy(as_model(kinds.posterior_logits), EXACT)
    assert found["error"] == pytest.approx(toy.bayes_error(), abs=1e-4)
    assert found["attacked_I"] + found["attacked_II"] == 1 and found["failed"] == 0
    assert found["attacked_II"] > 0.9


@given(seed=st.integers(0, 2**32 - 1))
def test_the_error_is_that_of_a_large_sample(seed):
    rng = np.random.default_rng(seed)
    W = 5 * rng.standard_normal((2, 3))
    params = [(W, rng.standard_normal(3) - 0.5 * W.sum(axis=0))]
    x, y = toy.sample(rng, 20_000, float)
    wrong = np.mean(network.logits(params, x).argmax(axis=1) != y)
    assume(wrong < 0.9)  # else there may be nothing to attack
    found = measures.on_toy(from_params(params), EXACT)
    assert abs(wrong - found["error"]) < 5 * np.sqrt(wrong * (1 - wrong) / len(y)) + 1e-3
    assert found["attacked_I"] + found["attacked_II"] + found["failed"] == pytest.approx(1)


def test_an_attack_that_is_never_sure_failed():
    # p stays below 0.9 in the square.
    found = measures.on_toy(from_params([(0.1 * np.eye(2, 3), np.zeros(3))]), EXACT)
    assert (found["failed"], found["attacked_I"], found["attacked_II"], found["length"]) == (1, 0, 0, None)


@given(seed=st.integers(0, 2**32 - 1), temperature=st.floats(0.05, 20))
def test_the_temperature_is_the_likeliest(seed, temperature):
    rng = np.random.default_rng(seed)
    means = np.array([np.mean(m, axis=0) for m in toy.MEANS]) + 0.05 * rng.standard_normal((3, 2))
    linear = [(20 * means.T, -10 * (means**2).sum(axis=1))]  # nearest mean

    def scaled(params, t):
        (W, b) = params[-1]
        return [*params[:-1], (W / t, b / t)]

    found = measures.calibrated(linear, EXACT.validation)
    again = measures.calibrated(scaled(linear, temperature), EXACT.validation)
    x, y = EXACT.validation
    z = network.logits(found, x)
    np.testing.assert_array_equal(z.argmax(axis=1), network.logits(linear, x).argmax(axis=1))
    np.testing.assert_allclose(network.logits(again, x), z, rtol=1e-3)
    likeliest = losses.cross_entropy(z, y)
    assert all(losses.cross_entropy(z * t, y) > likeliest for t in (0.9, 1.1))
