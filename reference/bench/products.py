"""The floor: the matrix products that a step cannot do without, and the time that NumPy takes for them alone.

A product (m, k, n) is an (m, k) by a (k, n) matrix, 2mkn flops.  Letters and passes are those of `adjoint`.
Layers have sizes s_0 = d, s_1, …, s_L = k.  On r rows

    a forward or tangent pass    (r, s_{l−1}, s_l)         for l = 1 … L
    a backward pass              (r, s_l, s_{l−1})         for l = L … 1; to the weights only, without l = 1
    a one-hot cotangent          picks a row of W_Lᵀ: no product for l = L
    the weight gradients         (s_{l−1}, R, s_l)         R the rows of all passes, stacked

Passes at the same point are counted once: x serves prediction, nearest class, cross-entropy and the attack's first
step; x̂ serves ŷ and the cycle's first step, and where an example arrived early, the step that found so was at x̂.
Backward passes at the same point with different cotangents are one: so cross-entropy joins the first step's.
Rows that have arrived cost nothing, nor do rows outside S where only their effect on the loss is asked for.
"""

from __future__ import annotations

import numpy as onp

from .problem import Active

Product = tuple[int, int, int]
NEAREST, FORWARD, REVERSE, WEIGHTS, REST = (
    "nearest class", "attacks, forward", "attacks, reverse", "weight gradients", "other passes, losses",
)  # fmt: skip


def forward(sizes, rows: int) -> list[Product]:
    """x -> z."""
    return [(rows, i, o) for i, o in zip(sizes, sizes[1:])]


def backward(sizes, rows: int) -> list[Product]:
    """A cotangent of z -> one of x."""
    return [(rows, o, i) for _, i, o in forward(sizes, rows)][::-1]


def weights(sizes, rows: int) -> list[Product]:
    """Every layer's gradient from `rows` stacked rows."""
    return [(i, rows, o) for i, o in zip(sizes, sizes[1:])]


def classifier_step(sizes, critic, active: Active) -> dict[str, list[Product]]:
    """By part of the step."""
    n, S = len(active.there[0]), len(active.changed)
    there = [len(rows) for rows in active.there]
    judged = [[len(onp.intersect1d(rows, active.changed)) for rows in all_] for all_ in (active.there, active.back)]
    out, back = judged[0][:-1], judged[1][:-1]
    parts = {
        NEAREST: backward(sizes[:-1], n * (sizes[-1] - 1)),
        FORWARD: [
            product
            for steps in (there[:-1], back)
            for i, rows in enumerate(steps)
            for product in (forward(sizes, rows) if i else []) + backward(sizes, rows)
        ],
        REVERSE: [
            product
            for steps, rest in ((out, n - out[0]), (back, 0))
            for i, rows in enumerate(steps)
            for product in forward(sizes, rows) + backward(sizes[1:], rows + (0 if i else rest))
        ],
        WEIGHTS: weights(sizes, 2 * sum(out) + 2 * sum(back) + n - out[0]),
        REST: forward(sizes, n) + forward(sizes, there[-1]) + forward(critic, S) + backward(critic[:-1], S),
    }
    return {name: [product for product in products if min(product)] for name, products in parts.items()}


def critic_step(critic, n: int) -> list[Product]:
    """Real and attacked images in one batch of 2n.  The losses' signals are multiples of ∇_x D_y's (see `fused`)."""
    return forward(critic, 2 * n) + backward(critic[:-1], 2 * n) + forward(critic[:-1], 2 * n) + weights(critic, 2 * n)


def flops(products: list[Product]) -> int:
    """Multiplications and additions."""
    return sum(2 * m * k * n for m, k, n in products)


def multiplier(products: list[Product], dtype):
    """-> a function that does these products once, on numbers of its own, into memory that is there already."""
    rng, matrices = onp.random.default_rng(0), {}

    def matrix(*shape):
        return matrices.setdefault(shape, rng.standard_normal(shape).astype(dtype))

    done = [(matrix(m, k), matrix(k, n), onp.empty((m, n), dtype)) for m, k, n in products]

    def run():
        for a, b, out in done:
            onp.matmul(a, b, out=out)

    return run
