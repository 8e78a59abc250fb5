"""The rows of the benchmark: one implementation each, as jobs by the name of their column.

What each step includes.  Classifier: from (θ, batch) to the new θ: prediction, nearest class, attack, ŷ, critic's term,
cycle, cross-entropy, gradient, Adam.  Critic: from (ω, batch, x̂, ŷ) to the new ω: losses, penalty, gradient, Adam.
Epoch: both for every batch of the training data, with fresh noise and the running confidence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import NamedTuple

import numpy as onp

from .. import adjoint, fused, network, objectives, steps, twins
from ..attacks import Model, deepfool, high_confidence
from ..optimise import adam_step
from ..train import _critic_steps
from .problem import Problem

CLASSIFIER, NEAREST, CRITIC = "classifier step", "nearest class", "critic step"
EPOCH, DEEPFOOL, HIGH = "epoch", "DeepFool", "high-confidence"
COLUMNS = (CLASSIFIER, NEAREST, CRITIC, EPOCH, DEEPFOOL, HIGH)


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


def evaluations(p: Problem, model) -> dict[str, Job]:
    """The attacks of the evaluation on `model`, from the true labels."""

    def job(attack):
        return Job(lambda: attack(model, *(a[: p.plan.test_images] for a in p.digits.test)))

    return {DEEPFOOL: job(deepfool), HIGH: job(high_confidence)}


def plain(p: Problem) -> dict[str, Job]:
    """The definitions, differentiated by autograd."""
    return numpy_row(p, steps, objectives.PLAIN, lambda v: network.logits(p.state.params, v))


def ours(p: Problem) -> dict[str, Job]:
    """The twins that training uses."""
    return numpy_row(p, fused, twins.TWINS, adjoint.as_model(p.state.params))


def numpy_row(p: Problem, via: ModuleType, routes: objectives.Routes, model) -> dict[str, Job]:
    state, s, training = p.state, p.defence, p.plan.training
    real, fake, judging = p.noise
    betas = training.beta1, training.beta2

    def classifier():
        step = via.ClassifierStep(state.params, p.x)
        step.attack(state.running, s.generator)
        _, gradient = step.gradient(p.y, state.critic, judging, s)
        return adam_step(state.params, gradient, state.adam, training.learning_rate, *betas)[0]

    def critic():
        _, gradient = via.critic_step(state.critic, p.x, p.y, p.x_hat, p.y_hat, real, fake, s.penalty_weight)
        return adam_step(state.critic, gradient, state.critic_adam, s.critic_learning_rate, *betas)[0]

    def epoch():
        own = replace(state, rng=deepcopy(state.rng))
        for x, y in batches(p):
            _critic_steps(own, x, y, s, training, training.learning_rate, s.critic_learning_rate, via)

    return {
        CLASSIFIER: Job(classifier, arrays=flat),
        NEAREST: Job(
            lambda: objectives.choose_targets(state.params, p.x, s.generator, via=routes),
            arrays=lambda targets: [targets],
        ),
        CRITIC: Job(critic, arrays=flat),
        EPOCH: Job(epoch),
    } | evaluations(p, model)


def pytorch(p: Problem) -> dict[str, Job]:
    """PyTorch, eager, by double backward, with its own fused Adam."""
    import torch

    from ..conformance.adapters import pytorch as method

    def tensors(tree, attached=False):
        if isinstance(tree, list | tuple):
            return type(tree)(tensors(part, attached) for part in tree)
        return torch.tensor(tree).requires_grad_(attached)

    class Network:
        """Parameters and moments, updated in place."""

        def __init__(self, params, adam):
            self.origin, self.start = tensors((params, adam.m, adam.v)), adam.t
            self.params, self.m, self.v = tensors(params, True), tensors(adam.m), tensors(adam.v)
            self.reset()

        def reset(self):
            self.t = self.start
            for tree, origin in zip((self.params, self.m, self.v), self.origin):
                for layer, old in zip(tree, origin):
                    for a, b in zip(layer, old):
                        a.data.copy_(b)

        def update(self, terms, weights, rate):
            gradient = method.gradient(terms, weights, self.params)
            method.adam_step(self.params, gradient, self.m, self.v, self.t, rate, training.beta1, training.beta2)
            self.t += 1
            return self.params

        def arrays(self, _):
            return flat([tuple(a.detach().numpy().copy() for a in layer) for layer in self.params])

    s, training, state = p.defence, p.plan.training, p.state
    attack = {"iterations": s.generator.iterations, "overshoot": s.generator.overshoot, "eps": s.generator.eps}
    attack["gradient"] = s.generator.gradient
    by_critic = {"penalty_real": s.penalty_weight, "penalty_fake": s.penalty_weight}
    by_theta = {"critic": s.critic_weight, "cycle": s.cycle_weight}
    theta, omega = Network(state.params, state.adam), Network(state.critic, state.critic_adam)
    x, y, x_hat, y_hat = map(tensors, (p.x, p.y, p.x_hat, p.y_hat))
    (real, fake, judging), running = map(tensors, (p.noise, state.running.value))

    def classifier():
        targets = method.nearest_class(theta.params, x)
        terms = method.classifier_terms(theta.params, x, y, targets, running[targets], omega.params, judging, **attack)
        return theta.update(terms, by_theta, training.learning_rate)

    def critic():
        terms = method.critic_terms(omega.params, x, y, x_hat, y_hat, real, fake)
        return omega.update(terms, by_critic, s.critic_learning_rate)

    def noise(n):
        return [
            torch.randn(n, len(W)) * (s.hidden_noise if i else s.input_noise) for i, (W, _) in enumerate(omega.params)
        ]

    def epoch():
        running = state.running
        for x, y in batches(p):
            x, y = torch.from_numpy(x), torch.from_numpy(y)
            with torch.no_grad():
                confidence, predicted = torch.softmax(method.logits(theta.params, x), 1).max(1)
            running = running.update(confidence.numpy(), predicted.numpy())
            targets = method.nearest_class(theta.params, x)
            C = torch.from_numpy(running.value)[targets]
            made = method.generate(theta.params, x, targets, C, **attack)
            _, _, x_hat, y_hat = made
            terms = method.critic_terms(omega.params, x, y, x_hat, y_hat, noise(len(x)), noise(len(x)))
            omega.update(terms, by_critic, s.critic_learning_rate)
            terms = method.judge(theta.params, made, x, y, omega.params, noise(len(x)), **attack)
            theta.update(terms, by_theta, training.learning_rate)

    fixed = tensors(state.params)

    def linearise(v):
        v = torch.from_numpy(v).requires_grad_()
        z = method.logits(fixed, v)
        return z.detach().numpy(), lambda s: torch.autograd.grad(z, v, torch.from_numpy(s), retain_graph=True)[
            0
        ].numpy()

    def both():
        theta.reset()
        omega.reset()

    return {
        CLASSIFIER: Job(classifier, both, theta.arrays),
        NEAREST: Job(lambda: method.nearest_class(theta.params, x), both, lambda found: [found.numpy()]),
        CRITIC: Job(critic, both, omega.arrays),
        EPOCH: Job(epoch, both),
    } | evaluations(p, Model(lambda v: method.logits(fixed, torch.from_numpy(v)).numpy(), linearise))


def jax(p: Problem) -> dict[str, Job]:
    """JAX, every step compiled as a whole before it is timed; no evaluation, whose shapes change all the time."""
    import jax
    import jax.numpy as jnp

    from ..conformance.adapters import jax as method

    s, training, state = p.defence, p.plan.training, p.state
    attack = {"iterations": s.generator.iterations, "overshoot": s.generator.overshoot, "eps": s.generator.eps}
    attack["gradient"] = s.generator.gradient
    by_critic = {"penalty_real": s.penalty_weight, "penalty_fake": s.penalty_weight}
    by_theta = {"critic": s.critic_weight, "cycle": s.cycle_weight}
    betas = training.beta1, training.beta2

    def update(terms, weights, net, rate):
        params, m, v, t = net
        gradient = method.gradient(terms, weights, params)
        return *method.adam_step(params, gradient, m, v, t, rate, *betas), t + 1

    def theta_step(theta, omega, x, y, targets, C, noise):
        def terms(params):
            return method.classifier_terms(params, x, y, targets, C, omega[0], noise, **attack)

        return update(terms, by_theta, theta, training.learning_rate)

    @jax.jit
    def classifier(theta, omega, running, x, y, noise):
        targets = method.nearest_class(theta[0], x)
        return theta_step(theta, omega, x, y, targets, running[targets], noise)

    @jax.jit
    def critic(omega, *batch):
        return update(lambda params: method.critic_terms(params, *batch), by_critic, omega, s.critic_learning_rate)

    @jax.jit
    def confidence(params, x):
        p = jax.nn.softmax(method.logits(params, x))
        return p.max(1), p.argmax(1)

    @jax.jit
    def whole_batch(theta, omega, running, x, y, key):
        def noise(key):
            stds = [s.input_noise] + [s.hidden_noise] * (len(omega[0]) - 1)
            keys = jax.random.split(key, len(stds))
            return [jax.random.normal(k, (len(x), len(W))) * std for k, (W, _), std in zip(keys, omega[0], stds)]

        real, fake, judging = map(noise, jax.random.split(key, 3))
        targets = method.nearest_class(theta[0], x)
        C = running[targets]
        # The attack is written down twice and compiled once: the compiler merges what is the same.
        _, _, x_hat, y_hat = method.generate(theta[0], x, targets, C, **attack)
        omega = critic(omega, x, y, x_hat, y_hat, real, fake)
        return theta_step(theta, omega, x, y, targets, C, judging), omega

    to_jax = partial(jax.tree.map, jnp.asarray)
    theta = to_jax((state.params, state.adam.m, state.adam.v, onp.float32(state.adam.t)))
    omega = to_jax((state.critic, state.critic_adam.m, state.critic_adam.v, onp.float32(state.critic_adam.t)))
    x, y, x_hat, y_hat, running = to_jax((p.x, p.y, p.x_hat, p.y_hat, state.running.value))
    real, fake, judging = to_jax(p.noise)
    nearest = jax.jit(method.nearest_class)

    def epoch():
        running, net, other = state.running, theta, omega
        for i, (x, y) in enumerate(batches(p)):
            x, y = jnp.asarray(x), jnp.asarray(y)
            running = running.update(*map(onp.asarray, confidence(net[0], x)))
            net, other = whole_batch(net, other, jnp.asarray(running.value), x, y, jax.random.key(i))
        jax.block_until_ready((net, other))

    def ready(function, *args):
        return lambda: jax.block_until_ready(function(*args))

    def parameters(net):
        return flat(net[0])

    return {
        CLASSIFIER: Job(ready(classifier, theta, omega, running, x, y, judging), arrays=parameters),
        NEAREST: Job(ready(nearest, theta[0], x), arrays=lambda found: [onp.asarray(found)]),
        CRITIC: Job(ready(critic, omega, x, y, x_hat, y_hat, real, fake), arrays=parameters),
        EPOCH: Job(epoch),
    }
