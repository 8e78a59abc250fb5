"""Decoupled direction and norm: follow the loss's gradient, and set the length of the perturbation apart from it.

Source: Rony et al., CVPR 2019, algorithm 1, without its quantisation of pixels.
"""

from __future__ import annotations

import math

import numpy as onp

from ..errors import require
from ..method.numerics import one_hot, softmax
from ..method.perturbations import unit_rows
from .model import row_norms
from .result import AttackResult, Hunt, all_targets, begin, check_targets, clip, describe, leaves, margins


@all_targets
def ddn(
    model,
    x: onp.ndarray,
    labels=None,
    box: tuple[float, float] | None = (0, 1),
    iterations: int = 100,
    gamma: float = 0.05,
    first_norm: float | None = None,
    targets: onp.ndarray | None = None,
) -> AttackResult:
    """The smallest perturbation found that takes `x` out of class `labels`.

    model: see `as_model`; x: (n, d) in the box; labels: see `begin`.  Each iteration steps along the gradient of the
    cross-entropy (away from the label, or towards `targets` (n,); "all": every other class in turn), then sets the
    perturbation's norm to ρ: ρ shrinks by 1 − `gamma` while the image is adversarial and grows by 1 + `gamma` while it
    is not.  The step's length falls from 1 to 0.01 along a cosine.  ρ starts at `first_norm`, by default (here, not in
    the paper, which starts at 1) at each image's distance to the linearised boundary.
    """
    (iterations,) = require("a whole number, 0 or more", iterations=iterations)
    (gamma,) = require("a positive finite number", gamma=gamma)
    model, x, labels, name, box = begin(model, x, labels, box)
    if targets is not None:
        targets = check_targets(targets, labels, model.logits(x[:1]).shape[1])
    hunt = Hunt(model, x, labels, box, leaves(labels))
    sign, aim = (1, labels) if targets is None else (-1, targets)
    if first_norm is None:
        norm = linearised_distance(model, x, labels, targets)[:, None]
    else:
        norm = onp.full((len(x), 1), *require("a positive finite number", first_norm=first_norm), x.dtype)
    hunt.see(hunt.every, x, hunt.arrives(model.logits(x), hunt.every))
    rows = onp.flatnonzero(~hunt.found)  # what is misclassified needs no perturbation
    image, norm = x[rows], norm[rows]
    for iteration in range(iterations + 1):
        if not len(rows):
            break
        z, pull_back = model.linearise(image)
        hit = hunt.arrives(z, rows)
        hunt.see(rows, image, hit)
        if iteration == iterations:
            break
        w = unit_rows(sign * pull_back(loss_direction(z, aim[rows])))
        hunt.stuck[rows] = ~w.any(axis=1)
        hunt.spent[rows] += 1
        length = 0.01 + 0.99 * (1 + math.cos(math.pi * iteration / iterations)) / 2
        norm = norm * onp.where(hit, 1 - gamma, 1 + gamma).astype(x.dtype)[:, None]
        image = clip(x[rows] + norm * unit_rows(image - x[rows] + length * w), box)
        sound = hunt.sound(rows, image)
        rows, image, norm = rows[sound], image[sound], norm[sound]
    return hunt.result(
        describe(
            "DDN",
            name,
            box,
            targets="none" if targets is None else "given",
            iterations=iterations,
            gamma=gamma,
            first_norm="linearised distance" if first_norm is None else first_norm,
        )
    )


def loss_direction(z, labels):
    """The cross-entropy's derivative by the logits z (n, k) for `labels` (n,), divided by 1 − p_l: (n, k).

    p − e_l = (1 − p_l)(q − e_l), where q is the softmax over the other classes.  DDN takes of a gradient its direction
    only, and this one does not vanish where p_l rounds to 1.
    """
    own = one_hot(labels, z.shape[1], bool)
    return softmax(onp.where(own, -onp.inf, z)) - own


def linearised_distance(model, x, labels, targets=None):
    """|f_l − f_j|/‖∇f_l − ∇f_j‖ to the highest rival j or to `targets`: (n,); 1 where the gradient vanishes."""
    z, pull_back = model.linearise(x)
    lead, away = margins(z, labels, targets)
    size = row_norms(pull_back(away))
    return onp.where(size > 0, onp.abs(lead) / onp.where(size > 0, size, 1), 1).astype(x.dtype)
