"""The conventions: values against SciPy, first and second derivatives, and every kink and zero."""

import autograd.numpy as np
import numpy as onp
import pytest
import scipy.special
from autograd import elementwise_grad, grad
from calculus import assert_gradient, size
from hypothesis import given
from hypothesis import strategies as st
from strategies import arrays

from reference.errors import InputError
from reference.method import numerics as N

# name: (function of (n, d), the same by other means)
FUNCTIONS = {
    "relu": (N.relu, lambda x: onp.maximum(x, 0)),
    "leaky_relu": (lambda x: N.leaky_relu(x, 0.2), lambda x: onp.where(x > 0, x, 0.2 * x)),
    "leaky_relu, slope": (lambda x: N.leaky_relu(x, 0.05), lambda x: onp.where(x > 0, x, 0.05 * x)),
    "absolute": (N.absolute, onp.abs),
    "softplus": (N.softplus, lambda x: onp.logaddexp(0, x)),
    "sigmoid": (N.sigmoid, scipy.special.expit),
    "log_softmax": (N.log_softmax, lambda z: scipy.special.log_softmax(z, axis=1)),
    "softmax": (N.softmax, lambda z: scipy.special.softmax(z, axis=1)),
    "norm": (N.norm, lambda x: onp.linalg.norm(x, axis=1)),
    "mean": (lambda x: N.mean(x[:, 0]), lambda x: onp.mean(x[:, 0])),
    "pick": (lambda v: N.pick(v, onp.zeros(len(v), int)), lambda v: v[:, 0]),
}
table = pytest.mark.parametrize("name", FUNCTIONS)


# The checker itself


def cubic(x):
    return np.sum(x[0] ** 3) + 1e-7 * np.sum(x[1] ** 2)


def cubic_gradient(x):
    return [3 * x[0] ** 2, 2e-7 * x[1]]


AT = [onp.array([0.7, -1.2]), onp.array([[0.3], [2.0]])]


@pytest.mark.parametrize("analytic", [True, False])
def test_the_checker_accepts_the_right_gradient(analytic):
    assert_gradient(cubic_gradient(AT), cubic, AT, analytic)
    assert_gradient([1e-9 * g for g in cubic_gradient(AT)], lambda x: 1e-9 * cubic(x), AT, analytic)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda a, b: [a, 2 * b],  # a factor of two where the gradient is small
        lambda a, b: [a, 0 * b],
        lambda a, b: [-a, b],
        lambda a, b: [a * (1 + 1e-5), b],
        lambda a, b: [a[::-1], b],
        lambda a, b: [a.astype(onp.float32), b],
        lambda a, b: [a, b.ravel()],
        lambda a, b: [a * onp.nan, b],
        lambda a, b: [a],
    ],
)
def test_the_checker_rejects_a_wrong_gradient(wrong):
    with pytest.raises(AssertionError):
        assert_gradient(wrong(*cubic_gradient(AT)), cubic, AT)


@pytest.mark.parametrize("factor", [2, 0.5, -1, 0])
def test_without_complex_steps_a_small_wrong_gradient_is_still_rejected(factor):
    """An absolute tolerance of 1e-6, as in autograd's own checker, lets all of these pass."""
    with pytest.raises(AssertionError):
        assert_gradient([1e-8 * factor * AT[0]], lambda x: 5e-9 * np.sum(x[0] ** 2), AT[:1], analytic=False)


def test_the_checker_rejects_a_missing_second_order_term():
    """d/dw of ‖∇_x tanh(wx)‖² with the slope taken for a constant: the gradient of a method that detached."""
    x = onp.array([0.4, -0.9])

    def penalty(w):
        return np.sum((w[0] * (1 - np.tanh(w[0] * x) ** 2)) ** 2)

    slope = 1 - onp.tanh(AT[0] * x) ** 2
    assert_gradient([grad(penalty)(AT[:1])[0]], penalty, AT[:1])
    with pytest.raises(AssertionError):
        assert_gradient([2 * AT[0] * slope**2], penalty, AT[:1])


# Values and derivatives


@table
@given(x=arrays())
def test_values(name, x):
    ours, other = FUNCTIONS[name]
    onp.testing.assert_allclose(ours(x), other(x), rtol=1e-12, atol=1e-14)


@table
@given(x=arrays())
def test_first_derivatives(name, x):
    f, _ = FUNCTIONS[name]
    weights = onp.random.default_rng(1).standard_normal(f(x).shape)

    def scalar(at):
        return np.sum(weights * f(at[0]))

    assert_gradient(grad(scalar)([x]), scalar, [x])


@pytest.mark.parametrize("name", ["softplus", "sigmoid", "log_softmax", "softmax", "norm"])
@given(x=arrays())
def test_second_derivatives(name, x):
    f, _ = FUNCTIONS[name]
    rng = onp.random.default_rng(1)
    weights, v = rng.standard_normal(f(x).shape), rng.standard_normal(x.shape)

    first = grad(lambda a: np.sum(weights * f(a)))

    def slope(at):
        return np.sum(v * first(at[0]))

    assert_gradient(grad(slope)([x]), slope, [x], analytic=False, magnitude=onp.abs(v * first(x)).sum())


@table
@pytest.mark.parametrize("shape", [(1, 1), (4, 3)])
def test_float32_stays_float32(name, shape):
    f, _ = FUNCTIONS[name]
    x = onp.random.default_rng(0).standard_normal(shape).astype(onp.float32)
    assert f(x).dtype == onp.float32
    assert grad(lambda a: np.sum(f(a)))(x).dtype == onp.float32


# Kinks and zeros

ZERO = onp.zeros((2, 3))


@pytest.mark.parametrize(
    "f, slope, curvature",
    [
        (N.relu, 0, 0),
        (lambda x: N.leaky_relu(x, 0.2), 0.2, 0),
        (lambda x: N.leaky_relu(x, 0.7), 0.7, 0),
        (N.absolute, 0, 0),
        (N.softplus, 1 / 2, 1 / 4),
        (N.sigmoid, 1 / 4, 0),
        (lambda x: N.norm(x)[:, None], 0, 0),
        (lambda x: N.norm(x)[:, None] ** 2, 0, 0),
        (lambda x: (N.norm(x)[:, None] - 1) ** 2, 0, 0),
        (lambda x: N.round_straight_through(x) ** 2, 0, 2),
    ],
)
@pytest.mark.parametrize("zero", [0.0, -0.0])
@pytest.mark.filterwarnings("ignore:Output seems independent")  # a second derivative of 0 may be just that
def test_derivatives_at_zero(f, slope, curvature, zero):
    first = elementwise_grad(lambda x: np.sum(f(x)))
    onp.testing.assert_allclose(first(ZERO + zero), slope + ZERO)
    onp.testing.assert_allclose(elementwise_grad(lambda x: np.sum(first(x)))(ZERO + zero), curvature + ZERO)


def test_norm_of_some_zero_rows_leaves_the_others_alone():
    x = onp.array([[0.0, 0.0], [3.0, 4.0]])
    onp.testing.assert_array_equal(N.norm(x), [0, 5])
    onp.testing.assert_allclose(grad(lambda a: np.sum(N.norm(a)))(x), [[0, 0], [0.6, 0.8]])


def test_softplus_has_no_kink_in_its_third_derivative():
    third = elementwise_grad(elementwise_grad(elementwise_grad(N.softplus)))
    h = 1e-6
    assert abs(third(h) - third(-h)) < 1e-5 and abs(third(0.0)) < 1e-12


@given(x=arrays())
def test_rounding_rounds_forwards_and_is_the_identity_backwards(x):
    onp.testing.assert_array_equal(N.round_straight_through(x), onp.round(x))
    onp.testing.assert_array_equal(elementwise_grad(N.round_straight_through)(x), onp.ones_like(x))
    # to order two, where a primitive with a raw NumPy gradient would give 0
    twice = elementwise_grad(elementwise_grad(lambda v: N.round_straight_through(v) ** 3))(x)
    onp.testing.assert_allclose(twice, 6 * onp.round(x))


def test_half_rounds_to_zero():
    """σ(0) = ½ is the tie p = C: an example that has its confidence stops."""
    onp.testing.assert_array_equal(N.round_straight_through(onp.array([0.5, -0.5, 0.5 + 1e-15])), [0, 0, 1])
    assert N.sigmoid(onp.zeros(1)) == 0.5


@pytest.mark.parametrize("dtype, huge", [(onp.float32, 1e30), (onp.float64, 1e300)])
def test_extreme_inputs_stay_finite(dtype, huge):
    z = onp.array([[huge, -huge, 0.0], [-huge, -huge, -huge]], dtype)
    expected = onp.array([[0, -2 * huge, -huge], [onp.log(1 / 3)] * 3], dtype)
    with onp.errstate(over="raise", invalid="raise", divide="raise"):
        onp.testing.assert_allclose(N.log_softmax(z), expected, rtol=1e-6)
        onp.testing.assert_allclose(N.softmax(z), [[1, 0, 0], [1 / 3] * 3], rtol=1e-6)
        onp.testing.assert_array_equal(N.softplus(z), onp.maximum(z, 0) + (z == 0) * N.softplus(0 * z))
        onp.testing.assert_array_equal(N.sigmoid(z[0]), dtype([1, 0, 0.5]))
        for f in (N.log_softmax, N.softmax, N.softplus):
            assert onp.isfinite(grad(lambda a, f=f: np.sum(f(a)))(z)).all()


def test_log_softmax_keeps_what_softmax_loses():
    """log(softmax(z)) would be −inf, with a gradient of nan."""
    z = onp.array([[0.0, 2000.0]])
    assert N.log_softmax(z)[0, 0] == -2000 and N.softmax(z)[0, 0] == 0
    onp.testing.assert_allclose(grad(lambda a: N.log_softmax(a)[0, 0])(z), [[1, -1]])


@given(x=arrays(), c=st.floats(-50, 50))
def test_softmax_does_not_see_a_constant(x, c):
    onp.testing.assert_allclose(N.softmax(x + c), N.softmax(x), rtol=1e-10)
    onp.testing.assert_allclose(N.softmax(x).sum(axis=1), 1)
    onp.testing.assert_allclose(onp.exp(N.log_softmax(x)), N.softmax(x), rtol=1e-10)


@given(x=arrays(), scale=st.floats(0.01, 100))
def test_homogeneity(x, scale):
    for f in (N.relu, lambda x: N.leaky_relu(x, 0.2), N.absolute, N.norm):
        onp.testing.assert_allclose(f(scale * x), scale * f(x), rtol=1e-12)


# The rest


@given(x=arrays(), seed=st.integers(0, 99))
def test_masked_mean_is_the_mean_of_what_the_mask_keeps(x, seed):
    v = x[:, 0]
    mask = onp.random.default_rng(seed).random(len(v)) < 0.5
    expected = v[mask].mean() if mask.any() else 0
    onp.testing.assert_allclose(N.masked_mean(v, mask), expected)
    onp.testing.assert_allclose(grad(N.masked_mean)(v, mask), mask / max(mask.sum(), 1))


def test_masked_mean_of_nothing_is_zero():
    v, mask = onp.array([3.0, -1e300]), onp.zeros(2, bool)
    assert N.masked_mean(v, mask) == 0
    onp.testing.assert_array_equal(grad(N.masked_mean)(v, mask), [0, 0])


@pytest.mark.parametrize("mask", [[True, False], [False, False]])
def test_masked_mean_keeps_float32(mask):
    v = onp.ones(2, onp.float32)
    assert N.masked_mean(v, onp.array(mask)).dtype == onp.float32
    assert grad(N.masked_mean)(v, onp.array(mask)).dtype == onp.float32


def test_stop_gradient():
    assert grad(lambda x: x * N.stop_gradient(x))(3.0) == 3
    # also inside two differentiations at once
    assert grad(grad(lambda x: x**2 * N.stop_gradient(x)))(3.0) == 6


def test_predict_takes_the_first_of_a_tie():
    onp.testing.assert_array_equal(N.predict(onp.array([[1, 3, 3], [2, 2, 0], [0, 0, 0.1]])), [1, 0, 2])


def test_one_hot_and_pick():
    labels = onp.array([2, 0])
    onp.testing.assert_array_equal(N.one_hot(labels, 3, onp.float32), onp.eye(3)[labels])
    assert N.one_hot(labels, 3, onp.float32).dtype == onp.float32
    assert onp.array_equal(N.pick(onp.arange(6.0).reshape(2, 3), labels), [2, 3])


def test_like_casts_constants_and_leaves_what_is_differentiated():
    x = onp.zeros(2, onp.float32)
    assert N.like(0.5, x).dtype == onp.float32 and N.like(onp.float64(0.5), x).dtype == onp.float32
    assert grad(lambda c: N.like(c, x) * 3.0)(0.5) == 3


def test_size_is_the_euclidean_length_of_a_list():
    assert size([onp.array([3.0]), onp.array([[4.0]])]) == 5


@pytest.mark.parametrize("labels", ([3], [-1], [0.0]), ids=str)
def test_a_label_that_is_no_class_is_refused(labels):
    """A row of zeros would pass for a loss of 0."""
    with pytest.raises(InputError, match="labels must be"):
        N.pick(onp.zeros((1, 3)), onp.array(labels))
