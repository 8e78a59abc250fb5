"""The smallest perturbation that several attacks together find: what conclusions about robustness rest on.

An attack alone is too weak for them, each in its own way: DeepFool stops at the first boundary it meets, an untargeted
descent settles on one rival, and with few iterations any of them ends some way behind the boundary.  Together, and with
every class tried, they come within a percent of the best known.
"""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as onp

from .carlini_wagner import carlini_wagner
from .ddn import ddn
from .deepfool import deepfool
from .model import AttackWarning, Model
from .result import AttackResult, begin, describe, nearest_of, others


def strongest(model, x: onp.ndarray, labels=None, box: tuple[float, float] | None = (0, 1)) -> AttackResult:
    """Image by image the smallest perturbation that DeepFool, DDN towards every class and Carlini & Wagner find.

    model: see `as_model`; x: (n, d) in the box; labels: see `begin`.  DDN goes towards every other class for 20
    iterations, and for 100 towards the two classes that it found nearest and away from the label.  Carlini & Wagner's
    attack then goes towards the class of the nearest image found so far; without a box it is left out.  DeepFool's
    perturbations and, at last, the nearest ones are shortened as far as their direction allows.  `iterations` are
    those of all attacks together.
    """
    model, x, labels, name, box = begin(model, x, labels, box)
    k = model.logits(x[:1]).shape[1]
    common = {"model": model, "x": x, "labels": (name, labels), "box": box}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AttackWarning)  # `begin` has said it once
        targets = others(labels, k)
        towards = [ddn(targets=t, iterations=20, **common) for t in targets]
        norms = onp.stack([onp.where(part.success, part.norms, onp.inf) for part in towards])
        near = onp.take_along_axis(targets, norms.argsort(axis=0, kind="stable"), axis=0)[:2]
        parts = [
            shortened(model, x, deepfool(**common)),
            ddn(**common),
            *towards,
            *(ddn(targets=t, **common) for t in near),
        ]
        if box is not None:
            best = nearest_of(parts)
            target = onp.where(best.success, model.logits(best.images).argmax(axis=1), near[0])
            refined = {"search_steps": 3, "iterations": 200, "learning_rate": 0.03, "first_constant": 1}
            parts.append(carlini_wagner(targets=target, **refined, **common))
    words = "strongest of DeepFool, DDN (20 iterations to every class, 100 to the nearest two and away from the label)"
    if box is not None:
        words += " and Carlini-Wagner (3 times 200 iterations to the nearest class)"
    return shortened(model, x, nearest_of(parts, describe(words + ", shortened", name, box)))


def shortened(model: Model, x: onp.ndarray, found: AttackResult, halvings: int = 12) -> AttackResult:
    """`found`, each success drawn back along the straight line to `x` (n, d) as far as it still leaves its label.

    The last fifth of the line is bisected.
    """
    inside, outside = onp.full((len(x), 1), 0.8, x.dtype), onp.ones((len(x), 1), x.dtype)
    images, r = found.images, found.images - x
    for _ in range(halvings):
        middle = (inside + outside) / 2
        closer = x + middle * r
        z = model.logits(closer)
        leaves = ((z.argmax(axis=1) != found.labels) & found.success & onp.isfinite(z).all(axis=1))[:, None]
        images, outside = onp.where(leaves, closer, images), onp.where(leaves, middle, outside)
        inside = onp.where(leaves, inside, middle)
    # The images are of several passes: as everywhere, one pass over the whole batch decides.
    sure = found.success & (model.logits(images).argmax(axis=1) != found.labels)
    images = onp.where(sure[:, None], images, found.images)
    norms = onp.where(found.success, onp.linalg.norm(images - x, axis=1), onp.nan).astype(x.dtype)
    return replace(found, images=images, norms=norms)
