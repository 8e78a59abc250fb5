"""The other defences in JAX."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from .jax import logits, norm, pick


def cross_entropy(z, y):
    return -jnp.mean(pick(jax.nn.log_softmax(z), y))


def unit(g):
    """The rows, of length 1; 0 where they are 0."""
    return g / jnp.maximum(norm(g), 1e-12)[:, None]


def adversarial(params, x, y, epsilon, geometry):
    """r of adversarial training (Goodfellow et al. 2015)."""
    g = jax.grad(lambda v: cross_entropy(logits(params, v), y))(x)
    return epsilon * (jnp.sign(g) if geometry == "linf" else unit(g))


def kl(z0, z):
    """mean KL(softmax z0 ‖ softmax z)."""
    log_p, log_q = jax.nn.log_softmax(z0), jax.nn.log_softmax(z)
    return jnp.mean(jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=1))


def virtual(params, x, start, xi, epsilon):
    """r of virtual adversarial training (Miyato et al. 2015), one power iteration."""
    z0 = logits(params, x)
    return epsilon * unit(jax.grad(lambda r: kl(z0, logits(params, x + r)))(xi * unit(start)))


def margin(params, x, y, epsilon):
    """The hinge's worst case over an ε-ball, f linearised (Matyasko & Chau 2017)."""

    def leads(v):
        z = logits(params, v)
        return z - pick(z, y)[:, None]

    lead, pull_back = jax.vjp(leads, x)
    own = jax.nn.one_hot(y, lead.shape[1], dtype=bool)
    rows = jnp.broadcast_to(jnp.eye(lead.shape[1], dtype=x.dtype)[:, None], (lead.shape[1], *lead.shape))
    size = jnp.stack([norm(pull_back(row)[0]) for row in rows], axis=1)
    hinge = jnp.where(own, -jnp.inf, 1 + lead + epsilon * size).max(axis=1)
    return jnp.mean(jax.nn.relu(hinge))


def terms(params, x, y, start, epsilon, xi, weight_decay):
    """-> {pretraining, adversarial, virtual, margin}"""
    z = logits(params, x)
    loss = cross_entropy(z, y)
    decay = sum(jnp.sum(W * W) for W, _ in params[:-1]) / 2
    attacked = logits(params, x + stop_gradient(adversarial(params, x, y, epsilon, "l2")))
    moved = logits(params, x + stop_gradient(virtual(params, x, start, xi, epsilon)))
    return {
        "pretraining": loss + weight_decay * decay,
        "adversarial": (loss + cross_entropy(attacked, y)) / 2,
        "virtual": loss + kl(stop_gradient(z), moved),
        "margin": margin(params, x, y, epsilon),
    }
