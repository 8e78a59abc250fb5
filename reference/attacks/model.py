"""What an attack may know of a model: its logits, and their gradient with respect to the input."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as onp
from autograd import make_vjp

from ..errors import InputError

Logits = Callable[[onp.ndarray], onp.ndarray]
PullBack = Callable[[onp.ndarray], onp.ndarray]


class AttackWarning(UserWarning):
    """The model looks as if attacks on it could not be trusted."""


class Model(NamedTuple):
    """A classifier under attack.

    logits:    x (n, d) -> z (n, k).
    linearise: x (n, d) -> (z, pull_back), where pull_back(v (n, k)) is Σ_j v_j ∇_x f_j(x), (n, d).
    gaps:      optional, where all classes at once cost less than one by one: x (n, d), labels (n,), geometry ->
               (z, ‖∇f_j − ∇f_l‖ (n, k), pull_back), the norm L2 for "l2" and L1 for "linf".
    """

    logits: Logits
    linearise: Callable[[onp.ndarray], tuple[onp.ndarray, PullBack]]
    gaps: Callable[[onp.ndarray, onp.ndarray, str], tuple[onp.ndarray, onp.ndarray, PullBack]] | None = None


def as_model(model: Model | Logits | tuple[Logits, Callable]) -> Model:
    """A `Model` from what users have.

    model: a function logits(x) written with autograd.numpy; or, for any other framework, a pair
    (logits, input_gradient) of functions on NumPy arrays, where input_gradient(x (n, d), v (n, k)) is the gradient of
    Σ_ij v_ij f_j(x_i) with respect to x (in PyTorch: `torch.autograd.grad(f(x), x, v)`).
    These functions get copies and their answers are copied, so that a model may write into its argument or use one
    array for all its answers.  Gradients are cast to the dtype of x, because autograd's `maximum`, `where` or `mean`
    promote theirs.  A `Model` is taken as it is: its functions leave their arguments alone.
    """
    if isinstance(model, Model):
        return model
    if callable(model):

        def linearise(x):
            pull_back, z = make_vjp(model)(x.copy())
            return _plain(z), lambda v: _plain(pull_back(v.copy()), x.dtype)

        return Model(lambda x: _plain(model(x.copy())), linearise)
    if isinstance(model, tuple) and len(model) == 2 and all(map(callable, model)):
        logits, input_gradient = model

        def answer(x):
            return _plain(logits(x.copy()))

        return Model(answer, lambda x: (answer(x), lambda v: _plain(input_gradient(x.copy(), v.copy()), x.dtype)))
    raise InputError("a model is a function logits(x) written with autograd.numpy, or a pair (logits, input_gradient)")


def _plain(value, dtype=None):
    """A copy of an answer as a plain array, floats in `dtype`; what is no array at all stays for `probe` to name."""
    if not isinstance(value, onp.ndarray) or isinstance(value, onp.ma.MaskedArray):
        return value
    return onp.array(value, dtype if value.dtype.kind == "f" else None)


def row_norms(v: onp.ndarray, order: int = 2) -> onp.ndarray:
    """Norms of the rows of `v` (n, d) -> (n,), also of rows so small or large that their squares are no numbers.

    Rows are scaled by powers of two, which changes no bit where squares are numbers.
    """
    exponents = onp.frexp(onp.abs(v).max(axis=1))[1]
    return onp.ldexp(onp.linalg.norm(onp.ldexp(v, -exponents[:, None]), order, axis=1), exponents)


def warn_if_untrustworthy(model: Model, x: onp.ndarray, z: onp.ndarray, gradient: onp.ndarray) -> None:
    """Warn (`AttackWarning`) of a model on which an attack fails for no merit of the model.

    x: (n, d); z: (n, k) outputs; gradient: (n, d), that of the difference of the two highest of them.  The model is
    asked again, at x and a little to both sides of it along the gradient.
    """

    def warn(message):
        warnings.warn(message, AttackWarning, stacklevel=5)  # at the line that called the attack

    if (z >= 0).all() and onp.allclose(z.sum(axis=1), 1, atol=1e-3):
        warn("the outputs look like probabilities (positive, of sum 1): attacks expect logits")
    if onp.ptp(z, axis=0).max() == 0 and onp.ptp(x, axis=0).max() > 0:
        warn("the outputs are the same for every image: the model is constant")
    flat = ~gradient.any(axis=1)
    if flat.any():
        warn(
            f"the gradient vanishes at {flat.sum()} of {len(z)} images: "
            "attacks that follow it will fail there, which is no robustness"
        )
    unsteady = onp.abs(model.logits(x) - z).max() > onp.finfo(z.dtype).eps ** 0.5 * onp.abs(z).max()
    if unsteady:
        warn("the model answers otherwise when it is asked twice: switch dropout and other noise off")
        return
    promised, found, noise = directional_difference(model, x, z, gradient)
    wrong = onp.abs(found - promised) > 0.5 * onp.maximum(onp.abs(found), onp.abs(promised)) + noise
    if 2 * wrong.sum() > len(x):
        warn(
            f"the input gradient disagrees with the logits at {wrong.sum()} of {len(x)} images: along it they change "
            f"by {onp.median((found / promised)[wrong]):.3g} times what it says (median); check its scale and sign"
        )


def directional_difference(model: Model, x, z, gradient):
    """The change of the two highest logits' difference across x, on a line along its `gradient` (n, d), in the dtype.

    -> (what the gradient says (n,), what the model does (n,), what rounding may add (n,)).
    """
    eps, rows = onp.finfo(x.dtype).eps, onp.arange(len(x))
    size = row_norms(gradient)[:, None]
    h = eps ** (1 / 3) * onp.maximum(row_norms(x)[:, None], 1)
    u = gradient / onp.where(size > 0, size, 1)
    ahead, behind = x + h.astype(x.dtype) * u, x - h.astype(x.dtype) * u
    top, second = onp.argsort(-z, axis=1)[:, :2].T

    def lead(images):
        answers = model.logits(images)
        return answers[rows, top] - answers[rows, second]

    noise = 16 * eps * onp.abs(z).max(axis=1)
    return onp.vecdot(gradient, ahead - behind), lead(ahead) - lead(behind), noise
