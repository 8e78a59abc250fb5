"""DeepFool: step to the nearest linearised decision boundary until the label changes.

Source: Moosavi-Dezfooli et al., CVPR 2016, with the step limit and the box of Matyasko & Chau's evaluation.
"""

from __future__ import annotations

import numpy as onp

from ..errors import require
from ..method.numerics import one_hot
from ..method.targets import nearest
from .model import row_norms
from .nearest import boundaries
from .result import AttackResult, Hunt, begin, check_targets, clip, describe, leaves


def deepfool(
    model,
    x: onp.ndarray,
    labels=None,
    targets: onp.ndarray | None = None,
    box: tuple[float, float] | None = (0, 1),
    iterations: int = 500,
    overshoot: float = 0.02,
    step_limit: float = 0.1,
    extra: float = 1e-4,
    at_image: bool = False,
    clip_r: bool = True,
) -> AttackResult:
    """The smallest perturbation that takes `x` out of class `labels`.

    model: see `as_model`; x: (n, d) in the box; labels: see `begin`.
    Each iteration tests the image x + (1+o) r, clipped to the box, linearises at x + r, picks the nearest class anew
    and steps towards it.  The step towards class j is (min(|Δf|/‖Δ∇f‖, step_limit) + extra)·Δ∇f/‖Δ∇f‖, with
    Δ = (class j) − (label).
    targets: (n,), steps towards these classes instead; leaving the label is success all the same (the authors' rule).
    at_image: linearise at the tested image instead.  clip_r: r is what clipping has left of it; False sums the steps
    as they are.  Foolbox does at_image=True, clip_r=False, step_limit=inf; ART overshoot=1e-6, extra=0, step_limit=inf.
    """
    (iterations,) = require("a whole number, 0 or more", iterations=iterations)
    overshoot, extra = require("a finite number, 0 or more", overshoot=overshoot, extra=extra)
    (step_limit,) = require("a positive number, or inf for no limit", step_limit=step_limit)
    model, x, labels, name, box = begin(model, x, labels, box)
    if targets is not None:
        targets = check_targets(targets, labels, model.logits(x[:1]).shape[1])
    hunt, total = Hunt(model, x, labels, box, leaves(labels)), onp.zeros_like(x)

    def look(images, rows):
        return hunt.arrives(model.logits(images), rows), None

    def step(images, rows, _, go):
        rows, images = rows[go], images[go]
        r = (images - x[rows]) / (1 + overshoot) if clip_r else total[rows]
        z, away, pull_back = boundaries(model, images if at_image else x[rows] + r, labels[rows])
        j = nearest(z, away, labels[rows]) if targets is None else targets[rows]
        distance, k = away[onp.arange(len(rows)), j], z.shape[1]
        w = pull_back(one_hot(j, k, z.dtype) - one_hot(labels[rows], k, z.dtype))
        moved = onp.isfinite(distance) | ~onp.isfinite(w).all(axis=1)  # the latter moves to nan, and is lost there
        length = onp.minimum(distance, step_limit) + extra
        size = onp.where(moved, row_norms(w), 1)
        total[rows] = r + onp.where(moved, length / size, 0).astype(x.dtype)[:, None] * w
        return clip(x[rows] + (1 + overshoot) * total[rows], box), moved

    hunt.walk(x, hunt.every, iterations, look, step)
    return hunt.result(
        describe(
            "DeepFool",
            name,
            box,
            targets="nearest at each step" if targets is None else "given",
            overshoot=overshoot,
            iterations=iterations,
            step_limit=step_limit,
            extra=extra,
            **({"linearised": "at the image"} if at_image else {}),
            **({} if clip_r else {"r": "unclipped"}),
        )
    )
