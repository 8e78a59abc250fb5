"""On a linear classifier of two classes every perturbation of the study is known; and what training on eq. 1 does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.by_hand import steps as by_hand
from reference.experiment.state import State
from reference.method import network
from reference.method.numerics import predict
from reference.method.risk import example_losses, worst_perturbation
from reference.method.settings import AdversarialTraining
from reference.method.targets import RunningConfidence
from reference.studies import maximum


@given(st.integers(0, 1000))
def test_on_a_linear_classifier_all_but_chance_reach_the_maximum(seed):
    rng = np.random.default_rng(seed)
    params = [(rng.standard_normal((6, 2)), rng.standard_normal(2))]
    x = rng.random((8, 6))
    y = predict(network.logits(params, x))
    state = State(params, None, RunningConfidence.start(2, x.dtype), rng)
    record, each, shared = maximum.search(state, x, y, 3, seed)
    w = params[0][0][:, 1] - params[0][0][:, 0]
    worst = np.where(y == 0, 1, -1)[:, None] * w / np.linalg.norm(w)
    np.testing.assert_allclose(each, worst, atol=1e-9)
    for name in ("fast gradient", "linearised margin", "critic's attack", "5 steps", "virtual, better sign"):
        np.testing.assert_allclose(record[name], 1, rtol=1e-6, err_msg=name)
    assert record["virtual direction"] < 1 + 1e-9 and record["random"] < 1
    assert record["clean"] <= record["shared"] <= record["each"] * (1 + 1e-12)
    if np.ptp(y):  # the two classes' worst perturbations point opposite ways
        assert record["shared"] < record["each"]
    assert shared.shape == (1, 6)


@pytest.mark.parametrize("shared", (False, True))
def test_training_takes_the_gradient_at_the_worst_perturbation(shared):
    rng = np.random.default_rng(0)
    params = network.init(rng, (5, 7, 3), np.float64)
    x, y = rng.random((6, 5)), np.arange(6) % 3
    terms, gradient = maximum.on_equation_1(shared).adversarial_training(params, x, y, AdversarialTraining(0.8, "l2"))
    r = worst_perturbation(lambda v: network.logits(params, v), x, y, 0.8, shared, maximum.STEPS)
    assert len(r) == (1 if shared else 6)

    def risk(params):
        return example_losses(lambda v: network.logits(params, v), x + r, y).mean()

    np.testing.assert_allclose(terms["cross_entropy"][1], risk(params))
    (V, b), last = params
    step = 1e-6 * rng.standard_normal(V.shape)
    change = risk([(V + step, b), last]) - risk([(V - step, b), last])
    np.testing.assert_allclose(change, 2 * np.sum(step * gradient[0][0]), rtol=1e-5)
    assert by_hand.adversarial_training is not maximum.on_equation_1(shared).adversarial_training
