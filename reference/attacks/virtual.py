"""The direction of virtual adversarial training: where KL(p(x) ‖ p(x + r)) grows fastest.

Source: Miyato et al. 2015.
"""

from __future__ import annotations

import numpy as onp
from autograd import grad

from ..losses import kl_divergence
from .gradient_sign import unit_rows
from .result import require


def virtual_direction(logits, x: onp.ndarray, start: onp.ndarray, xi: float, power_iterations: int = 1) -> onp.ndarray:
    """Unit rows d (n, d): the leading eigenvector of KL's Hessian in r (the Fisher matrix), by power iteration.

    logits: a function (n, d) -> (n, k); x: (n, d); start: (n, d) random, any length.
    xi: the length of the finite difference, small against ε: 0.1 works in float32, 1e-6 only in float64.
    """
    (xi,) = require("a positive finite number", xi=xi)
    z0, d = logits(x), unit_rows(onp.asarray(start, x.dtype))
    for _ in range(power_iterations):
        d = unit_rows(grad(lambda r: kl_divergence(z0, logits(x + r)))(xi * d))
    return d
