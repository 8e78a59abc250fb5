"""The attack that is the GAN's generator, A_f(x, t; C): a small r with p_t(x + r) ≥ C.  Source: Matyasko & Chau 2018.

Newton's step on log p_t, linearised: log p_t(x') + wᵀs = log C, whose least-norm solution is

    s = (log C − log p_t) w/‖w‖².
"""

from __future__ import annotations

import math

import autograd.numpy as np
import numpy as onp
from autograd import make_vjp

from ..errors import check_geometry, require_choice
from . import network
from .numerics import (
    absolute,
    like,
    log_softmax,
    one_hot,
    pick,
    round_straight_through,
    sigmoid,
    softmax,
    stop_gradient,
)

GRADIENT_MODES = ("truncated", "full", "detached")


def newton_step(log_p, w, confidence, eps: float = 1e-8, geometry: str = "l2"):
    """One step towards log p_t = log C: (√ε + φ/n)·w/n with φ = |log p_t − log C| and n = √(ε + ‖w‖²).

    log_p, confidence: (n,); w: (n, d) = ∇_x log p_t.  Returns (n, d).
    In the L∞ geometry (√ε + φ)·sign(w)/‖w‖₁; there the step is 0 where w is.
    """
    phi = absolute(log_p - np.log(like(confidence, log_p)))[:, None]
    if check_geometry(geometry) == "l2":
        n = np.sqrt(eps + np.sum(w * w, axis=1, keepdims=True))
        return (math.sqrt(eps) + phi / n) * w / n
    size = np.sum(absolute(w), axis=1, keepdims=True)
    return (math.sqrt(eps) + phi) * np.sign(w) / (size + (size == 0))


def linearise_log_prob(logits, x, targets):
    """-> (log p_t, p_t, w = ∇_x log p_t) at `x` (n, d): shapes (n,), (n,), (n, d).

    The chain rule in full view: ∇_x log p_t = J(x)ᵀ (e_t − p).
    """
    pull_back, z = make_vjp(logits)(x)
    p = softmax(z)
    return pick(log_softmax(z), targets), pick(p, targets), pull_back(one_hot(targets, z.shape[1], z.dtype) - p)


def unrolled(
    params: network.Params,
    x,
    targets: onp.ndarray,
    confidence,
    iterations: int = 5,
    overshoot: float = 0.05,
    eps: float = 1e-8,
    gradient: str = "truncated",
    geometry: str = "l2",
):
    """The attack of the training loop: `iterations` steps, no clipping, differentiable in `params` and `confidence`.

    x: (n, d); targets: (n,) classes; confidence: C in (0, 1], a number or (n,).  Returns x̂ (n, d).

    gradient: where it flows.  "truncated" detaches the iterates: θ enters through each step, not through the path
    (the authors' code).  "full" keeps the path.  "detached" makes the whole of x̂ a constant: the method does nothing.
    The indicator "not there yet" is cumulative: 1 until p_t first reaches C and 0 for good; backwards, its rounding
    is the identity.  Examples do not interact.
    """
    require_choice("gradient", gradient, GRADIENT_MODES)
    confidence = like(confidence, x)
    r, active = np.zeros_like(stop_gradient(x)), 1
    for _ in range(iterations):
        x_hat = x + (1 + overshoot) * r
        if gradient != "full":
            x_hat = stop_gradient(x_hat)
        log_p, p, w = linearise_log_prob(lambda v: network.logits(params, v), x_hat, targets)
        active = active * round_straight_through(sigmoid(confidence - p))
        r = r + active[:, None] * newton_step(log_p, w, confidence, eps, geometry)
    x_hat = x + (1 + overshoot) * r
    return stop_gradient(x_hat) if gradient == "detached" else x_hat
