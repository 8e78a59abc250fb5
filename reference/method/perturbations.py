"""The perturbations r with which the other defences train.  Each is a constant for the training gradient."""

from __future__ import annotations

import numpy as onp
from autograd import grad

from ..errors import check_geometry, require
from .losses import cross_entropy, kl_divergence


def gradient_step(logits, x: onp.ndarray, y: onp.ndarray, epsilon: float, geometry: str = "linf") -> onp.ndarray:
    """r = ε·sign(∇_x L) ("linf") or ε·∇_x L/‖∇_x L‖ ("l2"), L each example's cross-entropy; 0 where ∇_x L is 0.

    logits: a function (n, d) -> (n, k); x: (n, d); y: (n,); epsilon ≥ 0 in the norm of the geometry.
    Returns r (n, d), not clipped to any box.  Source: Goodfellow et al., ICLR 2015.
    """
    (epsilon,) = require("a finite number, 0 or more", epsilon=epsilon)
    # The mean over the batch scales every row by 1/n, which changes neither sign nor direction.
    return epsilon * steepest(grad(lambda v: cross_entropy(logits(v), y))(x), geometry)


def projected_steps(
    logits, x: onp.ndarray, y: onp.ndarray, epsilon: float, steps: int = 7, geometry: str = "l2"
) -> onp.ndarray:
    """r (n, d) after `steps` gradient steps from 0, each 2.5·ε/steps long and followed by `project`.

    logits, x, y, epsilon: as for `gradient_step`; the images x + r lie in [0, 1].
    Source: Madry et al., ICLR 2018 (here without their random start).
    """
    (epsilon,) = require("a finite number, 0 or more", epsilon=epsilon)
    r = onp.zeros_like(x)
    for _ in range(steps):
        w = grad(lambda v: cross_entropy(logits(v), y))(x + r)
        r = project(r + 2.5 * epsilon / steps * steepest(w, geometry), x, epsilon, geometry)
    return r


def virtual_direction(logits, x: onp.ndarray, start: onp.ndarray, xi: float, power_iterations: int = 1) -> onp.ndarray:
    """Unit rows d (n, d), along which KL(p(x) ‖ p(x + r)) grows fastest.

    d is the leading eigenvector of KL's Hessian in r (the Fisher matrix), found by power iteration.
    logits: a function (n, d) -> (n, k); x: (n, d); start: (n, d) random, any length.
    xi: the length of the finite difference, small against ε: 0.1 works in float32, 1e-6 only in float64.
    Source: Miyato et al. 2015.
    """
    (xi,) = require("a positive finite number", xi=xi)
    z0, d = logits(x.copy()), unit_rows(onp.asarray(start, x.dtype))
    for _ in range(power_iterations):
        d = unit_rows(grad(lambda r: kl_divergence(z0, logits(x + r)))(xi * d))
    return d


def steepest(w: onp.ndarray, geometry: str) -> onp.ndarray:
    """The step of length 1 that climbs fastest along the gradient `w` (n, d): w/‖w‖ ("l2") or sign(w) ("linf")."""
    return unit_rows(w) if check_geometry(geometry) == "l2" else onp.sign(w)


def project(r: onp.ndarray, x: onp.ndarray, epsilon: float, geometry: str) -> onp.ndarray:
    """`r` (n, d) back into the ε-ball, then x + r into [0, 1]: the second cannot leave the ball again."""
    if geometry == "l2":
        length = onp.linalg.norm(r, axis=1, keepdims=True)
        r = r * onp.minimum(1, epsilon / onp.maximum(length, epsilon or 1))
    else:
        r = onp.clip(r, -epsilon, epsilon)
    return onp.clip(x + r, 0, 1) - x


def unit_rows(g: onp.ndarray) -> onp.ndarray:
    """The rows of `g` (n, d) scaled to norm 1; a zero row stays zero.

    Each row is divided by its largest entry first, so that the squares of a tiny gradient do not underflow.
    """
    largest = onp.abs(g).max(axis=1, keepdims=True)
    g = g / onp.where(largest > 0, largest, 1)
    size = onp.linalg.norm(g, axis=1, keepdims=True)
    return g / onp.where(size > 0, size, 1)
