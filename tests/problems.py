"""Problems that carry their exact answer, and random networks that carry none.

Images lie well inside the box [0, 1], boundaries nearer than its faces: the box never binds unless a test says so.
"""

from typing import NamedTuple

import autograd.numpy as np
import numpy as onp

from reference.method import network
from reference.method.numerics import relu


class Problem(NamedTuple):
    """A model and where its boundaries are.

    logits:   (n, d) -> (n, k), written with autograd.numpy.
    x:        (n, d) images.
    labels:   (n,) what the model takes them for.
    distance: (n,) to the nearest image of another class, exact.
    """

    logits: object
    x: onp.ndarray
    labels: onp.ndarray
    distance: onp.ndarray


def _distances(W, b, x):
    """-> labels and min_j |f_j − f_l| / ‖w_j − w_l‖, in float64."""
    W, b, x = (v.astype(float) for v in (W, b, x))
    z = x @ W + b
    labels, n = z.argmax(axis=1), onp.arange(len(x))
    gap = z[n, labels][:, None] - z
    size = onp.linalg.norm(W[:, None, :] - W[:, labels, None], axis=0)
    distance = gap / onp.where(size > 0, size, 1)
    distance[n, labels] = onp.inf
    return labels, distance.min(axis=1)


def linear(seed=0, n=6, d=5, k=4, dtype=onp.float64) -> Problem:
    """f = xW + b: DeepFool is exact in one step; distances are below 0.1 (all boundaries meet at the
    centre), DeepFool's step limit."""
    rng = onp.random.default_rng(seed)
    W = rng.standard_normal((d, k)).astype(dtype)
    x = (0.5 + 0.1 * rng.uniform(-1, 1, (n, d)) / d**0.5).astype(dtype)
    b = (-0.5 * W.sum(axis=0)).astype(dtype)
    return Problem(lambda v: v @ W + b, x, *_distances(W, b, x))


def locally_linear(seed=0, n=6, d=5, k=4, dtype=onp.float64) -> Problem:
    """A ReLU network in whose box every unit is on: linear there, with the same answers."""
    rng = onp.random.default_rng(seed)
    V, W = rng.standard_normal((d, 8)), rng.standard_normal((8, k)) / 8**0.5
    x = 0.5 + 0.1 * rng.uniform(-1, 1, (n, d)) / d**0.5
    c = onp.abs(V).sum(axis=0)  # x @ V + c ≥ 0 for all x in the box
    b = -(0.5 * V.sum(axis=0) + c) @ W
    x, *params = (v.astype(dtype) for v in (x, V, c, W, b))
    V, c, W, b = params
    truth = _distances(V.astype(float) @ W, c.astype(float) @ W + b, x)
    return Problem(lambda v: relu(v @ V + c) @ W + b, x, *truth)


def logistic(seed=0, n=6, d=5, dtype=onp.float64):
    """Two classes, f = (0, wᵀx + b) -> the problem, and a function: confidence -> distance to p_other ≥ it, exact."""
    rng = onp.random.default_rng(seed)
    w = rng.standard_normal(d)
    w = (w / onp.linalg.norm(w) * 20).astype(dtype)
    x = (0.5 + 0.05 * rng.uniform(-1, 1, (n, d))).astype(dtype)
    b = -dtype(0.5) * w.sum()

    def logits(v):
        m = (v @ w + b)[:, None]
        return np.concatenate([np.zeros_like(m), m], axis=1)

    m = x.astype(float) @ w + float(b)
    problem = Problem(logits, x, (m > 0).astype(int), onp.abs(m) / 20)
    return problem, lambda C: (onp.log(C / (1 - C)) + onp.abs(m)) / 20


def sphere(seed=0, n=6, d=5, dtype=onp.float64) -> Problem:
    """f = ±(‖x − c‖² − ρ²), c the centre of the box and ρ = 0.3: class 0 outside, class 1 inside."""
    rng = onp.random.default_rng(seed)
    u = rng.standard_normal((n, d))
    u /= onp.linalg.norm(u, axis=1, keepdims=True)
    length = rng.uniform(0.2, 0.38, n)
    x = (0.5 + length[:, None] * u).astype(dtype)

    def logits(v):
        s = np.sum((v - 0.5) ** 2, axis=1, keepdims=True) - 0.09
        return np.concatenate([s, -s], axis=1)

    return Problem(logits, x, (length < 0.3).astype(int), onp.abs(length - 0.3))


def constant(k=3, dtype=onp.float64):
    """The same logits everywhere; class k − 1."""
    b = onp.arange(k, dtype=dtype)
    return lambda v: 0 * v[:, :1] + b


def vanishing():
    """Logits ±1 by the image's first pixel: a ramp from −1 to 1 around ½, so steep that no image is on it."""

    def logits(v):
        t = v[:, :1] * 20000 - 10000
        s = relu(t + 1) - relu(t - 1) - 1
        return np.concatenate([s, -s], axis=1)

    return logits


def random_network(seed, sizes, dtype):
    """A ReLU network with random biases, as a function of x."""
    rng = onp.random.default_rng(seed)
    params = [(3 * W, rng.standard_normal(b.shape).astype(dtype)) for W, b in network.init(rng, sizes, dtype)]
    return lambda v: network.logits(params, v)


def images(seed, n, d, dtype):
    """Random pixels, about one in four of them exactly on a face of the box."""
    rng = onp.random.default_rng([seed, 1])
    return onp.clip(rng.uniform(-0.2, 1.2, (n, d)), 0, 1).astype(dtype)
