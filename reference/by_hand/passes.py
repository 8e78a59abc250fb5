"""The second-order gradients, derived by hand: on raw arrays, four passes and two products per layer.

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

   and one ordinary backward pass of ζ, ρ_L = ζ, ρ_l = (ρ_{l+1} W_{l+1}ᵀ) ∘ m_l, gives W̄_l += h_{l−1}ᵀ ρ_l.  With the
   rows stacked both products are one; added one after the other they let ρ_l take the place of δ_l:

       W̄_l = [τ_{l−1}; h_{l−1}]ᵀ [δ_l; ρ_l],      b̄_l = Σ_rows ρ_l,      x̄ = ρ_1 W_1ᵀ.

   Four passes where the cross-entropy needs two; no k × d or d × d matrix is ever formed.

4. Where piecewise linearity is used: m_l was held constant.  A smooth σ adds d m_l = σ''(a_l) da_l: the signal
   σ''(a_l) ∘ (τ_{l−1} W_l) ∘ (δ_{l+1} W_{l+1}ᵀ) joins ρ_l at every hidden layer, and through ρ_1 reaches x̄; so it would
   for the critic's input gradient, whose x̄ is 0 here.

The attack, a chain of such gradients, is worked out in `attack_adjoint`.  On both rest the drop-in twins of the plain
definitions (`twins`) and the whole training step (`fused`).
"""

from __future__ import annotations

import numpy as onp

from ..method import network


class Pass:
    """A forward pass of a piecewise-linear network on raw arrays, and the three other passes of the derivation."""

    def __init__(self, params: network.Params, x, slope: float = 0.0, noise=None, a=None, room=None):
        """a: a_1 (n, H₁), if it is known; room: where to write h_1 … h_{L−1}."""
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
                h = onp.multiply(a, m, out=room and room[l - 1])
            if noise is not None:
                h = h + noise[l]
            self.h.append(h)
            if l > 0 or a is None:
                a = h @ W
                a += b
            if l == 0:
                self.a = a
        self.z = a

    def backward(self, s, room=None):
        """Signals δ_1 … δ_L for the cotangent `s` of the logits: (n, k), or (n, j, k) for j of them at once.

        room: where to write δ_1 … δ_{L−1}.
        """
        signals, slopes = [s], self.slopes()
        for l in range(len(slopes), 0, -1):
            s = _times(s, self.params[l][0].T, room and room[l - 1])
            s *= slopes[l - 1] if s.ndim == 2 else slopes[l - 1][:, None]
            signals.append(s)
        return signals[::-1]

    def to_input(self, signals):
        """J(x)ᵀ s, (n, d) or (n, j, d), from the signals of s."""
        return _times(signals[0], self.params[0][0].T)

    def tangent(self, v):
        """τ_0 … τ_{L−1} and J v for the tangent `v` (n, d) of the input."""
        tangents, v = [v], v @ self.params[0][0]
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
            self.m = [slope_of(h) for h in self.h[1:]]
        return self.m

    def forget(self):
        """Let go the slopes, which h can tell again, of a ReLU network without noise."""
        self.m = None


def slope_of(h):
    """m_l of a ReLU network without noise, which h_l tells as well as a_l does."""
    return (h > 0).astype(h.dtype)


def _times(s, W, out=None):
    """s @ W as one matrix product, however many axes `s` has."""
    if s.ndim == 2:
        return onp.matmul(s, W, out=out)
    return (s.reshape(-1, len(W)) @ W).reshape(*s.shape[:-1], W.shape[1])


def weight_gradients(h, rho) -> network.Params:
    """[(W̄_l, b̄_l), …] of one ordinary backward pass."""
    return [(left.T @ right, column_sums(right)) for left, right in zip(h, rho, strict=True)]


def column_sums(rho):
    """Σ_rows ρ, as a product: faster than `sum`."""
    return onp.ones(len(rho), rho.dtype) @ rho


def log_softmax(z):
    """-> (log softmax of the rows of z (n, k), softmax): `numerics` on raw arrays, with one exponential for both."""
    z = z - z.max(axis=1, keepdims=True)
    p = onp.exp(z)
    total = p.sum(axis=1, keepdims=True)
    return z - onp.log(total), p / total


class Span:
    """The vectors that an attack moves along, and the coordinates that stand for them (`attack_adjoint`, section 6).

    Images themselves; or, for the L2 geometry and a first layer narrower than the image, combinations of W_1's
    columns: q = c W_1ᵀ with coordinates c (n, H₁), which never become pixels.
    """

    def __init__(self, W, geometry: str):
        self.W, self.narrow = W, geometry == "l2" and W.shape[1] < W.shape[0]
        self.first = W.T @ W if self.narrow else W  # q W_1 = c @ first
        self.width = len(self.first)

    def coordinates(self, signal, out=None):
        """Those of w = δ_1 W_1ᵀ."""
        return signal if self.narrow else _times(signal, self.W.T, out)

    def squares(self, c, first):
        """‖q‖²; rounding must not make it negative.  first: q W_1, needed if `narrow`."""
        return onp.maximum(onp.vecdot(c, first), 0) if self.narrow else onp.vecdot(c, c)

    def pixels(self, c):
        """q itself, (n, d)."""
        return c @ self.W.T if self.narrow else c

    def to_weights(self, K):
        """Σ qᵀ(..), (d, H₁), from K = Σ cᵀ(..)."""
        return self.W @ K if self.narrow else K


class ClassGaps:
    """∇_x f_j − ∇_x f_y for the other k − 1 classes j, all in one pass.  .size (n, k): their norms, 0 for y itself.

    The cotangents e_j − e_y span all whose rows sum to 0, e_t − p among them: an attack's first step needs no pass.
    """

    def __init__(self, net: Pass, span: Span, y, geometry: str):
        n, k = net.z.shape
        classes, rows = onp.eye(k, dtype=net.z.dtype), onp.arange(n)[:, None]
        self.others = (y[:, None] + onp.arange(1, k)) % k
        signals = net.backward(classes[self.others] - classes[y][:, None])
        c = span.coordinates(signals[0])
        self.kept, self.size = signals[:-1] + ([] if span.narrow else [c]), onp.zeros_like(net.z)
        if geometry == "l2":
            self.size[rows, self.others] = onp.sqrt(span.squares(c, _times(c, span.first) if span.narrow else None))
        else:
            self.size[rows, self.others] = onp.abs(c).sum(axis=2)

    def combine(self, s, room):
        """For the cotangent `s` (n, k), write δ_1 … δ_{L−1} and, if these are no coordinates, those of w to `room`.

        Once only: it lets go what it was kept for.
        """
        share, kept, self.kept = onp.take_along_axis(s, self.others, axis=1)[:, None], self.kept, []
        for every, out in zip(kept, room, strict=True):
            onp.matmul(share, every, out=out[:, None])
