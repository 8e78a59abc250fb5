"""What an adapter does besides the method: arrays become tensors and back, and the parts are put together in NumPy."""

from __future__ import annotations

import numpy as np

from .evaluation import softmax


class Tensors:
    """An adapter of a framework: a subclass gives `to` (arrays to tensors), `back`, `slope(f, x)` = ∇_x Σ f(x),
    `gradients(terms, params)` = {term: its gradient}, and the modules with the mathematics, `method` and `defences`."""

    choices = {}  # the defaults

    def logits(self, params, x):
        return self.back(self.method.logits(*self.to((params, x))))

    def scores(self, critic, x, noise):
        return self.back(self.method.scores(*self.to((critic, x, noise or quiet(critic, x)))))

    def input_gradient(self, params, x, labels):
        return self.back(self.slope_of_logit(*self.to((params, x, labels))))

    def slope_of_logit(self, params, x, labels):
        return self.slope(lambda v: self.method.pick(self.method.logits(params, v), labels), x)

    def critic_gradient(self, critic, x, labels, noise):
        critic, x, labels, noise = self.to((critic, x, labels, noise or quiet(critic, x)))
        return self.back(self.slope(lambda v: self.method.pick(self.method.scores(critic, v, noise), labels), x))

    def jacobian(self, params, x):
        """∇_x f_j(x), (n, k, d)."""
        n, k = len(x), len(params[-1][1])
        return np.stack([self.input_gradient(params, x, np.full(n, j)) for j in range(k)], axis=1)

    def boundaries(self, params, x, labels, geometry="l2"):
        """-> (distances to the linearised boundaries (n, k), ∇f_j − ∇f_label (n, k, d))"""
        z, J, rows = self.logits(params, x), self.jacobian(params, x), np.arange(len(x))
        gap, w = np.abs(z - z[rows, labels][:, None]), J - J[rows, labels][:, None]
        size = np.sqrt((w * w).sum(axis=2)) if geometry == "l2" else np.abs(w).sum(axis=2)
        away = np.where(size > 0, gap / np.where(size > 0, size, 1), np.inf)
        away[rows, labels] = np.inf
        return away, w

    def nearest_class(self, params, x, labels, geometry):
        away, others = self.boundaries(params, x, labels, geometry)[0], self.logits(params, x).copy()
        others[np.arange(len(x)), labels] = -np.inf
        return np.where(np.isfinite(away).any(axis=1), away.argmin(axis=1), others.argmax(axis=1))

    def running_confidence(self, params, x, y, value, biased, steps):
        p = softmax(self.logits(params, x))
        group = p.argmax(axis=1)
        batch = value.copy()
        for j in set(group):
            batch[j] = p.max(axis=1)[group == j].mean()
        biased = (biased + batch) / 2
        return {"value": biased / (1 - 0.5 ** (steps + 1)), "biased": biased, "steps": steps + 1}

    def attack_step(self, params, x, targets, C, eps, geometry):
        if geometry == "l2":
            return self.back(self.method.attack_step(*self.to((params, x, targets, C)), eps)[0])
        p, J, rows = softmax(self.logits(params, x)), self.jacobian(params, x), np.arange(len(x))
        w = J[rows, targets] - (p[:, :, None] * J).sum(axis=1)
        phi = np.abs(np.log(p[rows, targets]) - np.log(C))[:, None]
        size = np.abs(w).sum(axis=1, keepdims=True)
        return ((eps**0.5 + phi) * np.sign(w) / np.where(size > 0, size, 1)).astype(x.dtype)

    def attack(self, params, x, targets, C, iterations, overshoot, eps):
        given = self.to((params, x, targets, C))
        trace = [self.back(self.method.unrolled(*given, m, overshoot, eps)) for m in range(1, iterations + 1)]
        return {"trace": np.stack(trace), "mask": np.diff([x, *trace], axis=0).any(axis=2)}

    def classifier_terms(self, params, critic, x, y, targets, value, noise):
        C = None if value is None else value[targets]
        x, y, targets, C, critic, noise = self.to((x, y, targets, C, critic, noise or quiet(critic, x)))
        return lambda p: self.method.classifier_terms(p, x, y, targets, C, critic, noise)

    def classifier_losses(self, params, **given):
        return self.back(self.classifier_terms(params, **given)(self.to(params)))

    def classifier_gradients(self, params, **given):
        return self.back(self.gradients(self.classifier_terms(params, **given), params))

    def critic_terms(self, critic, params, x, y, targets, value, noise_real, noise_fake, u):
        x_hat = self.back(self.method.unrolled(*self.to((params, x, targets, value[targets]))))
        y_hat = self.logits(params, x_hat).argmax(axis=1)
        noise_real, noise_fake = noise_real or quiet(critic, x), noise_fake or quiet(critic, x)
        given = self.to((x, y, x_hat, y_hat, noise_real, noise_fake))

        def terms(critic):
            found = self.method.critic_terms(critic, *given)
            return found | {"penalty": found.pop("penalty_real") + found.pop("penalty_fake")}

        return terms

    def critic_losses(self, params, critic, **given):
        return self.back(self.critic_terms(critic, params, **given)(self.to(critic)))

    def critic_gradients(self, params, critic, **given):
        return self.back(self.gradients(self.critic_terms(critic, params, **given), critic))

    def adversarial_perturbation(self, params, x, y, epsilon, geometry):
        return self.back(self.defences.adversarial(*self.to((params, x, y)), epsilon, geometry))

    def virtual_perturbation(self, params, x, start, xi, epsilon):
        return self.back(self.defences.virtual(*self.to((params, x, start)), xi, epsilon))

    def baseline_losses(self, params, **given):
        return self.back(self.defences.terms(self.to(params), **self.to(given)))

    def baseline_gradients(self, params, **given):
        given = self.to(given)
        return self.back(self.gradients(lambda p: self.defences.terms(p, **given), params))

    def training_step(self, state, x, y, noise_real, noise_fake, noise_judge, u, rate, critic_rate, critic_weight,
                      cycle_weight, penalty_weight):  # fmt: skip
        params, critic = state["params"], state["critic"]
        running = self.running_confidence(params, x, y, state["value"], state["biased"], state["steps"])
        given = dict(params=params, x=x, y=y, value=running["value"])
        given["targets"] = self.nearest_class(params, x, self.logits(params, x).argmax(axis=1), "l2")
        g = self.critic_gradients(critic=critic, noise_real=noise_real, noise_fake=noise_fake, u=u, **given)
        g = weighted(g, penalty=penalty_weight)
        D = self.adam_step(critic, g, *(state[f"critic_{name}"] for name in "mvt"), critic_rate)
        g = self.classifier_gradients(critic=D["params"], noise=noise_judge, **given)
        g = weighted(g, critic=critic_weight, cycle=cycle_weight)
        after = self.adam_step(params, g, *(state[f"params_{name}"] for name in "mvt"), rate)
        for name, new in (("params", after), ("critic", D)):
            running |= {name: new["params"], f"{name}_m": new["m"], f"{name}_v": new["v"]}
            running[f"{name}_t"] = state[f"{name}_t"] + 1
        return running


def quiet(critic, x):
    """No noise, as arrays."""
    return [np.zeros((len(x), len(W)), x.dtype) for W, _ in critic]


def weighted(gradients, **weights):
    """Σ weight·gradient over the terms; a weight that is not named is 1."""
    layers = zip(*([(weights.get(t, 1) * W, weights.get(t, 1) * b) for W, b in g] for t, g in gradients.items()))
    return [tuple(sum(parts) for parts in zip(*layer)) for layer in layers]
