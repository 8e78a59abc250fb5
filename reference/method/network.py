"""The classifier f: a ReLU multilayer perceptron as a pure function of its parameters and its input.

Parameters are a list of layers (W (in, out), b (out,)); a layer is y = x @ W + b.  A list of one layer is a linear
classifier.
"""

from __future__ import annotations

from collections.abc import Sequence

import autograd.numpy as np
import numpy as onp
from autograd import make_vjp

from ..errors import InputError
from .numerics import one_hot, relu

Params = list[tuple[onp.ndarray, onp.ndarray]]


def init(rng: onp.random.Generator, sizes: Sequence[int], dtype=onp.float32) -> Params:
    """He-normal weights, N(0, 2/in), and zero biases for layers `sizes` = (d, hidden.., k)."""
    if len(sizes) < 2 or min(sizes) < 1:
        raise InputError(f"sizes = {tuple(sizes)}: give at least (inputs, classes), all positive")
    return [
        ((rng.standard_normal((m, n)) * (2 / m) ** 0.5).astype(dtype), onp.zeros(n, dtype))
        for m, n in zip(sizes, sizes[1:])
    ]


def logits(params: Params, x):
    """f(x): `x` (n, d) -> (n, k).  Differentiable in `params` and `x`, to every order."""
    *hidden, (W, b) = params
    for V, c in hidden:
        x = relu(x @ V + c)
    return x @ W + b


def class_gradients(logits, x):
    """∇_x f_j(x) for every class j: `logits` a function (n, d) -> (n, k), `x` (n, d) -> (n, k, d).

    One forward pass and k backward passes.  Differentiable in whatever `logits` closes over.
    """
    pull_back, z = make_vjp(logits)(x)
    n, k = z.shape
    return np.stack([pull_back(one_hot(onp.full(n, j), k, z.dtype)) for j in range(k)], axis=1)
