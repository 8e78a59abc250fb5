"""The checklist finds a hidden gradient out, and its own attacks are as strong as they claim to be."""

import numpy as np
import pytest

from reference.attacks import AttackWarning, Model, projected_gradient
from reference.by_hand.model import from_params
from reference.method.numerics import one_hot, predict
from reference.studies import masking

RNG = np.random.default_rng(0)
W = RNG.standard_normal((6, 3))
LINEAR = [(W, -0.5 * W.sum(axis=0))]  # its boundaries meet in the middle of the box
MODEL = from_params(LINEAR)
X = 0.5 + 0.1 * RNG.standard_normal((40, 6))
Y = predict(MODEL.logits(X))


def exact_distances():
    """‖r‖ (n,) to the nearest boundary of the linear classifier, in closed form."""
    z, rows = MODEL.logits(X), np.arange(len(X))
    widths = np.linalg.norm(W[:, Y].T[:, :, None] - W, axis=1) + one_hot(Y, 3, float)
    distances = (z[rows, Y][:, None] - z) / widths
    distances[rows, Y] = np.inf
    return distances.min(axis=1)


def test_the_decision_attack_comes_near_to_the_boundary_and_never_before_it():
    found, exact = masking.by_decision(MODEL.logits, X, Y, np.random.default_rng(1)), exact_distances()
    assert (found >= exact * (1 - 1e-6)).all()
    assert np.median(found / exact) < 1.01 and np.mean(found / exact < 1.1) >= 0.8  # some go to the farther boundary


def test_the_decision_attack_sees_nothing_but_decisions():
    seen = masking.by_decision(MODEL.logits, X, Y, np.random.default_rng(1))
    hidden = masking.by_decision(lambda x: one_hot(predict(MODEL.logits(x)), 3, float), X, Y, np.random.default_rng(1))
    np.testing.assert_array_equal(seen, hidden)


def test_images_that_are_wrong_and_images_that_have_no_start():
    wrong = masking.by_decision(MODEL.logits, X, (Y + 1) % 3, np.random.default_rng(1))
    assert (wrong == 0).all()
    alone = masking.by_decision(MODEL.logits, X[Y == 0], Y[Y == 0], np.random.default_rng(1))
    assert np.isinf(alone).all()  # all are of one class


def test_a_saturated_loss_hides_the_gradient_from_cross_entropy_alone():
    loud = [(1e6 * weights, 1e6 * biases) for weights, biases in LINEAR]
    model = from_params(loud)
    assert not masking.descend(masking.by_cross_entropy(model), X, Y).success.any()
    assert masking.descend(model, X, Y).success.all()
    assert masking.descend(masking.by_cross_entropy(MODEL), X, Y).success.all()


def test_averaging_over_noise_sees_through_a_rugged_gradient():
    """cos is added to the logit of class 0, too low to move the boundary much, too steep for its slope to be of use."""
    waves = 400 * np.eye(6)

    def rugged(x):
        z, pull_back = MODEL.linearise(x)
        bump = np.eye(3)[0] * 0.02 * np.cos(x @ waves).sum(axis=1, keepdims=True)
        slope = -0.02 * np.sin(x @ waves) @ waves.T
        return z + bump, lambda v: pull_back(v) + v[:, :1] * slope

    model = Model(lambda x: rugged(x)[0], rugged)
    radius = 1.3 * exact_distances().max()
    plain = projected_gradient(model, X, ("true", Y), radius, restarts=1).success
    with pytest.warns(AttackWarning):  # a mean of gradients is no gradient of these logits
        mended = projected_gradient(masking.averaged(model, RNG), X, ("true", Y), radius, restarts=1).success
    assert mended.mean() > plain.mean() + 0.2
    _, smooth = masking.averaged(MODEL, RNG).linearise(X)
    np.testing.assert_allclose(smooth(one_hot(Y, 3, float)), W[:, Y].T, rtol=1e-6)
    np.testing.assert_array_equal(masking.averaged(MODEL, RNG).logits(X), MODEL.logits(X))
