"""The critic: values, noise, and gradients of its input gradient."""

import numpy as np
import pytest
from autograd import make_vjp
from calculus import assert_gradient, assert_like, eye, forward, pull_back, rows, surrogate
from hypothesis import given
from hypothesis import strategies as st
from strategies import problems

from reference.method import critic, losses
from reference.method.network import init

noisy = st.booleans()


@given(problems(), noisy)
def test_scores(q, noisy):
    noise = q.noise_real if noisy else None
    at = (q.critic, q.x)
    _, value, _ = surrogate(lambda held, a: forward(held, *a, 0.2, noise)[0], at)
    np.testing.assert_allclose(critic.scores(*at, 0.2, noise), value, rtol=1e-12, atol=1e-14)


@given(problems())
def test_scores_are_differentiable_in_parameters_input_and_noise(q):
    G = np.random.default_rng(0).standard_normal((len(q.x), q.k))
    at = (q.critic, q.x, q.noise_real)

    def scores(a):
        params, x, noise = a
        return critic.scores(params, x, 0.2, noise)

    assert_gradient(make_vjp(scores)(at)[0](G), lambda a: np.sum(G * scores(a)), at)


@given(problems(), noisy)
def test_the_gradient_penalty_is_differentiated_twice(q, noisy):
    """By θ_D, of a function of ∇_x D: the chain rule by hand, then a complex step through it."""
    noise = q.noise_real if noisy else None

    def by_hand(held, params):
        g = pull_back(params, forward(held, params, q.x, 0.2, noise)[1], eye(q.y, q.k))
        return np.mean((np.sqrt(np.sum(g * g, axis=1)) - 1) ** 2)

    def penalty(params):
        return losses.gradient_penalty(critic.input_gradient(params, q.x, q.y, 0.2, noise))

    replay, value, _ = surrogate(by_hand, q.critic)
    pull, ours = make_vjp(penalty)(q.critic)
    np.testing.assert_allclose(ours, value, rtol=1e-11)
    # With a linear critic the penalty does not know the biases; with deeper ones only through the slopes.
    assert_gradient(pull(1.0), replay, q.critic)


@given(problems())
def test_input_gradient_is_the_derivative_of_the_labelled_score(q):
    got = critic.input_gradient(q.critic, q.x, q.y, 0.2, q.noise_real)
    assert_gradient([got], lambda a: np.sum(rows(critic.scores(q.critic, a[0], 0.2, q.noise_real), q.y)), [q.x])


@given(problems(hidden=st.just(0)))
def test_a_linear_critic_has_the_penalty_of_its_weights(q):
    """(‖w_y‖ − 1)², whatever the images and the noise."""
    W, _ = q.critic[0]
    expected = np.mean((np.linalg.norm(W[:, q.y], axis=0) - 1) ** 2)
    for noise in (None, q.noise_real):
        got = losses.gradient_penalty(critic.input_gradient(q.critic, q.x, q.y, 0.2, noise))
        np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_a_flat_critic_has_penalty_one_and_no_nan():
    """The norm's gradient is 0 at 0, to second order: with autograd's own norm this is nan."""
    params = [(np.zeros((3, 2)), np.zeros(2)), (np.zeros((2, 2)), np.zeros(2))]
    x, y = np.ones((2, 3)), np.array([0, 1])
    pull, value = make_vjp(lambda p: losses.gradient_penalty(critic.input_gradient(p, x, y, 0.2)))(params)
    assert value == 1
    assert all(not leaf.any() for layer in pull(1.0) for leaf in layer)


def test_a_unit_at_zero_has_the_leaky_slope():
    params = [(np.ones((1, 1)), np.zeros(1)), (np.ones((1, 2)), np.zeros(2))]
    x = np.zeros((1, 1))
    np.testing.assert_allclose(critic.input_gradient(params, x, np.array([1]), 0.2), [[0.2]])


@given(problems())
def test_the_outputs_are_independent(q):
    """D_j depends on column j of the last layer and no other: no softmax."""
    *hidden, (W, b) = q.critic
    changed = [*hidden, (W + (np.arange(q.k) == 0), b - (np.arange(q.k) == 0))]
    before, after = critic.scores(q.critic, q.x, 0.2), critic.scores(changed, q.x, 0.2)
    np.testing.assert_array_equal(before[:, 1:], after[:, 1:])


# Noise


def test_noise_goes_in_before_each_layer_and_nowhere_else():
    """By hand for one hidden unit: W2·(leaky(W1·(x + e0) + b1) + e1) + b2."""
    params = [(np.array([[2.0]]), np.array([1.0])), (np.array([[3.0, -1.0]]), np.array([0.5, 0.0]))]
    e = [np.array([[0.1]]), np.array([[-0.7]])]
    hidden = 0.2 * (2 * (-1 + 0.1) + 1) - 0.7
    np.testing.assert_allclose(critic.scores(params, np.array([[-1.0]]), 0.2, e), [[3 * hidden + 0.5, -hidden]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_noise_has_its_deviations_its_shapes_and_its_dtype(dtype):
    params = init(np.random.default_rng(0), (40, 30, 20, 5), dtype)
    noise = critic.draw_noise(np.random.default_rng(1), params, 500, 0.1, 0.5)
    assert [a.shape for a in noise] == [(500, 40), (500, 30), (500, 20)]
    for a, std in zip(noise, (0.1, 0.5, 0.5), strict=True):
        assert a.dtype == dtype
        assert abs(a.std() / std - 1) < 4 / (2 * a.size) ** 0.5 and abs(a.mean()) < 4 * std / a.size**0.5
    again = critic.draw_noise(np.random.default_rng(2), params, 500, 0.1, 0.5)
    assert not np.array_equal(noise[0], again[0]), "a fresh draw"


@pytest.mark.parametrize("sizes", [(3, 2), (1, 4, 2), (5, 2, 3, 4)])
@pytest.mark.parametrize("n", [1, 3])
def test_float32_stays_float32(sizes, n):
    rng = np.random.default_rng(0)
    params, x = init(rng, sizes), np.ones((n, sizes[0]), np.float32)
    noise, y = critic.draw_noise(rng, params, n, 0.1, 0.5), np.zeros(n, int)
    assert critic.scores(params, x, 0.2, noise).dtype == np.float32
    pull, g = make_vjp(lambda p: critic.input_gradient(p, x, y, 0.2, noise))(params)
    assert g.dtype == np.float32
    assert_like(pull(g), params)
