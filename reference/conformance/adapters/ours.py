"""This library under its own test: `plain`, the definitions, and `twins`, with the hand-derived adjoint.

python -m reference.conformance run reference.conformance.adapters.ours:twins
"""

from __future__ import annotations

from functools import partial

import numpy as np
from autograd import make_vjp as pull_input

from ...attacks import as_model, carlini_wagner, deepfool, high_confidence
from ...by_hand.model import from_params
from ...by_hand.twins import TWINS
from ...method import losses, network, objectives
from ...method.adam import Adam, adam_step
from ...method.generator import linearise_log_prob, newton_step
from ...method.numerics import norm, one_hot, pick, predict, softmax
from ...method.perturbations import gradient_step, virtual_direction
from ...method.reverse import make_vjp
from ...method.settings import AdversarialTraining, AdversaryCritic, Generator, Margin, VirtualAdversarial
from ...method.targets import RunningConfidence, distances, nearest


class Ours:
    """The adapter of the definitions that `via` routes to; `model` (params -> Model) is what evaluation attacks."""

    choices = {}  # the defaults

    def __init__(self, name: str, via: objectives.Routes, model):
        self.name, self.via, self.model = name, via, model

    def logits(self, params, x):
        return self.via.logits(params, x)

    def scores(self, critic, x, noise):
        return self.via.scores(critic, x, noise)

    def input_gradient(self, params, x, labels):
        pull_back, z = pull_input(partial(self.via.logits, params))(x)
        return pull_back(one_hot(labels, z.shape[1], z.dtype))

    def critic_gradient(self, critic, x, labels, noise):
        return self.via.critic_gradient(critic, x, labels, noise)

    def nearest_class(self, params, x, labels, geometry):
        z = self.via.logits(params, x)
        return nearest(z, distances(z, self.via.gradient_gaps(params, x, labels, geometry), labels), labels)

    def running_confidence(self, params, x, y, value, biased, steps):
        z = self.via.logits(params, x)
        state = RunningConfidence(value, biased, steps).update(pick(softmax(z), predict(z)), predict(z))
        return {"value": state.value, "biased": state.biased, "steps": state.steps}

    def attack_step(self, params, x, targets, C, eps, geometry):
        log_p, _, w = linearise_log_prob(partial(self.via.logits, params), x, targets)
        return newton_step(log_p, w, C, eps, geometry)

    def attack(self, params, x, targets, C, iterations, overshoot, eps):
        trace = [self.via.unrolled(params, x, targets, C, m, overshoot, eps) for m in range(1, iterations + 1)]
        moved = [(now != before).any(axis=1) for before, now in zip([x, *trace], trace)]
        return {"trace": np.stack(trace), "mask": np.stack(moved)}

    def _classifier_terms(self, params, critic, x, y, targets, value, noise):
        s = AdversaryCritic(generator=Generator(confidence="own" if value is None else "running"))
        value = np.ones(critic[-1][1].size, x.dtype) if value is None else value
        running = RunningConfidence(value, value, 1)
        return objectives.adversary_critic(params, x, y, targets, running, critic, noise, s, self.via)

    def classifier_losses(self, params, **given):
        return values(self._classifier_terms(params, **given))

    def classifier_gradients(self, params, **given):
        return gradients(lambda p: self._classifier_terms(p, **given), params)

    def _attacked(self, params, x, targets, value):
        """-> x̂ and ŷ"""
        running = RunningConfidence(value, value, 1)
        x_hat = objectives.generate(params, x, targets, running, Generator(), self.via).images
        return x_hat, predict(self.via.logits(params, x_hat))

    def _critic_terms(self, critic, x, y, x_hat, y_hat, noise_real, noise_fake, u):
        terms = objectives.critic_objective(critic, x, y, x_hat, y_hat, noise_real, noise_fake, 1, self.via)
        penalty = terms.pop("penalty_real")[1] + terms.pop("penalty_fake")[1]
        return terms | {"penalty": (1, penalty)}

    def critic_losses(self, params, critic, x, y, targets, value, **noise):
        return values(self._critic_terms(critic, x, y, *self._attacked(params, x, targets, value), **noise))

    def critic_gradients(self, params, critic, x, y, targets, value, **noise):
        attacked = self._attacked(params, x, targets, value)
        return gradients(lambda D: self._critic_terms(D, x, y, *attacked, **noise), critic)

    def adversarial_perturbation(self, params, x, y, epsilon, geometry):
        return gradient_step(partial(self.via.logits, params), x, y, epsilon, geometry)

    def virtual_perturbation(self, params, x, start, xi, epsilon):
        return epsilon * virtual_direction(partial(self.via.logits, params), x, start, xi)

    def _baseline_terms(self, params, x, y, start, epsilon, xi, weight_decay):
        adversarial, virtual = AdversarialTraining(epsilon, "l2"), VirtualAdversarial(epsilon, xi)
        all_terms = {
            "pretraining": objectives.pretraining(params, x, y, weight_decay, self.via),
            "adversarial": objectives.adversarial_training(params, x, y, adversarial, self.via),
            "virtual": objectives.virtual_adversarial(params, x, y, virtual, start, self.via),
            "margin": objectives.margin(params, x, y, Margin(epsilon), self.via),
        }
        return {name: (1, objectives.total(terms)) for name, terms in all_terms.items()}

    def baseline_losses(self, params, **given):
        return values(self._baseline_terms(params, **given))

    def baseline_gradients(self, params, **given):
        return gradients(lambda p: self._baseline_terms(p, **given), params)

    def adam_step(self, params, gradient, m, v, t, rate):
        params, state = adam_step(params, gradient, Adam(m, v, t), rate)
        return {"params": params, "m": state.m, "v": state.v}

    def training_step(
        self, state, x, y, noise_real, noise_fake, noise_judge, u, rate, critic_rate, critic_weight, cycle_weight,
        penalty_weight,
    ):  # fmt: skip
        params, D = state["params"], state["critic"]
        running = self.running_confidence(params, x, y, state["value"], state["biased"], state["steps"])
        C = running["value"]
        targets = self.nearest_class(params, x, predict(self.via.logits(params, x)), "l2")
        x_hat, y_hat = self._attacked(params, x, targets, C)

        weights = {"penalty": penalty_weight}
        found = gradients(lambda D: self._critic_terms(D, x, y, x_hat, y_hat, noise_real, noise_fake, u), D)
        adam_D = Adam(*(state[f"critic_{name}"] for name in "mvt"))
        D, adam_D = adam_step(D, weighted(weights, found), adam_D, critic_rate)

        weights = {"critic": critic_weight, "cycle": cycle_weight}
        found = gradients(lambda p: self._classifier_terms(p, D, x, y, targets, C, noise_judge), params)
        adam = Adam(*(state[f"params_{name}"] for name in "mvt"))
        params, adam = adam_step(params, weighted(weights, found), adam, rate)

        after = {"params": params, "params_m": adam.m, "params_v": adam.v, "params_t": adam.t}
        return after | {"critic": D, "critic_m": adam_D.m, "critic_v": adam_D.v, "critic_t": adam_D.t} | running

    def deepfool(self, params, x, labels):
        result = deepfool(self.model(params), x, labels)
        return {"images": result.images, "success": result.success}

    def high_confidence(self, params, x, labels, C):
        result = high_confidence(self.model(params), x, labels, C)
        return {"images": result.images, "success": result.success}

    def carlini_wagner(self, params, x, labels):
        result = carlini_wagner(self.model(params), x, labels)
        return {"images": result.images, "success": result.success}

    def robustness(self, x, images, success):
        ratios = norm(images - x) / norm(x)
        return losses.masked_mean(ratios, success)


def values(terms):
    return {name: float(value) for name, (_, value) in terms.items()}


def gradients(terms_of, params):
    """{name: the gradient of that term by `params`}: one recording, one cotangent for each term."""
    names = []

    def evaluated(p):
        terms = terms_of(p)
        names.extend(terms)
        return tuple(value for _, value in terms.values())

    found, pull_back = make_vjp(evaluated, params)
    units = np.eye(len(found), dtype=params[0][0].dtype)
    return {name: pull_back(tuple(unit)) for name, unit in zip(names, units, strict=True)}


def weighted(weights, found):
    """Σ weight·gradient over the terms `found`; a weight that is not named is 1."""
    layers = zip(*([(weights.get(name, 1) * W, weights.get(name, 1) * b) for W, b in g] for name, g in found.items()))
    return [tuple(sum(parts) for parts in zip(*layer)) for layer in layers]


def plain_model(params):
    return as_model(partial(network.logits, params))


plain = Ours("reference, plain definitions", objectives.PLAIN, plain_model)
twins = Ours("reference, adjoint twins", TWINS, from_params)
