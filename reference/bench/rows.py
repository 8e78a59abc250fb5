"""The rows of the benchmark: one implementation each, as jobs by the name of their column.

What each step includes.  Classifier: from (θ, batch) to the new θ: prediction, nearest class, attack, ŷ, critic's term,
cycle, cross-entropy, gradient, Adam.  Critic: from (ω, batch, x̂, ŷ) to the new ω: losses, penalty, gradient, Adam.
Other defences: from (θ, batch) to the new θ.  Epoch: classifier and critic step for every batch of the training data,
with fresh noise and the running confidence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from types import ModuleType
from typing import NamedTuple

import numpy as onp
from autograd import grad

from ..attacks import deepfool, high_confidence
from ..attacks.nearest import nearest_class
from ..by_hand import steps as by_hand
from ..by_hand.model import from_params
from ..experiment.train import critic_batch
from ..method import network, objectives
from ..method import steps as definitions
from ..method.adam import adam_step
from ..method.numerics import predict
from ..method.settings import AdversarialTraining, Margin, MultiStep, Undefended, VirtualAdversarial
from .problem import Problem

CLASSIFIER, NEAREST, CRITIC = "classifier step", "nearest class", "critic step"
EPOCH, DEEPFOOL, HIGH = "epoch", "DeepFool", "high-confidence"
OTHERS = {
    "undefended": Undefended(),
    "adversarial": AdversarialTraining(1.0, "l2"),
    "multi-step": MultiStep(1.0),
    "virtual": VirtualAdversarial(1.5),
    "margin": Margin(0.5),
}
"""The other defences.  All are in L2, because rounding decides the sign of a small gradient."""
LONG = (EPOCH, DEEPFOOL, HIGH)
COLUMNS = (CLASSIFIER, NEAREST, CRITIC, *OTHERS, *LONG)


class Job(NamedTuple):
    """What is timed, and around it what is not."""

    run: Callable[[], object]
    before: Callable[[], object] = lambda: None
    arrays: Callable[[object], list[onp.ndarray]] | None = None
    """What `run` returned, as NumPy arrays: to compare rows by, where they must agree."""


def flat(params) -> list[onp.ndarray]:
    """[(W, b), …] -> [W, b, …]."""
    return [onp.asarray(a) for layer in params for a in layer]


def batches(p: Problem) -> Iterator[tuple[onp.ndarray, onp.ndarray]]:
    """The training data in the order of the file."""
    x, y = p.digits.train
    size = p.plan.training.batch
    return ((x[i : i + size], y[i : i + size]) for i in range(0, len(x), size))


def virtual_start(p: Problem) -> onp.ndarray:
    """The random direction (n, d) from which virtual adversarial training searches, the same for all rows."""
    return onp.random.default_rng(0).standard_normal(p.x.shape, dtype=onp.float32)


def evaluations(p: Problem, model) -> dict[str, Job]:
    """The attacks of the evaluation on `model`, from the true labels."""

    def job(attack):
        return Job(lambda: attack(model, *(a[: p.plan.test_images] for a in p.digits.test)))

    return {DEEPFOOL: job(deepfool), HIGH: job(high_confidence)}


def plain(p: Problem) -> dict[str, Job]:
    """The definitions, differentiated by `autograd.grad`; in the epoch by `steps`, which saves it some bookkeeping."""
    state, s, training = p.state, p.defence, p.plan.training
    real, fake, judging = p.noise
    betas = training.beta1, training.beta2

    def classifier():
        targets = objectives.choose_targets(state.params, p.x, s.generator)

        def loss(params):
            terms = objectives.adversary_critic(params, p.x, p.y, targets, state.running, state.critic, judging, s)
            return objectives.total(terms)

        return adam_step(state.params, grad(loss)(state.params), state.adam, training.learning_rate, *betas)[0]

    def critic():
        def loss(D):
            return objectives.total(objectives.critic_objective(D, p.x, p.y, p.x_hat, p.y_hat, real, fake, s))

        return adam_step(state.critic, grad(loss)(state.critic), state.critic_adam, s.critic_learning_rate, *betas)[0]

    row = numpy_row(p, definitions, lambda v: network.logits(p.state.params, v))
    return row | {CLASSIFIER: Job(classifier, arrays=flat), CRITIC: Job(critic, arrays=flat)}


def ours(p: Problem) -> dict[str, Job]:
    """The hand-written steps that training takes."""
    return numpy_row(p, by_hand, from_params(p.state.params))


def numpy_row(p: Problem, steps: ModuleType, model) -> dict[str, Job]:
    s, training, state = p.defence, p.plan.training, deepcopy(p.state)
    real, fake, judging = p.noise
    betas = training.beta1, training.beta2

    def reset():
        vars(state).update(vars(deepcopy(p.state)))  # Adam may work in place

    def classifier():
        step = steps.ClassifierStep(state.params, p.x)
        step.attack(state.running, s.generator)
        _, gradient = step.gradient(p.y, state.critic, judging, s)
        return steps.adam_step(state.params, gradient, state.adam, training.learning_rate, *betas)[0]

    def critic():
        _, gradient = steps.critic_step(state.critic, p.x, p.y, p.x_hat, p.y_hat, real, fake, s)
        return steps.adam_step(state.critic, gradient, state.critic_adam, s.critic_learning_rate, *betas)[0]

    start = virtual_start(p)
    gradients = {
        "undefended": lambda s: steps.undefended(state.params, p.x, p.y),
        "adversarial": lambda s: steps.adversarial_training(state.params, p.x, p.y, s),
        "multi-step": lambda s: steps.multi_step(state.params, p.x, p.y, s),
        "virtual": lambda s: steps.virtual_adversarial(state.params, p.x, p.y, s, start),
        "margin": lambda s: steps.margin(state.params, p.x, p.y, s),
    }

    def other(name):
        def run():
            _, gradient = gradients[name](OTHERS[name])
            return steps.adam_step(state.params, gradient, state.adam, training.learning_rate, *betas)[0]

        return Job(run, reset, flat)

    def epoch():
        for x, y in batches(p):
            critic_batch(state, x, y, s, training, training.learning_rate, s.critic_learning_rate, steps)

    return {
        CLASSIFIER: Job(classifier, reset, flat),
        NEAREST: Job(
            lambda: nearest_class(model, p.x, predict(network.logits(p.state.params, p.x))),
            arrays=lambda targets: [targets],
        ),
        CRITIC: Job(critic, reset, flat),
        **{name: other(name) for name in OTHERS},
        EPOCH: Job(epoch, reset),
    } | evaluations(p, model)
