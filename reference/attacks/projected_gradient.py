"""Projected gradient in an L2 ball, with restarts: for robust accuracy at a given radius.

Source: Madry et al., ICLR 2018, in L2, on the margin f_l − max_{j≠l} f_j, whose gradient does not saturate.
"""

from __future__ import annotations

import numpy as onp

from ..errors import InputError
from .carlini_wagner import margins
from .result import AttackResult, begin, clip, describe, finish


def projected_gradient(
    model,
    x: onp.ndarray,
    labels=None,
    radius: float = 1.0,
    rng: onp.random.Generator | None = None,
    box: tuple[float, float] | None = (0, 1),
    iterations: int = 40,
    restarts: int = 3,
    step: float | None = None,
) -> AttackResult:
    """The smallest perturbation found, of norm ≤ `radius`, that takes `x` out of class `labels`.

    model: see `as_model`; x: (n, d) in the box; labels: see `begin`; radius > 0 in the norm of x; step: by default
    2.5·radius/iterations.  The first start is x itself, the others are uniform on the sphere (`rng`).
    """
    if not radius > 0:
        raise InputError(f"radius = {radius}: give a positive number")
    if restarts > 1 and rng is None:
        raise InputError("restarts > 1 start at random: pass rng = np.random.default_rng(seed)")
    model, x, labels, name = begin(model, x, labels, box)
    dtype = x.dtype.type
    step = dtype(2.5 * radius / iterations if step is None else step)
    # A rounding above the radius is below it on the safe side.
    radius_inside = dtype(radius * (1 - 4 * onp.finfo(x.dtype).eps))
    best, shortest = x.copy(), onp.full(len(x), onp.inf, x.dtype)
    last, spent = x.copy(), onp.zeros(len(x), int)
    for restart in range(restarts):
        rows = onp.flatnonzero(~onp.isfinite(shortest))  # the images still under attack
        if not len(rows):
            break
        r = onp.zeros_like(x[rows])
        if restart > 0:
            r = rng.standard_normal(r.shape).astype(x.dtype)
            r *= radius_inside / onp.linalg.norm(r, axis=1, keepdims=True)
        image = clip(x[rows] + r, box)
        for iteration in range(iterations + 1):
            z, pull_back = model.linearise(image)
            hit = z.argmax(axis=1) != labels[rows]
            last[rows] = image
            best[rows[hit]] = image[hit]
            shortest[rows[hit]] = onp.linalg.norm(image[hit] - x[rows[hit]], axis=1)
            if iteration == iterations or hit.all():
                break
            g = -pull_back(margins(z, labels[rows])[1])[~hit]
            rows, image = rows[~hit], image[~hit]
            r = image - x[rows] + step * g / onp.maximum(onp.linalg.norm(g, axis=1, keepdims=True), dtype(1e-30))
            r *= onp.minimum(1, radius_inside / onp.maximum(onp.linalg.norm(r, axis=1, keepdims=True), radius_inside))
            image = clip(x[rows] + r, box)
            spent[rows] += 1
    success = onp.isfinite(shortest)
    convention = describe(
        "projected gradient L2", name, box, radius=f"{radius:g}", iterations=iterations, restarts=restarts
    )
    return finish(x, onp.where(success[:, None], best, last), success, spent, labels, convention)
