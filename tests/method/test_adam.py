"""Adam in TensorFlow's form, against steps worked out by hand; the decay of the learning rate."""

import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import problems, seeds

from reference.method.adam import Adam, adam_step, decayed


def run(gradients, theta=0.0, state=None, dtype=np.float64, **options):
    """The parameter after each gradient, and the last state: one layer with a scalar weight and bias."""
    params = [(np.full((1, 1), theta, dtype), np.full(1, theta, dtype))]
    state, path = state or Adam.start(params), []
    for g in gradients:
        params, state = adam_step(params, [(np.full((1, 1), g, dtype), np.full(1, g, dtype))], state, **options)
        assert params[0][0][0, 0] == params[0][1][0], "weights and biases alike"
        path.append(params[0][1][0])
    return path, state


def test_three_steps_by_hand():
    """β1 = ½, β2 = 3/4, rate 1, ε = 1, gradients 2, −4, 0:

    t   m      v     √(1−β2ᵗ)/(1−β1ᵗ)       step
    1   1      1     (1/2)/(1/2)             1·1/(1+1)
    2   −3/2   19/4  √(7/16)/(3/4)           (√7/3)·(−3/2)/(√(19/4)+1)
    3   −3/4   57/16 √(37/64)/(7/8)          (√37/7)·(−3/4)/(√(57/16)+1)
    """
    path, state = run([2, -4, 0], rate=1, beta1=0.5, beta2=0.75, eps=1)
    steps = [
        1 / 2,
        7**0.5 / 3 * (-3 / 2) / ((19 / 4) ** 0.5 + 1),
        37**0.5 / 7 * (-3 / 4) / ((57 / 16) ** 0.5 + 1),
    ]
    np.testing.assert_allclose(path, -np.cumsum(steps), rtol=1e-14)
    assert state.t == 3
    np.testing.assert_allclose([state.m[0][1][0], state.v[0][1][0]], [-3 / 4, 57 / 16])


def test_epsilon_stands_outside_the_bias_correction():
    """PyTorch's form, √(v/(1−β2ᵗ)) + ε, differs: in the first step by the factor (g + ε)/(g + ε/√(1−β2))."""
    g, eps = 1e-8, 1e-8
    (ours,), _ = run([g], rate=1, eps=eps)
    tensorflow = -g / (g + eps / (1 - 0.999) ** 0.5)
    pytorch = -g / (g + eps)
    np.testing.assert_allclose(ours, tensorflow, rtol=1e-10)
    assert abs(ours / pytorch) < 0.1


def test_the_defaults_are_the_authors():
    defaults = {name: p.default for name, p in inspect.signature(adam_step).parameters.items()}
    assert (defaults["beta1"], defaults["beta2"], defaults["eps"]) == (0.5, 0.999, 1e-8)
    # and they act: with β1 = ½ the second step after +g, −g goes the other way by 1/3 of its size
    path, _ = run([1, -1], rate=1)
    np.testing.assert_allclose(path, [-1, -1 + 1 / 3], rtol=1e-6)


@given(seed=seeds, scale=st.floats(1e-3, 1e3))
def test_the_scale_of_the_gradient_hardly_matters(seed, scale):
    g = np.random.default_rng(seed).standard_normal(4) + 3
    np.testing.assert_allclose(run(g, rate=0.1)[0], run(scale * g, rate=0.1)[0], rtol=1e-3)


def test_a_zero_gradient_from_rest_moves_nothing():
    path, state = run([0.0, 0.0], theta=3.0, rate=1)
    assert path == [3, 3] and state.t == 2


@given(q=problems())
def test_state_and_parameters_are_new_and_shaped_alike(q):
    gradient = [(np.ones_like(W), -np.ones_like(b)) for W, b in q.params]
    before = [(W.copy(), b.copy()) for W, b in q.params]
    state = Adam.start(q.params)
    new, later = adam_step(q.params, gradient, state, rate=0.25)
    for (W, b), (V, c), (U, a) in zip(new, q.params, before, strict=True):
        np.testing.assert_array_equal(V, U)
        np.testing.assert_array_equal(c, a)
        np.testing.assert_allclose(W, V - 0.25, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(b, c + 0.25, rtol=1e-5, atol=1e-6)
    assert state.t == 0 and later.t == 1
    assert not any(leaf.any() for tree in (state.m, state.v) for layer in tree for leaf in layer)


def test_a_state_carried_over_goes_on_where_it_stopped():
    """The classifier's moments and t continue from pre-training."""
    whole, _ = run([1, 2, 3, 4], rate=0.1)
    half, state = run([1, 2], rate=0.1)
    rest, _ = run([3, 4], theta=half[-1], state=state, rate=0.1)
    np.testing.assert_allclose(half + rest, whole, rtol=1e-14)
    fresh, _ = run([3, 4], theta=half[-1], rate=0.1)
    assert abs(fresh[0] - rest[0]) > 1e-3


def test_float32_stays_float32():
    path, state = run([1.0, 2.0], dtype=np.float32, rate=1e-3)
    leaves = [leaf for tree in (state.m, state.v) for layer in tree for leaf in layer]
    assert all(a.dtype == np.float32 for a in [*path, *leaves])


@pytest.mark.parametrize(
    "epoch, factor", [(0, 1), (39, 1), (40, 1 / 2), (79, 1 / 2), (80, 1 / 4), (99, 1 / 4), (120, 1 / 8)]
)
def test_the_rate_is_halved_every_forty_epochs(epoch, factor):
    assert decayed(5e-4, epoch, 40) == 5e-4 * factor
