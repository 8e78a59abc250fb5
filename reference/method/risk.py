"""Robust optimisation, eq. 1, and where its max stands.

    separable:   min_θ Σ_i max_{r_i ∈ U_i} L(f(x_i + r_i), y_i)     one perturbation per example: the max under the sum
    universal:   min_θ max_{r ∈ U} Σ_i L(f(x_i + r), y_i)           one for all: the max outside, as eq. 1 is printed

Universal ≤ separable, with equality when every example's set is its own.  Sums are means over the batch here.
"""

from __future__ import annotations

import autograd.numpy as np
import numpy as onp
from autograd import grad

from .numerics import log_softmax, mean, pick, stop_gradient
from .perturbations import unit_rows


def example_losses(logits, x, y):
    """L(f(x_i), y_i), the cross-entropy of each example: (n,)."""
    return -pick(log_softmax(logits(x)), y)


def candidate_losses(logits, x, y, perturbations):
    """Every example's loss under every candidate: `perturbations` (m, n, d), or (m, 1, d) if shared -> (m, n)."""
    return np.stack([example_losses(logits, x + r, y) for r in perturbations])


def robust_risk(candidates):
    """mean_i max_m: `candidates` (m, n) from `candidate_losses`.  Differentiable (Danskin) where each max is unique."""
    worst = stop_gradient(candidates).argmax(axis=0)
    return mean(pick(np.transpose(candidates), worst))


def universal_risk(candidates):
    """max_m mean_i: `candidates` (m, n) from `candidate_losses`.  Differentiable where the max is unique."""
    means = np.sum(candidates, axis=1) / candidates.shape[1]
    return means[stop_gradient(means).argmax()]


def worst_perturbation(
    logits, x: onp.ndarray, y: onp.ndarray, radius: float, shared: bool = False, iterations: int = 20, start=None
) -> onp.ndarray:
    """Projected gradient ascent on the risk in an L2 ball: r (n, d), or (1, d) if `shared` by all examples.

    start: where to begin, shaped like the result; by default 0.  Each step is 2.5·radius/iterations long; the best
    iterate is returned, per example if separable, so that more iterations of the same length never do worse.
    """
    rows = 1 if shared else len(x)
    r = onp.zeros((rows, x.shape[1]), x.dtype) if start is None else onp.array(start, x.dtype)
    step = 2.5 * radius / max(iterations, 1)

    def risks(r):
        values = example_losses(logits, x + r, y)
        return np.reshape(mean(values), 1) if shared else values

    best, highest = r, risks(r)
    for _ in range(iterations):
        r = r + step * unit_rows(grad(lambda r: np.sum(risks(r)))(r))
        length = onp.linalg.norm(r, axis=1, keepdims=True)
        r = onp.where(length > radius, r * (radius / onp.maximum(length, radius or 1)), r).astype(x.dtype)
        value = risks(r)
        better = value > highest
        best, highest = onp.where(better[:, None], r, best), onp.where(better, value, highest)
    return best
