"""The attack of the training loop and its reverse pass, on raw arrays.

Sections 5 to 7 of this folder's `README.md` derive it; letters are those of the README.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as onp

from ..method import network
from ..method.settings import Generator
from .passes import ClassGaps, Pass, Span, column_sums, log_softmax, slope_of

ALL = slice(None)


class Sums:
    """The weight gradient while it grows: each layer's is a sum of products, added as soon as each is known."""

    BLOCK = 2**19
    """So many numbers of a product are computed and then added to the sum while they are in the cache."""

    def __init__(self, params: network.Params, x):
        self.at_x = onp.zeros((len(x), len(params[0][1])), x.dtype)  # Σ of the ρ_1 of each example
        self.pixels = [(x, self.at_x)]
        self.sums = [None] * len(params)
        self.biases = [onp.zeros_like(b) for _, b in params]

    def add(self, l, left, right):
        """Add leftᵀ right to W̄_{l+1}.  For the first layer `left` is in coordinates."""
        total = self.sums[l]
        if total is None:
            self.sums[l] = left.T @ right
            return
        rows = max(1, self.BLOCK // total.shape[1])
        for i in range(0, len(total), rows):
            total[i : i + rows] += left[:, i : i + rows].T @ right

    def add_signal(self, l, h, rho):
        """Add what an ordinary backward pass leaves in layer l + 1: hᵀρ to W̄ and Σ_rows ρ to b̄."""
        self.add(l, h, rho)
        self.biases[l] += column_sums(rho)

    def add_pass(self, net: Pass, z_bar):
        """Add what an ordinary backward pass at x leaves, for the cotangent `z_bar` (n, k) of its logits."""
        first, *rho = net.backward(z_bar)
        self.at_x += first
        for l, signal in enumerate(rho, start=1):
            self.add_signal(l, net.h[l], signal)

    def gradient(self, span: Span) -> network.Params:
        """[(W̄_l, b̄_l), …]."""
        left, right = (onp.concatenate(part) for part in zip(*self.pixels, strict=True))
        first, in_span = left.T @ right, self.sums[0]
        self.biases[0] = column_sums(self.at_x)
        if in_span is not None:
            first += span.to_weights(in_span)
        return list(zip([first, *self.sums[1:]], self.biases, strict=True))


class Numbers(NamedTuple):
    """What one attack step keeps of each row, or several steps stacked: section 5's letters.

    p is (rows, k), all others are (rows,).  gap: log p_t − log C, so φ is its size; move: the step is u = move · q;
    goes: i_m, as booleans.
    """

    p: onp.ndarray
    p_t: onp.ndarray
    C: onp.ndarray
    gap: onp.ndarray
    n: onp.ndarray
    move: onp.ndarray
    goes: onp.ndarray


class Stacks:
    """The vectors of all rows of all steps, each step's below those of the step before.

    h holds h_1 … h_{L−1}, delta δ_1 … δ_L, q the directions in coordinates, first q W_1.  rho is the room for ρ_1 …; it
    is the same memory as `first` and δ_2 …, which the reverse pass has used by the time it needs ρ.
    """

    def __init__(self, params: network.Params, span: Span, rows: int):
        widths = [W.shape[1] for W, _ in params]

        def stack(width):
            return onp.empty_like(params[0][0], shape=(rows, width))

        self.params = params
        self.h, self.delta = [stack(width) for width in widths[:-1]], [stack(width) for width in widths]
        self.q, self.first = self.delta[0] if span.narrow else stack(span.width), stack(widths[0])
        self.rho = [self.first, *self.delta[1:]]

    def tangents(self, tau, at: slice, into: Sums):
        """From τ_1 before its slopes to J v.  Each layer's τᵀδ is added to the weight gradient (section 2)."""
        for l, (W, _) in enumerate(self.params[1:], start=1):
            tau *= slope_of(self.h[l - 1][at])
            into.add(l, tau, self.delta[l][at])
            tau = tau @ W
        return tau

    def signals(self, rho, at: slice, into: Sums):
        """From ρ_L to ρ_1.  Each layer's hᵀρ is added to the weight gradient (section 3)."""
        for l in range(len(self.params) - 1, 0, -1):
            h = self.h[l - 1][at]
            into.add_signal(l, h, rho)
            rho = onp.matmul(rho, self.params[l][0].T, out=self.rho[l - 1][at])
            rho *= slope_of(h)
        return rho


class Cotangents:
    """What the reverse pass carries from each step to the one before, a row per example.

    r is r̄ W_1, and in_span the part of r̄ that is in coordinates, or None.  i is i_{m+1} c̄_{m+1}.  moved is Σ_m α δ_1.
    C is C̄.  z is the cotangent of the first pass's logits.  a is Σ_m ρ_1, the cotangent of the first pass's a_1, since
    every iterate's a_1 is that one plus what the steps added.
    """

    def __init__(self, r, in_span, k: int):
        self.r, self.in_span = r, in_span
        self.i, self.C, self.z = (onp.zeros(shape, r.dtype) for shape in (len(r), len(r), (len(r), k)))
        self.moved, self.a = onp.zeros_like(r), onp.zeros_like(r)


class Unrolled:
    """The attack: the forward pass at once, the reverse pass when it is asked for.

    net: the pass at the first iterate x + q, where c holds q's coordinates (None: q = 0); t: one-hot targets; C: (n,);
    gaps: the class gaps of `net`, if they are known.  Afterwards .c holds the coordinates of x̂ − x, or None if no
    example moved, and .a is a_1 at x̂.
    """

    def __init__(self, net: Pass, c, span: Span, t, C, iterations, overshoot, eps, gradient, geometry, gaps=None):
        self.span, self.ahead, self.eps = span, 1 + overshoot, eps
        self.full, self.l2, self.k = gradient == "full", geometry == "l2", t.shape[1]
        self.stacks = Stacks(net.params, span, iterations * len(t))
        self.steps, self.rows, self.ends = [], [], [0]  # of each step: numbers, examples, where its rows end
        self.start, a, rows, examples = c, net.a, ALL, onp.arange(len(t))  # ALL, a slice: no copies
        for m in range(iterations):
            at = slice(self.ends[-1], self.ends[-1] + len(examples[rows]))
            h = [every[at] for every in self.stacks.h]
            if m > 0:
                net = Pass(net.params, None, a=a[rows], room=h)
            else:
                for mine, known in zip(h, net.h[1:], strict=True):
                    mine[...] = known
            step = self._step(net, at, t[rows], C[rows], gaps if m == 0 else None)
            net.forget()
            self.steps.append(step)
            self.rows.append(rows)
            self.ends.append(at.stop)
            moving, length = step.goes, (self.ahead * step.move)[:, None]
            by_c, by_a = length * self.stacks.q[at], length * self.stacks.first[at]
            if not moving.all():
                rows, by_c, by_a = examples[rows][moving], by_c[moving], by_a[moving]
                if not len(rows):
                    break
            # a_1 is linear in x̂, so it moves with the image: no pass but the first multiplies by W_1.
            c, a = _moved(c, rows, by_c, len(t)), _moved(a, rows, by_a, len(t))
        self.c, self.a = c, a

    def _step(self, net: Pass, at: slice, t, C, gaps: ClassGaps | None) -> Numbers:
        """One step from the iterate that `net` passed; its vectors go to the rows `at` of the stacks."""
        q, first, (*room, s) = self.stacks.q[at], self.stacks.first[at], (every[at] for every in self.stacks.delta)
        log_p, p = log_softmax(net.z)
        p_t, gap = onp.vecdot(p, t), onp.vecdot(log_p, t) - onp.log(C)
        phi, root = onp.abs(gap), math.sqrt(self.eps)
        onp.subtract(t, p, out=s)
        if gaps is not None:
            gaps.combine(s, room if self.span.narrow else [*room, q])
        else:
            net.backward(s, room)
            self.span.coordinates(self.stacks.delta[0][at], out=q)
        if self.l2:
            onp.matmul(q, self.span.first, out=first)
            n = onp.sqrt(self.eps + self.span.squares(q, first))
            move = (root + phi / n) / n
        else:
            n = onp.abs(q).sum(axis=1)
            n += n == 0
            move = (root + phi) / n
            onp.matmul(onp.sign(q, out=q), self.span.first, out=first)
        return Numbers(p, p_t, C, gap, n, move, C > p_t)

    def reverse(self, into: Sums, g, in_span=None, first=None, shared: bool = False) -> Cotangents:
        """Add the attack's part to the weight gradient `into` -> the other cotangents.  It can be called once, because
        it overwrites what the forward pass left.

        The cotangent of x̂ is `g` (n, d) plus `in_span` in coordinates; either may be None for 0.  first: in_span times
        W_1, if that is known.  shared: the caller sends the first pass's logits back together with other cotangents, so
        their cotangent is returned as .z and not sent back here.
        """
        span = self.span
        if not self.l2:  # its coordinates are pixels
            g, in_span, first = None, sum(part for part in (g, in_span) if part is not None), None
        elif self.full and in_span is None:
            in_span = onp.zeros((len(g), span.width), g.dtype)
        r_bar = 0
        if g is not None:
            g = self.ahead * g
            r_bar = g @ span.W
        if in_span is not None:
            in_span = self.ahead * in_span
            r_bar = r_bar + (in_span @ span.first if first is None else self.ahead * first)
        bars, steps = Cotangents(r_bar, in_span, self.k), len(self.steps)
        # In truncated mode r̄ is the same at every step, so all steps are reversed as one batch.
        together = 1 if self.full else max(steps, 1)
        for last in range(steps, 0, -together):
            self._reverse(last - together, last, bars, into, shared)
        self.stacks = None
        into.at_x += bars.a
        if self.start is not None:
            into.add(0, self.start, bars.a)
        if g is not None:
            into.pixels.append((g, bars.moved))
        if in_span is not None and self.l2 and not self.full:
            into.add(0, in_span, bars.moved)
        return bars

    def _reverse(self, i: int, j: int, bars: Cotangents, into: Sums, shared: bool) -> None:
        """Steps i … j − 1, as one batch."""
        s, at = Numbers(*map(onp.concatenate, zip(*self.steps[i:j]))), slice(self.ends[i], self.ends[j])
        q, delta, tau = (stack[at] for stack in (self.stacks.q, self.stacks.delta[0], self.stacks.first))
        ends = [end - at.start for end in self.ends[i : j + 1]]
        parts = list(zip(self.rows[i:j], map(slice, ends, ends[1:])))  # each step's examples and rows of the batch

        def gathered(bar):
            return onp.concatenate([bar[rows] for rows, _ in parts])

        r_bar = gathered(bars.r)
        along = onp.vecdot(r_bar, delta) if self.l2 else onp.vecdot(gathered(bars.in_span), q)  # ⟨r̄, q⟩
        alpha, beta, log_p_bar, p_bar = self._numbers(s, along, parts, bars)
        tau *= beta
        r_bar *= alpha
        tau += r_bar
        del r_bar
        Jv = self.stacks.tangents(tau, at, into)
        zeta = s.p * (onp.vecdot(s.p, Jv)[:, None] - Jv)
        zeta += (log_p_bar + s.p_t * p_bar)[:, None] * self.stacks.delta[-1][at]
        others = len(bars.z) if shared and i == 0 else 0
        if others:
            bars.z, zeta = zeta[:others], zeta[others:]
        rho = self.stacks.signals(zeta, slice(at.start + others, at.stop), into)

        if self.full and self.l2:
            into.add(0, alpha * gathered(bars.in_span), delta)
        signal, gamma = beta * delta, (self.ahead * s.move * s.goes)[:, None]
        for rows, part in parts[::-1]:
            signal[part] += gamma[part] * bars.a[rows]
            if part.start >= others:
                bars.a[rows] += rho[part.start - others : part.stop - others]
        into.add(0, q, signal)
        delta *= alpha
        for rows, part in parts:
            bars.moved[rows] += delta[part]
        if self.full and i:  # x̄ of this step, which r̄ gets (1 + o) times
            by, rows = self.ahead * self.span.coordinates(rho), self.rows[i]
            bars.in_span[rows] += by
            bars.r[rows] += by @ self.span.first

    def _numbers(self, s: Numbers, along, parts, bars: Cotangents):
        """-> α and β (rows, 1) of w̄ = α r̄ + β q; the cotangents of log p_t and of p_t (rows,).

        C̄ and ī are added to `bars`.
        """
        c_bar = s.move * along
        for rows, part in parts[::-1]:
            c_bar[part] += bars.i[rows]
            bars.i[rows] = s.goes[part] * c_bar[part]
        along, phi = along * s.goes, onp.abs(s.gap)
        if self.l2:  # q = w, move = √ε/n + φ/n²
            alpha, phi_bar = s.move * s.goes, along / (s.n * s.n)
            beta = -phi_bar * (math.sqrt(self.eps) + 2 * phi / s.n) / s.n
        else:  # q = sign(w), constant; move = (√ε + φ)/‖w‖₁
            alpha, phi_bar = 0 * along, along / s.n
            beta = -s.move * phi_bar
        tanh = onp.tanh(0.5 * (s.C - s.p_t))  # 2σ − 1, so σ' = (1 − tanh²)/4
        log_p_bar, p_bar = onp.sign(s.gap) * phi_bar, -c_bar * (0.25 * (1 - tanh * tanh))
        C_bar = -log_p_bar / s.C - p_bar
        for rows, part in parts:
            bars.C[rows] += C_bar[part]
        return alpha[:, None], beta[:, None], log_p_bar, p_bar


def unrolled(params: network.Params, x, targets, confidence, s: Generator):
    """`method.generator.unrolled` with its reverse pass -> (x̂ (n, d), pull_back).

    x: (n, d); targets: (n,); confidence: C (n,).  pull_back(g (n, d)) -> (the gradient of Σ g·x̂ by the parameters, by C
    (n,), by x (n, d)), and can be called once.
    """
    net, span = Pass(params, x), Span(params[0][0], s.geometry)
    t = onp.eye(net.z.shape[1], dtype=x.dtype)[targets]
    attack = Unrolled(net, None, span, t, confidence, s.iterations, s.overshoot, s.eps, s.gradient, s.geometry)
    x_hat = x.copy() if attack.c is None else x + span.pixels(attack.c)

    def pull_back(g):
        if s.gradient == "detached":
            return [(0 * W, 0 * b) for W, b in params], 0 * confidence, 0 * g
        sums = Sums(params, x)
        bars = attack.reverse(sums, g)
        return sums.gradient(span), bars.C, g + bars.a @ params[0][0].T if attack.full else g

    return x_hat, pull_back


def _moved(total, rows, by, n):
    """`total` (n, ·), or None for 0, with `by` added to `rows`: a new array, because others hold `total`."""
    if isinstance(rows, slice):
        return by if total is None else onp.add(total, by, out=by)
    total = onp.zeros((n, by.shape[1]), by.dtype) if total is None else total.copy()
    total[rows] += by
    return total
