"""The single gradient step of adversarial training.  Source: Goodfellow et al., ICLR 2015."""

from __future__ import annotations

import numpy as onp
from autograd import grad

from ..errors import check_geometry, require
from .losses import cross_entropy, kl_divergence


def gradient_step(logits, x: onp.ndarray, y: onp.ndarray, epsilon: float, geometry: str = "linf") -> onp.ndarray:
    """r = ε·sign(∇_x L) ("linf") or ε·∇_x L/‖∇_x L‖ ("l2"), L each example's cross-entropy; 0 where ∇_x L is 0.

    logits: a function (n, d) -> (n, k); x: (n, d); y: (n,); epsilon ≥ 0 in the norm of the geometry.
    Returns r (n, d), a constant, not clipped to any box.
    """
    check_geometry(geometry)
    (epsilon,) = require("a finite number, 0 or more", epsilon=epsilon)
    # The mean over the batch scales every row by 1/n, which neither the sign nor the direction sees.
    g = grad(lambda v: cross_entropy(logits(v), y))(x)
    return epsilon * (onp.sign(g) if geometry == "linf" else unit_rows(g))


def unit_rows(g: onp.ndarray) -> onp.ndarray:
    """The rows of `g` (n, d) scaled to norm 1; a zero row stays zero.  Scaled by the largest entry first, so that a
    tiny gradient does not underflow when squared."""
    largest = onp.abs(g).max(axis=1, keepdims=True)
    g = g / onp.where(largest > 0, largest, 1)
    size = onp.linalg.norm(g, axis=1, keepdims=True)
    return g / onp.where(size > 0, size, 1)


def virtual_direction(logits, x: onp.ndarray, start: onp.ndarray, xi: float, power_iterations: int = 1) -> onp.ndarray:
    """Unit rows d (n, d): the leading eigenvector of KL's Hessian in r (the Fisher matrix), by power iteration.

    logits: a function (n, d) -> (n, k); x: (n, d); start: (n, d) random, any length.
    xi: the length of the finite difference, small against ε: 0.1 works in float32, 1e-6 only in float64.
    """
    (xi,) = require("a positive finite number", xi=xi)
    z0, d = logits(x), unit_rows(onp.asarray(start, x.dtype))
    for _ in range(power_iterations):
        d = unit_rows(grad(lambda r: kl_divergence(z0, logits(x + r)))(xi * d))
    return d
