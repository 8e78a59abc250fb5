"""Every number of the method, one documented field each; `PAPER` is the authors' configuration, `DEMO` the demo's.

Where a default is given without comment it is the authors' (as published with their code).  The radii ε of the other
defences are not: theirs are not published.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError

GEOMETRIES = ("l2", "linf")


def _require(owner: object, rule: str, good: Callable[[Any], bool], *names: str) -> None:
    """Each named field of `owner` obeys the rule; InputError otherwise."""
    for name in names:
        value = getattr(owner, name)
        try:
            fits = good(value)
        except TypeError:  # not of a kind that can be compared
            fits = False
        if not fits:
            raise InputError(f"{name} = {value!r}: give {rule}")


def _require_choice(owner: object, name: str, choices: tuple[str, ...]) -> None:
    _require(owner, f"one of {', '.join(choices)}", lambda value: value in choices, name)


def _require_positive(owner: object, *names: str) -> None:
    _require(owner, "a positive finite number", lambda value: 0 < value < math.inf, *names)


def _require_not_negative(owner: object, *names: str) -> None:
    _require(owner, "a finite number, 0 or more", lambda value: 0 <= value < math.inf, *names)


def _require_count(owner: object, least: int, *names: str) -> None:
    _require(owner, f"a whole number, {least} or more", lambda value: value >= least and value == int(value), *names)


def _require_widths(owner: object) -> None:
    _require(owner, "whole positive widths", lambda widths: all(w >= 1 and w == int(w) for w in widths), "hidden")


@dataclass(frozen=True)
class Generator:
    """The attack that is unrolled in training."""

    iterations: int = 5
    """Newton steps, M."""
    overshoot: float = 0.05
    """o: the iterate is x + (1 + o) r."""
    eps: float = 1e-8
    """ε in the norm √(ε + ‖w‖²) and, as √ε, in the step."""
    gradient: str = "truncated"
    """"truncated" (iterates detached), "full", or "detached" (no gradient at all, for comparison)."""
    geometry: str = "l2"
    """"l2" or "linf": of the step and of the nearest class."""
    targets: str = "nearest"
    """"nearest" class, or a random one: "uniform" or "softmax"."""
    confidence: str | float = "running"
    """C: "running" class mean, the example's "own", or a number in (0, 1)."""

    def __post_init__(self):
        _require_count(self, 1, "iterations")
        _require_not_negative(self, "overshoot", "eps")
        _require_choice(self, "gradient", ("truncated", "full", "detached"))
        _require_choice(self, "geometry", GEOMETRIES)
        _require_choice(self, "targets", ("nearest", "uniform", "softmax"))
        rule = '"running", "own" or a number in (0, 1)'
        _require(self, rule, lambda C: C in ("running", "own") or (not isinstance(C, str) and 0 < C < 1), "confidence")


@dataclass(frozen=True)
class Undefended:
    """Cross-entropy alone."""

    name = "undefended"


@dataclass(frozen=True)
class AdversarialTraining:
    """½ L(x) + ½ L(x + r), r one gradient step held constant.  Goodfellow et al. 2015."""

    name = "adversarial training"
    epsilon: float = 0.15
    """Length of the step in its geometry."""
    geometry: str = "linf"
    """"linf": ε·sign(∇L); "l2": ε·∇L/‖∇L‖."""

    def __post_init__(self):
        _require_not_negative(self, "epsilon")
        _require_choice(self, "geometry", GEOMETRIES)


@dataclass(frozen=True)
class VirtualAdversarial:
    """L(x) + KL(sg[p(x)] ‖ p(x + ε d)), d held constant.  Miyato et al. 2015."""

    name = "virtual adversarial"
    epsilon: float = 1.5
    """Length of the perturbation, L2."""
    xi: float = 0.1
    """Length of the finite difference that finds d; 0.1 is fit for float32."""
    power_iterations: int = 1

    def __post_init__(self):
        _require_not_negative(self, "epsilon")
        _require_positive(self, "xi")
        _require_count(self, 1, "power_iterations")


@dataclass(frozen=True)
class Margin:
    """The hinge loss's worst case over an ε-ball, f linearised.  Matyasko & Chau 2017."""

    name = "margin"
    epsilon: float = 0.5
    """Radius of the ball in its geometry."""
    geometry: str = "l2"

    def __post_init__(self):
        _require_not_negative(self, "epsilon")
        _require_choice(self, "geometry", GEOMETRIES)


@dataclass(frozen=True)
class AdversaryCritic:
    """L(x) + λ·(fool the critic) + β·(cycle), against a critic trained beside the classifier.  Matyasko & Chau 2018."""

    name = "adversary critic"
    critic_weight: float = 0.5
    """λ."""
    cycle_weight: float = 0.01
    """β."""
    generator: Generator = field(default_factory=Generator)
    hidden: tuple[int, ...] = (1200, 1200)
    """The critic's hidden layers."""
    input_noise: float = 0.1
    """Standard deviation of the Gaussian noise on the critic's input."""
    hidden_noise: float = 0.5
    """The same after each of its hidden activations."""
    penalty_weight: float = 10.0
    """Of the gradient penalty in the critic's loss."""
    critic_learning_rate: float = 1e-3
    critic_steps: int = 1
    """Critic steps per classifier step, on the same batch."""

    def __post_init__(self):
        _require_not_negative(self, "critic_weight", "cycle_weight", "input_noise", "hidden_noise", "penalty_weight")
        _require_positive(self, "critic_learning_rate")
        _require_count(self, 0, "critic_steps")
        _require_widths(self)


Defence = Undefended | AdversarialTraining | VirtualAdversarial | Margin | AdversaryCritic


@dataclass(frozen=True)
class Training:
    """What all defences share."""

    hidden: tuple[int, ...] = (1200, 1200, 1200)
    """The classifier's hidden layers; () is a linear classifier."""
    batch: int = 100
    """Examples a step; the last batch of an epoch may be smaller."""
    pretrain_epochs: int = 1
    """Epochs on cross-entropy + weight_decay·½Σ‖W‖² beforehand."""
    epochs: int = 100
    learning_rate: float = 5e-4
    halve_every: float = 40
    """Epochs after which both learning rates are halved, again and again."""
    weight_decay: float = 5e-6
    """Of the hidden weight matrices, in pre-training only."""
    beta1: float = 0.5
    """Adam's β1.  Not 0.9."""
    beta2: float = 0.999

    def __post_init__(self):
        _require_count(self, 1, "batch")
        _require_count(self, 0, "pretrain_epochs", "epochs")
        _require_positive(self, "learning_rate", "halve_every")
        _require_not_negative(self, "weight_decay")
        _require(self, "a number in [0, 1)", lambda beta: 0 <= beta < 1, "beta1", "beta2")
        _require_widths(self)
