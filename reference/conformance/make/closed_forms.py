"""The second routes: gradients by finite differences, and what has a closed form written out in plain NumPy."""

from __future__ import annotations

import numpy as np

from ..adapters.evaluation import softmax

STEP = 1e-4


def check_gradient(held, call: str, term: str, inputs: dict, gradient, id: str) -> None:
    """Raise `AssertionError` unless ⟨gradient, v⟩ is the derivative of the loss along two random directions v.

    held: the library with constants replayed (see `generate.HELD`), so that the loss is an ordinary function.  Fourth
    order differences: (8 f(h) − 8 f(−h) − f(2h) + f(−2h)) / 12h.
    """
    adapter, owner = held("conformance.adapters.ours").method, "critic" if call.startswith("critic") else "params"
    rng, recorded = np.random.default_rng(0), []

    def loss(s, direction, hold):
        held("method.numerics").HOLD = hold
        moved = [(W + s * V, b + s * c) for (W, b), (V, c) in zip(inputs[owner], direction)]
        return getattr(adapter, call.replace("gradients", "losses"))(**inputs | {owner: moved})[term]

    def record(x):
        recorded.append(np.array(x))
        return x

    def replayed(s, direction):
        values = iter(recorded)
        return loss(s, direction, lambda x: next(values))

    zero = [(0 * W, 0 * b) for W, b in inputs[owner]]
    value = loss(0, zero, record)
    size = np.sqrt(sum(np.sum(a * a) for layer in gradient for a in layer))
    many = sum(a.size for layer in gradient for a in layer)
    for _ in range(2):
        v = [tuple(rng.standard_normal(a.shape) / many**0.5 for a in layer) for layer in inputs[owner]]
        along = sum(np.sum(a * b) for g, w in zip(gradient, v) for a, b in zip(g, w))
        f = [replayed(s * STEP, v) for s in (1, -1, 2, -2)]
        difference = (8 * (f[0] - f[1]) - (f[2] - f[3])) / (12 * STEP)
        allowed = 1e-6 * max(abs(along), size / many**0.5) + 1e-15 * abs(value) / STEP
        assert abs(along - difference) <= allowed, (
            f"{id}: {along} along a direction, by finite differences {difference}"
        )


def logits(params, x):
    for W, b in params[:-1]:
        x = x @ W + b
        x = x * (x > 0)
    return x @ params[-1][0] + params[-1][1]


def predicted(params, x):
    """argmax f(x), (n,)."""
    return logits(params, x).argmax(axis=1)


def running_confidence(choices, params, x, y, value, biased, steps):
    p = softmax(logits(params, x))
    mine = [p.max(axis=1)[p.argmax(axis=1) == j] for j in range(len(value))]
    batch = np.array([v.mean() if len(v) else old for v, old in zip(mine, value)])
    biased = biased / 2 + batch / 2
    new = value / 2 + batch / 2 if choices else biased / (1 - 0.5 ** (steps + 1))
    return {"value": new, "biased": biased, "steps": steps + 1}


def adam_step(choices, params, gradient, m, v, t, rate):
    t = t + 1

    def leaf(p, g, m, v):
        m, v = 0.5 * m + 0.5 * g, 0.999 * v + 0.001 * g**2
        root = np.sqrt(1 - 0.999**t)
        below = np.sqrt(v) / root + 1e-8 if choices.get("Adam epsilon") == "inside" else np.sqrt(v) / root + 1e-8 / root
        return p - rate * m / (1 - 0.5**t) / below, m, v

    new = [[leaf(*a) for a in zip(*layer)] for layer in zip(params, gradient, m, v)]
    return {name: [tuple(a[i] for a in layer) for layer in new] for i, name in enumerate(("params", "m", "v"))}


def robustness(choices, x, images, success):
    ratios = [np.linalg.norm(a - b) / np.linalg.norm(b) for a, b, found in zip(images, x, success) if found]
    return {"robustness": np.array(sum(ratios) / len(ratios))}


def _boundary(params, x, labels):
    """-> distances to the nearest boundary of a linear network, and the unit vectors that point there."""
    ((W, b),) = params
    found = []
    for v, label in zip(x, labels):
        others = [j for j in range(len(b)) if j != label]
        gaps = [abs((W[:, j] - W[:, label]) @ v + b[j] - b[label]) for j in others]
        away = [gap / np.linalg.norm(W[:, j] - W[:, label]) for j, gap in zip(others, gaps)]
        j = others[int(np.argmin(away))]
        found.append((min(away), (W[:, j] - W[:, label]) / np.linalg.norm(W[:, j] - W[:, label])))
    return np.array([d for d, _ in found]), np.array([w for _, w in found])


def deepfool(choices, params, x, labels):
    if len(params) > 1:
        return {}
    distance, w = _boundary(params, x, labels)
    assert (distance < 0.1).all() and (labels == predicted(params, x)).all(), "one step, or it is not exact"
    return {"images": x + 1.02 * (distance + 1e-4)[:, None] * w}


def carlini_wagner(choices, params, x, labels):
    return {"norms": _boundary(params, x, labels)[0]}


CLOSED = {f.__name__: f for f in (running_confidence, adam_step, robustness, deepfool, carlini_wagner)}
"""{method: a function of (choices other than the defaults, inputs)}"""
