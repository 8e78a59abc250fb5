"""The class whose linearised boundary is nearest, for any model under attack.  Source: Moosavi-Dezfooli et al. 2016."""

from __future__ import annotations

import numpy as onp

from ..errors import check_geometry, check_labels
from ..method.numerics import one_hot
from ..method.targets import distances, nearest
from .model import Model, as_model, row_norms


def nearest_class(model: Model, x: onp.ndarray, labels: onp.ndarray, geometry: str = "l2") -> onp.ndarray:
    """The class whose linearised boundary with `labels` is nearest to `x`.

    argmin_{j≠l} |f_j − f_l| / ‖∇f_j − ∇f_l‖, the norm dual to the geometry: L2 for "l2", L1 for "linf".
    model: anything `as_model` takes; x: (n, d); labels: (n,).  Returns (n,) classes.
    A gap without a gradient is infinitely far; where all are, the highest other logit is taken.
    Source: Moosavi-Dezfooli et al. 2016, eq. 8.
    """
    z, away, _ = boundaries(as_model(model), x, labels, geometry)
    return nearest(z, away, labels)


def boundaries(model: Model, x, labels, geometry: str = "l2"):
    """-> (z (n, k), distances to the linearised boundary with class j (n, k), pull_back at x).

    Norms alone are kept of the k gradients; whoever wants one of them pulls it back.
    """
    order = {"l2": 2, "linf": 1}[check_geometry(geometry)]
    if model.gaps is not None:
        z, gaps, pull_back = model.gaps(x, labels, geometry)
    else:
        z, pull_back = model.linearise(x)
        n, k = z.shape
        own = one_hot(labels, k, z.dtype)
        differences = (pull_back(one_hot(onp.full(n, j), k, z.dtype) - own) for j in range(k))
        gaps = onp.stack([row_norms(v, order) for v in differences], axis=1)
    return z, distances(z, gaps, check_labels(labels, z.shape[1], len(z))), pull_back
