"""Networks that share layers: their steps against the same by hand; calibration and detection by their definitions."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from calculus import adversary_critic_by_hand, assert_gradient, critic_by_hand, surrogate
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import MARGIN, problems

from reference.by_hand import steps as by_hand_steps
from reference.data import Digits, Split, load
from reference.experiment import train as training_loop
from reference.method import critic as method_critic
from reference.method import network, objectives
from reference.method.numerics import pick
from reference.method.settings import AdversaryCritic, Generator, Training
from reference.studies import critic

SETTINGS = AdversaryCritic(critic_weight=0.7, cycle_weight=0.3, generator=Generator(iterations=3), hidden=(12, 9))
RELU = replace(SETTINGS, slope=0.0)
SHORT = Training(hidden=(12, 9), batch=40, epochs=2, learning_rate=2e-3, halve_every=1)
shared = pytest.mark.parametrize("layout", ["trunk", "one"])


def few():
    data = load(14)
    return Digits(*(Split(x[:130], y[:130]) for x, y in data[:3]), *data[3:])


def share(q, layout):
    """The problem with a critic that has layers of the classifier, and noise of their sizes; θ, and which are whose."""
    rng = np.random.default_rng(0)
    f, D = critic.layouts(len(q.params))[layout]
    theta = q.params + [(rng.standard_normal(W.shape) / 2, rng.standard_normal(b.shape) / 2) for W, b in q.params]
    noise = [[rng.standard_normal((len(q.x), len(W))) / 4 for W, _ in q.params] for _ in range(2)]
    return replace(q, critic=[theta[l] for l in D], noise_real=noise[0], noise_fake=noise[1]), theta, f, D


@shared
@settings(max_examples=15)
@given(q=problems())
def test_the_classifier_step_of_shared_layers_by_hand(layout, q):
    """The critic's copy of the layers is a constant; the classifier's is what the gradient is taken by."""
    q, theta, f, D = share(q, layout)
    q = replace(q, targets=objectives.choose_targets(q.params, q.x, SETTINGS.generator))
    step = by_hand_steps.ClassifierStep([theta[l] for l in f], q.x)
    step.attack(q.running, SETTINGS.generator)
    assume(np.any(step.taken_for != step.predicted))

    def by_hand(held, params):
        return np.dot([1, 0.7, 0.3], list(adversary_critic_by_hand(held, params, q, SETTINGS, slope=0).values()))

    replay, value, held = surrogate(by_hand, q.params)
    assume(held.margin > MARGIN and abs(value) < 1e4)
    terms, gradient = step.gradient(q.y, [theta[l] for l in D], q.noise_fake, RELU)
    np.testing.assert_allclose(sum(w * v for w, v in terms.values()), value, rtol=1e-9)
    assert_gradient(gradient, replay, q.params)


@shared
@settings(max_examples=15)
@given(q=problems())
def test_the_critic_step_of_shared_layers_by_hand(layout, q):
    q, _, _, _ = share(q, layout)

    def by_hand(held, params):
        return critic_by_hand(held, params, q, q.start, q.targets, 2.0, slope=0)

    replay, value, held = surrogate(by_hand, q.critic)
    assume(held.margin > MARGIN)
    attacked = q.x, q.y, q.start, q.targets, q.noise_real, q.noise_fake
    terms, gradient = by_hand_steps.critic_step(q.critic, *attacked, replace(RELU, penalty_weight=2.0))
    np.testing.assert_allclose(sum(w * v for w, v in terms.values()), value, rtol=1e-9)
    assert_gradient(gradient, replay, q.critic)


def test_networks_apart_are_trained_as_the_method_trains_them():
    data = few()
    f, D, running, history = critic.train(data, SETTINGS, SHORT, 3, "apart")
    state = training_loop.train(data, SETTINGS, SHORT, 3)
    for ours, theirs in ((f, state.params), (D, state.critic)):
        for layer, same in zip(ours, theirs, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(layer, same, strict=True))
    assert np.array_equal(running.value, state.running.value)
    for record, same in zip(history, state.history[1:], strict=True):
        assert np.allclose([record[name] for name in record], [same[name] for name in record], rtol=1e-6)


@shared
def test_shared_layers_are_moved_by_both_steps(layout):
    """One of the two learning rates is as good as 0: then its own layers alone stay."""
    data, still = few(), 1e-30
    once = replace(SHORT, pretrain_epochs=0, epochs=1)
    begin = critic.train(data, RELU, replace(once, epochs=0), 0, layout)
    fixed_f = critic.train(data, RELU, replace(once, learning_rate=still), 0, layout)
    fixed_D = critic.train(data, replace(RELU, critic_learning_rate=still), once, 0, layout)
    both = critic.train(data, RELU, once, 0, layout)

    def moved(after):
        return [[not np.allclose(W, V) for (W, _), (V, _) in zip(after[i], begin[i], strict=True)] for i in (0, 1)]

    heads = {"trunk": (False, False), "one": (True, True)}[layout]
    assert moved(fixed_f) == [[True, True, heads[0]], [True, True, True]]
    assert moved(fixed_D) == [[True, True, True], [True, True, heads[1]]]
    assert moved(both) == [[True] * 3] * 2
    for f, D, _, _ in (fixed_f, fixed_D, both):
        common = len(f) - (layout == "trunk")
        assert all(f[l] is D[l] for l in range(common)) and (f[-1] is D[-1]) == (layout == "one")


confidences = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


@given(confidences, st.integers(1, 20))
def test_calibration_error_by_its_definition(found, bins):
    confidence, right = np.array([c for c, _ in found]), np.array([r for _, r in found])
    error, edges = 0.0, np.arange(bins + 1) / bins
    assume(np.abs(confidence[:, None] - edges[1:-1]).min(initial=1) > 1e-9)
    for low, high in zip(edges, edges[1:], strict=False):
        inside = (confidence >= low) & (confidence < high) | (confidence == high) & (high == 1)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    np.testing.assert_allclose(critic.calibration_error(confidence, right, bins), error, atol=1e-12)


numbers = st.lists(st.integers(-4, 4), min_size=1, max_size=12)


@given(numbers, numbers)
def test_auc_is_the_share_of_pairs_in_order(clean, attacked):
    a, b = np.array(clean, float), np.array(attacked, float)
    pairs = np.mean((a[:, None] > b) + 0.5 * (a[:, None] == b))
    np.testing.assert_allclose(critic.auc(a, b), pairs)
    np.testing.assert_allclose(critic.auc(b, a), 1 - pairs)


def test_the_roc_curve_has_the_area_that_is_printed():
    """Of two networks on random weights: the trapezoidal area is within a step of the grid."""
    data = few()
    f, D, _, _ = critic.train(data, RELU, replace(SHORT, epochs=1), 0, "apart")
    scores = partial(method_critic.scores, slope=RELU.slope)
    found = critic.as_detector(f, D, data, 130, scores)
    assert abs(np.trapezoid(found["roc"], critic.FALSE) - found["auc_critic_own"]) < 0.02
    z = pick(scores(D, data.test.x), network.logits(f, data.test.x).argmax(axis=1))
    assert np.ptp(z) > 0 and 0.02 < found["auc_critic_own"] < 0.98
