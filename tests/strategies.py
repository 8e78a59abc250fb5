"""Small random problems: networks, images, labels, targets, noise.

A problem is a few sizes and a seed.  Hypothesis searches, and shrinks, only those; the numbers come from the seed.

The weights are scaled to keep pre-activations and logits of order 1, biases are not zero, and inputs lie in [0, 1].
A problem too near a kink or a tie is rejected: there one derivative from the left and one from the right are both
right, and finite differences give neither.  The margin, 1e-4, is ten times the step of the finite differences; at most
some 300 numbers of order 1 have to keep it, so that few draws in a hundred are rejected.
"""

from dataclasses import dataclass, replace

import numpy as np
from calculus import Held, forward
from hypothesis import assume
from hypothesis import strategies as st

from reference.method.targets import RunningConfidence

MARGIN = 1e-4
seeds = st.integers(0, 2**32 - 1)
HIDDEN, BATCH, CLASSES, PIXELS, WIDTH = (st.integers(*ends) for ends in ((0, 3), (1, 6), (2, 5), (1, 7), (2, 9)))


@dataclass(frozen=True)
class Problem:
    params: list
    critic: list
    x: np.ndarray  # (n, d)
    y: np.ndarray  # (n,)
    targets: np.ndarray  # (n,), none of them the predicted class
    confidence: np.ndarray  # (n,)
    running: RunningConfidence
    noise_real: list
    noise_fake: list
    start: np.ndarray  # (n, d)

    @property
    def k(self):
        return self.params[-1][1].size

    def take(self, rows):
        """The problem with the examples `rows` only, in that order."""
        per_example = {name: getattr(self, name)[rows] for name in ("x", "y", "targets", "confidence", "start")}
        noise = {name: [a[rows] for a in getattr(self, name)] for name in ("noise_real", "noise_fake")}
        return replace(self, **per_example, **noise)

    def cast(self, dtype):
        """The problem in another float dtype."""

        def convert(value):
            if isinstance(value, list | tuple):
                return type(value)([convert(v) for v in value])
            return value.astype(dtype) if value.dtype.kind == "f" else value

        fields = {k: convert(v) for k, v in vars(self).items() if k != "running"}
        r = self.running
        return Problem(**fields, running=replace(r, value=r.value.astype(dtype), biased=r.biased.astype(dtype)))


def network(rng, sizes):
    return [
        (rng.standard_normal((m, n)) * (2 / m) ** 0.5, rng.standard_normal(n) / 2)
        for m, n in zip(sizes, sizes[1:], strict=False)
    ]


def preactivation_margin(params, x, slope=0.0, noise=None):
    """The smallest |pre-activation|, and |gap of the two largest outputs|."""
    held = Held()
    held.start()
    held.largest(forward(held, params, x, slope, noise)[0])
    return held.margin


@st.composite
def problems(draw, classes=CLASSES, hidden=HIDDEN, batch=BATCH, pixels=PIXELS, width=WIDTH):
    depth, n, k, d = draw(hidden), draw(batch), draw(classes), draw(pixels)
    widths = [draw(width) for _ in range(depth)]
    rng = np.random.default_rng(draw(seeds))
    params, critic = network(rng, [d, *widths, k]), network(rng, [d, *widths[::-1], k])
    x, y = rng.random((n, d)), rng.integers(k, size=n)
    predicted = forward_only(params, x).argmax(axis=1)

    def noise():
        return [rng.standard_normal((n, len(W))) * (0.1, 0.5)[i > 0] for i, (W, _) in enumerate(critic)]

    problem = Problem(
        params=params,
        critic=critic,
        x=x,
        y=y,
        targets=(predicted + rng.integers(1, k, size=n)) % k,
        confidence=rng.uniform(0.3, 0.95, n),
        running=RunningConfidence(rng.uniform(0.5, 0.95, k), rng.uniform(0.2, 0.5, k), 1),
        noise_real=noise(),
        noise_fake=noise(),
        start=rng.standard_normal((n, d)),
    )
    assume(preactivation_margin(params, x) > MARGIN)
    assume(preactivation_margin(critic, x, 0.2, problem.noise_real) > MARGIN)
    return problem


def forward_only(params, x):
    held = Held()
    held.start()
    return forward(held, params, x)[0]


@st.composite
def arrays(draw):
    """(n, d) of order 1, every entry away from 0, where most kinks are."""
    n, d = draw(BATCH), draw(st.integers(1, 6))
    x = 2 * np.random.default_rng(draw(seeds)).standard_normal((n, d))
    assume(np.abs(x).min() > MARGIN)
    return x
