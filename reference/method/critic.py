"""The critic D: a LeakyReLU perceptron with k independent outputs; D_j(x) > 0 reads "x is real data of class j".

In training Gaussian noise is added to the input and after every hidden activation (the authors' std: 0.1 and 0.5).  The
noise is drawn beforehand and passed in, so that the critic is a pure function and a loss can share its noise with its
gradient penalty.  `slope` is LeakyReLU's slope below 0 (the authors': 0.2).
"""

from __future__ import annotations

import autograd.numpy as np
import numpy as onp
from autograd import grad

from .network import Params
from .numerics import leaky_relu, pick

Noise = list[onp.ndarray]


def draw_noise(rng: onp.random.Generator, params: Params, n: int, input_std: float, hidden_std: float) -> Noise:
    """Fresh noise for one forward pass on `n` examples: one array (n, in) for each layer's input."""
    stds = [input_std] + [hidden_std] * (len(params) - 1)
    # Standard normals are drawn in the parameters' own dtype: float32 costs half.
    return [
        rng.standard_normal((n, W.shape[0]), dtype=W.dtype) * W.dtype.type(std) for (W, _), std in zip(params, stds)
    ]


def scores(params: Params, x, slope: float, noise: Noise | None = None):
    """D(x): `x` (n, d) -> (n, k) independent logits; `noise` is from `draw_noise`, or None for none."""
    for i, (W, b) in enumerate(params):
        if i > 0:
            x = leaky_relu(x, slope)
        if noise is not None:
            x = x + noise[i]
        x = x @ W + b
    return x


def input_gradient(params: Params, x, labels, slope: float, noise: Noise | None = None):
    """∇_x D_{y_i}(x_i), (n, d), for `labels` y (n,).

    Examples do not interact, so the gradient of the sum over the batch holds every example's own.
    """
    return grad(lambda v: np.sum(pick(scores(params, v, slope, noise), labels)))(x)
