"""A toy problem of known density: three classes in [0, 1]² on which the two kinds of error can be told apart.

Class k is an equal mixture of round Gaussians N(μ, s² I), redrawn until it falls in the unit square:

    p(x | k) = mean_c N(x; μ_kc, s² I) / Z_k   inside the square, 0 outside;     p(k) = 1/3

so posterior, Bayes classifier and Bayes error are known.  A, B and C overlap in the middle: an attack has real data of
another class within reach.  Elsewhere empty space lies between them, where a network may answer whatever it likes.

The two kinds of error of an attacked point x̂ that is taken for class k:

    kind II   x̂ looks like class k: p(k | x̂) ≥ 1/2, and p(x̂ | k) reaches the level whose region holds 99 % of class k
    kind I    anything else: it is taken for a class of which it is no plausible instance
"""

from __future__ import annotations

from functools import cache
from math import erf, sqrt

import numpy as onp

from ..errors import InputError, check_labels
from .digits import Digits, Split

CLASS_NAMES = ("A", "B", "C")
MEANS = (
    ((0.20, 0.15), (0.20, 0.50), (0.20, 0.85)),
    ((0.36, 0.50),),
    ((0.85, 0.15), (0.52, 0.50), (0.85, 0.85)),
)
"""μ of each class's components."""
STD = 0.07
"""s, of all components."""
MASS = 0.99
"""The share of a class that counts as looking like it."""
GRID = 500
"""Points per side of every quadrature (midpoint rule); its integrals are good to 1e-5."""

CONFIDENCE = 0.9
"""What an attack on this problem aims at, in training and afterwards, for every classifier alike: "until 90 % sure"."""


def densities(x) -> onp.ndarray:
    """p(x | k) of every class: `x` (n, 2) -> (n, 3), in float64."""
    x = _points(x)
    inside = ((x >= 0) & (x <= 1)).all(axis=1)
    columns = []
    for means in MEANS:
        squares = ((x[:, None] - onp.array(means)) ** 2).sum(axis=2)
        mixture = onp.exp(-squares / (2 * STD**2)).mean(axis=1) / (2 * onp.pi * STD**2)
        mass = onp.mean([_between(m[0]) * _between(m[1]) for m in means])
        columns.append(onp.where(inside, mixture / mass, 0))
    return onp.stack(columns, axis=1)


def posterior(x) -> onp.ndarray:
    """p(k | x) = p(x | k) / Σ_j p(x | j): `x` (n, 2) in [0, 1] -> (n, 3); InputError outside the square."""
    p = densities(x)
    if not p.any(axis=1).all():
        raise InputError("x holds points outside the unit square, where no class has any density: clip them to [0, 1]")
    return p / p.sum(axis=1, keepdims=True)


def bayes_classes(x) -> onp.ndarray:
    """The class of the largest posterior, the best guess that there is: `x` (n, 2) -> (n,)."""
    return posterior(x).argmax(axis=1)


@cache
def bayes_error() -> float:
    """1 − ∫ max_k p(k) p(x | k) dx: the error of the best classifier, to 1e-5."""
    return float(1 - densities(midpoints()).max(axis=1).mean() / len(MEANS))


@cache
def levels() -> tuple[float, ...]:
    """Of each class the density level above which lies `MASS` of the class, to 1 %."""
    p = -onp.sort(-densities(midpoints()), axis=0)
    within = onp.cumsum(p, axis=0) < MASS * p.sum(axis=0)
    return tuple(p[within.sum(axis=0), onp.arange(len(MEANS))].tolist())


def typicality(x) -> onp.ndarray:
    """p(x | k) / level of class k: `x` (n, 2) -> (n, 3); at least 1 in the region that holds `MASS` of the class."""
    return densities(x) / levels()


def kind_of_error(x_adv, taken_for) -> onp.ndarray:
    """The kind of each error: `x_adv` (n, 2), `taken_for` (n,) the classes predicted there -> (n,) of "I" and "II"."""
    p = densities(x_adv)
    k = check_labels(taken_for, len(MEANS), len(p))
    rows = onp.arange(len(p))
    likely = 2 * p[rows, k] >= p.sum(axis=1)
    typical = typicality(x_adv)[rows, k] >= 1
    return onp.where(likely & typical, "II", "I")


def sample(rng: onp.random.Generator, n: int, dtype=onp.float32) -> Split:
    """n labelled points: x (n, 2) in [0, 1], y (n,), every class equally likely."""
    if n < 1:
        raise InputError(f"n = {n}: ask for at least one point")
    y = rng.integers(len(MEANS), size=n)
    x = onp.empty((n, 2))
    for k, means in enumerate(MEANS):
        rows = onp.flatnonzero(y == k)
        while len(rows):
            x[rows] = onp.array(means)[rng.integers(len(means), size=len(rows))]
            x[rows] += STD * rng.standard_normal((len(rows), 2))
            rows = rows[((x[rows] < 0) | (x[rows] > 1)).any(axis=1)]
    return Split(x.astype(dtype), y)


def load(seed: int = 7, train: int = 1000, validation: int = 1000, test: int = 400) -> Digits:
    """Three independent samples, in the form that training takes; `side` is 0, as there are no pictures."""
    rng = onp.random.default_rng(seed)
    return Digits(*(sample(rng, n) for n in (train, validation, test)), 0, f"toy problem, seed {seed}")


def midpoints(side: int = GRID) -> onp.ndarray:
    """The midpoints of side·side equal cells of the square, (side², 2), row by row: x₁ runs fastest."""
    t = (onp.arange(side) + 0.5) / side
    return onp.stack(onp.meshgrid(t, t), axis=-1).reshape(-1, 2)


def _between(mean: float) -> float:
    """The mass of N(mean, s²) on [0, 1]."""
    return (erf((1 - mean) / (STD * sqrt(2))) + erf(mean / (STD * sqrt(2)))) / 2


def _points(x) -> onp.ndarray:
    x = onp.asarray(x, float)
    if x.ndim != 2 or x.shape[1] != 2 or not onp.isfinite(x).all():
        raise InputError(f"expected finite points (n, 2), got shape {x.shape}")
    return x
