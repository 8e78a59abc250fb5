"""Which class to attack: the nearest by its linearised boundary, or a random one; and with what confidence."""

import numpy as np
import problems
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from reference.attacks.model import as_model
from reference.attacks.nearest import boundaries, nearest_class
from reference.errors import InputError
from reference.method.numerics import softmax
from reference.method.targets import RunningConfidence, random_class

seeds = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from([np.float32, np.float64])


def linear(W, b):
    return lambda x: x @ W + b


@given(seeds, st.integers(1, 4), st.integers(2, 6), dtypes, st.sampled_from(["l2", "linf"]))
def test_nearest_class_of_a_linear_model(seed, d, k, dtype, geometry):
    rng = np.random.default_rng(seed)
    W, b, x = (rng.standard_normal(s).astype(dtype) for s in ((d, k), k, (5, d)))
    labels = rng.integers(0, k, 5)  # any label, not only the predicted one
    chosen = nearest_class(linear(W, b), x, labels, geometry)
    for i, l in enumerate(labels):
        others = [j for j in range(k) if j != l]
        size = [np.linalg.norm(W[:, j] - W[:, l], 2 if geometry == "l2" else 1) for j in others]
        gap = [abs(x[i] @ (W[:, j] - W[:, l]) + b[j] - b[l]) for j in others]
        distance = np.array(gap) / size
        assert chosen[i] != l
        assert distance[others.index(chosen[i])] <= distance.min() * (1 + 1e-4) + 1e-6


def test_the_two_geometries_differ():
    # From class 0 the gaps are 1 and 1.1; the gradients (1, 1) and (1.5, 0) rank differently in L2 and L1.
    W, b = np.array([[0, 1, 1.5], [0, 1, 0]]), np.array([0, -1, -1.1])
    x = np.zeros((1, 2))
    assert nearest_class(linear(W, b), x, [0], "l2") == [1]  # .707 against .733
    assert nearest_class(linear(W, b), x, [0], "linf") == [1]  # .5 against .733
    b = np.array([0, -1, -1.02])
    assert nearest_class(linear(W, b), x, [0], "l2") == [2]  # .707 against .68
    assert nearest_class(linear(W, b), x, [0], "linf") == [1]  # .5 against .68


def test_a_gap_without_a_gradient_is_infinitely_far():
    W, b = np.array([[1.0, 1.0, 0.0]]), np.array([0.0, 0.0, -9.0])  # classes 0 and 1 coincide
    x = np.full((1, 1), 0.5)
    _, distances, pull_back = boundaries(as_model(linear(W, b)), x, np.array([0]))
    assert distances[0].tolist() == [np.inf, np.inf, 9.5]
    assert pull_back(np.array([[-1.0, 0.0, 1.0]])).tolist() == [[-1]]
    assert nearest_class(linear(W, b), x, [0]) == [2]


@pytest.mark.parametrize("label, expected", [(0, 2), (1, 2), (2, 1)])
def test_with_no_gradient_at_all_the_highest_other_logit_is_taken(label, expected):
    assert nearest_class(problems.constant(), np.full((1, 2), 0.5), [label]) == [expected]


@given(seeds, st.integers(2, 6))
def test_permuting_the_classes_permutes_the_nearest(seed, k):
    rng = np.random.default_rng(seed)
    f = problems.random_network(seed, (4, 6, k), float)
    x, labels, order = rng.uniform(size=(5, 4)), rng.integers(0, k, 5), rng.permutation(k)
    distances = boundaries(as_model(f), x, labels)[1]
    two = np.sort(distances, axis=1)[:, :2]
    clear = (two[:, 1] > two[:, 0] * (1 + 1e-9)) & np.isfinite(two[:, 0])
    place = np.argsort(order)  # class j of f is class place[j] of the other
    permuted = nearest_class(lambda v: f(v)[:, order], x, place[labels])
    np.testing.assert_array_equal(permuted[clear], place[nearest_class(f, x, labels)][clear])


@pytest.mark.parametrize("labels", [[0, 4], [-1, 0], [0], [0.0, 1.0]])
def test_wrong_labels_are_named(labels):
    with pytest.raises(InputError, match="labels"):
        nearest_class(problems.constant(4), np.ones((2, 3)), labels)
    with pytest.raises(InputError, match="labels"):
        random_class(np.random.default_rng(0), np.ones((2, 4)), labels)


def test_wrong_geometry_is_named():
    with pytest.raises(InputError, match="l3.*give one of l2, linf"):
        nearest_class(problems.constant(), np.ones((1, 2)), [0], "l3")


@given(seeds, st.integers(2, 6), st.booleans(), dtypes, st.sampled_from([1, 1000, 1e30]))
def test_random_class_is_never_the_label(seed, k, weighted, dtype, scale):
    rng = np.random.default_rng(seed)
    z, labels = (scale * rng.standard_normal((50, k))).astype(dtype), rng.integers(0, k, 50)
    drawn = random_class(rng, z, labels, weighted)
    assert ((0 <= drawn) & (drawn < k) & (drawn != labels)).all()


@pytest.mark.parametrize("label", range(4))
@pytest.mark.parametrize("weighted", [False, True])
def test_random_class_has_the_stated_distribution(label, weighted):
    z, n = np.array([0.3, -1.0, 1.2, 0.0]), 20_000
    rng = np.random.default_rng(label)
    drawn = random_class(rng, np.tile(z, (n, 1)), np.full(n, label), weighted)
    weights = np.delete(softmax(z[None])[0] if weighted else np.ones(4), label)
    counts = np.delete(np.bincount(drawn, minlength=4), label)
    assert chisquare(counts, n * weights / weights.sum()).pvalue > 1e-3


def test_weights_that_underflow_beside_the_label_still_count():
    # e^-2000 is 0 in any float, but the odds of classes 1 and 2 are e : 1 all the same.
    z, n = np.tile(np.array([0, -2000, -2001], np.float32), (20_000, 1)), 20_000
    drawn = random_class(np.random.default_rng(0), z, np.zeros(n, int), weighted=True)
    share = np.bincount(drawn, minlength=3) / n
    np.testing.assert_allclose(share, [0, np.e / (1 + np.e), 1 / (1 + np.e)], atol=0.015)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_running_confidence(dtype):
    state = RunningConfidence.start(3, dtype)
    assert state.value.tolist() == [1, 1, 1]
    state = state.update(np.array([0.5, 0.7, 0.9], dtype), np.array([0, 0, 2]))
    np.testing.assert_allclose(state.value, [0.6, 1, 0.9], rtol=1e-6)  # the batch mean; 1 if absent
    state = state.update(np.array([0.9], dtype), np.array([0]))
    # Zero-debiased with decay ½, the weights of two batches are 1/3 and 2/3.
    np.testing.assert_allclose(state.value, [0.6 / 3 + 0.9 * 2 / 3, 1, 0.9], rtol=1e-6)
    assert state.value.dtype == dtype and state.steps == 2
