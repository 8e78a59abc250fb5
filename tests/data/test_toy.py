"""The toy problem's density is what its sample follows, and the kinds of error are told as defined."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from reference.data import toy
from reference.errors import InputError


def test_densities_integrate_to_one_on_the_square_and_vanish_outside():
    np.testing.assert_allclose(toy.densities(toy.midpoints()).mean(axis=0), 1, atol=1e-5)
    np.testing.assert_array_equal(toy.densities([[-0.01, 0.5], [0.5, 1.01]]), 0)


def test_density_of_one_component_against_scipy():
    inside = [[0.3, 0.5], [0.36, 0.5], [0.9, 0.1]]
    expected = multivariate_normal((0.36, 0.5), 0.07**2).pdf(inside)
    np.testing.assert_allclose(toy.densities(inside)[:, 1], expected, rtol=1e-5)


def test_posterior_is_bayes_rule():
    x = np.random.default_rng(0).random((100, 2))
    p = toy.posterior(x)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    np.testing.assert_allclose(p[:, 0] * toy.densities(x)[:, 1], p[:, 1] * toy.densities(x)[:, 0])
    np.testing.assert_array_equal(toy.bayes_classes(x), p.argmax(axis=1))


def test_sample_follows_the_density():
    x, y = toy.sample(np.random.default_rng(0), 30_000, float)
    assert x.min() >= 0 and x.max() <= 1
    np.testing.assert_allclose(np.bincount(y) / len(y), 1 / 3, atol=4 * np.sqrt(2 / 9 / len(y)))
    cells, grid = 5, toy.midpoints(200)
    for k in range(3):
        found = np.histogram2d(*x[y == k].T, bins=cells, range=[[0, 1]] * 2)[0] / np.sum(y == k)
        weights = toy.densities(grid)[:, k] / len(grid)
        expected = np.histogram2d(*grid.T, bins=cells, range=[[0, 1]] * 2, weights=weights)[0]
        assert (np.abs(found - expected) <= 5 * np.sqrt(expected / np.sum(y == k)) + 1e-3).all()


def test_bayes_error_agrees_with_monte_carlo_and_with_a_finer_grid():
    x, y = toy.sample(np.random.default_rng(1), 40_000, float)
    error = toy.bayes_error()
    assert 0.05 < error < 0.10
    assert abs(np.mean(toy.bayes_classes(x) != y) - error) < 4 * np.sqrt(error * (1 - error) / len(y))
    assert abs(error - (1 - toy.densities(toy.midpoints(900)).max(axis=1).mean() / 3)) < 1e-5


@pytest.mark.parametrize("seed", range(5))
def test_no_linear_classifier_beats_bayes(seed):
    rng = np.random.default_rng(seed)
    x = toy.midpoints(300)
    taken_for = (x @ rng.standard_normal((2, 3)) + rng.standard_normal(3)).argmax(axis=1)
    right = toy.densities(x)[np.arange(len(x)), taken_for].mean() / 3
    assert 1 - right >= toy.bayes_error() - 1e-5


def test_the_typical_region_holds_99_percent():
    x, y = toy.sample(np.random.default_rng(2), 30_000, float)
    inside = toy.typicality(x)[np.arange(len(x)), y] >= 1
    for k in range(3):
        assert abs(inside[y == k].mean() - 0.99) < 4 * np.sqrt(0.99 * 0.01 / np.sum(y == k))


@pytest.mark.parametrize(
    ("point", "taken_for", "kind", "why"),
    [
        ((0.20, 0.85), "A", "II", "the middle of one of A's components"),
        ((0.85, 0.15), "C", "II", "the middle of one of C's components"),
        ((0.36, 0.50), "B", "II", "the middle of B"),
        ((0.36, 0.50), "C", "I", "the middle of B is not C"),
        ((0.50, 0.90), "C", "I", "empty space, although C is the likeliest class there"),
        ((0.36, 0.90), "B", "I", "empty space above B"),
        ((0.27, 0.50), "A", "I", "typical of A, but B is likelier"),
        ((0.26, 0.50), "B", "II", "overlap: B is likelier, as A has a third of its mass here"),
        ((1.50, 0.50), "C", "I", "outside the square"),
    ],
)
def test_kinds_of_error(point, taken_for, kind, why):
    assert toy.kind_of_error(np.array([point], np.float32), [toy.CLASS_NAMES.index(taken_for)]) == [kind], why


def test_data_is_what_training_takes_and_a_function_of_the_seed():
    data, again, other = toy.load(1), toy.load(1), toy.load(2)
    assert data.train.x.shape == (1000, 2) and data.train.x.dtype == np.float32 and set(data.test.y) == {0, 1, 2}
    np.testing.assert_array_equal(data.train.x, again.train.x)
    assert not np.array_equal(data.train.x, other.train.x) and not np.array_equal(data.train.x, data.validation.x)


@pytest.mark.parametrize(
    "call",
    [
        lambda: toy.posterior([[2, 2]]),
        lambda: toy.densities([0.5, 0.5]),
        lambda: toy.densities([[0.5, np.nan]]),
        lambda: toy.kind_of_error(np.zeros((2, 2)), [0]),
        lambda: toy.kind_of_error(np.zeros((1, 2)), [3]),
        lambda: toy.sample(np.random.default_rng(0), 0),
    ],
)
def test_wrong_input_is_named(call):
    with pytest.raises(InputError):
        call()
