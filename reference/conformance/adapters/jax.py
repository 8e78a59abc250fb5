"""The method in JAX; every function can be jitted.  Its mathematics shares nothing with the rest of this package.

Parameters are lists of layers (W (in, out), b (out,)), images (n, d), classes (n,) integers, noise a list of one
(n, in) per layer of the critic.  Source: Matyasko & Chau 2018.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient


def logits(params, x):
    """f(x), (n, k): a ReLU perceptron."""
    *hidden, (W, b) = params
    for V, c in hidden:
        x = jax.nn.relu(x @ V + c)
    return x @ W + b


def scores(params, x, noise):
    """D(x), (n, k): a LeakyReLU perceptron with Gaussian noise on every layer's input."""
    for i, ((W, b), e) in enumerate(zip(params, noise, strict=True)):
        x = (jnp.where(x > 0, x, 0.2 * x) if i else x) + e
        x = x @ W + b
    return x


def pick(v, labels):
    """One entry of each row: (n, k) -> (n,)."""
    return jnp.sum(v * jax.nn.one_hot(labels, v.shape[1], dtype=v.dtype), axis=1)


def masked_mean(v, mask):
    """Mean over the True entries of `mask`; 0, with gradient 0, if there are none."""
    return jnp.sum(jnp.where(mask, v, 0)) / jnp.maximum(jnp.sum(mask), 1)


def norm(v):
    """Norms of the rows, with gradient 0 where the norm is 0."""
    s = jnp.sum(v * v, axis=1)
    return jnp.where(s > 0, jnp.sqrt(jnp.where(s > 0, s, 1)), 0)


def attack_step(params, x, targets, C, eps=1e-8):
    """-> (Newton's step on log p_t towards log C, p_t)"""
    z, pull_back = jax.vjp(lambda v: logits(params, v), x)
    log_p, p = pick(jax.nn.log_softmax(z), targets), jax.nn.softmax(z)
    (w,) = pull_back(jax.nn.one_hot(targets, z.shape[1], dtype=z.dtype) - p)
    n = jnp.sqrt(eps + jnp.sum(w * w, axis=1, keepdims=True))
    phi = jnp.abs(log_p - jnp.log(C))[:, None]
    return (eps**0.5 + phi / n) * w / n, pick(p, targets)


def unrolled(params, x, targets, C, iterations=5, overshoot=0.05, eps=1e-8, gradient="truncated"):
    """x̂ = A_f(x, t; C); differentiable by θ and C (and by x where gradient = "full")."""
    r, active = jnp.zeros_like(x), jnp.ones_like(C)
    for _ in range(iterations):
        x_hat = x + (1 + overshoot) * r
        if gradient != "full":
            x_hat = stop_gradient(x_hat)
        step, p = attack_step(params, x_hat, targets, C, eps)
        s = jax.nn.sigmoid(C - p)
        active = active * (s + stop_gradient(jnp.round(s) - s))  # the rounded value, the identity's gradient
        r = r + active[:, None] * step
    x_hat = x + (1 + overshoot) * r
    return stop_gradient(x_hat) if gradient == "detached" else x_hat


def nearest_class(params, x):
    """The class, other than the predicted one, whose linearised boundary is nearest: (n,)."""
    z, pull_back = jax.vjp(lambda v: logits(params, v), x)
    n, k = z.shape
    jacobian = jax.vmap(lambda e: pull_back(jnp.broadcast_to(e, z.shape))[0])(jnp.eye(k, dtype=z.dtype))
    predicted = z.argmax(1)
    gaps = jnp.sqrt(jnp.sum((jacobian - jacobian[predicted, jnp.arange(n)]) ** 2, axis=2)).T
    others = jnp.arange(k) != predicted[:, None]
    away = jnp.where(others & (gaps > 0), jnp.abs(z - pick(z, predicted)[:, None]) / gaps, jnp.inf)
    return jnp.where(jnp.isfinite(away).any(1), away.argmin(1), jnp.where(others, z, -jnp.inf).argmax(1))


def generate(params, x, targets, C, **attack):
    """-> (f(x), max_j p_j(x), x̂, ŷ).  C: (n,), or None for every example's own confidence, which stays attached.

    `attack`: iterations, overshoot, eps and gradient of `unrolled`.
    """
    z = logits(params, x)
    own = pick(jax.nn.softmax(z), z.argmax(1))
    x_hat = unrolled(params, x, targets, own if C is None else C, **attack)
    y_hat = logits(stop_gradient(params), stop_gradient(x_hat)).argmax(1)
    return z, own, x_hat, y_hat


def judge(params, generated, x, y, critic, noise, **attack):
    """-> {cross_entropy, critic, cycle}, unweighted, of what `generate` made at the same θ."""
    z, own, x_hat, y_hat = generated
    predicted = z.argmax(1)
    changed = y_hat != predicted
    D = pick(scores(stop_gradient(critic), x_hat, noise), y_hat)
    x_back = unrolled(params, stop_gradient(x_hat), predicted, own, **attack)
    return {
        "cross_entropy": -jnp.mean(pick(jax.nn.log_softmax(z), y)),
        "critic": masked_mean(jax.nn.softplus(-D), changed),
        "cycle": masked_mean(jnp.sum((x - x_back) ** 2, axis=1), changed),
    }


def classifier_terms(params, x, y, targets, C, critic, noise, **attack):
    """`judge` of what `generate` made."""
    return judge(params, generate(params, x, targets, C, **attack), x, y, critic, noise, **attack)


def critic_terms(critic, x, y, x_hat, y_hat, noise_real, noise_fake):
    """-> {real, fake, penalty_real, penalty_fake}, unweighted; both halves in one batch, one forward pass for all."""
    both, labels = stop_gradient(jnp.concatenate([x, x_hat])), jnp.concatenate([y, y_hat])
    noise = [jnp.concatenate(pair) for pair in zip(noise_real, noise_fake, strict=True)]
    D, pull_back = jax.vjp(lambda v: pick(scores(critic, v, noise), labels), both)
    penalty = (norm(pull_back(jnp.ones_like(D))[0]) - 1) ** 2
    n = len(x)
    return {
        "real": jnp.mean(jax.nn.softplus(-D[:n])),
        "fake": jnp.mean(jax.nn.softplus(D[n:])),
        "penalty_real": jnp.mean(penalty[:n]),
        "penalty_fake": jnp.mean(penalty[n:]),
    }


def gradient(terms, weights, params):
    """The gradient of Σ weight·term by `params`: `terms` a function of them; weights by name, 1 where there is none."""
    return jax.grad(lambda p: sum(weights.get(name, 1) * value for name, value in terms(p).items()))(params)


def adam_step(params, gradient, m, v, t, rate, beta1=0.5, beta2=0.999, eps=1e-8):
    """Adam's step number t + 1 in TensorFlow's form -> (params, m, v)."""
    scale = rate * (1 - beta2 ** (t + 1)) ** 0.5 / (1 - beta1 ** (t + 1))
    m = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, m, gradient)
    v = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * g * g, v, gradient)
    return jax.tree.map(lambda p, m, v: p - scale * m / (jnp.sqrt(v) + eps), params, m, v), m, v
