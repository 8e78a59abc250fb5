"""The four passes of the derivation, on raw arrays: forward, backward, tangent, and backward once more.

`README.md` in this folder derives them, with a worked example; sections and letters below are those of the README.
"""

from __future__ import annotations

import numpy as onp

from ..method import network


class Pass:
    """A forward pass of a piecewise-linear network, and the three other passes that start from it.

    z: (n, k) the outputs.  h: h_0 … h_{L−1}, the input of each layer, noise included.  a: (n, H₁), a_1 before its
    activation.
    """

    def __init__(self, params: network.Params, x, slope: float = 0.0, noise=None, a=None, room=None):
        """slope: the activation's below 0 (ReLU: 0).  a: a_1 (n, H₁), if it is known already; x may be None then.
        room: arrays into which h_1 … h_{L−1} are written.
        """
        self.params = params
        self.h = []
        self.m = []  # m_l of the hidden layers, in the dtype of a, because a product with booleans costs more
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
        """Signals δ_1 … δ_L for the cotangent `s` of the outputs: (n, k), or (n, j, k) for j of them at once.

        room: arrays into which δ_1 … δ_{L−1} are written.
        """
        signals, slopes = [s], self.slopes()
        for l in range(len(slopes), 0, -1):
            s = times(s, self.params[l][0].T, room and room[l - 1])
            s *= slopes[l - 1] if s.ndim == 2 else slopes[l - 1][:, None]
            signals.append(s)
        return signals[::-1]

    def to_input(self, signals):
        """J(x)ᵀ s, (n, d) or (n, j, d), from the signals of s."""
        return times(signals[0], self.params[0][0].T)

    def tangent(self, v):
        """τ_0 … τ_{L−1} and J v for the tangent `v` (n, d) of the input."""
        tangents, v = [v], v @ self.params[0][0]
        for (W, _), m in zip(self.params[1:], self.slopes()):
            v = v * m
            tangents.append(v)
            v = v @ W
        return tangents, v

    def slopes(self):
        """m_l of the hidden layers."""
        if self.m is None:
            self.m = [slope_of(h).astype(h.dtype) for h in self.h[1:]]
        return self.m

    def forget(self):
        """Free the memory of the slopes.  A ReLU network without noise can recompute them from h."""
        self.m = None


def slope_of(h):
    """m_l of a ReLU network without noise, as booleans: h_l is positive where a_l is."""
    return h > 0


def times(s, W, out=None):
    """s @ W as one matrix product, however many axes `s` has."""
    if s.ndim == 2:
        return onp.matmul(s, W, out=out)
    return (s.reshape(-1, len(W)) @ W).reshape(*s.shape[:-1], W.shape[1])


def weight_gradients(h, rho) -> network.Params:
    """[(W̄_l, b̄_l), …] of one ordinary backward pass: W̄_l = h_{l−1}ᵀ ρ_l, b̄_l = Σ_rows ρ_l."""
    return [(left.T @ right, column_sums(right)) for left, right in zip(h, rho, strict=True)]


def column_sums(rho):
    """Σ_rows ρ, as a product with ones, which is faster than `sum`."""
    return onp.ones(len(rho), rho.dtype) @ rho


def log_softmax(z):
    """-> (log softmax of the rows of z (n, k), softmax), with one exponential for both."""
    z = z - z.max(axis=1, keepdims=True)
    p = onp.exp(z)
    total = p.sum(axis=1, keepdims=True)
    return z - onp.log(total), p / total


class Span:
    """The vectors that an attack moves along, and the coordinates that stand for them (section 6).

    In the L∞ geometry, or where the first layer is wider than the image, the coordinates are the pixels themselves.
    Otherwise every such vector is a combination q = c W_1ᵀ of W_1's columns, and the coordinates are c (n, H₁): the
    attack never computes a pixel.
    """

    def __init__(self, W, geometry: str):
        self.W, self.narrow = W, geometry == "l2" and W.shape[1] < W.shape[0]
        self.first = W.T @ W if self.narrow else W  # q W_1 = c @ first
        self.width = len(self.first)

    def coordinates(self, signal, out=None):
        """The coordinates of w = δ_1 W_1ᵀ, from the signal δ_1."""
        return signal if self.narrow else times(signal, self.W.T, out)

    def squares(self, c, first):
        """‖q‖², never negative.  first: q W_1, which is needed only if the span is narrow."""
        return onp.maximum(onp.vecdot(c, first), 0) if self.narrow else onp.vecdot(c, c)

    def pixels(self, c):
        """q itself, (n, d)."""
        return c @ self.W.T if self.narrow else c

    def to_weights(self, K):
        """Σ qᵀ(..), (d, H₁), from K = Σ cᵀ(..)."""
        return self.W @ K if self.narrow else K


class ClassGaps:
    """∇_x f_j − ∇_x f_y for the other k − 1 classes j, all in one pass.

    size: (n, k), the norms, 0 for y itself.  The cotangents e_j − e_y span every cotangent whose entries sum to 0, and
    e_t − p is one of these.  An attack's first step is therefore a combination of what is here (section 7).
    """

    def __init__(self, net: Pass, span: Span, y, geometry: str):
        n, k = net.z.shape
        classes, rows = onp.eye(k, dtype=net.z.dtype), onp.arange(n)[:, None]
        self.others = (y[:, None] + onp.arange(1, k)) % k
        signals = net.backward(classes[self.others] - classes[y][:, None])
        c = span.coordinates(signals[0])
        self.kept, self.size = signals[:-1] + ([] if span.narrow else [c]), onp.zeros_like(net.z)
        if geometry == "l2":
            self.size[rows, self.others] = onp.sqrt(span.squares(c, times(c, span.first) if span.narrow else None))
        else:
            self.size[rows, self.others] = onp.abs(c).sum(axis=2)

    def combine(self, s, room):
        """Write δ_1 … δ_{L−1} of the cotangent `s` (n, k) into `room`, then the coordinates of w if δ_1 is not these.

        This can be called once: it frees the classes' signals as it uses them.
        """
        share, kept, self.kept = onp.take_along_axis(s, self.others, axis=1)[:, None], self.kept, []
        for every, out in zip(kept, room, strict=True):
            onp.matmul(share, every, out=out[:, None])
