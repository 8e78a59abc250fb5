"""The second-order gradients, derived by hand: on raw arrays, four passes and one product per layer.

The attack moves an image along w = ∇_x log p_t(x), a derivative by the image.  Training differentiates the attacked
image by the weights θ, so it needs the derivative by θ of a derivative by x.  "Double backpropagation" records the
backward pass that yields w and differentiates the record.  Below the same is worked out on paper; nothing is recorded.

Letters: layer l computes a_l = h_{l−1} W_l + b_l and h_l = σ(a_l), h_0 = x, z = a_L; σ is ReLU or LeakyReLU and
m_l = σ'(a_l), a constant almost everywhere.  Rows are examples.  A bar is a cotangent: the derivative of the final
scalar by the barred quantity.

1. The input gradient.  For a cotangent s at the logits, w = J(x)ᵀ s is one backward pass,

       δ_L = s,   δ_l = (δ_{l+1} W_{l+1}ᵀ) ∘ m_l,   w = δ_1 W_1ᵀ.

   With s = e_t − p this is w = ∇_x log p_t; with s = e_y at the critic it is ∇_x D_y.

2. Its derivative.  Let v be the cotangent of w.  The scalar ⟨v, w⟩ = ⟨v, Jᵀ s⟩ = ⟨J v, s⟩ moves with θ in two ways:
   through J and through s.  J v is one *forward* pass through the linearised network, without biases,

       τ_0 = v,   τ_l = (τ_{l−1} W_l) ∘ m_l,   J v = τ_{L−1} W_L.

   (a) Through J, s held: ⟨J v, s⟩ is linear in each W_l, with everything to its left collected in τ_{l−1} and
       everything to its right in δ_l, so W̄_l = τ_{l−1}ᵀ δ_l.  Biases do not occur.
   (b) Through s = e_t − softmax(z): ds = −(diag p − p pᵀ) dz, so the logits receive −(diag p − p pᵀ) J v.

3. All together.  log p_t has a cotangent a of its own, and ∂log p_t/∂z = e_t − p.  So the logits receive

       ζ = −(diag p − p pᵀ) J v + a (e_t − p),

   and one ordinary backward pass of ζ, ρ_L = ζ, ρ_l = (ρ_{l+1} W_{l+1}ᵀ) ∘ m_l, gives W̄_l += h_{l−1}ᵀ ρ_l.  Both
   products are one:

       W̄_l = [τ_{l−1}; h_{l−1}]ᵀ [δ_l; ρ_l],      b̄_l = Σ_rows ρ_l,      x̄ = ρ_1 W_1ᵀ.

   Four passes where the cross-entropy needs two; no k × d or d × d matrix is ever formed.

4. Where piecewise linearity is used: m_l was held constant.  A smooth σ adds d m_l = σ''(a_l) da_l: the signal
   σ''(a_l) ∘ (τ_{l−1} W_l) ∘ (δ_{l+1} W_{l+1}ᵀ) joins ρ_l at every hidden layer, and through ρ_1 reaches x̄; so it would
   for the critic's input gradient, whose x̄ is 0 here.

5. One attack step (attacks/high_confidence.py) is r_m = r_{m−1} + c_m u_m with u = (√ε + φ/n) w/n, c_m = c_{m−1} i_m,
   i_m = round(σ(C − p_t)).  Backwards, from the last step to the first, with r̄ the cotangent of r_m:

       ū = c_m r̄,   c̄_m = ⟨r̄, u⟩ + i_{m+1} c̄_{m+1},   ī_m = c_{m−1} c̄_m,

   and the straight-through indicator passes ī σ'(C − p_t) to C and its negative to p_t; since p_t = exp log p_t, that
   adds −p_t ī σ'(C − p_t) to a.  An example that stops at step m has c_m = 0: the step moves nothing but ī_m still
   flows; from there on all its cotangents are 0, so it is dropped from later steps, forwards and backwards.
   Truncated mode stops here; full mode adds (1+o) x̄ of step m to r̄ before step m−1.

6. Where the products go.  u is a multiple of q = w (L∞: q = sign w), and w̄ = α r̄ + β q with two numbers α, β per
   example.  The first layer is linear, so with q W_1 at hand three things need no product with W_1: the next iterate's
   a_1, which moves by (1+o) c_m u W_1; this step's tangent τ_1 = (α r̄ W_1 + β q W_1) ∘ m_1; and ⟨r̄, w⟩ = ⟨r̄ W_1, δ_1⟩.
   And the rows of W̄_1 sort themselves: r̄ and x are the same at every step, so

       Σ_m w̄ᵀ δ_1 + x̂_mᵀ ρ_1 = [r̄; x]ᵀ [Σ_m α δ_1; Σ_m ρ_1] + Σ_m [β q; x̂_m − x]ᵀ [δ_1; ρ_1].

   What is left are q and x̂_m − x = x̂_0 − x + Σ_{j<m} γ_j q_j, where (1+o) c_j u_j = γ_j q_j; x̂_0 is x, or in the cycle
   where it starts.  Sorted by q, with a sum that grows as the reverse goes back, one row for each remains, and no
   iterate need be kept (^m: of step m):

       Σ_m [β q; x̂_m − x]ᵀ [δ_1; ρ_1]^m = Σ_j q_jᵀ (β_j δ_1^j + γ_j Σ_{m>j} ρ_1^m) + (x̂_0 − x)ᵀ Σ_m ρ_1^m.

   In L2 q is a combination of W_1's columns, q = δ_1 W_1ᵀ.  If these are fewer than pixels, keep the coefficients
   (`Span`): q W_1 = δ_1 G and ‖q‖² = ⟨δ_1, δ_1 G⟩ with the Gram matrix G = W_1ᵀ W_1, and the last sum is W_1 times one
   of coefficients.  No step sees a pixel then.  What full mode adds to r̄ lies in the span too, and so does all of the
   cycle, which starts at x̂ and whose r̄ is a multiple of its own x̂_m − x.

On these rest the drop-in twins of the plain definitions (`twins`) and the whole training step (`fused`).
"""

from __future__ import annotations

import math

import numpy as onp

from . import network
from .attacks.model import Model

ALL = slice(None)


class Pass:
    """A forward pass of a piecewise-linear network on raw arrays, and the three other passes of the derivation."""

    def __init__(self, params: network.Params, x, slope: float = 0.0, noise=None, a=None):
        """a: a_1 (n, H₁), if it is known."""
        self.params = params
        self.h = []  # h_{l−1}: the input of layer l, noise included
        self.m = []  # m_l of the hidden layers, in the dtype of a: a product with booleans costs more
        h = x
        for l, (W, b) in enumerate(params):
            if l > 0:
                m = (a > 0).astype(a.dtype)
                if slope:
                    m *= 1 - slope
                    m += slope
                self.m.append(m)
                h = a * m
            if noise is not None:
                h = h + noise[l]
            self.h.append(h)
            if l > 0 or a is None:
                a = h @ W
                a += b
            if l == 0:
                self.a = a
        self.z = a

    def backward(self, s):
        """Signals δ_1 … δ_L for the cotangent `s` of the logits: (n, k), or (n, j, k) for j of them at once."""
        signals = [s]
        for (W, _), m in zip(self.params[:0:-1], self.slopes()[::-1]):
            s = _times(s, W.T)
            s *= m if s.ndim == 2 else m[:, None]
            signals.append(s)
        return signals[::-1]

    def to_input(self, signals):
        """J(x)ᵀ s, (n, d) or (n, j, d), from the signals of s."""
        return _times(signals[0], self.params[0][0].T)

    def tangent(self, v, first=None):
        """τ_0 … τ_{L−1} and J v for the tangent `v` (n, d) of the input; first: v W_1, if it is known."""
        tangents, v = [v], v @ self.params[0][0] if first is None else first
        for (W, _), m in zip(self.params[1:], self.slopes()):
            v = v * m
            tangents.append(v)
            v = v @ W
        return tangents, v

    def keep(self, rows):
        """The same slopes for some of its rows, for further tangents."""
        part = object.__new__(Pass)
        part.params, part.m = self.params, [m[rows] for m in self.slopes()]
        return part

    def slopes(self):
        """m_l of the hidden layers."""
        if self.m is None:
            self.m = [(h > 0).astype(h.dtype) for h in self.h[1:]]
        return self.m

    def forget(self):
        """Let go what h can tell again, of a ReLU network without noise: a_1 and the slopes."""
        self.a = self.m = None


def _times(s, W):
    """s @ W as one matrix product, however many axes `s` has."""
    return s @ W if s.ndim == 2 else (s.reshape(-1, len(W)) @ W).reshape(*s.shape[:-1], W.shape[1])


def weight_gradients(h, rho) -> network.Params:
    """[(W̄_l, b̄_l), …] of one ordinary backward pass."""
    return [(left.T @ right, onp.ones(len(right), right.dtype) @ right) for left, right in zip(h, rho, strict=True)]


def log_softmax(z):
    """-> (log softmax of the rows of z (n, k), softmax): `numerics` on raw arrays, with one exponential for both."""
    z = z - z.max(axis=1, keepdims=True)
    p = onp.exp(z)
    total = p.sum(axis=1, keepdims=True)
    return z - onp.log(total), p / total


class Span:
    """The vectors that an attack moves along, and the coordinates that stand for them (section 6).

    Images themselves; or, for the L2 geometry and a first layer narrower than the image, combinations of W_1's
    columns: q = c W_1ᵀ with coordinates c (n, H₁), which never become pixels.
    """

    def __init__(self, W, geometry: str):
        self.W, self.narrow = W, geometry == "l2" and W.shape[1] < W.shape[0]
        self.first = W.T @ W if self.narrow else W  # q W_1 = c @ first
        self.width = len(self.first)

    def coordinates(self, signal):
        """Those of w = δ_1 W_1ᵀ."""
        return signal if self.narrow else _times(signal, self.W.T)

    def squares(self, c, first):
        """‖q‖²; rounding must not make it negative.  first: q W_1, needed if `narrow`."""
        return onp.maximum(onp.vecdot(c, first), 0) if self.narrow else onp.vecdot(c, c)

    def pixels(self, c):
        """q itself, (n, d)."""
        return c @ self.W.T if self.narrow else c

    def to_weights(self, K):
        """Σ qᵀ(..), (d, H₁), from K = Σ cᵀ(..)."""
        return self.W @ K if self.narrow else K


class Sums:
    """θ's weight gradients while they grow: each layer's sum of products [..]ᵀ[..], over the steps of an attack or two.

    Each product is added at once.  To stack the rows of several steps first is no faster at the demo's sizes; in layers
    1200 wide it saves a twentieth of a step, but the rows have to be kept.
    """

    BLOCK = 2**19
    """Numbers of a product that are computed, and added to the sum, while they are in the cache."""

    def __init__(self, params: network.Params, x):
        self.at_x = onp.zeros((len(x), len(params[0][1])), x.dtype)  # Σ of the ρ_1 of each example
        self.pixels = [(x, self.at_x)]
        self.sums = [None] * len(params)
        self.biases, self.ones = [onp.zeros_like(b) for _, b in params], onp.ones(len(x), x.dtype)

    def add(self, left, right):
        """τ_0 …, δ_1 …; or h_0 …, ρ_1 ….  The first left one in coordinates; None: no rows."""
        for l, (a, b) in enumerate(zip(left, right, strict=True)):
            if a is not None:
                self.add_to(l, a, b)

    def add_to(self, l, left, right):
        """To the sum of one layer."""
        total = self.sums[l]
        if total is None:
            self.sums[l] = left.T @ right
            return
        rows = max(1, self.BLOCK // total.shape[1])
        for i in range(0, len(total), rows):
            total[i : i + rows] += left[:, i : i + rows].T @ right

    def add_upper(self, h, rho):
        """Of an ordinary backward pass, all but the first layer."""
        for b, signal in zip(self.biases[1:], rho[1:], strict=True):
            b += self.ones[: len(signal)] @ signal
        self.add([None, *h[1:]], rho)

    def gradient(self, span: Span) -> network.Params:
        """[(W̄_l, b̄_l), …]."""
        left, right = (onp.concatenate(part) for part in zip(*self.pixels, strict=True))
        first, in_span = left.T @ right, self.sums[0]
        self.biases[0] = self.ones @ self.at_x
        if in_span is not None:
            first += span.to_weights(in_span)
        return list(zip([first, *self.sums[1:]], self.biases, strict=True))


class Step:
    """One attack step, and what it leaves behind for its reverse pass.  Section 5's letters; rows are examples.

    net: the pass at the iterate; t: one-hot targets (n, k); C: (n,).  The step u is move·q; c: q's coordinates.
    """

    def __init__(self, net: Pass, span: Span, t, C, eps: float, geometry: str):
        self.net, self.C, self.eps, self.geometry = net, C, eps, geometry
        log_p, self.p = log_softmax(net.z)
        self.p_t = onp.vecdot(self.p, t)
        self.delta = net.backward(t - self.p)
        gap = onp.vecdot(log_p, t) - onp.log(C)
        self.sign, self.phi = onp.sign(gap), onp.abs(gap)
        slope = onp.tanh(0.5 * (C - self.p_t))  # 2σ − 1
        self.goes = (slope > 0).astype(slope.dtype)  # i_m
        self.slope = 0.25 * (1 - slope * slope)  # σ'(C − p_t)
        self.c = span.coordinates(self.delta[0])
        if geometry == "linf":
            size = onp.abs(self.c).sum(axis=1)
            self.n, self.c = size + (size == 0), onp.sign(self.c)
        self.first = self.c @ span.first
        if geometry == "l2":
            self.n = onp.sqrt(eps + span.squares(self.c, self.first))
            self.move = (math.sqrt(eps) + self.phi / self.n) / self.n
        else:
            self.move = (math.sqrt(eps) + self.phi) / self.n
        net.forget()

    def reverse(self, first_bar, along, i_bar):
        """For r̄ W_1 (n, H₁), ⟨r̄, q⟩ (n,) and i_{m+1} c̄_{m+1} (n,); w̄ = α r̄ + β q.

        -> (α (n, 1), β (n, 1), τ_1 …, ρ_1 …, C̄ (n,), i_m c̄_m (n,)).
        """
        n, phi, root = self.n, self.phi, math.sqrt(self.eps)
        i_bar = self.move * along + i_bar
        along = along * self.goes
        if self.geometry == "l2":  # q = w, move = √ε/n + φ/n²
            phi_bar, n_bar = along / (n * n), -along * (root + 2 * phi / n) / (n * n)
            alpha, beta = (self.move * self.goes)[:, None], (n_bar / n)[:, None]
            first = alpha * first_bar + beta * self.first
        else:  # q = sign(w), constant; move = (√ε + φ)/‖w‖₁
            phi_bar, alpha = along / n, 0
            beta = (-self.move * phi_bar)[:, None]
            first = beta * self.first
        log_p_bar, p_bar = self.sign * phi_bar, -i_bar * self.slope
        (_, *tau), Jv = self.net.tangent(None, first)
        zeta = self.p * (onp.vecdot(self.p, Jv)[:, None] - Jv)
        zeta += (log_p_bar + self.p_t * p_bar)[:, None] * self.delta[-1]
        return alpha, beta, tau, self.net.backward(zeta), -log_p_bar / self.C - p_bar, self.goes * i_bar


def _moved(total, rows, by, n):
    """`total` (n, ·), or None for 0, with `by` added to `rows`, as a new array: the steps before keep theirs."""
    if isinstance(rows, slice):
        return by if total is None else onp.add(total, by, out=by)
    total = onp.zeros((n, by.shape[1]), by.dtype) if total is None else total.copy()
    total[rows] += by
    return total


class Unrolled:
    """The attack on raw arrays, forwards at once and in reverse on demand.

    net: the pass at its first iterate x + c, c in the coordinates of `span` (None: 0); t: one-hot targets; C: (n,).
    .c: the coordinates of x̂ − x, or None; .a: a_1 at x̂.
    """

    def __init__(self, net: Pass, c, span: Span, t, C, iterations, overshoot, eps, gradient, geometry):
        self.span, self.overshoot, self.gradient, self.geometry = span, overshoot, gradient, geometry
        self.steps = []  # (rows under attack, step)
        self.start, self.shape, a, rows = c, C.shape, net.a, ALL  # a slice: no copies
        for m in range(iterations):
            step = Step(net if m == 0 else Pass(net.params, None, a=a[rows]), span, t[rows], C[rows], eps, geometry)
            self.steps.append((rows, step))
            moving, length = step.goes > 0, ((1 + overshoot) * step.move)[:, None]
            by_c, by_a = length * step.c, length * step.first
            if not moving.all():
                rows, by_c, by_a = onp.arange(len(a))[rows][moving], by_c[moving], by_a[moving]
                if not len(rows):
                    break
            # a_1 is linear in x̂: it moves along, and no pass but the first multiplies by W_1.
            c, a = _moved(c, rows, by_c, len(a)), _moved(a, rows, by_a, len(a))
        self.c, self.a = c, a

    def reverse(self, into: Sums, g, span_bar=None):
        """Add to θ's gradient -> (x̄ − x̂'s cotangent, in coordinates, or None if 0; C̄ (n,)).  Once only.

        x̂'s cotangent is `g` (n, d) plus `span_bar` in coordinates; either may be None for 0.
        """
        span, ahead, full, l2 = self.span, 1 + self.overshoot, self.gradient == "full", self.geometry == "l2"
        if not l2:  # its coordinates are pixels
            g, span_bar = None, sum(part for part in (g, span_bar) if part is not None)
        elif full and span_bar is None:
            span_bar = onp.zeros((len(g), span.width), g.dtype)
        first_bar = 0
        if g is not None:
            g = ahead * g
            first_bar = g @ span.W
        if span_bar is not None:
            span_bar = ahead * span_bar
            first_bar = first_bar + span_bar @ span.first
        later, moved = onp.zeros_like(first_bar), onp.zeros_like(first_bar)  # Σ ρ_1 of the steps after; Σ α δ_1
        C_bar, i_bar = onp.zeros(self.shape, first_bar.dtype), onp.zeros(self.shape, first_bar.dtype)
        through_path = onp.zeros_like(span_bar) if full else None
        while self.steps:  # whose arrays go one by one
            rows, step = self.steps.pop()
            delta = step.delta
            along = onp.vecdot(first_bar[rows], delta[0]) if l2 else onp.vecdot(span_bar[rows], step.c)  # ⟨r̄, q⟩
            alpha, beta, tau, rho, C_part, i_bar[rows] = step.reverse(first_bar[rows], along, i_bar[rows])
            C_bar[rows] += C_part
            gamma = (ahead * step.move * step.goes)[:, None]
            into.add([step.c, *tau], [beta * delta[0] + gamma * later[rows], *delta[1:]])
            into.add_upper(step.net.h, rho)
            if l2:
                moved[rows] += alpha * delta[0]
                if full:
                    into.add_to(0, alpha * span_bar[rows], delta[0])
            later[rows] += rho[0]
            if full:  # x̄ of this step, which r̄ gets (1 + o) times
                part = span.coordinates(rho[0])
                through_path[rows] += part
                span_bar[rows] += ahead * part
                first_bar[rows] += ahead * (part @ span.first)
        into.at_x += later
        if g is not None:
            into.pixels.append((g, moved))
        if span_bar is not None and l2 and not full:
            into.add_to(0, span_bar, moved)
        if self.start is not None:
            into.add_to(0, self.start, later)
        return through_path, C_bar


def class_gaps(net: Pass, span: Span, y, geometry: str):
    """‖∇_x f_j − ∇_x f_y‖ of the other k − 1 classes j, (n, k) with 0 for y itself: for the nearest class."""
    n, k = net.z.shape
    rows, others, classes = onp.arange(n)[:, None], (y[:, None] + onp.arange(1, k)) % k, onp.eye(k, dtype=net.z.dtype)
    c = span.coordinates(net.backward(classes[others] - classes[y][:, None])[0])
    size = onp.zeros_like(net.z)
    if geometry == "l2":
        size[rows, others] = onp.sqrt(span.squares(c, _times(c, span.first) if span.narrow else None))
    else:
        size[rows, others] = onp.abs(c).sum(axis=2)
    return size


def as_model(params: network.Params) -> Model:
    """The classifier for the evaluation's attacks: `Model` with hand-written passes instead of autograd's."""

    def pull_back(net):
        return lambda v: net.to_input(net.backward(v))

    def linearise(x):
        net = Pass(params, x)
        return net.z, pull_back(net)

    def gaps(x, labels, geometry):
        net = Pass(params, x)
        return net.z, class_gaps(net, Span(params[0][0], geometry), labels, geometry), pull_back(net)

    return Model(lambda x: network.logits(params, x), linearise, gaps)
