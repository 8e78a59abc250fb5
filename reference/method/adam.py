"""Adam in TensorFlow's form and the step decay of the learning rate, on lists of layers (W, b)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as onp

from .network import Params


@dataclass(frozen=True)
class Adam:
    """Adam's state: first and second moments, shaped like the parameters, and the number of steps taken."""

    m: Params
    v: Params
    t: int = 0

    @classmethod
    def start(cls, params: Params) -> Adam:
        """Zero moments."""
        zeros = [tuple(onp.zeros_like(a) for a in layer) for layer in params]
        return cls(zeros, [tuple(a.copy() for a in layer) for layer in zeros])


def adam_step(
    params: Params, gradient: Params, state: Adam, rate: float, beta1: float = 0.5, beta2: float = 0.999, eps=1e-8
) -> tuple[Params, Adam]:
    """θ − rate·√(1−β2ᵗ)/(1−β1ᵗ)·m/(√v + ε): ε outside the bias correction, as TensorFlow has it.

    Returns new parameters and a new state, in the parameters' dtype; nothing is changed in place.
    """
    t = state.t + 1
    scale = rate * (1 - beta2**t) ** 0.5 / (1 - beta1**t)

    def leafwise(f, *trees):
        return [tuple(f(*leaves) for leaves in zip(*layers)) for layers in zip(*trees)]

    m = leafwise(lambda m, g: beta1 * m + (1 - beta1) * g, state.m, gradient)
    v = leafwise(lambda v, g: beta2 * v + (1 - beta2) * g * g, state.v, gradient)
    new = leafwise(lambda p, m, v: p - scale * m / (onp.sqrt(v) + eps), params, m, v)
    return new, Adam(m, v, t)


def decayed(rate: float, epoch: int, halve_every: float) -> float:
    """The learning rate in `epoch` (from 0): halved every `halve_every` epochs."""
    return rate * 0.5 ** (epoch // halve_every)
