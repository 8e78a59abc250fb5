"""The term "unlike the original" against the same by hand, and what a stand-in's labels say of attacked images."""

import numpy as np
import pytest
from calculus import adversary_critic_by_hand, forward, rows, softplus
from hypothesis import given, settings
from judges import SETTINGS, assert_value_and_gradient, attacked_by_hand, mean_over, step_of
from strategies import problems

from reference.attacks import high_confidence
from reference.by_hand.model import from_params
from reference.experiment.standin import StandIn
from reference.method import network, steps
from reference.method.numerics import predict
from reference.studies import measures
from reference.studies.unlike import unlike

WEIGHT = 0.4


def by_hand(held, params, q):
    """The method's three terms + μ·mean_S softplus(D_{argmax f(x)}(x̂)); θ only through the attack."""
    method = np.dot([1, 0.7, 0.3], list(adversary_critic_by_hand(held, params, q, SETTINGS).values()))
    _, original, x_hat, S = attacked_by_hand(held, params, q)
    D = rows(forward(held, q.critic, x_hat, 0.2, q.noise_fake)[0], original)
    return method + WEIGHT * mean_over(S, softplus(D))


@settings(max_examples=25)
@given(problems())
def test_value_and_gradient_by_hand(q):
    assert_value_and_gradient(unlike(WEIGHT), by_hand, q)


@given(problems())
def test_with_weight_0_it_is_the_methods_own(q):
    (terms, gradient), _ = step_of(measures.with_objective(unlike(0.0)), q)
    own = steps.ClassifierStep(q.params, q.x)
    own.attack(q.running, SETTINGS.generator)
    method, expected = own.gradient(q.y, q.critic, q.noise_fake, SETTINGS)
    weight, _ = terms.pop("unlike")
    assert weight == 0 and terms == method
    for layer, same in zip(gradient, expected, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(layer, same, strict=True))


class Says(StandIn):
    """Two classifiers that say 0 to all images, and 1."""

    def __init__(self):
        pass

    def labels(self, x):
        return {f"{j}": np.full(len(x), j) for j in (0, 1)}


@pytest.mark.parametrize("seed", range(3))
def test_what_attacked_images_look_like(seed):
    """Shares of those classified right and attacked with success, the mean over both classifiers."""
    rng = np.random.default_rng(seed)
    params, x = network.init(rng, (6, 8, 3), np.float64), rng.random((40, 6))
    model = from_params([(3 * W, b) for W, b in params])
    before = predict(model.logits(x))
    y = np.where(np.arange(40) % 4 == 0, (before + 1) % 3, before)  # every fourth is classified wrong
    attacked = high_confidence(model, x, ("true", y), 0.8)
    pairs = [
        (old, new)
        for old, new, said, success in zip(y, predict(model.logits(attacked.images)), before, attacked.success)
        if success and said == old
    ]
    assert 0 < len(pairs) <= 30
    expected = [np.mean([(pair[i] == 0) + (pair[i] == 1) for pair in pairs]) / 2 for i in (1, 0)]
    found = measures.looks_like(model, x, y, Says())
    np.testing.assert_allclose([found["looks_like"], found["looks_original"]], expected, rtol=1e-12)


def test_nothing_attacked_looks_like_nothing():
    model = from_params([(np.zeros((2, 2)), np.array([1.0, 0.0]))])
    with pytest.warns(Warning):
        found = measures.looks_like(model, np.ones((3, 2)), np.zeros(3, int), Says())
    assert np.isnan(list(found.values())).all() and len(found) == 2
