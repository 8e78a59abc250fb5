"""Carlini & Wagner's L2 attack: minimise ‖x' − x‖² + c·[margin]₊ and search for the smallest c that works.

Source: Carlini & Wagner, IEEE S&P 2017: attack f₆, the change of variables x' = (tanh w + 1)/2, Adam, binary search.
"""

from __future__ import annotations

import numpy as onp

from ..errors import InputError, require
from .result import AttackResult, Hunt, all_targets, begin, check_targets, describe, margins


@all_targets
def carlini_wagner(
    model,
    x: onp.ndarray,
    labels=None,
    box: tuple[float, float] = (0, 1),
    search_steps: int = 9,
    iterations: int = 1000,
    confidence: float = 0.0,
    learning_rate: float = 1e-2,
    first_constant: float = 1e-2,
    abort_early: bool = True,
    targets: onp.ndarray | None = None,
) -> AttackResult:
    """The smallest perturbation found that takes `x` out of class `labels`.

    model: see `as_model`; x: (n, d) in the box; labels: see `begin`.  `confidence`: by how much (in logits) the rival
    must lead.  Each image has its own constant c, multiplied by 10 until the attack works and bisected from then on.
    `abort_early` ends an image's descent when its loss has not fallen by 0.01 % in a tenth of the iterations.
    The best image of all search steps is kept, so that a longer search is never worse.  The margin is to the highest
    rival: where that is not the nearest class, the descent may settle on it all the same, even on a linear model.
    An image that is misclassified from the start gets a norm near 0, not 0: the change of variables reaches it to six
    digits only.
    """
    (iterations,) = require("a whole number, 0 or more", iterations=iterations)
    (search_steps,) = require("a whole number, 1 or more", search_steps=search_steps)
    (confidence,) = require("a finite number, 0 or more", confidence=confidence)
    learning_rate, first_constant = require(
        "a positive finite number", learning_rate=learning_rate, first_constant=first_constant
    )
    if box is None:
        raise InputError("Carlini & Wagner's attack needs a box: its change of variables maps onto it")
    model, x, labels, name, box = begin(model, x, labels, box)

    if targets is not None:
        targets = check_targets(targets, labels, model.logits(x[:1]).shape[1])

    def lead_of(z, rows):
        return margins(z, labels[rows], None if targets is None else targets[rows])

    def arrives(z, rows):
        # `argmax` decides, as for every other attack; a tie goes to the lower class.
        return (z.argmax(axis=1) != labels[rows]) & (margins(z, labels[rows])[0] <= -confidence)

    hunt, n, dtype = Hunt(model, x, labels, box, arrives), len(x), x.dtype.type
    low, half = dtype(box[0]), dtype((box[1] - box[0]) / 2)
    # Images on the box's faces lie at infinity: pull them inside by a hair, as the authors of the attack do.
    start = onp.arctanh(((x - low) / half - 1) * dtype(0.999999))

    largest = onp.finfo(x.dtype).max ** 0.4  # so that the squares in Adam stay numbers
    c = onp.full(n, first_constant, x.dtype)
    lower, upper = onp.zeros_like(c), onp.full_like(c, onp.inf)
    for _ in range(search_steps):
        works, kept = onp.zeros(n, bool), (hunt.best.copy(), hunt.squares.copy())
        # The images whose descent goes on, and all that it needs of them.
        rows, weight, w = hunt.every, c, start.copy()
        m, v, watched = onp.zeros_like(w), onp.zeros_like(w), onp.full_like(c, onp.inf)
        for i in range(1, iterations + 1):
            tanh = onp.tanh(w)
            image = onp.clip((tanh + 1) * half + low, *box)
            z, pull_back = model.linearise(image)
            r, (lead, direction) = image - x[rows], lead_of(z, rows)
            squared, hinge = onp.vecdot(r, r), onp.maximum(lead + confidence, 0)
            hit = hunt.arrives(z, rows)
            works[rows] |= hit
            hunt.see(rows, image, hit)
            hunt.spent[rows] += 1

            push = pull_back(direction * (weight * (hinge > 0))[:, None])
            hunt.stuck[rows] = (hinge > 0) & ~push.any(axis=1)
            gradient = 2 * r + push
            gradient *= (1 - tanh * tanh) * half
            m = dtype(0.9) * m + dtype(0.1) * gradient
            v = dtype(0.999) * v + dtype(0.001) * gradient * gradient
            w -= dtype(learning_rate * (1 - 0.999**i) ** 0.5 / (1 - 0.9**i)) * m / (onp.sqrt(v) + dtype(1e-8))

            sound = hunt.sound(rows, w)
            if not sound.all():
                rows, weight, w, m, v, watched = (part[sound] for part in (rows, weight, w, m, v, watched))
                squared, hinge = squared[sound], hinge[sound]
                if not len(rows):
                    break
            if abort_early and i % max(1, iterations // 10) == 0:
                loss = squared + weight * hinge
                falling, watched = loss < dtype(0.9999) * watched, loss
                if not falling.any():
                    break
                rows, weight, w, m, v, watched = (part[falling] for part in (rows, weight, w, m, v, watched))
        lost = hunt.found & ~hunt.confirmed(hunt.best, hunt.found)
        hunt.best[lost], hunt.squares[lost] = kept[0][lost], kept[1][lost]
        upper = onp.where(works, onp.minimum(upper, c), upper)
        lower = onp.where(works, lower, onp.maximum(lower, c))
        c = onp.where(onp.isfinite(upper), (lower + upper) / 2, onp.minimum(c, largest) * 10).astype(x.dtype)
    return hunt.result(
        describe(
            "Carlini-Wagner L2",
            name,
            box,
            targets="the highest rival" if targets is None else "given",
            confidence=confidence,
            search_steps=search_steps,
            iterations=iterations,
            learning_rate=learning_rate,
        )
    )
