"""What is timed: a batch of digits at weights from the middle of training, and who is still under attack there."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as onp

from ..data import Digits, Split, load
from ..errors import InputError
from ..experiment.plans import DEMO, PAPER, QUICK, STUDIED, Experiment
from ..experiment.state import State
from ..experiment.train import train
from ..method import critic, network, objectives, steps
from ..method.adam import Adam, adam_step
from ..method.generator import linearise_log_prob, newton_step
from ..method.numerics import pick, predict, sigmoid, softmax
from ..method.settings import Generator

TINY = replace(STUDIED["critic"], hidden=(32,), generator=Generator(iterations=1))
SCALES = {"demo": replace(DEMO, defences=STUDIED), "paper": PAPER, "quick": replace(QUICK, defences={"critic": TINY})}
EPOCHS = {"demo": 20, "paper": 2, "quick": 1}
"""After pre-training, before anything is timed."""


class Problem(NamedTuple):
    """One batch and everything that both steps on it need."""

    plan: Experiment
    digits: Digits
    state: State
    x: onp.ndarray
    y: onp.ndarray
    targets: onp.ndarray
    x_hat: onp.ndarray
    """Attacked images, as the critic's step gets them, and:"""
    y_hat: onp.ndarray
    noise: tuple[critic.Noise, critic.Noise, critic.Noise]
    """Of the critic's forward passes: real, fake, and in the classifier's step."""
    first: int = 0
    """Where in the training split the batch begins."""

    @property
    def defence(self):
        return self.plan.defences["critic"]


def prepare(scale: str, epochs: int, seed: int = 0) -> Problem:
    """Train for one epoch on cross-entropy and `epochs` more with the critic; then the first batch that is `steady`."""
    plan, digits = SCALES[scale], load(SCALES[scale].side)
    if scale == "quick":
        digits = digits._replace(train=Split(*(a[:300] for a in digits.train)))
    state = train(digits, plan.defences["critic"], replace(plan.training, epochs=epochs), seed)
    n = plan.training.batch
    for first in range(0, len(digits.train.y) - n + 1, n):
        p = batch(plan, digits, state, digits.train.x[first : first + n], digits.train.y[first : first + n])
        if steady(p):
            return p._replace(first=first)
    raise InputError(
        f"at no batch of the {scale} scale does float32 give the plain step to 1e-4: train longer, or less"
    )


def steady(p: Problem) -> bool:
    """No example is so near a kink that rounding decides its side, ours or another library's.

    Both steps, Adam included, are in float32 what they are in float64, also if the images are off by a few roundings.
    """

    def moves(dtype, roundings=0):
        def move(params, gradient, adam, rate):
            new, _ = adam_step(params, gradient, cast(adam, dtype), rate, training.beta1, training.beta2)
            return onp.concatenate([(a - b).ravel() for pair in zip(new, params) for a, b in zip(*pair)])

        training, state = p.plan.training, p.state
        x, x_hat = ((image * (1 + roundings * onp.finfo(dtype).eps)).astype(dtype) for image in (p.x, p.x_hat))
        params, critic_params, (real, fake, judging) = (cast(t, dtype) for t in (state.params, state.critic, p.noise))
        step = steps.ClassifierStep(params, x)
        step.attack(replace(state.running, value=state.running.value.astype(dtype)), p.defence.generator)
        _, theta = step.gradient(p.y, critic_params, judging, p.defence)
        _, omega = steps.critic_step(critic_params, x, p.y, x_hat, p.y_hat, real, fake, p.defence)
        return (
            move(params, theta, state.adam, training.learning_rate),
            move(critic_params, omega, state.critic_adam, p.defence.critic_learning_rate),
        )

    double = moves(onp.float64)
    off = [sign * 8 * draw for draw in onp.random.default_rng(0).standard_normal((2, *p.x.shape)) for sign in (1, -1)]
    return all(
        onp.linalg.norm(single - exact) <= 1e-4 * onp.linalg.norm(exact)
        for roundings in (0, *off)
        for single, exact in zip(moves(onp.float32, roundings), double, strict=True)
    )


def cast(tree, dtype):
    """Every array of a tree of lists, tuples and Adam states as `dtype`."""
    if isinstance(tree, Adam):
        return Adam(cast(tree.m, dtype), cast(tree.v, dtype), tree.t)
    return [cast(part, dtype) for part in tree] if isinstance(tree, list | tuple) else tree.astype(dtype)


def batch(plan: Experiment, digits: Digits, state: State, x, y) -> Problem:
    """The problem of these images at these weights."""
    s, rng = plan.defences["critic"], onp.random.default_rng(0)
    targets = objectives.choose_targets(state.params, x, s.generator)
    x_hat = objectives.generate(state.params, x, targets, state.running, s.generator).images
    y_hat = predict(network.logits(state.params, x_hat))
    noise = tuple(critic.draw_noise(rng, state.critic, len(x), s.input_noise, s.hidden_noise) for _ in range(3))
    return Problem(plan, digits, state, x, y, targets, x_hat, y_hat, noise)


class Active(NamedTuple):
    """Which rows of the batch each iteration still works on: index arrays."""

    there: list[onp.ndarray]
    """Of the attack; its last entry is of those that have not arrived when it ends."""
    back: list[onp.ndarray]
    """Of the cycle's attack, likewise."""
    changed: onp.ndarray
    """S."""


def active(p: Problem) -> Active:
    """By the plain definitions, example by example."""
    params, s = p.state.params, p.defence.generator
    z = network.logits(params, p.x)
    there = under_attack(params, p.x, p.targets, p.state.running.value[p.targets], s)
    back = under_attack(params, p.x_hat, predict(z), pick(softmax(z), predict(z)), s)
    return Active(there, back, onp.flatnonzero(p.y_hat != predict(z)))


def under_attack(params, x, targets, C, s: Generator) -> list[onp.ndarray]:
    """The rows of `x` at the start of every iteration, and at the end."""
    f = partial(network.logits, params)
    r, going = onp.zeros_like(x), onp.ones(len(x), bool)
    found = [onp.flatnonzero(going)]
    for _ in range(s.iterations):
        at = x + (1 + s.overshoot) * r
        log_p, p, w = linearise_log_prob(f, at, targets)
        going &= onp.round(sigmoid(C - p)) > 0
        r += going[:, None] * newton_step(log_p, w, C, s.eps)
        found.append(onp.flatnonzero(going))
    return found
