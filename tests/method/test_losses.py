"""Every loss term: its value example by example, its gradient, its invariances and its domain."""

import numpy as np
import pytest
import scipy.special
from autograd import make_vjp
from calculus import assert_gradient, assert_like
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import MARGIN, seeds

from reference.method import losses as L


def logistic(v):
    return np.logaddexp(0, v)


def log_p(z):
    return z - scipy.special.logsumexp(z)


def hinge(z, y, gaps, epsilon):
    return max(max(0, 1 + z[j] - z[y] + epsilon * gaps[j]) for j in range(len(z)) if j != y)


# name: (the loss of the float arrays and the batch, the loss of example i, the float arrays)
# z, z0: logits; p: probabilities; g: gradients or gaps; x: images; S: changed.
LOSSES = {
    "cross_entropy": (lambda b, z: L.cross_entropy(z, b.y), lambda b, i, z: -log_p(z)[b.y[i]], "z"),
    "kl_divergence": (
        lambda b, a, z: L.kl_divergence(a, z),
        lambda b, i, a, z: scipy.special.rel_entr(np.exp(log_p(a)), np.exp(log_p(z))).sum(),
        "z0 z",
    ),
    "real_loss": (lambda b, z: L.real_loss(z, b.y), lambda b, i, z: logistic(-z[b.y[i]]), "z"),
    "fake_loss": (lambda b, z: L.fake_loss(z, b.y), lambda b, i, z: logistic(z[b.y[i]]), "z"),
    "gradient_penalty": (
        lambda b, g: L.gradient_penalty(g),
        lambda b, i, g: (np.linalg.norm(g) - 1) ** 2,
        "g",
    ),
    "fool_loss": (lambda b, z: L.fool_loss(z, b.y, b.S), lambda b, i, z: logistic(-z[b.y[i]]), "z"),
    "cycle_loss": (
        lambda b, x, g: L.cycle_loss(x, g, b.S),
        lambda b, i, x, g: ((x - g) ** 2).sum(),
        "x g",
    ),
    "cycle_loss, as printed": (
        lambda b, x, g: L.cycle_loss(x, g, b.S, squared=False),
        lambda b, i, x, g: np.linalg.norm(x - g),
        "x g",
    ),
    "margin_hinge": (
        lambda b, z, gaps: L.margin_hinge(z, b.y, gaps, 0.7),
        lambda b, i, z, gaps: hinge(z, b.y[i], gaps, 0.7),
        "z gaps",
    ),
}
OVER_S = {"fool_loss", "cycle_loss", "cycle_loss, as printed"}
SHIFT_FREE = {"cross_entropy", "kl_divergence", "margin_hinge"}
table = pytest.mark.parametrize("name", LOSSES)


class Batch:
    """One random batch for all losses."""

    def __init__(self, seed, n, k, d=4):
        rng = np.random.default_rng(seed)
        self.y, self.S, self.n, self.k = rng.integers(k, size=n), rng.random(n) < 0.6, n, k
        self.z, self.z0 = 2 * rng.standard_normal((2, n, k))
        self.p = rng.dirichlet(np.ones(k) * 3, n) + 0.05
        self.g, self.x = rng.standard_normal((2, n, d))
        self.gaps = rng.random((n, k)) + 0.1

    def arrays(self, name):
        return [getattr(self, a) for a in LOSSES[name][2].split()]

    def take(self, rows):
        other = object.__new__(Batch)
        other.__dict__.update({k: v[rows] if np.ndim(v) else v for k, v in vars(self).items()})
        return other


def evaluate(name, b, arrays=None):
    return LOSSES[name][0](b, *(b.arrays(name) if arrays is None else arrays))


batches = st.builds(Batch, seeds, st.integers(1, 5), st.integers(2, 5))


@table
@given(b=batches)
def test_value_is_the_mean_over_examples(name, b):
    _, of_example, _ = LOSSES[name]
    values = [of_example(b, i, *(a[i] for a in b.arrays(name))) for i in range(b.n)]
    kept = np.array(values)[b.S] if name in OVER_S else values
    expected = np.mean(kept) if len(kept) else 0
    np.testing.assert_allclose(evaluate(name, b), expected, rtol=1e-11, atol=1e-14)


@table
@given(b=batches)
def test_gradient(name, b):
    if name == "margin_hinge":  # ties of the max, and the hinge itself
        terms = 1 + b.z - b.z[np.arange(b.n), b.y][:, None] + 0.7 * b.gaps
        terms[np.arange(b.n), b.y] = -9
        ordered = np.sort(terms, axis=1)
        assume(np.abs(ordered[:, -1]).min() > MARGIN and np.diff(ordered[:, -2:]).min() > MARGIN)
    assume(name not in OVER_S or b.S.any())  # the empty S has its own test
    at = b.arrays(name)
    pull, _ = make_vjp(lambda a: evaluate(name, b, a))(at)
    assert_gradient(pull(1.0), lambda a: evaluate(name, b, a), at)


@table
@given(b=batches, seed=seeds)
def test_order_and_repetition_of_examples_do_not_matter(name, b, seed):
    order = np.random.default_rng(seed).permutation(b.n)
    for rows in (order, np.tile(order, 2)):
        np.testing.assert_allclose(evaluate(name, b.take(rows)), evaluate(name, b), rtol=1e-11)


@pytest.mark.parametrize("name", sorted(SHIFT_FREE))
@given(b=batches, c=st.floats(-30, 30))
def test_a_constant_added_to_all_logits_does_not_matter(name, b, c):
    names = LOSSES[name][2].split()
    shifted = [a + c if w in ("z", "z0") else a for w, a in zip(names, b.arrays(name), strict=True)]
    np.testing.assert_allclose(evaluate(name, b, shifted), evaluate(name, b), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["real_loss", "fake_loss", "fool_loss"])
@given(b=batches)
def test_the_critics_outputs_are_independent(name, b):
    """Unlike logits: a constant changes the loss, and the other classes' scores do not."""
    assume(b.S.any())
    (z,) = b.arrays(name)
    others = z + 5 * (np.arange(b.k) != b.y[:, None])
    assert evaluate(name, b, [others]) == evaluate(name, b)
    assert abs(evaluate(name, b, [z + 1]) - evaluate(name, b)) > 1e-3


@table
@given(b=batches, seed=seeds)
def test_names_of_classes_do_not_matter(name, b, seed):
    order = np.random.default_rng(seed).permutation(b.k)
    names = LOSSES[name][2].split()
    renamed = [a[:, order] if w in ("z", "z0", "p", "gaps") else a for w, a in zip(names, b.arrays(name), strict=True)]
    before = evaluate(name, b)
    b.y = np.argsort(order)[b.y]
    np.testing.assert_allclose(evaluate(name, b, renamed), before, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("name", sorted(OVER_S))
def test_an_empty_S_gives_zero_with_zero_gradient(name):
    b = Batch(0, 3, 3)
    b.S[:] = False
    pull, value = make_vjp(lambda a: evaluate(name, b, a))(b.arrays(name))
    assert value == 0
    assert all(not g.any() for g in pull(1.0))


@table
@pytest.mark.parametrize("n, k", [(1, 2), (4, 3)])
@pytest.mark.parametrize("S", [True, False])
def test_float32_stays_float32(name, n, k, S):
    b = Batch(1, n, k)
    b.S[:] = S
    at = [a.astype(np.float32) for a in b.arrays(name)]
    for i, a in enumerate(at):  # one by one: autograd's lists cast their entries back, which would hide a promotion
        pull, value = make_vjp(lambda v, i=i: evaluate(name, b, [*at[:i], v, *at[i + 1 :]]))(a)
        assert value.dtype == np.float32
        assert_like(pull(np.float32(1)), a)


# Kinks, signs and limits


@given(b=batches)
def test_divergence_is_nonnegative_and_zero_between_equals(b):
    assert L.kl_divergence(b.z0, b.z) > 0
    assert abs(L.kl_divergence(b.z, b.z)) < 1e-15


def test_divergence_of_a_probability_that_underflowed_is_finite():
    value = L.kl_divergence(np.array([[0.0, 2000.0]]), np.array([[0.0, 1000.0]]))
    assert value == 0
    np.testing.assert_allclose(L.kl_divergence(np.array([[0.0, 1000.0]]), np.array([[2000.0, 0.0]])), 2000)


def test_the_generator_does_not_saturate():
    """Where the critic is sure (D = −30), fool_loss still pulls with slope 1; log(1 − σ) would not pull at all."""
    D, y, S = np.array([[-30.0, 0.0]]), np.array([0]), np.array([True])
    pull, value = make_vjp(lambda z: L.fool_loss(z, y, S))(D)
    np.testing.assert_allclose(value, 30, rtol=1e-12)
    np.testing.assert_allclose(pull(1.0), [[-1, 0]], rtol=1e-12)


def test_the_two_sides_of_the_critics_game():
    """real_loss falls with the score, fake_loss rises, and both are log 2 where the critic does not know."""
    for loss, sign in ((L.real_loss, -1), (L.fake_loss, 1)):
        pull, value = make_vjp(lambda z, loss=loss: loss(z, np.array([1])))(np.zeros((1, 2)))
        np.testing.assert_allclose(value, np.log(2))
        np.testing.assert_allclose(pull(1.0), [[0, sign / 2]])


def test_the_penalty_takes_its_norm_inside_the_mean():
    """Two gradients that cancel, each of length 1: no penalty.  The norm of their mean is 0, its penalty 1."""
    g = np.array([[1.0, 0.0], [-1.0, 0.0]])
    assert L.gradient_penalty(g) == 0
    assert L.gradient_penalty(3 * g) == 4 and L.gradient_penalty(0 * g) == 1


def test_the_hinge_of_a_satisfied_margin_is_flat():
    z, gaps = np.array([[5.0, 0.0, -1.0]]), np.ones((1, 3))
    pull, value = make_vjp(lambda a: L.margin_hinge(a, np.array([0]), gaps, 0.5))(z)
    assert value == 0 and not pull(1.0).any()
    assert L.margin_hinge(z, np.array([0]), gaps, 5.0) == 1 + 0 - 5 + 5


def test_weight_decay_leaves_biases_and_the_last_layer_alone():
    rng = np.random.default_rng(0)
    params = [(rng.standard_normal((m, n)), np.ones(n)) for m, n in ((3, 4), (4, 2), (2, 2))]
    expected = 0.5 * ((params[0][0] ** 2).sum() + (params[1][0] ** 2).sum())
    pull, value = make_vjp(L.weight_decay)(params)
    np.testing.assert_allclose(value, expected)
    (gW0, gb0), (gW1, gb1), (gW2, gb2) = pull(1.0)
    np.testing.assert_array_equal(gW0, params[0][0])
    np.testing.assert_array_equal(gW1, params[1][0])
    assert not any(g.any() for g in (gb0, gb1, gW2, gb2))
    assert L.weight_decay(params[-1:]) == 0, "a linear classifier has no hidden layer"


# The margin loss of a linear classifier is its robust optimum


@given(st.integers(2, 4), st.integers(1, 4), st.sampled_from(["l2", "linf"]), seeds)
def test_margin_hinge_of_a_linear_classifier_is_the_worst_case_over_the_ball(k, d, geometry, seed):
    """max over ‖r‖ ≤ ε of the plain hinge at x + r, searched at the known worst points and at 300 random ones."""
    rng = np.random.default_rng(seed)
    W, b, x, y, epsilon = rng.standard_normal((d, k)), rng.standard_normal(k), rng.random((1, d)), rng.integers(k), 0.6
    difference = (W - W[:, [y]]).T  # (k, d)
    order, unit = (2, None) if geometry == "l2" else (1, np.inf)

    def plain(r):
        z = (x + r) @ W + b
        return np.maximum(0, np.delete(1 + z - z[:, [y]], y, axis=1)).max(axis=1)

    random = rng.standard_normal((300, d))
    random *= epsilon * rng.random((300, 1)) / np.linalg.norm(random, ord=unit, axis=1, keepdims=True)
    known = np.sign(difference)
    if geometry == "l2":
        known = difference / np.maximum(np.linalg.norm(difference, axis=1, keepdims=True), 1e-300)
    gaps = np.linalg.norm(difference, ord=order, axis=1)[None]
    ours = L.margin_hinge(x @ W + b, np.array([y]), gaps, epsilon)
    assert plain(random).max() <= ours + 1e-12, "nothing in the ball is worse"
    np.testing.assert_allclose(plain(epsilon * known).max(), ours, atol=1e-12, err_msg="and it is attained")
