"""The rows of the benchmark that are other libraries: `rows` tells what each step includes."""

from __future__ import annotations

from functools import partial

import numpy as onp

from ..attacks import Model
from .problem import Problem
from .rows import CLASSIFIER, CRITIC, EPOCH, NEAREST, OTHERS, Job, batches, evaluations, flat, virtual_start


def pytorch(p: Problem) -> dict[str, Job]:
    """PyTorch, eager, by double backward, with its own fused Adam; under the same attacks in the evaluation, which see
    it as a `Model` that keeps the graph of each forward pass."""
    import torch
    from torch.nn.functional import cross_entropy

    from ..conformance.adapters import pytorch as method
    from ..conformance.adapters import pytorch_defences as defences

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

    start = torch.from_numpy(virtual_start(p))

    def multi_step(params, s):
        r = torch.zeros_like(x)
        for _ in range(s.steps):
            r = r + 2.5 / s.steps * defences.adversarial(params, x + r, y, s.epsilon, s.geometry)
            r = r * (s.epsilon / r.norm(dim=1, keepdim=True)).clamp(max=1)
            r = (x + r).clamp(0, 1) - x
        return r

    def attacked(params, r):
        return method.logits(params, x + r.detach())

    def two_points(params, s):
        r = defences.adversarial(params, x, y, s.epsilon, s.geometry)
        return (cross_entropy(method.logits(params, x), y) + cross_entropy(attacked(params, r), y)) / 2

    def smooth(params, s):
        z, r = method.logits(params, x), defences.virtual(params, x, start, s.xi, s.epsilon)
        return cross_entropy(z, y) + defences.kl(z.detach(), attacked(params, r))

    losses = {
        "undefended": lambda params, s: cross_entropy(method.logits(params, x), y),
        "adversarial": two_points,
        "multi-step": lambda params, s: cross_entropy(attacked(params, multi_step(params, s)), y),
        "virtual": smooth,
        "margin": lambda params, s: defences.margin(params, x, y, s.epsilon),
    }

    def other(name):
        def run():
            return theta.update({name: losses[name](theta.params, OTHERS[name])}, {}, training.learning_rate)

        return Job(run, both, theta.arrays)

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
        **{name: other(name) for name in OTHERS},
        EPOCH: Job(epoch, both),
    } | evaluations(p, Model(lambda v: method.logits(fixed, torch.from_numpy(v)).numpy(), linearise))


def jax(p: Problem) -> dict[str, Job]:
    """JAX, every step compiled as a whole before it is timed; no evaluation, whose shapes change all the time."""
    import jax
    import jax.numpy as jnp

    from ..conformance.adapters import jax as method
    from ..conformance.adapters import jax_defences as defences

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

    def attacked(params, x, r):
        return method.logits(params, x + jax.lax.stop_gradient(r))

    def multi_step(params, x, y, s):
        r = jnp.zeros_like(x)
        for _ in range(s.steps):
            r = r + 2.5 / s.steps * defences.adversarial(params, x + r, y, s.epsilon, s.geometry)
            r = r * jnp.minimum(1, s.epsilon / jnp.linalg.norm(r, axis=1, keepdims=True))
            r = jnp.clip(x + r, 0, 1) - x
        return r

    def two_points(params, x, y, start, s):
        r = defences.adversarial(params, x, y, s.epsilon, s.geometry)
        clean = defences.cross_entropy(method.logits(params, x), y)
        return (clean + defences.cross_entropy(attacked(params, x, r), y)) / 2

    def smooth(params, x, y, start, s):
        z, r = method.logits(params, x), defences.virtual(params, x, start, s.xi, s.epsilon)
        return defences.cross_entropy(z, y) + defences.kl(jax.lax.stop_gradient(z), attacked(params, x, r))

    def strong(params, x, y, start, s):
        return defences.cross_entropy(attacked(params, x, multi_step(params, x, y, s)), y)

    losses = {
        "undefended": lambda params, x, y, start, s: defences.cross_entropy(method.logits(params, x), y),
        "adversarial": two_points,
        "multi-step": strong,
        "virtual": smooth,
        "margin": lambda params, x, y, start, s: defences.margin(params, x, y, s.epsilon),
    }

    def other(name):
        @jax.jit
        def step(theta, *batch):
            def terms(params):
                return {name: losses[name](params, *batch, OTHERS[name])}

            return update(terms, {}, theta, training.learning_rate)

        return Job(ready(step, theta, x, y, jnp.asarray(virtual_start(p))), arrays=parameters)

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
        **{name: other(name) for name in OTHERS},
        EPOCH: Job(epoch),
    }
