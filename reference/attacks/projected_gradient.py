"""Projected gradient in an L2 ball, with restarts: for robust accuracy at a given radius.

Source: Madry et al., ICLR 2018, in L2, on the margin f_l − max_{j≠l} f_j, whose gradient does not saturate.
"""

from __future__ import annotations

import numpy as onp

from ..errors import InputError, require
from ..method.perturbations import unit_rows
from .carlini_wagner import margins
from .result import AttackResult, begin, clip, confirmed, describe, finish


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
    """A perturbation of norm ≤ `radius` that takes `x` out of class `labels`: the first one found.

    model: see `as_model`; x: (n, d) in the box; labels: see `begin`; radius > 0 in the norm of x; step: by default
    2.5·radius/iterations.  The first start is x itself, the others are uniform on the sphere (`rng`).
    """
    (iterations,) = require("a whole number, 0 or more", iterations=iterations)
    (restarts,) = require("a whole number, 1 or more", restarts=restarts)
    (radius,) = require("a positive finite number", radius=radius)
    step = 2.5 * radius / max(iterations, 1) if step is None else step
    (step,) = require("a positive finite number", step=step)
    if restarts > 1 and rng is None:
        raise InputError("restarts > 1 start at random: pass rng = np.random.default_rng(seed)")
    model, x, labels, name, box = begin(model, x, labels, box)

    def arrives(z, rows=slice(None)):
        return z.argmax(axis=1) != labels[rows]

    # Below the radius by what rounding x + r to the dtype of x, and taking norms in it, may add.
    eps = float(onp.finfo(x.dtype).eps)
    inside = onp.maximum(radius * (1 - 16 * eps) - eps * onp.linalg.norm(x, axis=1, keepdims=True), 0)
    last, spent = x.copy(), onp.zeros(len(x), int)
    found, stuck = onp.zeros(len(x), bool), onp.zeros(len(x), bool)
    for restart in range(restarts):
        r = onp.zeros_like(x)
        if restart > 0:  # drawn for all images: an image's start does not depend on which others are finished
            r = inside * unit_rows(rng.standard_normal(x.shape).astype(x.dtype))
        rows = onp.flatnonzero(~found)  # the images still under attack
        image, hits = clip(x[rows] + r[rows], box), found.copy()
        for iteration in range(iterations + 1):
            if not len(rows):
                break
            z, pull_back = model.linearise(image)
            hit = arrives(z, rows)
            last[rows], hits[rows] = image, hit
            g = unit_rows(pull_back(-margins(z, labels[rows])[1]))
            stuck[rows] = ~g.any(axis=1)
            go = ~(hit | stuck[rows])
            if iteration == iterations:
                break
            rows = rows[go]
            r = image[go] - x[rows] + step * g[go]
            size = onp.linalg.norm(r, axis=1, keepdims=True)
            r *= onp.minimum(size, inside[rows]) / onp.where(size > 0, size, 1)
            image = clip(x[rows] + r, box)
            spent[rows] += 1
        found = confirmed(model, x, last, hits, arrives)
    convention = describe(
        "projected gradient L2",
        name,
        box,
        radius=radius,
        iterations=iterations,
        restarts=restarts,
        step=step,
    )
    return finish(model, x, last, hits, arrives, last, spent, labels, convention, stuck)
