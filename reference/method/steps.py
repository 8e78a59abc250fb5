"""What training takes from a batch: each defence's terms and gradient, by the plain definitions and autograd.

    undefended, pretraining, adversarial_training, virtual_adversarial, margin    (params, x, y, …) -> terms, gradient
    ClassifierStep, critic_step                                                   the adversary critic's two
    adam_step                                                                     takes the gradient to new weights

Terms are {name: (weight, float)} as `objectives` names them, gradients are shaped like the parameters.  `fused` has the
same functions by hand, and is what training uses; `via` here composes the objectives of `twins` instead.
"""

from __future__ import annotations

import numpy as onp

from . import objectives
from .adam import adam_step as adam_step
from .network import Params
from .numerics import pick, predict, softmax
from .objectives import PLAIN, Attacked, Routes, Terms, differentiate
from .reverse import make_vjp
from .settings import AdversarialTraining, AdversaryCritic, Generator, Margin, VirtualAdversarial
from .targets import RunningConfidence

Step = tuple[Terms, Params]


def undefended(params: Params, x, y, via: Routes = PLAIN) -> Step:
    """`objectives.undefended`."""
    return differentiate(lambda p: objectives.undefended(p, x, y, via), params)


def pretraining(params: Params, x, y, weight_decay: float, via: Routes = PLAIN) -> Step:
    """`objectives.pretraining`."""
    return differentiate(lambda p: objectives.pretraining(p, x, y, weight_decay, via), params)


def adversarial_training(params: Params, x, y, s: AdversarialTraining, via: Routes = PLAIN) -> Step:
    """`objectives.adversarial_training`."""
    return differentiate(lambda p: objectives.adversarial_training(p, x, y, s, via), params)


def virtual_adversarial(params: Params, x, y, s: VirtualAdversarial, start, via: Routes = PLAIN) -> Step:
    """`objectives.virtual_adversarial`."""
    return differentiate(lambda p: objectives.virtual_adversarial(p, x, y, s, start, via), params)


def margin(params: Params, x, y, s: Margin, via: Routes = PLAIN) -> Step:
    """`objectives.margin`."""
    return differentiate(lambda p: objectives.margin(p, x, y, s, via), params)


class ClassifierStep:
    """The classifier's side of one batch at a fixed θ, in the method's order:

        step = ClassifierStep(params, x)            .confidence (n,), .predicted (n,): for the running confidence
        step.attack(running, s.generator, rng)      .images x̂ (n, d), .taken_for ŷ (n,): for the critic's step
        terms, gradient = step.gradient(y, …)       with the critic as that step left it

    The generator runs once, for the critic and for θ: its reverse waits for what the critic will say.
    """

    generate = staticmethod(objectives.generate)  # a subclass may have another generator,
    judge = staticmethod(objectives.judge)  # or another objective

    def __init__(self, params: Params, x, via: Routes = PLAIN):
        self.params, self.x, self.via = params, x, via
        z = via.logits(params, x)
        self.predicted, self.confidence = predict(z), pick(softmax(z), predict(z))

    def attack(self, running: RunningConfidence, s: Generator, rng: onp.random.Generator | None = None) -> None:
        """Choose targets (`rng`: only where they are random) and attack."""
        targets = objectives.choose_targets(self.params, self.x, s, rng, self.via)
        self.attacked, self.to_theta = make_vjp(
            lambda p: self.generate(p, self.x, targets, running, s, self.via), self.params
        )
        _, _, self.images, self.target_confidence = self.attacked
        self.taken_for = predict(self.via.logits(self.params, self.images))

    def gradient(self, y, critic_params: Params, noise, s: AdversaryCritic) -> Step:
        """The terms of `judge` against this critic, and the gradient of their total by θ."""
        terms, (direct, through_attack) = differentiate(
            lambda both: self.judge(both[0], Attacked(*both[1]), self.x, y, critic_params, noise, s, self.via),
            (self.params, tuple(self.attacked)),
        )
        indirect = self.to_theta(through_attack)
        return terms, [(W + V, b + c) for (W, b), (V, c) in zip(direct, indirect, strict=True)]


def critic_step(
    critic_params: Params, x, y, x_hat, y_hat, noise_real, noise_fake, penalty_weight: float, via: Routes = PLAIN
) -> Step:
    """`objectives.critic_objective`."""
    return differentiate(
        lambda D: objectives.critic_objective(D, x, y, x_hat, y_hat, noise_real, noise_fake, penalty_weight, via),
        critic_params,
    )
