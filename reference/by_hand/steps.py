"""Each defence's training step as a whole, by hand: every forward pass is computed once, and nothing is recorded.

The functions are those of `method.steps`, on raw arrays.  What makes them faster than autograd's:

* The pass at x serves the prediction, the nearest class, the cross-entropy and the first attack's first step.  The pass
  at x̂ serves ŷ and the cycle's first step.
* Each weight gradient is a sum of products τᵀδ and hᵀρ, one product for all steps of an attack.
* The critic's losses see D_y alone, so their signals are multiples of those of ∇_x D_y: ρ_l = s̄ ∘ δ_l.  With the
  penalty's W̄_l = τ_{l−1}ᵀ δ_l the two products are one of half the size: W̄_l = (τ_{l−1} + s̄ ∘ h_{l−1})ᵀ δ_l.  The
  margin loss sees f_j − f_y alone, and the same holds for it.
* autograd's bookkeeping costs more than the mathematics at the demo's sizes; here there is none.
* Adam changes the weights in place, in blocks that fit the cache.
"""

from __future__ import annotations

import numpy as onp

from ..errors import InputError
from ..method.adam import Adam
from ..method.network import Params
from ..method.numerics import norm, one_hot, sigmoid, softplus
from ..method.objectives import Terms
from ..method.perturbations import project, steepest, unit_rows
from ..method.settings import AdversarialTraining, AdversaryCritic, Generator, Margin, MultiStep, VirtualAdversarial
from ..method.steps import __all__ as __all__
from ..method.targets import RunningConfidence, distances, nearest, random_class
from .generator import Sums, Unrolled
from .passes import ClassGaps, Pass, Span, log_softmax, weight_gradients


def undefended(params: Params, x, y) -> tuple[Terms, Params]:
    """Do what `method.steps.undefended` does."""
    net = Pass(params, x)
    loss, z_bar = _cross_entropy(*log_softmax(net.z), y)
    return {"cross_entropy": (1, loss)}, weight_gradients(net.h, net.backward(z_bar))


def pretraining(params: Params, x, y, weight_decay: float) -> tuple[Terms, Params]:
    """Do what `method.steps.pretraining` does."""
    terms, gradient = undefended(params, x, y)
    squares = sum(float(onp.vdot(W, W)) for W, _ in params[:-1])
    for (W, _), (W_bar, _) in zip(params[:-1], gradient):
        W_bar += weight_decay * W
    return terms | {"weight_decay": (weight_decay, 0.5 * squares)}, gradient


def adversarial_training(params: Params, x, y, s: AdversarialTraining) -> tuple[Terms, Params]:
    """Do what `method.steps.adversarial_training` does.  The pass at x gives both r and half of the gradient."""
    clean = Pass(params, x)
    loss, z_bar = _cross_entropy(*log_softmax(clean.z), y)
    signals = clean.backward(z_bar)
    w = clean.to_input(signals)
    attacked = Pass(params, x + s.epsilon * steepest(w, s.geometry))
    worse, worse_bar = _cross_entropy(*log_softmax(attacked.z), y)
    terms: Terms = {"cross_entropy": (0.5, loss), "attacked": (0.5, worse)}
    return terms, _stacked(0.5, (clean.h, signals), (attacked.h, attacked.backward(worse_bar)))


def multi_step(params: Params, x, y, s: MultiStep) -> tuple[Terms, Params]:
    """Do what `method.steps.multi_step` does."""
    r = onp.zeros_like(x)
    for _ in range(s.steps):
        net = Pass(params, x + r)
        w = net.to_input(net.backward(_cross_entropy(*log_softmax(net.z), y)[1]))
        r = project(r + 2.5 * s.epsilon / s.steps * steepest(w, s.geometry), x, s.epsilon, s.geometry)
    net = Pass(params, x + r)
    loss, z_bar = _cross_entropy(*log_softmax(net.z), y)
    return {"attacked": (1, loss)}, weight_gradients(net.h, net.backward(z_bar))


def virtual_adversarial(params: Params, x, y, s: VirtualAdversarial, start) -> tuple[Terms, Params]:
    """Do what `method.steps.virtual_adversarial` does.

    ∇_z KL(p ‖ softmax z) = softmax z − p, also in the search for d.
    """
    n, clean = len(x), Pass(params, x)
    log_p, p = log_softmax(clean.z)
    d = virtual_direction(params, x, p, start, s)
    loss, z_bar = _cross_entropy(log_p, p, y)
    moved = Pass(params, x + s.epsilon * d)
    log_q, q = log_softmax(moved.z)
    terms: Terms = {"cross_entropy": (1, loss), "smoothness": (1, float(onp.vecdot(p, log_p - log_q).sum()) / n)}
    q_bar = (q - p) / n
    return terms, _stacked(1, (clean.h, clean.backward(z_bar)), (moved.h, moved.backward(q_bar)))


def virtual_direction(params: Params, x, p, start, s: VirtualAdversarial):
    """Do what `method.perturbations.virtual_direction` does: find unit rows d (n, d).  p: (n, k) = softmax f(x)."""
    d = unit_rows(onp.asarray(start, x.dtype))
    for _ in range(s.power_iterations):
        near = Pass(params, x + s.xi * d)
        d = unit_rows(near.to_input(near.backward((log_softmax(near.z)[1] - p) / len(x))))
    return d


def margin(params: Params, x, y, s: Margin) -> tuple[Terms, Params]:
    """Do what `method.steps.margin` does.

    The norms need every class's signals, the gradient only those of the worst class.
    """
    n, net = len(x), Pass(params, x)
    k, rows, span = net.z.shape[1], onp.arange(n), Span(params[0][0], s.geometry)
    own = one_hot(y, k, net.z.dtype)
    gaps = ClassGaps(net, span, y, s.geometry).size
    hinge = (1 + net.z - onp.vecdot(net.z, own)[:, None] + s.epsilon * gaps) * (1 - own)
    j = hinge.argmax(axis=1)
    worst, size = hinge[rows, j], gaps[rows, j]
    share = ((worst > 0) / n).astype(net.z.dtype)
    difference = one_hot(j, k, net.z.dtype) - own
    delta = net.backward(difference)
    w = net.to_input(delta)  # ∇f_j − ∇f_y, whose norm's gradient is w/‖w‖ or sign(w)
    if s.geometry == "l2":
        w /= onp.where(size > 0, size, onp.inf)[:, None]
    else:
        w = onp.sign(w)
    tau, _ = net.tangent((s.epsilon * share)[:, None] * w)
    # z has the cotangent share·(e_j − e_y), a multiple of the signal's own
    terms: Terms = {"margin": (1, float(worst @ share))}
    return terms, _second_and_first(tau, net.h, share, delta)


def _cross_entropy(log_p, p, y):
    """-> (mean_i −log p_y, its derivative by the logits)."""
    label = one_hot(y, p.shape[1], p.dtype)
    return float(-onp.vecdot(log_p, label).sum()) / len(p), (p - label) / len(p)


def _stacked(weight: float, *passes) -> Params:
    """weight·Σ of the weight gradients of ordinary passes (h, ρ), one product per layer."""
    h, rho = (list(map(onp.concatenate, zip(*parts, strict=True))) for parts in zip(*passes, strict=True))
    return weight_gradients(h, [weight * signal for signal in rho])


def _second_and_first(tau, h, s_bar, delta) -> Params:
    """τᵀδ + hᵀρ for outputs that enter through one number, whose ρ is s̄ ∘ δ: one product of half the rows."""
    s_bar = s_bar[:, None]
    return [((t + s_bar * a).T @ d, s_bar[:, 0] @ d) for t, a, d in zip(tau, h, delta, strict=True)]


class ClassifierStep:
    """Do what `method.steps.ClassifierStep` does.

    `gradient` uses up what `attack` left, so each needs an attack of its own.
    """

    def __init__(self, params: Params, x):
        self.params, self.x, self.at_x, self.there = params, x, Pass(params, x), None
        (self.log_p, self.p), self.predicted = log_softmax(self.at_x.z), self.at_x.z.argmax(axis=1)
        self.confidence = self.p.max(axis=1)

    def attack(
        self, running: RunningConfidence, s: Generator, rng: onp.random.Generator | None = None, targets=None
    ) -> None:
        z, self.span, gaps = self.at_x.z, Span(self.params[0][0], s.geometry), None
        if targets is None and s.targets == "nearest":
            gaps = ClassGaps(self.at_x, self.span, self.predicted, s.geometry)
            targets = nearest(z, distances(z, gaps.size, self.predicted), self.predicted)
        elif targets is None:
            targets = random_class(rng, z, self.predicted, weighted=s.targets == "softmax")
        C = {"running": running.value[targets], "own": self.confidence}.get(s.confidence, s.confidence)
        self.target_confidence = onp.full_like(self.confidence, C)
        self.there = self._unrolled(self.at_x, None, self._one_hot(targets), self.target_confidence, s, gaps)
        self.images = self.x if self.there.c is None else self.x + self.span.pixels(self.there.c)
        self.at_x_hat = Pass(self.params, None, a=self.there.a)
        self.taken_for = self.at_x_hat.z.argmax(axis=1)

    def gradient(self, y, critic_params: Params, noise, s: AdversaryCritic) -> tuple[Terms, Params]:
        there, self.there = self.there, None
        if there is None:
            raise InputError("ClassifierStep.gradient uses up what `attack` left: call that first, each time")
        loss, z_bar = _cross_entropy(self.log_p, self.p, y)
        dtype, changed = self.p.dtype, self.taken_for != self.predicted
        share = (changed / max(changed.sum(), 1)).astype(dtype)  # of an example in a mean over S
        own, taken_for = self._one_hot(self.predicted), self._one_hot(self.taken_for)

        D = Pass(critic_params, self.images, s.slope, noise)
        d, sums = onp.vecdot(D.z, taken_for), Sums(self.params, self.x)
        if s.generator.gradient != "detached":  # before the cycle's attack, so that one of the two is in memory
            d_bar = -s.critic_weight * share * sigmoid(-d)
            x_bar = D.to_input(D.backward(d_bar[:, None] * taken_for))
            del D
            bars = there.reverse(sums, x_bar, shared=True)
        back = self._unrolled(self.at_x_hat, there.c, own, self.confidence, s.generator)
        self.at_x_hat = there = None  # the cycle's attack has what it needs of them
        # x̂ and A_f(x̂) are x + coordinates: their difference to x needs no pixels
        trip = onp.zeros((len(own), self.span.width), dtype) if back.c is None else back.c
        trip_first = back.a - self.at_x.a  # the first layer is linear: trip W_1
        squares = self.span.squares(trip, trip_first)
        terms: Terms = {
            "cross_entropy": (1, loss),
            "critic": (s.critic_weight, float(softplus(-d) @ share)),
            "cycle": (s.cycle_weight, float(squares @ share)),
        }
        if s.generator.gradient != "detached":
            trip_bar = (2 * s.cycle_weight * share)[:, None]
            trip_first *= trip_bar
            own_bar = back.reverse(sums, None, trip_bar * trip, trip_first).C
            if s.generator.confidence == "own":
                own_bar = own_bar + bars.C
            z_bar += bars.z + (own_bar * self.confidence)[:, None] * (own - self.p)
        sums.add_pass(self.at_x, z_bar)
        return terms, sums.gradient(self.span)

    def _one_hot(self, classes):
        """Do what `method.numerics.one_hot` does, without its check: these classes are the network's own."""
        return onp.eye(self.p.shape[1], dtype=self.p.dtype)[classes]

    def _unrolled(self, net: Pass, c, t, C, s: Generator, gaps: ClassGaps | None = None) -> Unrolled:
        return Unrolled(net, c, self.span, t, C, s.iterations, s.overshoot, s.eps, s.gradient, s.geometry, gaps)


def critic_step(
    critic_params: Params, x, y, x_hat, y_hat, noise_real, noise_fake, s: AdversaryCritic
) -> tuple[Terms, Params]:
    """Do what `method.steps.critic_step` does.  Real and attacked images go through the critic in one pass."""
    halves, n = [len(x), len(x_hat)], len(x)
    noise = None if noise_real is None else [onp.concatenate(both) for both in zip(noise_real, noise_fake, strict=True)]
    D = Pass(critic_params, onp.concatenate([x, x_hat]), s.slope, noise)
    labels = one_hot(onp.concatenate([y, y_hat]), D.z.shape[1], D.z.dtype)
    # The losses are softplus(−D_y(x)) and softplus(D_ŷ(x̂)), each a mean over its own half.
    sign = onp.repeat(onp.array([-1, 1], D.z.dtype), halves)
    many = onp.repeat(onp.array(halves, D.z.dtype), halves)
    d = sign * onp.vecdot(D.z, labels)
    delta = D.backward(labels)
    w = D.to_input(delta)
    size = norm(w)
    loss, penalty = softplus(d), (size - 1) ** 2
    terms: Terms = {
        "real": (1, _mean(loss[:n])),
        "fake": (1, _mean(loss[n:])),
        "penalty_real": (s.penalty_weight, _mean(penalty[:n])),
        "penalty_fake": (s.penalty_weight, _mean(penalty[n:])),
    }
    # ∇‖w‖ = w/‖w‖, and 0 where w is 0
    w *= (2 * s.penalty_weight / many * (size - 1) / onp.where(size > 0, size, onp.inf))[:, None]
    tau, _ = D.tangent(w)
    return terms, _second_and_first(tau, D.h, sign * sigmoid(d) / many, delta)


def _mean(values) -> float:
    """The mean of `values` (n,); 0 if there are none."""
    return float(values.sum()) / max(len(values), 1)


CACHEFUL = 32_768
"""Adam works on so many numbers of each array at a time."""


def adam_step(
    params: Params, gradient: Params, state: Adam, rate: float, beta1: float = 0.5, beta2: float = 0.999, eps=1e-8
) -> tuple[Params, Adam]:
    """`method.adam.adam_step` to the last bit, but in place: it overwrites `params` and the moments of `state`."""
    t = state.t + 1
    scale = rate * (1 - beta2**t) ** 0.5 / (1 - beta1**t)
    for layers in zip(params, gradient, state.m, state.v, strict=True):
        for leaves in zip(*layers, strict=True):
            rows = max(1, CACHEFUL * len(leaves[0]) // leaves[0].size)
            for first in range(0, len(leaves[0]), rows):
                p, g, m, v = (leaf[first : first + rows] for leaf in leaves)
                m *= beta1
                m += (1 - beta1) * g
                part = (1 - beta2) * g
                part *= g
                v *= beta2
                v += part
                onp.sqrt(v, out=part)
                part += eps
                p -= onp.divide(scale * m, part, out=part)
    return params, Adam(state.m, state.v, t)
