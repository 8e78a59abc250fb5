"""The conventions on which everything else rests: kinks, zeros, dtypes and stop-gradients, each decided once, here.

`np` is autograd's NumPy in every file of this folder: whatever is computed with it can be differentiated, as often as
needed.  `onp` is the original NumPy, for what is never differentiated.  Every function here follows the dtype of its
input.  Three habits keep it so: scalars are Python numbers, because NumPy's scalars promote float32 to float64; and
`np.mean`, `np.max` and `np.where` are not used, because autograd's gradients of them promote too.  Where a function is
analytic it also takes complex inputs (branches look at the real part), so that the tests can take complex steps.

    kink or zero          convention here        autograd's own
    relu'(0)              0                      1/2   (np.maximum)
    leaky_relu'(0)        the slope              between
    gradient of ‖x‖ at 0  0                      nan   (np.linalg.norm)
    |x|' at 0             0                      0
    round'                1 (straight-through)   0
"""

from __future__ import annotations

import autograd.numpy as np
import numpy as onp
from autograd.extend import defjvp, defvjp, notrace_primitive, primitive

from ..errors import check_labels


@notrace_primitive
def stop_gradient(x):
    """`x` as a plain array: a constant for every enclosing differentiation, sg[·] in the paper's graph."""
    return x


@primitive
def round_straight_through(x):
    """Round to the nearest integer, ½ to 0; differentiated as if it were the identity, to every order."""
    return onp.round(x)


defvjp(round_straight_through, lambda ans, x: lambda g: g)
defjvp(round_straight_through, lambda g, ans, x: g)


def relu(x):
    """max(x, 0), elementwise; relu'(0) = 0."""
    return x * (x > 0)


def leaky_relu(x, slope: float):
    """x where x > 0, slope·x elsewhere; the derivative at 0 is the slope."""
    return slope * x + (1 - slope) * relu(x)


def absolute(x):
    """|x|, elementwise, with derivative 0 at 0."""
    return relu(x) + relu(-x)


def softplus(x):
    """log(1 + eˣ), elementwise, without overflow.  Both branches are the same analytic function: no kink at 0."""
    positive = relu(x)
    return positive + np.log1p(np.exp(x - 2 * positive))


def sigmoid(x):
    """1 / (1 + e⁻ˣ), elementwise, without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def log_softmax(z):
    """log softmax of the rows of `z` (n, k), shifted by the row's maximum; never log(softmax(z))."""
    z = z - stop_gradient(np.max(z, axis=1, keepdims=True))
    return z - np.log(np.sum(np.exp(z), axis=1, keepdims=True))


def softmax(z):
    """Softmax of the rows of `z` (n, k), shifted by the row's maximum."""
    e = np.exp(z - stop_gradient(np.max(z, axis=1, keepdims=True)))
    return e / np.sum(e, axis=1, keepdims=True)


def norm(x):
    """Euclidean norm of the rows of `x` (n, d) -> (n,), with gradient 0 where the norm is 0.

    Squares that underflow count as 0: norms below about 1e-23 in float32 and 1e-162 in float64.
    """
    s = np.sum(x * x, axis=1)
    return np.sqrt(s + (s == 0)) * (s > 0)


def one_hot(labels, k: int, dtype) -> onp.ndarray:
    """Rows of the identity: `labels` (n,) in 0..k-1 -> (n, k).  Every loss passes here: InputError on other labels."""
    return (onp.arange(k) == check_labels(labels, k)[:, None]).astype(dtype)


def pick(v, labels):
    """v_i[labels_i]: one entry of each row of `v` (n, k) -> (n,)."""
    return np.sum(v * one_hot(labels, v.shape[1], v.dtype), axis=1)


def predict(z) -> onp.ndarray:
    """The class of the largest logit of each row of `z` (n, k) -> (n,) integers; the lowest such class on a tie."""
    return onp.argmax(stop_gradient(z), axis=1)


def mean(values):
    """Mean of `values` (n,)."""
    return np.sum(values) / len(values)


def masked_mean(values, mask):
    """Mean of `values` (n,) over the True entries of `mask` (n,); 0, with gradient 0, if there are none."""
    return np.sum(values[mask]) / max(int(onp.sum(mask)), 1)


def like(value, x):
    """A plain number or array `value` in the dtype of `x`; a value that is being differentiated is left alone."""
    raw = stop_gradient(value)
    return value if raw is not value else onp.asarray(raw, dtype=stop_gradient(x).dtype)
