"""This library under its own test: `method`, the definitions, and `by_hand`, the steps that training takes.

python -m reference.conformance run reference.conformance.adapters.ours:by_hand
"""

from __future__ import annotations

from copy import deepcopy
from functools import partial

import autograd.builtins as tracked
import numpy as np
from autograd import make_vjp

from ...attacks import as_model, carlini_wagner, deepfool, high_confidence
from ...by_hand import generator as fast_generator
from ...by_hand import passes
from ...by_hand import steps as fast_steps
from ...by_hand.model import from_params
from ...method import critic as critics
from ...method import losses, network, objectives
from ...method.adam import Adam, adam_step
from ...method.generator import linearise_log_prob, newton_step, unrolled
from ...method.numerics import norm, one_hot, pick, predict, softmax
from ...method.perturbations import gradient_step, steepest, virtual_direction
from ...method.settings import AdversarialTraining, AdversaryCritic, Generator, Margin, VirtualAdversarial
from ...method.targets import RunningConfidence, distances, nearest
from ..judge import trajectory
from .tensors import weighted

UNIT = AdversaryCritic(penalty_weight=1)
"""The critic's loss with the penalty's weight 1."""


class Definitions:
    """The adapter of `method`, by autograd."""

    name, choices = "reference, the definitions", {}  # {}: the default choices

    def model(self, params):
        """What the evaluation attacks."""
        return as_model(partial(network.logits, params))

    def logits(self, params, x):
        return network.logits(params, x)

    def scores(self, critic, x, noise):
        return critics.scores(critic, x, UNIT.slope, noise)

    def input_gradient(self, params, x, labels):
        pull_back, z = make_vjp(partial(network.logits, params))(x)
        return pull_back(one_hot(labels, z.shape[1], z.dtype))

    def critic_gradient(self, critic, x, labels, noise):
        return critics.input_gradient(critic, x, labels, UNIT.slope, noise)

    def nearest_class(self, params, x, labels, geometry):
        z = network.logits(params, x)
        return nearest(z, distances(z, objectives.gradient_gaps(params, x, labels, geometry), labels), labels)

    def running_confidence(self, params, x, y, value, biased, steps):
        z = network.logits(params, x)
        state = RunningConfidence(value, biased, steps).update(pick(softmax(z), predict(z)), predict(z))
        return {"value": state.value, "biased": state.biased, "steps": state.steps}

    def attack_step(self, params, x, targets, C, eps, geometry):
        log_p, _, w = linearise_log_prob(partial(network.logits, params), x, targets)
        return newton_step(log_p, w, C, eps, geometry)

    _unrolled = staticmethod(unrolled)

    def attack(self, params, x, targets, C, iterations, overshoot, eps):
        trace = [self._unrolled(params, x, targets, C, m, overshoot, eps) for m in range(1, iterations + 1)]
        moved = [(now != before).any(axis=1) for before, now in zip([x, *trace], trace)]
        return {"trace": np.stack(trace), "mask": np.stack(moved)}

    def _classifier_terms(self, params, critic, x, y, targets, value, noise):
        s = AdversaryCritic(generator=Generator(confidence="own" if value is None else "running"))
        value = np.ones(critic[-1][1].size, x.dtype) if value is None else value
        running = RunningConfidence(value, value, 1)
        return objectives.adversary_critic(params, x, y, targets, running, critic, noise, s)

    def classifier_losses(self, params, **given):
        return values(self._classifier_terms(params, **given))

    def classifier_gradients(self, params, **given):
        return gradients(lambda p: self._classifier_terms(p, **given), params)

    def _attacked(self, params, x, targets, value):
        """-> x̂ and ŷ"""
        running = RunningConfidence(value, value, 1)
        x_hat = objectives.generate(params, x, targets, running, Generator()).images
        return x_hat, predict(network.logits(params, x_hat))

    def _critic_terms(self, critic, x, y, x_hat, y_hat, noise_real, noise_fake, u):
        terms = objectives.critic_objective(critic, x, y, x_hat, y_hat, noise_real, noise_fake, UNIT)
        penalty = terms.pop("penalty_real")[1] + terms.pop("penalty_fake")[1]
        return terms | {"penalty": (1, penalty)}

    def critic_losses(self, params, critic, x, y, targets, value, **noise):
        return values(self._critic_terms(critic, x, y, *self._attacked(params, x, targets, value), **noise))

    def critic_gradients(self, params, critic, x, y, targets, value, **noise):
        attacked = self._attacked(params, x, targets, value)
        return gradients(lambda D: self._critic_terms(D, x, y, *attacked, **noise), critic)

    def adversarial_perturbation(self, params, x, y, epsilon, geometry):
        return gradient_step(partial(network.logits, params), x, y, epsilon, geometry)

    def virtual_perturbation(self, params, x, start, xi, epsilon):
        return epsilon * virtual_direction(partial(network.logits, params), x, start, xi)

    def _baseline_terms(self, params, x, y, start, epsilon, xi, weight_decay):
        adversarial, virtual = AdversarialTraining(epsilon, "l2"), VirtualAdversarial(epsilon, xi)
        all_terms = {
            "pretraining": objectives.pretraining(params, x, y, weight_decay),
            "adversarial": objectives.adversarial_training(params, x, y, adversarial),
            "virtual": objectives.virtual_adversarial(params, x, y, virtual, start),
            "margin": objectives.margin(params, x, y, Margin(epsilon)),
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
        targets = self.nearest_class(params, x, predict(network.logits(params, x)), "l2")
        x_hat, y_hat = self._attacked(params, x, targets, C)

        weights = {"penalty": penalty_weight}
        found = gradients(lambda D: self._critic_terms(D, x, y, x_hat, y_hat, noise_real, noise_fake, u), D)
        adam_D = Adam(*(state[f"critic_{name}"] for name in "mvt"))
        D, adam_D = adam_step(D, weighted(found, **weights), adam_D, critic_rate)

        weights = {"critic": critic_weight, "cycle": cycle_weight}
        found = gradients(lambda p: self._classifier_terms(p, D, x, y, targets, C, noise_judge), params)
        adam = Adam(*(state[f"params_{name}"] for name in "mvt"))
        params, adam = adam_step(params, weighted(found, **weights), adam, rate)

        after = {"params": params, "params_m": adam.m, "params_v": adam.v, "params_t": adam.t}
        return after | {"critic": D, "critic_m": adam_D.m, "critic_v": adam_D.v, "critic_t": adam_D.t} | running

    def trajectory(self, **given):
        return trajectory(self.training_step, **given)

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
        """ρ: mean of ‖images − x‖/‖x‖ over `success` (n,) bool; `x` and `images` (n, d), before and after."""
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
        return tracked.tuple([value for _, value in terms.values()])

    pull_back, found = make_vjp(evaluated)(params)
    units = np.eye(len(found), dtype=params[0][0].dtype)
    return {name: pull_back(tuple(unit)) for name, unit in zip(names, units, strict=True)}


class ByHand(Definitions):
    """The adapter of `by_hand`: every network pass, attack and gradient is the hand-written one.

    A training step returns the gradient of its terms' weighted sum, which is linear in the weights; so the gradient of
    one term is the difference of two steps.
    """

    name = "reference, by hand"

    def model(self, params):
        return from_params(params)

    def logits(self, params, x):
        return passes.Pass(params, x).z

    def scores(self, critic, x, noise):
        return passes.Pass(critic, x, UNIT.slope, noise).z

    def _pulled_back(self, net, s):
        return net.to_input(net.backward(s.astype(net.z.dtype)))

    def input_gradient(self, params, x, labels):
        net = passes.Pass(params, x)
        return self._pulled_back(net, one_hot(labels, net.z.shape[1], x.dtype))

    def critic_gradient(self, critic, x, labels, noise):
        net = passes.Pass(critic, x, UNIT.slope, noise)
        return self._pulled_back(net, one_hot(labels, net.z.shape[1], x.dtype))

    def nearest_class(self, params, x, labels, geometry):
        net = passes.Pass(params, x)
        gaps = passes.ClassGaps(net, passes.Span(params[0][0], geometry), labels, geometry).size
        return nearest(net.z, distances(net.z, gaps, labels), labels)

    def running_confidence(self, params, x, y, value, biased, steps):
        step = fast_steps.ClassifierStep(params, x)
        state = RunningConfidence(value, biased, steps).update(step.confidence, step.predicted)
        return {"value": state.value, "biased": state.biased, "steps": state.steps}

    def attack_step(self, params, x, targets, C, eps, geometry):
        net, span, C = passes.Pass(params, x), passes.Span(params[0][0], geometry), np.broadcast_to(C, len(x))
        t = one_hot(targets, net.z.shape[1], x.dtype)
        attack = fast_generator.Unrolled(net, None, span, t, C.astype(x.dtype), 1, 0, eps, "truncated", geometry)
        (numbers,) = attack.steps
        return span.pixels(numbers.move[:, None] * attack.stacks.q)  # without the indicator

    def _unrolled(self, params, x, targets, C, iterations, overshoot, eps):
        C, s = np.broadcast_to(np.asarray(C, x.dtype), len(x)), Generator(iterations, overshoot, eps)
        return fast_generator.unrolled(params, x, targets, C, s)[0]

    def _attacked_step(self, params, x, targets, value):
        """A classifier step whose attack is done, and its generator."""
        g = Generator(confidence="own" if value is None else "running")
        step = fast_steps.ClassifierStep(params, x)
        value = np.ones(params[-1][1].size, x.dtype) if value is None else value
        step.attack(RunningConfidence(value, value, 1), g, targets=targets)
        return step, g

    def _judged(self, critic_weight, cycle_weight, params, critic, x, y, targets, value, noise):
        step, g = self._attacked_step(params, x, targets, value)
        return step.gradient(y, critic, noise, AdversaryCritic(critic_weight, cycle_weight, generator=g))

    def classifier_losses(self, params, **given):
        return values(self._judged(1, 1, params, **given)[0])

    def classifier_gradients(self, params, **given):
        cross_entropy, critic, cycle = (self._judged(*w, params, **given)[1] for w in ((0, 0), (1, 0), (0, 1)))
        return {
            "cross_entropy": cross_entropy,
            "critic": difference(critic, cross_entropy),
            "cycle": difference(cycle, cross_entropy),
        }

    def _attacked(self, params, x, targets, value):
        step, _ = self._attacked_step(params, x, targets, value)
        return step.images, step.taken_for

    def _critic_step(self, critic, x, y, x_hat, y_hat, noise_real, noise_fake, weight, real=True, fake=True):
        """The critic's step on both halves of its batch, or on one."""

        def part(values, wanted):
            return None if values is None else [v if wanted else v[:0] for v in values]

        (x, y), (x_hat, y_hat) = part((x, y), real), part((x_hat, y_hat), fake)
        noise = part(noise_real, real), part(noise_fake, fake)
        return fast_steps.critic_step(critic, x, y, x_hat, y_hat, *noise, AdversaryCritic(penalty_weight=weight))

    def critic_losses(self, params, critic, x, y, targets, value, noise_real, noise_fake, u):
        attacked = self._attacked(params, x, targets, value)
        found = values(self._critic_step(critic, x, y, *attacked, noise_real, noise_fake, 1)[0])
        return found | {"penalty": found.pop("penalty_real") + found.pop("penalty_fake")}

    def critic_gradients(self, params, critic, x, y, targets, value, noise_real, noise_fake, u):
        batch = critic, x, y, *self._attacked(params, x, targets, value), noise_real, noise_fake
        _, real = self._critic_step(*batch, 0, fake=False)
        _, fake = self._critic_step(*batch, 0, real=False)
        (_, without), (_, whole) = self._critic_step(*batch, 0), self._critic_step(*batch, 1)
        return {"real": real, "fake": fake, "penalty": difference(whole, without)}

    def adversarial_perturbation(self, params, x, y, epsilon, geometry):
        net = passes.Pass(params, x)
        own = one_hot(y, net.z.shape[1], x.dtype)
        return epsilon * steepest(self._pulled_back(net, passes.log_softmax(net.z)[1] - own), geometry)

    def virtual_perturbation(self, params, x, start, xi, epsilon):
        _, p = passes.log_softmax(passes.Pass(params, x).z)
        return epsilon * fast_steps.virtual_direction(params, x, p, start, VirtualAdversarial(epsilon, xi))

    def _baselines(self, params, x, y, start, epsilon, xi, weight_decay):
        """{name: (terms, gradient)}"""
        return {
            "pretraining": fast_steps.pretraining(params, x, y, weight_decay),
            "adversarial": fast_steps.adversarial_training(params, x, y, AdversarialTraining(epsilon, "l2")),
            "virtual": fast_steps.virtual_adversarial(params, x, y, VirtualAdversarial(epsilon, xi), start),
            "margin": fast_steps.margin(params, x, y, Margin(epsilon)),
        }

    def baseline_losses(self, params, **given):
        return {name: objectives.total(terms) for name, (terms, _) in self._baselines(params, **given).items()}

    def baseline_gradients(self, params, **given):
        return {name: gradient for name, (_, gradient) in self._baselines(params, **given).items()}

    def adam_step(self, params, gradient, m, v, t, rate):
        params, state = fast_steps.adam_step(*deepcopy((params, gradient, Adam(m, v, t))), rate)  # it works in place
        return {"params": params, "m": state.m, "v": state.v}

    def training_step(
        self, state, x, y, noise_real, noise_fake, noise_judge, u, rate, critic_rate, critic_weight, cycle_weight,
        penalty_weight,
    ):  # fmt: skip
        state, s = deepcopy(state), AdversaryCritic(critic_weight, cycle_weight, penalty_weight=penalty_weight)
        step = fast_steps.ClassifierStep(state["params"], x)
        running = RunningConfidence(state["value"], state["biased"], state["steps"])
        running = running.update(step.confidence, step.predicted)
        step.attack(running, s.generator)
        batch = x, y, step.images, step.taken_for, noise_real, noise_fake
        _, gradient = fast_steps.critic_step(state["critic"], *batch, s)
        adam_D = Adam(*(state[f"critic_{name}"] for name in "mvt"))
        D, adam_D = fast_steps.adam_step(state["critic"], gradient, adam_D, critic_rate)
        _, gradient = step.gradient(y, D, noise_judge, s)
        adam = Adam(*(state[f"params_{name}"] for name in "mvt"))
        params, adam = fast_steps.adam_step(state["params"], gradient, adam, rate)
        after = {"params": params, "params_m": adam.m, "params_v": adam.v, "params_t": adam.t}
        after |= {"critic": D, "critic_m": adam_D.m, "critic_v": adam_D.v, "critic_t": adam_D.t}
        return after | {"value": running.value, "biased": running.biased, "steps": running.steps}


def difference(a, b):
    """a − b, layer by layer."""
    return [tuple(u - v for u, v in zip(*layers, strict=True)) for layers in zip(a, b, strict=True)]


method, by_hand = Definitions(), ByHand()
