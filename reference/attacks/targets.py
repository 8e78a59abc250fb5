"""Which class an attack aims at, and with what confidence.  Source: Matyasko & Chau 2018 and their code."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as onp

from ..checks import check_labels
from ..errors import InputError
from ..numerics import one_hot, softmax
from .model import Model, as_model


def nearest_class(model: Model, x: onp.ndarray, labels: onp.ndarray, geometry: str = "l2") -> onp.ndarray:
    """The class whose linearised boundary with `labels` is nearest to `x`.

    argmin_{j≠l} |f_j − f_l| / ‖∇f_j − ∇f_l‖, the norm dual to the geometry: L2 for "l2", L1 for "linf".
    model: anything `as_model` takes; x: (n, d); labels: (n,).  Returns (n,) classes.
    A gap without a gradient is infinitely far; where all are, the highest other logit is taken.
    Source: Moosavi-Dezfooli et al. 2016, eq. 8.
    """
    z, away, _ = boundaries(as_model(model), x, labels, geometry)
    return nearest(z, away, labels)


def boundaries(model: Model, x, labels, geometry: str = "l2"):
    """-> (z (n, k), distances to the linearised boundary with class j (n, k), pull_back at x).

    Norms alone are kept of the k gradients; whoever wants one of them pulls it back.
    """
    order = {"l2": 2, "linf": 1}.get(geometry)
    if order is None:
        raise InputError(f'geometry = {geometry!r}: choose "l2" or "linf"')
    if model.gaps is not None:
        z, gaps, pull_back = model.gaps(x, labels, geometry)
    else:
        z, pull_back = model.linearise(x)
        n, k = z.shape
        own = one_hot(labels, k, z.dtype)
        differences = (pull_back(one_hot(onp.full(n, j), k, z.dtype) - own) for j in range(k))
        gaps = onp.stack([onp.linalg.norm(v, ord=order, axis=1) for v in differences], axis=1)
    return z, distances(z, gaps, check_labels(labels, z.shape[1], len(z))), pull_back


def distances(z, gaps, labels):
    """|f_j − f_l| / ‖∇f_j − ∇f_l‖, (n, k), from logits `z` and gradient norms `gaps` (n, k); infinite for j = l."""
    rows = onp.arange(len(z))
    difference = onp.abs(z - z[rows, labels][:, None])
    away = onp.divide(difference, gaps, out=onp.full_like(difference, onp.inf), where=gaps > 0)
    away[rows, labels] = onp.inf
    return away


def nearest(z, away, labels):
    """The class of the smallest distance `away` (n, k); where all are infinite, the highest logit but the label's."""
    others = onp.where(one_hot(labels, z.shape[1], bool), -onp.inf, z)
    return onp.where(onp.isfinite(away).any(axis=1), away.argmin(axis=1), others.argmax(axis=1))


def random_class(rng: onp.random.Generator, z: onp.ndarray, labels: onp.ndarray, weighted: bool = False):
    """A random class other than `labels` (n,): uniform, or (`weighted`) from softmax `z` (n, k) without the label."""
    labels = check_labels(labels, z.shape[1], len(z))
    # The label is taken out before the softmax: afterwards the other classes may have underflowed.
    others = onp.where(one_hot(labels, z.shape[1], bool), -onp.inf, z if weighted else 0)
    cumulative = onp.cumsum(softmax(others.astype(float)), axis=1)
    draw = rng.random((len(z), 1)) * cumulative[:, -1:]
    return (cumulative > draw).argmax(axis=1)


@dataclass(frozen=True)
class RunningConfidence:
    """The running mean, per class, of the confidence of the examples predicted as that class.

    Exponential with decay ½ and zero-debiased, so that the first value is the batch mean itself; a class absent from
    a batch contributes its stored value, 1 at first.  A constant for every differentiation.

    value: (k,) the debiased mean; biased: (k,) the mean before debiasing; steps: updates so far.
    """

    value: onp.ndarray
    biased: onp.ndarray
    steps: int = 0
    decay: float = 0.5

    @classmethod
    def start(cls, classes: int, dtype=onp.float32) -> RunningConfidence:
        """Before the first batch: 1 for every class."""
        return cls(onp.ones(classes, dtype), onp.zeros(classes, dtype))

    def update(self, confidence: onp.ndarray, predicted: onp.ndarray) -> RunningConfidence:
        """The state after a batch: `confidence` (n,) = max_j p_j(x_i), `predicted` (n,) = argmax_j p_j(x_i)."""
        k = len(self.value)
        count = onp.bincount(predicted, minlength=k)
        total = onp.bincount(predicted, weights=confidence, minlength=k)
        batch = onp.where(count > 0, total / onp.maximum(count, 1), self.value).astype(self.value.dtype)
        biased = self.decay * self.biased + (1 - self.decay) * batch
        steps = self.steps + 1
        return RunningConfidence(biased / (1 - self.decay**steps), biased, steps, self.decay)
