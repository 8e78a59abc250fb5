"""The adversary critic's two steps as a whole, by hand: every forward pass once, one product per layer and gradient.

Twins of `objectives.ClassifierStep` and `objectives.critic_step`, on raw arrays.  The derivation is in `adjoint`; what
is gained on top of its twins, and nothing else, is this:

* The pass at x serves the prediction, the nearest class, the cross-entropy and the first attack's first step; the pass
  at x̂ serves ŷ and the cycle's first step.
* All weight gradients of θ are sums of products [..]ᵀ[..] over rows: the rows of all steps of both attacks, and of the
  cross-entropy, are stacked.
* The critic's losses see D_y alone, so their signals are multiples s̄ of those of ∇_x D_y: ρ_l = s̄ ∘ δ_l.  With the
  penalty's W̄_l = τ_{l−1}ᵀ δ_l the two products are one of half the size: W̄_l = (τ_{l−1} + s̄ ∘ h_{l−1})ᵀ δ_l.
"""

from __future__ import annotations

import numpy as onp

from .adjoint import Pass, Rows, Span, Unrolled, class_gaps
from .attacks.targets import RunningConfidence, distances, nearest, random_class
from .network import Params
from .numerics import log_softmax, norm, one_hot, sigmoid, softmax, softplus
from .objectives import Terms
from .settings import AdversaryCritic, Generator


class ClassifierStep:
    """Twin of `objectives.ClassifierStep`, which see."""

    def __init__(self, params: Params, x):
        self.params, self.x, self.at_x = params, x, Pass(params, x)
        self.p, self.predicted = softmax(self.at_x.z), self.at_x.z.argmax(axis=1)
        self.confidence = self.p.max(axis=1)

    def attack(self, running: RunningConfidence, s: Generator, rng: onp.random.Generator | None = None) -> None:
        z, k, self.span = self.at_x.z, self.p.shape[1], Span(self.params[0][0], s.geometry)
        if s.targets == "nearest":
            gaps = class_gaps(self.at_x, self.span, self.predicted, s.geometry)
            targets = nearest(z, distances(z, gaps, self.predicted), self.predicted)
        else:
            targets = random_class(rng, z, self.predicted, weighted=s.targets == "softmax")
        C = {"running": running.value[targets], "own": self.confidence}.get(s.confidence, s.confidence)
        self.target_confidence = onp.full_like(self.confidence, C)
        self.there = self._unrolled(self.at_x, None, one_hot(targets, k, z.dtype), self.target_confidence, s)
        self.images = self.x if self.there.c is None else self.x + self.span.pixels(self.there.c)
        self.at_x_hat = Pass(self.params, None, a=self.there.a)
        self.taken_for = self.at_x_hat.z.argmax(axis=1)

    def gradient(self, y, critic_params: Params, noise, s: AdversaryCritic) -> tuple[Terms, Params]:
        n, k = self.p.shape
        dtype, changed = self.p.dtype, self.taken_for != self.predicted
        share = (changed / max(changed.sum(), 1)).astype(dtype)  # of an example in a mean over S
        label, own, taken_for = (one_hot(c, k, dtype) for c in (y, self.predicted, self.taken_for))

        D = Pass(critic_params, self.images, 0.2, noise)
        d = onp.vecdot(D.z, taken_for)
        back = self._unrolled(self.at_x_hat, self.there.c, own, self.confidence, s.generator)
        # x̂ and A_f(x̂) are x + coordinates: their difference to x needs no pixels
        trip = onp.zeros((n, self.span.width), dtype) if back.c is None else back.c
        squares = self.span.squares(trip, trip @ self.span.first)
        terms: Terms = {
            "cross_entropy": (1, float(-onp.vecdot(log_softmax(self.at_x.z), label).sum()) / n),
            "critic": (s.critic_weight, float(softplus(-d) @ share)),
            "cycle": (s.cycle_weight, float(squares @ share)),
        }

        z_bar, rows = (self.p - label) / n, Rows(self.params, self.x)
        if s.generator.gradient != "detached":
            d_bar = -s.critic_weight * share * sigmoid(-d)
            _, C_bar = self.there.reverse(rows, D.to_input(D.backward(d_bar[:, None] * taken_for)))
            _, own_bar = back.reverse(rows, None, (2 * s.cycle_weight * share)[:, None] * trip)
            if s.generator.confidence == "own":
                own_bar = own_bar + C_bar
            z_bar += (own_bar * self.confidence)[:, None] * (own - self.p)
        rows.add_pass(None, self.at_x.h, self.at_x.backward(z_bar))
        return terms, rows.gradient(self.span)

    def _unrolled(self, net: Pass, c, t, C, s: Generator) -> Unrolled:
        return Unrolled(net, c, self.span, t, C, s.iterations, s.overshoot, s.eps, s.gradient, s.geometry)


def critic_step(
    critic_params: Params, x, y, x_hat, y_hat, noise_real, noise_fake, penalty_weight: float
) -> tuple[Terms, Params]:
    """Twin of `objectives.critic_step`, which see."""
    n = len(x)
    noise = None if noise_real is None else [onp.concatenate(both) for both in zip(noise_real, noise_fake, strict=True)]
    D = Pass(critic_params, onp.concatenate([x, x_hat]), 0.2, noise)  # both in one pass
    labels = one_hot(onp.concatenate([y, y_hat]), D.z.shape[1], D.z.dtype)
    sign = onp.repeat(onp.array([-1, 1], D.z.dtype), n)  # the losses are softplus(−D_y(x)) and softplus(D_ŷ(x̂))
    d = sign * onp.vecdot(D.z, labels)
    delta = D.backward(labels)
    w = D.to_input(delta)
    size = norm(w)
    loss, penalty = softplus(d), (size - 1) ** 2
    terms: Terms = {
        "real": (1, float(loss[:n].sum()) / n),
        "fake": (1, float(loss[n:].sum()) / n),
        "penalty_real": (penalty_weight, float(penalty[:n].sum()) / n),
        "penalty_fake": (penalty_weight, float(penalty[n:].sum()) / n),
    }
    s_bar = (sign * sigmoid(d) / n)[:, None]
    # ∇‖w‖ = w/‖w‖, and 0 where w is
    w *= (2 * penalty_weight / n * (size - 1) / onp.where(size > 0, size, onp.inf))[:, None].astype(w.dtype)
    tau, _ = D.tangent(w)
    gradient = [
        ((t + s_bar * h).T @ signal, s_bar[:, 0] @ signal) for t, h, signal in zip(tau, D.h, delta, strict=True)
    ]
    return terms, gradient
