"""The classifier: values, derivatives in parameters and input, initialisation."""

import numpy as np
import pytest
from autograd import make_vjp
from calculus import assert_gradient, assert_like, complex_step, forward, pull_back, surrogate
from hypothesis import given
from strategies import forward_only, problems

from reference.errors import InputError
from reference.method import network


@given(problems())
def test_values(q):
    np.testing.assert_allclose(network.logits(q.params, q.x), forward_only(q.params, q.x), rtol=1e-12)


@given(problems())
def test_gradients_in_parameters_and_input(q):
    G = np.random.default_rng(0).standard_normal((len(q.x), q.k))
    at = (q.params, q.x)
    got = make_vjp(lambda a: network.logits(*a))(at)[0](G)
    assert_gradient(got, lambda a: np.sum(G * network.logits(*a)), at)


@given(problems())
def test_class_gradients_are_the_jacobian(q):
    """Column by column: a complex step in one pixel gives the derivative of every logit by it."""
    J = network.class_gradients(lambda v: network.logits(q.params, v), q.x)
    assert J.shape == (len(q.x), q.k, q.x.shape[1])
    for i, pixel in enumerate(np.eye(q.x.shape[1])):
        column = complex_step(lambda s, pixel=pixel: network.logits(q.params, q.x + s * pixel))
        np.testing.assert_allclose(J[:, :, i], column, rtol=1e-10, atol=1e-13)


@given(problems())
def test_class_gradients_are_differentiable_in_what_the_function_closes_over(q):
    G = np.random.default_rng(0).standard_normal((len(q.x), q.k, q.x.shape[1]))

    def jacobian(a):
        return network.class_gradients(lambda v: network.logits(a[0], v), a[1])

    def by_hand(held, a):
        z, slopes = forward(held, a[0], a[1])
        columns = [pull_back(a[0], slopes, np.eye(q.k)[np.full(len(z), j)]) for j in range(q.k)]
        return np.sum(G * np.stack(columns, axis=1))

    at = (q.params, q.x)
    replay, value, _ = surrogate(by_hand, at)
    np.testing.assert_allclose(np.sum(G * jacobian(at)), value, rtol=1e-10, atol=1e-12)
    # A ReLU network is linear in x between kinks, and so its Jacobian says nothing of x or the biases.
    assert_gradient(make_vjp(jacobian)(at)[0](G), replay, at)


@given(problems())
def test_examples_and_classes_do_not_interact(q):
    z = network.logits(q.params, q.x)
    for i in range(len(q.x)):
        np.testing.assert_allclose(network.logits(q.params, q.x[i : i + 1])[0], z[i], rtol=1e-12, atol=1e-14)
    order = np.random.default_rng(0).permutation(q.k)
    *hidden, (W, b) = q.params
    np.testing.assert_allclose(network.logits([*hidden, (W[:, order], b[order])], q.x), z[:, order], rtol=1e-12)


def test_a_unit_at_zero_passes_no_gradient():
    """relu'(0) = 0 in the network too: the hidden pre-activation is 0 at x = 0."""
    params = [(np.ones((1, 1)), np.zeros(1)), (np.ones((1, 2)), np.zeros(2))]
    assert not network.class_gradients(lambda v: network.logits(params, v), np.zeros((1, 1))).any()


@pytest.mark.parametrize("sizes", [(3, 2), (1, 4, 2), (5, 2, 3, 4)])
@pytest.mark.parametrize("n", [1, 3])
def test_float32_stays_float32(sizes, n):
    params = network.init(np.random.default_rng(0), sizes)
    x = np.ones((n, sizes[0]), np.float32)
    pull, z = make_vjp(lambda a: network.logits(*a))((params, x))
    assert z.dtype == np.float32
    assert_like(pull(z), (params, x))
    assert network.class_gradients(lambda v: network.logits(params, v), x).dtype == np.float32


def test_initialisation_is_he_normal_with_zero_biases():
    params = network.init(np.random.default_rng(0), (50, 400, 200, 10), np.float64)
    assert [W.shape for W, _ in params] == [(50, 400), (400, 200), (200, 10)]
    for W, b in params:
        assert W.dtype == b.dtype == np.float64 and b.shape == W.shape[1:] and not b.any()
        spread = W.std() * (W.shape[0] / 2) ** 0.5
        assert abs(spread - 1) < 4 / (2 * W.size) ** 0.5, "four standard errors of a standard deviation"
        assert abs(W.mean()) < 4 * W.std() / W.size**0.5
        assert (np.abs(W) > 2 * W.std()).mean() > 0.03, "normal, neither uniform nor truncated"
    again = network.init(np.random.default_rng(0), (50, 400, 200, 10), np.float64)
    assert all(np.array_equal(W, V) for (W, _), (V, _) in zip(params, again, strict=True))


@pytest.mark.parametrize("sizes", [(), (3,), (3, 0, 2), (0, 2)])
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(InputError, match="sizes"):
        network.init(np.random.default_rng(0), sizes)
