"""The adapter of the JAX implementation.

python -m reference.conformance run reference.conformance.adapters.jax_adapter
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from . import jax as method
from . import jax_defences
from .evaluation import Evaluation
from .tensors import Tensors


class Jax(Tensors, Evaluation):
    """JAX computes in float64 only where told to."""

    name, method, defences = "JAX", method, jax_defences

    def __init__(self):
        jax.config.update("jax_enable_x64", True)
        self.slope_of_logit = jax.jit(super().slope_of_logit)  # the evaluation's attacks ask it thousands of times

    def to(self, tree):
        return jax.tree.map(jnp.asarray, tree)

    def back(self, tree):
        return jax.tree.map(np.asarray, tree)

    def slope(self, f, x):
        return jax.grad(lambda v: jnp.sum(f(v)))(x)

    def gradients(self, terms, params):
        values, pull_back = jax.vjp(terms, self.to(params))
        return {t: pull_back({u: jnp.asarray(u == t, v.dtype) for u, v in values.items()})[0] for t in values}

    def adam_step(self, params, gradient, m, v, t, rate):
        return dict(zip(("params", "m", "v"), self.back(method.adam_step(*self.to((params, gradient, m, v)), t, rate))))


def __getattr__(name):  # the configuration changes when an adapter is made, not on import
    if name == "adapter":
        return Jax()
    raise AttributeError(name)
