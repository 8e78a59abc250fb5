"""Which class an attack aims at, and with what confidence.  Source: Matyasko & Chau 2018 and their code."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as onp

from ..errors import check_labels
from .numerics import one_hot, softmax


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
