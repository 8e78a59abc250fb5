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
from .result import AttackResult, begin, check_targets, clip, describe, finish


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

    def arrives(z, t=targets, C=confidence):
        return (z.argmax(axis=1) == t) & (pick(softmax(z), t) >= C)

    last, success = x.copy(), onp.zeros(len(x), bool)
    stuck, spent = success.copy(), onp.zeros(len(x), int)
    rows = onp.arange(len(x))  # the images still under attack
    for iteration in range(iterations + 1):
        z, pull_back = model.linearise(last[rows])
        p, t, C = softmax(z), targets[rows], confidence[rows]
        arrived = arrives(z, t, C)
        success[rows] = arrived
        w = pull_back(one_hot(t, z.shape[1], z.dtype) - p)
        stuck[rows] = ~arrived & ~w.any(axis=1)
        go = ~(arrived | stuck[rows])
        if iteration == iterations or not go.any():
            break
        step = newton_step(pick(log_softmax(z), t), w, C, eps)[go]
        rows = rows[go]
        length = onp.linalg.norm(step, axis=1, keepdims=True)
        step = step * (onp.minimum(length, step_limit) / onp.where(length > 0, length, 1))
        last[rows] = clip(last[rows] + (1 + overshoot) * step, box)
        spent[rows] += 1
    convention = describe(
        "high-confidence",
        name,
        box,
        **stated,
        overshoot=overshoot,
        iterations=iterations,
        step_limit=step_limit,
    )
    return finish(model, x, last, success, arrives, last, spent, labels, convention, stuck)
