"""The high-confidence attack A_f(x, t; C): a small r with p_t(x + r) ≥ C.  Source: Matyasko & Chau 2018.

Newton's step on log p_t, linearised: log p_t(x') + wᵀs = log C, whose least-norm solution is

    s = (log C − log p_t) w/‖w‖².

It exists once, `newton_step`, and is used twice: unrolled for a fixed number of iterations in training, where it is
the generator of the GAN and must be differentiated, and looped until it succeeds in evaluation.
"""

from __future__ import annotations

import numpy as onp

from ..errors import require
from ..method.generator import newton_step
from ..method.numerics import (
    log_softmax,
    one_hot,
    pick,
    softmax,
)
from ..plumbing.checks import check_confidence
from .nearest import nearest_class
from .result import AttackResult, Hunt, begin, check_targets, clip, describe


def high_confidence(
    model,
    x: onp.ndarray,
    labels=None,
    confidence=None,
    targets: onp.ndarray | None = None,
    box: tuple[float, float] | None = (0, 1),
    iterations: int = 500,
    overshoot: float = 0.02,
    step_limit: float = 0.1,
    eps: float = 1e-8,
) -> AttackResult:
    """The attack of the evaluation: step until argmax f = t and p_t ≥ C, tested at every iterate, inside the box.

    model: see `as_model`; x: (n, d) in the box; labels: see `begin`; confidence: C, a number or (n,), by default the
    example's own, max_j p_j(x); targets: (n,), by default the class nearest to the attacked label, chosen once, at x.
    Steps longer than `step_limit` are shortened to it.
    """
    (iterations,) = require("a whole number, 0 or more", iterations=iterations)
    (overshoot,) = require("a finite number, 0 or more", overshoot=overshoot)
    (step_limit,) = require("a positive number, or inf for no limit", step_limit=step_limit)
    (eps,) = require("a positive finite number", eps=eps)
    model, x, labels, name, box = begin(model, x, labels, box)
    p = softmax(model.logits(x))
    stated = {"confidence": "own", "targets": "nearest at x" if targets is None else "given"}
    if confidence is None:
        confidence = p.max(axis=1)
    else:
        confidence = check_confidence(confidence, len(x))
        stated["confidence"] = "given" if onp.ndim(confidence) else f"{confidence:g}"
    confidence = onp.broadcast_to(onp.asarray(confidence, x.dtype), len(x))
    if targets is None:
        targets = nearest_class(model, x, labels)
    else:
        targets = check_targets(targets, labels, p.shape[1])

    hunt = Hunt(model, x, labels, box, lambda z, rows: arrived(z, softmax(z), rows))

    def arrived(z, p, rows):
        return (z.argmax(axis=1) == targets[rows]) & (pick(p, targets[rows]) >= confidence[rows])

    def look(images, rows):
        z, pull_back = model.linearise(images)
        p = softmax(z)
        return arrived(z, p, rows), (z, p, pull_back)

    def step(images, rows, saw, go):
        (z, p, pull_back), t = saw, targets[rows]
        w = pull_back(one_hot(t, z.shape[1], z.dtype) - p)[go]
        s = newton_step(pick(log_softmax(z), t)[go], w, confidence[rows[go]], eps)
        length = onp.linalg.norm(s, axis=1, keepdims=True)
        s = s * (onp.minimum(length, step_limit) / onp.where(length > 0, length, 1))
        return clip(images[go] + (1 + overshoot) * s, box), w.any(axis=1)

    hunt.walk(x, hunt.every, iterations, look, step)
    return hunt.result(
        describe(
            "high-confidence",
            name,
            box,
            **stated,
            overshoot=overshoot,
            iterations=iterations,
            step_limit=step_limit,
        )
    )
