"""The floor: the matrix products that a step cannot do without, and the time that NumPy takes for them alone.

A product (m, k, n) is an (m, k) by a (k, n) matrix, 2mkn flops.  Letters and passes are those of
`by_hand/README.md`.  Layers have sizes s_0 = d, s_1, …, s_L = k.  On r rows

    a forward or tangent pass    (r, s_{l−1}, s_l)         for l = 1 … L
    a backward pass              (r, s_l, s_{l−1})         for l = L … 1
    a one-hot cotangent          picks a row of W_Lᵀ: no product for l = L
    the weight gradients         (s_{l−1}, R, s_l)         R the rows of all passes, stacked

Passes at the same point are counted once: x serves prediction, nearest class, cross-entropy and the attack's first
step; x̂ serves ŷ and the cycle's first step.  Backward passes at the same point are one: so cross-entropy joins the
first step's; and that step's w is a combination of the nearest class's ∇f_j − ∇f_ŷ.  Rows that have arrived cost
nothing, nor do rows outside S where only their effect on the loss counts; a row that arrives at a step has w̄ = 0
there: no tangent.

The first layer is cheaper than the others, since every image in a step is x plus a combination of w_1, w_2, …, and
every tangent w̄_m one of w_m and r̄.  So w_m W_1 once serves the next forward pass and the tangent; r̄ W_1 is one product
for all steps, and none for the cycle, whose r̄ is such a combination; and W̄_1 has n rows for x, |S| for r̄, and one for
each w_m.  Where s_1 < d, w = δ_1 W_1ᵀ need not be formed: w W_1 = δ_1 G and ‖w‖² = ⟨δ_1 G, δ_1⟩ with G = W_1ᵀ W_1.
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
    d, s_1, *_ = sizes
    upper, narrow = sizes[1:], s_1 < d
    n, S = len(active.there[0]), len(active.changed)
    there = [len(rows) for rows in active.there]
    judged, back = (
        [len(onp.intersect1d(rows, active.changed)) for rows in all_] for all_ in (active.there, active.back)
    )
    forth, reverse = [], [(S, d, s_1)]
    for steps in (there, back):
        for i, (rows, moving) in enumerate(zip(steps, steps[1:])):
            first = steps is there and not i
            forth += (forward(upper, rows) if i else []) + ([] if first else backward(upper, rows))
            forth += [(rows, s_1, s_1)] if narrow else [(0 if first else rows, s_1, d), (moving, d, s_1)]
    for steps, others in ((judged, n - judged[0]), (back, 0)):
        for i, (rows, moving) in enumerate(zip(steps, steps[1:])):
            reverse += forward(upper, moving) + backward(upper, rows + (0 if i else others))
    steps = sum(judged[1:] + back[1:])
    every = weights(upper, steps + sum(judged[:-1] + back[:-1]) + n - judged[0])
    parts = {
        NEAREST: backward(upper[:-1], n * (sizes[-1] - 1)) + [(n * (sizes[-1] - 1), s_1, s_1 if narrow else d)],
        FORWARD: forth,
        REVERSE: reverse,
        WEIGHTS: every + ([(d, n + S, s_1), (s_1, steps, s_1), (d, s_1, s_1)] if narrow else [(d, n + S + steps, s_1)]),
        REST: forward(sizes, n) + forward(upper, there[-1]) + forward(critic, S) + backward(critic[:-1], S)
        + ([(s_1, d, s_1), (n, s_1, d)] if narrow else []),
    }  # fmt: skip
    return {name: [product for product in products if min(product)] for name, products in parts.items()}


def critic_step(critic, n: int) -> list[Product]:
    """Real and attacked images in one batch of 2n.  The losses' signals are multiples of ∇_x D_y's: `by_hand`."""
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
