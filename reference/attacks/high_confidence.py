"""The high-confidence attack A_f(x, t; C): a small r with p_t(x + r) ≥ C.  Source: Matyasko & Chau 2018.

Newton's step on log p_t, linearised: log p_t(x') + wᵀs = log C, whose least-norm solution is

    s = (log C − log p_t) w/‖w‖².

It exists once, `newton_step`, and is used twice: unrolled for a fixed number of iterations in training, where it is
the generator of the GAN and must be differentiated, and looped until it succeeds in evaluation.
"""

from __future__ import annotations

import math

import autograd.numpy as np
import numpy as onp
from autograd import make_vjp

from .. import network
from ..checks import check_confidence
from ..errors import InputError
from ..numerics import (
    absolute,
    like,
    log_softmax,
    one_hot,
    pick,
    round_straight_through,
    sigmoid,
    softmax,
    stop_gradient,
)
from .result import AttackResult, begin, check_targets, clip, describe, finish, require
from .targets import nearest_class

GRADIENT_MODES = ("truncated", "full", "detached")


def newton_step(log_p, w, confidence, eps: float = 1e-8, geometry: str = "l2"):
    """One step towards log p_t = log C: (√ε + φ/n)·w/n with φ = |log p_t − log C| and n = √(ε + ‖w‖²).

    log_p, confidence: (n,); w: (n, d) = ∇_x log p_t.  Returns (n, d).
    In the L∞ geometry (√ε + φ)·sign(w)/‖w‖₁; there the step is 0 where w is.
    """
    phi = absolute(log_p - np.log(like(confidence, log_p)))[:, None]
    if geometry == "l2":
        n = np.sqrt(eps + np.sum(w * w, axis=1, keepdims=True))
        return (math.sqrt(eps) + phi / n) * w / n
    if geometry == "linf":
        size = np.sum(absolute(w), axis=1, keepdims=True)
        return (math.sqrt(eps) + phi) * np.sign(w) / (size + (size == 0))
    raise InputError(f'geometry = {geometry!r}: choose "l2" or "linf"')


def linearise_log_prob(logits, x, targets):
    """-> (log p_t, p_t, w = ∇_x log p_t) at `x` (n, d): shapes (n,), (n,), (n, d).

    The chain rule in full view: ∇_x log p_t = J(x)ᵀ (e_t − p).
    """
    pull_back, z = make_vjp(logits)(x)
    p = softmax(z)
    return pick(log_softmax(z), targets), pick(p, targets), pull_back(one_hot(targets, z.shape[1], z.dtype) - p)


def unrolled(
    params: network.Params,
    x,
    targets: onp.ndarray,
    confidence,
    iterations: int = 5,
    overshoot: float = 0.05,
    eps: float = 1e-8,
    gradient: str = "truncated",
    geometry: str = "l2",
):
    """The attack of the training loop: `iterations` steps, no clipping, differentiable in `params` and `confidence`.

    x: (n, d); targets: (n,) classes; confidence: C in (0, 1], a number or (n,).  Returns x̂ (n, d).

    gradient: where it flows.  "truncated" detaches the iterates: θ enters through each step, not through the path
    (the authors' code).  "full" keeps the path.  "detached" makes the whole of x̂ a constant: the method does nothing.
    The indicator "not there yet" is cumulative: 1 until p_t first reaches C and 0 for good; backwards, its rounding
    is the identity.  Examples do not interact.
    """
    if gradient not in GRADIENT_MODES:
        raise InputError(f"gradient = {gradient!r}: choose one of {', '.join(GRADIENT_MODES)}")
    confidence = like(confidence, x)
    r, active = np.zeros_like(stop_gradient(x)), 1
    for _ in range(iterations):
        x_hat = x + (1 + overshoot) * r
        if gradient != "full":
            x_hat = stop_gradient(x_hat)
        log_p, p, w = linearise_log_prob(lambda v: network.logits(params, v), x_hat, targets)
        active = active * round_straight_through(sigmoid(confidence - p))
        r = r + active[:, None] * newton_step(log_p, w, confidence, eps, geometry)
    x_hat = x + (1 + overshoot) * r
    return stop_gradient(x_hat) if gradient == "detached" else x_hat


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
