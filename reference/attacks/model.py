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
    """
    if isinstance(model, Model):
        return model
    if callable(model):

        def linearise(x):
            pull_back, z = make_vjp(model)(x)
            return z, pull_back

        return Model(model, linearise)
    if isinstance(model, tuple) and len(model) == 2 and all(map(callable, model)):
        logits, input_gradient = model
        return Model(logits, lambda x: (logits(x), lambda v: input_gradient(x, v)))
    raise InputError("a model is a function logits(x) written with autograd.numpy, or a pair (logits, input_gradient)")


def warn_if_untrustworthy(x: onp.ndarray, z: onp.ndarray, gradient: onp.ndarray) -> None:
    """Warn (`AttackWarning`) of a model on which an attack fails for no merit of the model.

    x: (n, d); z: (n, k) outputs; gradient: (n, d), that of the difference of the two highest of them.
    """

    def warn(message):
        warnings.warn(message, AttackWarning, stacklevel=5)  # at the line that called the attack

    if (z >= 0).all() and onp.allclose(z.sum(axis=1), 1, atol=1e-3):
        warn("the outputs look like probabilities (positive, of sum 1): attacks expect logits")
    if onp.ptp(z, axis=0).max() == 0 and onp.ptp(x, axis=0).max() > 0:
        warn("the outputs are the same for every image: the model is constant")
    flat = onp.linalg.norm(gradient, axis=1) == 0
    if flat.any():
        warn(
            f"the gradient vanishes at {flat.sum()} of {len(z)} images: "
            "attacks that follow it will fail there, which is no robustness"
        )
