"""What training takes from a batch: each defence's terms and gradient, by the plain definitions and autograd.

    undefended, pretraining, adversarial_training,
    multi_step, virtual_adversarial, margin             (params, x, y, …) -> terms, gradient
    ClassifierStep, critic_step                         the adversary critic's two
    adam_step                                           takes a gradient to new weights

Terms are {name: (weight, float)} as `objectives` names them; gradients are shaped like the parameters.  `by_hand.steps`
offers the same names without autograd, and a run picks one of the two modules.
"""

from __future__ import annotations

import autograd.builtins as tracked
import numpy as onp
from autograd import make_vjp

from . import network, objectives
from .adam import adam_step
from .network import Params
from .numerics import pick, predict, softmax
from .objectives import Attacked, Terms, differentiate
from .settings import AdversarialTraining, AdversaryCritic, Generator, Margin, MultiStep, VirtualAdversarial
from .targets import RunningConfidence

__all__ = [
    "ClassifierStep",
    "adam_step",
    "adversarial_training",
    "critic_step",
    "margin",
    "multi_step",
    "pretraining",
    "undefended",
    "virtual_adversarial",
]


def undefended(params: Params, x, y) -> tuple[Terms, Params]:
    """Differentiate `objectives.undefended` by its weights."""
    return differentiate(lambda p: objectives.undefended(p, x, y), params)


def pretraining(params: Params, x, y, weight_decay: float) -> tuple[Terms, Params]:
    """Differentiate `objectives.pretraining` by its weights."""
    return differentiate(lambda p: objectives.pretraining(p, x, y, weight_decay), params)


def adversarial_training(params: Params, x, y, s: AdversarialTraining) -> tuple[Terms, Params]:
    """Differentiate `objectives.adversarial_training` by its weights."""
    return differentiate(lambda p: objectives.adversarial_training(p, x, y, s), params)


def multi_step(params: Params, x, y, s: MultiStep) -> tuple[Terms, Params]:
    """Differentiate `objectives.multi_step` by its weights."""
    return differentiate(lambda p: objectives.multi_step(p, x, y, s), params)


def virtual_adversarial(params: Params, x, y, s: VirtualAdversarial, start) -> tuple[Terms, Params]:
    """Differentiate `objectives.virtual_adversarial` by its weights."""
    return differentiate(lambda p: objectives.virtual_adversarial(p, x, y, s, start), params)


def margin(params: Params, x, y, s: Margin) -> tuple[Terms, Params]:
    """Differentiate `objectives.margin` by its weights."""
    return differentiate(lambda p: objectives.margin(p, x, y, s), params)


class ClassifierStep:
    """The classifier's side of one batch at a fixed θ, in the method's order:

        step = ClassifierStep(params, x)            .confidence (n,), .predicted (n,): for the running confidence
        step.attack(running, s.generator, rng)      .images x̂ (n, d), .taken_for ŷ (n,): for the critic's step
        terms, gradient = step.gradient(y, …)       with the critic as that step left it

    The generator runs once.  Its images serve the critic's step, and its derivative by θ is taken afterwards, when the
    updated critic has said what it thinks of them.
    """

    generate = staticmethod(objectives.generate)  # a subclass may have another generator,
    judge = staticmethod(objectives.judge)  # or another objective

    def __init__(self, params: Params, x):
        self.params, self.x = params, x
        z = network.logits(params, x)
        self.predicted, self.confidence = predict(z), pick(softmax(z), predict(z))

    def attack(
        self, running: RunningConfidence, s: Generator, rng: onp.random.Generator | None = None, targets=None
    ) -> None:
        """Attack towards `targets` (n,), by default as `s` chooses them (`rng` is needed only where that is random)."""
        if targets is None:
            targets = objectives.choose_targets(self.params, self.x, s, rng)

        def attacked(params):
            return tracked.tuple(self.generate(params, self.x, targets, running, s))

        self.to_theta, values = make_vjp(attacked)(self.params)
        self.attacked = Attacked(*values)
        _, _, self.images, self.target_confidence = self.attacked
        self.taken_for = predict(network.logits(self.params, self.images))

    def gradient(self, y, critic_params: Params, noise, s: AdversaryCritic) -> tuple[Terms, Params]:
        """The terms of `judge` against this critic, and the gradient of their total by θ.

        θ enters twice: directly, and through what the attack made.  The two gradients are added.
        """

        def judged(both):
            params, attacked = both
            return self.judge(params, Attacked(*attacked), self.x, y, critic_params, noise, s)

        terms, (direct, through_attack) = differentiate(judged, (self.params, tuple(self.attacked)))
        indirect = self.to_theta(through_attack)
        return terms, [(W + V, b + c) for (W, b), (V, c) in zip(direct, indirect, strict=True)]


def critic_step(
    critic_params: Params, x, y, x_hat, y_hat, noise_real, noise_fake, s: AdversaryCritic
) -> tuple[Terms, Params]:
    """Differentiate `objectives.critic_objective` by its weights."""
    return differentiate(
        lambda D: objectives.critic_objective(D, x, y, x_hat, y_hat, noise_real, noise_fake, s), critic_params
    )
