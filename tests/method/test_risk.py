"""Eq. 1 and the place of its max: exhaustive search, order of the two risks, and ascent against known optima."""

from itertools import product

import numpy as np
import pytest
from autograd import make_vjp
from calculus import assert_gradient
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import MARGIN, network, preactivation_margin, problems, seeds

from reference.method import risk
from reference.method.network import logits


def classifier(params):
    return lambda v: logits(params, v)


def tables(q, seed, m=3, radius=0.5, shared=False):
    """Candidates (m, n, d) or (m, 1, d), and every example's loss under each."""
    n = 1 if shared else len(q.x)
    r = radius * np.random.default_rng(seed).standard_normal((m, n, q.x.shape[1]))
    return r, risk.candidate_losses(classifier(q.params), q.x, q.y, r)


@given(problems(batch=st.integers(1, 4)), seeds)
def test_separable_sets_let_the_max_under_the_sum(q, seed):
    """max over all m^n ways to choose one candidate for each example, of the mean: = mean of the maxima."""
    r, losses = tables(q, seed)
    best = -np.inf
    for choice in product(range(len(r)), repeat=len(q.x)):
        chosen = np.stack([r[m, i] for i, m in enumerate(choice)])
        best = max(best, np.mean(risk.example_losses(classifier(q.params), q.x + chosen, q.y)))
    np.testing.assert_allclose(risk.robust_risk(losses), best, rtol=1e-11)


@given(problems(), seeds)
def test_one_perturbation_for_all_is_no_worse_than_one_for_each(q, seed):
    _, losses = tables(q, seed, shared=True)
    universal, separable = risk.universal_risk(losses), risk.robust_risk(losses)
    assert universal <= separable + 1e-12
    np.testing.assert_allclose(universal, max(np.mean(row) for row in losses), rtol=1e-12)
    if len(q.x) == 1:
        assert universal == separable


def test_the_order_is_strict_where_two_examples_want_opposite_perturbations():
    params = [(np.array([[-1.0, 1.0]]), np.zeros(2))]
    x, y = np.array([[0.5], [0.5]]), np.array([0, 1])
    losses = risk.candidate_losses(classifier(params), x, y, np.array([[[0.5]], [[-0.5]]]))
    expected = np.log1p(np.exp([[2, -2], [0, 0]]))  # margin 2·(x + r), one row a candidate
    np.testing.assert_allclose(losses, expected)
    np.testing.assert_allclose(risk.universal_risk(losses), expected[0].mean())
    np.testing.assert_allclose(risk.robust_risk(losses), expected[0, 0] / 2 + expected[1, 1] / 2)
    assert risk.universal_risk(losses) < risk.robust_risk(losses) - 0.1


@pytest.mark.parametrize("which", [risk.robust_risk, risk.universal_risk])
@given(q=problems(), seed=seeds)
def test_gradients_are_those_of_the_worst_candidates(which, q, seed):
    """Danskin: the choice of the maximum is held fixed."""
    r, losses = tables(q, seed)
    ordered = np.sort(losses if which is risk.robust_risk else losses.mean(axis=1, keepdims=True), axis=0)
    assume(np.diff(ordered[-2:], axis=0).min() > MARGIN)
    assume(min(preactivation_margin(q.params, q.x + s) for s in r) > MARGIN)

    def f(params):
        return which(risk.candidate_losses(classifier(params), q.x, q.y, r))

    pull, value = make_vjp(f)(q.params)
    assert_gradient(pull(np.ones_like(value)), f, q.params)


# Ascent


def two_classes(seed, n=3, d=4):
    rng = np.random.default_rng(seed)
    return network(rng, [d, 2]), rng.random((n, d)), rng.integers(2, size=n)


@given(seeds)
def test_the_worst_perturbation_of_a_two_class_linear_model_is_along_its_weights(seed):
    """ε·w/‖w‖ with w = ∇(f_other − f_y): the loss increases with the other class's lead alone."""
    params, x, y = two_classes(seed)
    w = params[0][0].T[1 - y] - params[0][0].T[y]
    known = 0.3 * w / np.linalg.norm(w, axis=1, keepdims=True)
    np.testing.assert_allclose(risk.worst_perturbation(classifier(params), x, y, 0.3), known, rtol=1e-9)


@given(seeds)
def test_the_worst_shared_perturbation_of_examples_of_one_class_is_along_its_weights_too(seed):
    params, x, _ = two_classes(seed)
    w = params[0][0][:, 1] - params[0][0][:, 0]
    r = risk.worst_perturbation(classifier(params), x, np.zeros(3, int), 0.3, shared=True)
    assert r.shape == (1, 4)
    np.testing.assert_allclose(r[0], 0.3 * w / np.linalg.norm(w), rtol=1e-9)


@pytest.mark.parametrize("shared", [False, True])
@given(q=problems(), radius=st.floats(0.01, 1), seed=seeds)
def test_ascent_stays_in_the_ball_and_never_loses(shared, q, radius, seed):
    f = classifier(q.params)

    def risks(r):
        values = risk.example_losses(f, q.x + r, q.y)
        return values.mean(keepdims=True) if shared else values

    start = np.random.default_rng(seed).standard_normal((1 if shared else len(q.x), q.x.shape[1]))
    start *= radius * 0.9 / np.linalg.norm(start, axis=1, keepdims=True)
    for begin in (None, start):
        r = risk.worst_perturbation(f, q.x, q.y, radius, shared, iterations=5, start=begin)
        assert r.shape == start.shape
        assert np.linalg.norm(r, axis=1).max() <= radius * (1 + 1e-12)
        assert np.all(risks(r) >= risks(0 * r if begin is None else begin) - 1e-12)


@given(q=problems())
def test_without_iterations_or_radius_nothing_moves(q):
    f = classifier(q.params)
    assert not risk.worst_perturbation(f, q.x, q.y, 0.5, iterations=0).any()
    with np.errstate(invalid="raise"):
        assert not risk.worst_perturbation(f, q.x, q.y, 0.0).any()


@given(q=problems())
def test_a_separable_perturbation_does_not_see_its_neighbours(q):
    f = classifier(q.params)
    together = risk.worst_perturbation(f, q.x, q.y, 0.3, iterations=4)
    alone = [risk.worst_perturbation(f, q.x[i : i + 1], q.y[i : i + 1], 0.3, iterations=4) for i in range(len(q.x))]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-8, atol=1e-12)


@given(problems())
def test_float32_stays_float32(q):
    q = q.cast(np.float32)
    f = classifier(q.params)
    r = risk.worst_perturbation(f, q.x, q.y, 0.3, iterations=2)
    losses = risk.candidate_losses(f, q.x, q.y, r[None])
    assert {a.dtype for a in (r, losses, risk.robust_risk(losses), risk.universal_risk(losses))} == {np.dtype("f4")}
