"""Projected gradient in an L2 ball, with restarts: for robust accuracy at a given radius.

Source: Madry et al., ICLR 2018, in L2, on the margin f_l − max_{j≠l} f_j, whose gradient does not saturate.
"""

from __future__ import annotations

import numpy as onp

from ..errors import InputError, require
from ..method.perturbations import unit_rows
from .result import AttackResult, Hunt, begin, check_all, check_targets, clip, describe, leaves, margins, others


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
    targets: onp.ndarray | str | None = None,
) -> AttackResult:
    """A perturbation of norm ≤ `radius` that takes `x` out of class `labels`: the first one found.

    model: see `as_model`; x: (n, d) in the box; labels: see `begin`; radius > 0 in the norm of x; step: by default
    2.5·radius/iterations.  The first start is x itself, the others are uniform on the sphere (`rng`).
    targets: None climbs towards each image's highest rival; (n,) classes; or "all", every other class in turn, which
    finds more with one start than the highest rival does with twenty.
    """
    (iterations,) = require("a whole number, 0 or more", iterations=iterations)
    (restarts,) = require("a whole number, 1 or more", restarts=restarts)
    (radius,) = require("a positive finite number", radius=radius)
    step = 2.5 * radius / max(iterations, 1) if step is None else step
    (step,) = require("a positive finite number", step=step)
    if restarts > 1:
        rng = check_rng(rng)
    model, x, labels, name, box = begin(model, x, labels, box)

    goals, said = [None], "the highest rival"
    if isinstance(targets, str):
        check_all(targets)
        goals, said = others(labels, model.logits(x[:1]).shape[1]), "all"
    elif targets is not None:
        goals, said = [check_targets(targets, labels, model.logits(x[:1]).shape[1])], "given"
    hunt = Hunt(model, x, labels, box, leaves(labels))
    # Below the radius by what rounding x + r to the dtype of x, and taking norms in it, may add.
    eps = float(onp.finfo(x.dtype).eps)
    inside = onp.maximum(radius * (1 - 16 * eps) - eps * onp.linalg.norm(x, axis=1, keepdims=True), 0)

    def look(images, rows):
        z, pull_back = model.linearise(images)
        return hunt.arrives(z, rows), (z, pull_back)

    def towards(goal):
        def climb(images, rows, saw, go):
            z, pull_back = saw
            _, away = margins(z, labels[rows], None if goal is None else goal[rows])
            g = unit_rows(pull_back(-away))[go]
            r = images[go] - x[rows[go]] + step * g
            size = onp.linalg.norm(r, axis=1, keepdims=True)
            r *= onp.minimum(size, inside[rows[go]]) / onp.where(size > 0, size, 1)
            return clip(x[rows[go]] + r, box), g.any(axis=1)

        return climb

    for restart in range(restarts):
        start = x
        if restart > 0:  # drawn for all images: an image's start does not depend on which others are finished
            start = clip(x + inside * unit_rows(rng.standard_normal(x.shape).astype(x.dtype)), box)
        for goal in goals:
            rows = onp.flatnonzero(~hunt.confirmed(hunt.best, hunt.found))
            if not len(rows):
                break
            hunt.squares[rows] = onp.inf
            hunt.walk(start[rows], rows, iterations, look, towards(goal))
    return hunt.result(
        describe(
            "projected gradient L2",
            name,
            box,
            targets=said,
            radius=radius,
            iterations=iterations,
            restarts=restarts,
            step=step,
        )
    )


def check_rng(rng) -> onp.random.Generator:
    """A generator from one, or from a seed."""
    try:
        if rng is not None:
            return onp.random.default_rng(rng)
    except (TypeError, ValueError):
        pass
    raise InputError(f"rng = {rng!r}: restarts > 1 start at random, so pass a seed or np.random.default_rng(seed)")
