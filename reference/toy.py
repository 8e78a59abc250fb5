"""A toy problem of known density: three overlapping classes in [0, 1]², so that the two kinds of error can be told.

Class k is a mixture of round Gaussians, redrawn until it falls in the unit square, so

    p(x | k) = Σ_c w_c N(x; μ_c, s_c² I) / Z_k   inside the square, 0 outside,   p(k) = 1/3

and posterior, Bayes classifier and Bayes error are known.  Some components of different classes overlap, so an attack
has real data of another class within reach; elsewhere empty space lies between them, and there a network may answer
whatever it likes.
"""

from __future__ import annotations

from functools import cache
from math import erf, sqrt

import numpy as np

CLASS_NAMES = ("A", "B", "C")
COMPONENTS = (  # of each class: (weight, mean (2,), standard deviation)
    ((0.5, (0.20, 0.80), 0.07), (0.5, (0.20, 0.20), 0.07)),
    ((0.5, (0.38, 0.80), 0.07), (0.5, (0.80, 0.60), 0.07)),
    ((1.0, (0.80, 0.42), 0.07),),
)
MASS = 0.99
GRID = 500  # points a side of every quadrature


def densities(x: np.ndarray) -> np.ndarray:
    """p(x | k) of every class: `x` (n, 2) -> (n, 3), 0 outside the unit square."""
    x = np.asarray(x, float)
    inside = ((x >= 0) & (x <= 1)).all(axis=1)
    columns = []
    for components in COMPONENTS:
        p, mass = 0.0, 0.0
        for weight, mean, s in components:
            square = ((x - mean) ** 2).sum(axis=1)
            p = p + weight * np.exp(-square / (2 * s * s)) / (2 * np.pi * s * s)
            mass += weight * np.prod([_between(0, 1, m, s) for m in mean])
        columns.append(np.where(inside, p / mass, 0))
    return np.stack(columns, axis=1)


def _between(low, high, mean, s):
    return (erf((high - mean) / (s * sqrt(2))) - erf((low - mean) / (s * sqrt(2)))) / 2


def log_densities(x):
    return np.log(densities(x))


def posterior(x):
    p = densities(x)
    return p / p.sum(axis=1, keepdims=True)


def sample(rng, n, dtype=np.float32):
    y = rng.integers(len(COMPONENTS), size=n)
    x = np.full((n, 2), np.nan)
    for k, components in enumerate(COMPONENTS):
        w, mean, s = (np.array(c) for c in zip(*components))
        left = np.flatnonzero(y == k)
        while len(left):
            c = rng.choice(len(w), size=len(left), p=w)
            x[left] = mean[c] + s[c, None] * rng.standard_normal((len(left), 2))
            left = left[((x[left] < 0) | (x[left] > 1)).any(axis=1)]
    return x.astype(dtype), y


def grid(m=GRID):
    t = (np.arange(m) + 0.5) / m
    return np.stack(np.meshgrid(t, t), axis=-1).reshape(-1, 2)


@cache
def bayes_error():
    return float(1 - densities(grid()).max(axis=1).mean() / len(COMPONENTS))


@cache
def levels():
    p = -np.sort(-densities(grid()), axis=0)
    c = np.cumsum(p, axis=0) / p.sum(axis=0)
    return p[(c < MASS).sum(axis=0), np.arange(p.shape[1])]


def kind_of_error(x_adv, y):
    rows = np.arange(len(x_adv))
    p = densities(x_adv)
    own = p[rows, y]
    plausible = (own >= levels()[y]) & (own >= 0.5 * p.sum(axis=1)) & (own > 0)
    return np.where(plausible, "II", "I")
