"""The second-order gradients, derived by hand: fast twins of the plain definitions, same names, same signatures.

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

Each twin is a primitive of autograd with a reverse-mode derivative of first order (which holds the second derivatives
above).  Differentiating it once more raises `InputError`: it never silently returns 0.
"""

from __future__ import annotations

import math

import numpy as onp
from autograd.extend import defvjp_argnums, primitive
from autograd.tracer import isbox

from . import network
from .attacks.high_confidence import GRADIENT_MODES
from .attacks.model import Model
from .errors import InputError
from .numerics import like, one_hot, sigmoid, stop_gradient


class Pass:
    """A forward pass of a piecewise-linear network on raw arrays, and the three other passes of the derivation."""

    def __init__(self, params: network.Params, x, slope: float = 0.0, noise=None, a=None):
        """a: a_1 (n, H₁), if it is known."""
        self.params = params
        self.h = []  # h_{l−1}: the input of layer l, noise included
        self.m = []  # m_l of the hidden layers, in the dtype of a: a product with booleans costs three times as much
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
        for (W, _), m in zip(self.params[:0:-1], self.m[::-1]):
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
        for (W, _), m in zip(self.params[1:], self.m):
            v = v * m
            tangents.append(v)
            v = v @ W
        return tangents, v

    def keep(self, rows):
        """The same slopes for some of its rows, for further tangents."""
        part = object.__new__(Pass)
        part.params, part.m = self.params, [m[rows] for m in self.m]
        return part


def _times(s, W):
    """s @ W as one matrix product, however many axes `s` has."""
    return s @ W if s.ndim == 2 else (s.reshape(-1, len(W)) @ W).reshape(*s.shape[:-1], W.shape[1])


def weight_gradients(h, rho) -> network.Params:
    """[(W̄_l, b̄_l), …] of one ordinary backward pass."""
    return [(left.T @ right, onp.ones(len(right), right.dtype) @ right) for left, right in zip(h, rho, strict=True)]


class Span:
    """The vectors that an attack moves along, and the coordinates that stand for them (section 6).

    Images themselves; or, for the L2 geometry and a first layer narrower than the image, combinations of W_1's
    columns: v = c W_1ᵀ with coordinates c (n, H₁), which never become pixels.
    """

    def __init__(self, W, geometry: str):
        self.W, self.narrow = W, geometry == "l2" and W.shape[1] < W.shape[0]
        self.first = W.T @ W if self.narrow else W  # v W_1 = c @ first
        self.width = len(self.first)

    def coordinates(self, signal):
        """Those of w = δ_1 W_1ᵀ."""
        return signal if self.narrow else _times(signal, self.W.T)

    def squares(self, c, first):
        """‖v‖²; rounding must not make it negative.  first: v W_1, needed if `narrow`."""
        return onp.maximum(onp.vecdot(c, first), 0) if self.narrow else onp.vecdot(c, c)

    def pixels(self, c):
        """v itself, (n, d)."""
        return c @ self.W.T if self.narrow else c

    def to_weights(self, K):
        """Σ vᵀ(..), (d, H₁), from K = Σ cᵀ(..)."""
        return self.W @ K if self.narrow else K


class Rows:
    """The rows of θ's weight gradients, from all the steps of an attack or two: in the end one product per layer."""

    def __init__(self, params: network.Params, x):
        self.params, self.at_x = params, onp.zeros((len(x), len(params[0][1])), x.dtype)  # Σ of the ρ_1 of each example
        self.left, self.right = [[] for _ in params], [[] for _ in params]
        self.biases = [onp.zeros_like(b) for _, b in params]
        self.pixels = [(x, self.at_x)]

    def add(self, left, right):
        """τ_0 …, δ_1 …; or h_0 …, ρ_1 ….  The first left one in coordinates; None: no rows."""
        for l, (a, b) in enumerate(zip(left, right, strict=True)):
            if a is not None:
                self.left[l].append(a)
                self.right[l].append(b)

    def add_pass(self, coordinates, h, rho, rows=slice(None)):
        """The ordinary backward pass ρ of examples `rows` at x + these coordinates, or at x (None)."""
        self.add([coordinates, *h[1:]], rho)
        self.at_x[rows] += rho[0]
        for b, signal in zip(self.biases, rho, strict=True):
            b += onp.ones(len(signal), signal.dtype) @ signal

    def gradient(self, span: Span) -> network.Params:
        """[(W̄_l, b̄_l), …]."""
        products = [
            onp.concatenate(left).T @ onp.concatenate(right) if left else onp.zeros_like(W)
            for (W, _), left, right in zip(self.params, self.left, self.right, strict=True)
        ]
        left, right = (onp.concatenate(part) for part in zip(*self.pixels, strict=True))
        products[0] = left.T @ right + (span.to_weights(products[0]) if self.left[0] else 0)
        return list(zip(products, self.biases, strict=True))


def flat(params):
    """[(W, b), …] -> [W, b, …]: autograd's primitives take arrays, not lists of them."""
    return [a for layer in params for a in layer]


def layers(arrays):
    """[W, b, …] -> [(W, b), …]."""
    return list(zip(arrays[::2], arrays[1::2]))


def first_order_only(name, *values):
    """Refuse to be differentiated further than the derivation goes."""
    if any(map(isbox, values)):
        raise InputError(
            f"the fast twin of {name} can be differentiated once; for a higher derivative use the plain definition"
        )


class Step:
    """One attack step, and what it leaves behind for its reverse pass.  Section 5's letters; rows are examples.

    net: the pass at the iterate; t: one-hot targets (n, k); C: (n,).  The step is move·v, v with coordinates c.
    """

    def __init__(self, net: Pass, span: Span, t, C, eps: float, geometry: str):
        self.net, self.C, self.eps, self.geometry = net, C, eps, geometry
        z = net.z - net.z.max(axis=1, keepdims=True)
        p = onp.exp(z)
        total = p.sum(axis=1, keepdims=True)
        p /= total
        self.p, self.p_t = p, onp.vecdot(p, t)
        self.delta = net.backward(t - p)
        gap = onp.vecdot(z, t) - onp.log(total[:, 0]) - onp.log(C)
        self.sign, self.phi = onp.sign(gap), onp.abs(gap)
        self.slope = sigmoid(C - self.p_t)
        self.goes = onp.round(self.slope)  # i_m
        self.slope *= 1 - self.slope  # σ'(C − p_t)
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

    def reverse(self, first_bar, c_bar, i_bar):
        """r̄ W_1 (n, H₁), the part of r̄ in coordinates or None, and i_{m+1} c̄_{m+1} (n,).

        -> (α (n, 1), τ_0 … of w̄ − α r̄ + α·(that part), ρ_1 …, C̄ (n,), i_m c̄_m (n,)).
        """
        n, phi, root = self.n, self.phi, math.sqrt(self.eps)
        l2 = self.geometry == "l2"
        along = onp.vecdot(first_bar, self.delta[0]) if l2 else onp.vecdot(c_bar, self.c)  # ⟨r̄, v⟩
        i_bar = self.move * along + i_bar
        along *= self.goes
        if l2:  # v = w, move = √ε/n + φ/n²
            phi_bar, n_bar = along / (n * n), -along * (root + 2 * phi / n) / (n * n)
            alpha, beta = (self.move * self.goes)[:, None], (n_bar / n)[:, None]
            tau_0, first = beta * self.c, alpha * first_bar + beta * self.first
            if c_bar is not None:
                tau_0 += alpha * c_bar
        else:  # v = sign(w), move = (√ε + φ)/‖w‖₁
            phi_bar, alpha = along / n, 0
            beta = (-self.move * phi_bar)[:, None]
            tau_0, first = beta * self.c, beta * self.first
        log_p_bar, p_bar = self.sign * phi_bar, -i_bar * self.slope
        tau, Jv = self.net.tangent(tau_0, first)
        zeta = self.p * (onp.vecdot(self.p, Jv)[:, None] - Jv)
        zeta += (log_p_bar + self.p_t * p_bar)[:, None] * self.delta[-1]
        return alpha, tau, self.net.backward(zeta), -log_p_bar / self.C - p_bar, self.goes * i_bar


class Unrolled:
    """The attack on raw arrays, forwards at once and in reverse on demand.

    net: the pass at its first iterate x + c, c in the coordinates of `span` (None: 0); t: one-hot targets; C: (n,).
    .c: the coordinates of x̂ − x, or None; .a: a_1 at x̂.
    """

    def __init__(self, net: Pass, c, span: Span, t, C, iterations, overshoot, eps, gradient, geometry):
        self.span, self.overshoot, self.gradient, self.geometry = span, overshoot, gradient, geometry
        self.steps = []  # (rows under attack, their coordinates, step)
        self.shape, a, rows = C.shape, net.a, slice(None)  # all rows, at no cost
        for m in range(iterations):
            here = c if c is None else c[rows]
            step = Step(net if m == 0 else Pass(net.params, None, a=a[rows]), span, t[rows], C[rows], eps, geometry)
            self.steps.append((rows, here, step))
            moving, length = step.goes > 0, ((1 + overshoot) * step.move)[:, None]
            if moving.all():
                ahead = slice(None)
            else:
                ahead, rows = moving, onp.arange(len(a))[rows][moving]
                if not len(rows):
                    break
            # The steps before keep their own arrays.  a_1 is linear in x̂: it moves along.
            a, c = a.copy(), onp.zeros((len(a), span.width), a.dtype) if c is None else c.copy()
            c[rows] += (length * step.c)[ahead]
            a[rows] += (length * step.first)[ahead]
        self.c, self.a = c, a

    def reverse(self, into: Rows, g, c_bar=None):
        """Collect the rows of θ's gradient -> (x̄ − x̂'s cotangent, in coordinates, or None if 0; C̄ (n,)).

        x̂'s cotangent: `g` (n, d) or None for 0, plus `c_bar` in coordinates or None for 0; not both None.
        """
        span, ahead, full = self.span, 1 + self.overshoot, self.gradient == "full"
        if self.geometry == "linf":  # whose coordinates are pixels
            g, c_bar = None, g if c_bar is None else c_bar if g is None else g + c_bar
        elif full and c_bar is None:
            c_bar = onp.zeros((len(g), span.width), g.dtype)
        first_bar = 0
        if g is not None:
            g = ahead * g
            first_bar = g @ span.W
            moved = onp.zeros_like(first_bar)  # Σ_m α_m δ_1
            into.pixels.append((g, moved))
        if c_bar is not None:
            c_bar = ahead * c_bar
            first_bar = first_bar + c_bar @ span.first
        C_bar, i_bar = (onp.zeros(self.shape, first_bar.dtype) for _ in "Ci")
        through_path = onp.zeros_like(c_bar) if full else None
        for rows, c, step in reversed(self.steps):
            part = None if c_bar is None else c_bar[rows]
            alpha, tau, rho, C_part, i_bar[rows] = step.reverse(first_bar[rows], part, i_bar[rows])
            C_bar[rows] += C_part
            into.add(tau, step.delta)
            into.add_pass(c, step.net.h, rho, rows)
            if g is not None:
                moved[rows] += alpha * step.delta[0]
            if full:  # x̄ of this step, which r̄ gets (1 + o) times
                part = span.coordinates(rho[0])
                through_path[rows] += part
                c_bar[rows] += ahead * part
                first_bar[rows] += ahead * (part @ span.first)
        return through_path, C_bar


@primitive
def _unrolled(tape, x, targets, confidence, iterations, overshoot, eps, gradient, geometry, *arrays):
    net, t = Pass(layers(arrays), x), one_hot(targets, len(arrays[-1]), x.dtype)
    span = Span(arrays[0], geometry)
    attack = Unrolled(net, None, span, t, confidence, iterations, overshoot, eps, gradient, geometry)
    tape.append(attack)
    return x.copy() if attack.c is None else x + span.pixels(attack.c)


def _unrolled_vjp(argnums, ans, args, kwargs):
    tape, x, *rest = args
    first_order_only("unrolled", *args)

    def vjp(g):
        first_order_only("unrolled", g)
        (attack,), rows = tape, Rows(layers(rest[7:]), x)
        through_path, C_bar = attack.reverse(rows, g)
        x_bar = g if through_path is None else g + attack.span.pixels(through_path)
        every = [None, x_bar, None, C_bar, None, None, None, None, None, *flat(rows.gradient(attack.span))]
        return tuple(every[i] for i in argnums)

    return vjp


defvjp_argnums(_unrolled, _unrolled_vjp)


def unrolled(
    params: network.Params,
    x,
    targets: onp.ndarray,
    confidence,
    iterations: int = 5,
    overshoot: float = 0.05,
    eps: float = 1e-8,
    gradient: str = "truncated",
    geometry: str = "l2",
):
    """Twin of `attacks.high_confidence.unrolled`, which see; first derivatives by sections 2, 3 and 5 above."""
    if gradient not in GRADIENT_MODES:
        raise InputError(f"gradient = {gradient!r}: choose one of {', '.join(GRADIENT_MODES)}")
    if geometry not in ("l2", "linf"):
        raise InputError(f'geometry = {geometry!r}: choose "l2" or "linf"')
    confidence = like(confidence, x) * onp.ones(len(stop_gradient(x)), stop_gradient(x).dtype)
    x_hat = _unrolled(
        [], x, onp.asarray(targets), confidence, iterations, overshoot, eps, gradient, geometry, *flat(params)
    )
    return stop_gradient(x_hat) if gradient == "detached" else x_hat


@primitive
def _outputs(tape, x, slope, noise, *arrays):
    net = Pass(layers(arrays), x, slope, noise)
    tape.append(net)
    return net.z


def _outputs_vjp(argnums, ans, args, kwargs):
    tape, *_ = args
    first_order_only("logits or scores", *args)

    def vjp(g):
        first_order_only("logits or scores", g)
        (net,) = tape
        rho = net.backward(g)
        every = {1: net.to_input(rho)} if 1 in argnums else {}
        if argnums[-1] > 3:  # the parameters are not always wanted: the critic's are held fixed in θ's step
            every |= dict(enumerate(flat(weight_gradients(net.h, rho)), start=4))
        return tuple(every[i] for i in argnums)

    return vjp


defvjp_argnums(_outputs, _outputs_vjp)


def logits(params: network.Params, x):
    """Twin of `network.logits`, which see: one recorded step instead of one per operation."""
    return _outputs([], x, 0.0, None, *flat(params))


def scores(params: network.Params, x, noise=None):
    """Twin of `critic.scores`, which see: one recorded step instead of one per operation."""
    return _outputs([], x, 0.2, noise, *flat(params))


@primitive
def _critic_gradient(tape, x, labels, noise, *arrays):
    net = Pass(layers(arrays), x, 0.2, noise)
    delta = net.backward(one_hot(labels, net.z.shape[1], net.z.dtype))
    tape.append((net, delta))
    return net.to_input(delta)


def _critic_gradient_vjp(argnums, ans, args, kwargs):
    (tape, x, labels, noise, *arrays) = args
    first_order_only("input_gradient", *args)

    def vjp(g):
        first_order_only("input_gradient", g)
        ((net, delta),) = tape
        tau, _ = net.tangent(g)
        # s = e_y does not depend on θ: part (a) alone.  x enters only through the masks.
        every = [None, onp.zeros_like(x), None, None]
        for (_, b), left, right in zip(layers(arrays), tau, delta):
            every += [left.T @ right, onp.zeros_like(b)]
        return tuple(every[i] for i in argnums)

    return vjp


defvjp_argnums(_critic_gradient, _critic_gradient_vjp)


def input_gradient(params: network.Params, x, labels, noise=None):
    """Twin of `critic.input_gradient`, which see; first derivative by section 2 (a) above."""
    return _critic_gradient([], x, onp.asarray(labels), noise, *flat(params))


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


@primitive
def _gradient_gaps(tape, x, y, geometry, *arrays):
    net = Pass(layers(arrays), x)
    k = net.z.shape[1]
    delta = net.backward(onp.eye(k, dtype=net.z.dtype) - one_hot(y, k, net.z.dtype)[:, None])  # of e_j − e_y
    w = net.to_input(delta)
    size = onp.sqrt(onp.vecdot(w, w)) if geometry == "l2" else onp.abs(w).sum(axis=2)
    tape.append((net, size, delta, w))
    return size


def _gradient_gaps_vjp(argnums, ans, args, kwargs):
    (tape, x, y, geometry, *arrays) = args
    first_order_only("gradient_gaps", *args)

    def vjp(g):
        first_order_only("gradient_gaps", g)
        ((net, size, delta, w),) = tape
        i, j = onp.nonzero((g != 0) & (size > 0))  # the hinge asks for one class per example
        direction = w[i, j] / size[i, j, None] if geometry == "l2" else onp.sign(w[i, j])
        tau, _ = net.keep(i).tangent(g[i, j, None] * direction)
        every = [None, onp.zeros_like(x), None, None]
        for (_, b), left, right in zip(layers(arrays), tau, delta):
            every += [left.T @ right[i, j], onp.zeros_like(b)]
        return tuple(every[i] for i in argnums)

    return vjp


defvjp_argnums(_gradient_gaps, _gradient_gaps_vjp)


def gradient_gaps(params, x, y, geometry: str = "l2"):
    """Twin of `objectives.gradient_gaps`, which see; first derivative by section 2 (a) above."""
    if geometry not in ("l2", "linf"):
        raise InputError(f'geometry = {geometry!r}: choose "l2" or "linf"')
    return _gradient_gaps([], x, onp.asarray(y), geometry, *flat(params))


def as_model(params: network.Params) -> Model:
    """The classifier for the evaluation's attacks: `Model` with hand-written passes instead of autograd's."""

    def linearise(x):
        net = Pass(params, x)
        return net.z, lambda v: net.to_input(net.backward(v))

    return Model(lambda x: network.logits(params, x), linearise)
