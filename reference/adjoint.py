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

    def __init__(self, params: network.Params, x, slope: float = 0.0, noise=None):
        self.params = params
        self.h = []  # h_{l−1}: the input of layer l, noise included
        self.m = []  # m_l of the hidden layers, in the dtype of a: a product with booleans costs three times as much
        a = x
        for l, (W, b) in enumerate(params):
            if l > 0:
                m = (a > 0).astype(a.dtype)
                if slope:
                    m *= 1 - slope
                    m += slope
                self.m.append(m)
                a *= m
            h = a if noise is None else a + noise[l]
            self.h.append(h)
            a = h @ W
            a += b
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

    def tangent(self, v):
        """τ_0 … τ_{L−1} and J v for the tangent `v` (n, d) of the input."""
        tangents = [v]
        for (W, _), m in zip(self.params, self.m):
            v = v @ W
            v *= m
            tangents.append(v)
        return tangents, v @ self.params[-1][0]

    def keep(self, rows):
        """The same slopes for some of its rows, for further tangents."""
        part = object.__new__(Pass)
        part.params, part.m = self.params, [m[rows] for m in self.m]
        return part


def _times(s, W):
    """s @ W as one matrix product, however many axes `s` has."""
    return s @ W if s.ndim == 2 else (s.reshape(-1, len(W)) @ W).reshape(*s.shape[:-1], W.shape[1])


def weight_gradients(params, second, first) -> network.Params:
    """W̄_l = [τ_{l−1}; h_{l−1}]ᵀ [δ_l; ρ_l] and b̄_l = Σ_rows ρ_l over all the passes at once, one product per layer.

    second: pairs (τ_0 …, δ_1 …), of which only the weights have a part; first: pairs (h_0 …, ρ_1 …), at least one.
    """
    gradient = []
    for l in range(len(params)):
        left = onp.concatenate([tau[l] for tau, _ in second] + [h[l] for h, _ in first])
        right = onp.concatenate([delta[l] for _, delta in second] + [rho[l] for _, rho in first])
        rho = right[sum(len(delta[l]) for _, delta in second) :]
        gradient.append((left.T @ right, onp.ones(len(rho), rho.dtype) @ rho))
    return gradient


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

    net: the pass at the iterate; t: one-hot targets (n, k); C: (n,).  The step is u = move·direction.
    """

    def __init__(self, net: Pass, t, C, eps: float, geometry: str):
        self.net, self.t, self.C, self.eps, self.geometry = net, t, C, eps, geometry
        z = net.z - net.z.max(axis=1, keepdims=True)
        p = onp.exp(z)
        total = p.sum(axis=1, keepdims=True)
        p /= total
        self.p, self.p_t = p, onp.vecdot(p, t)
        self.delta = net.backward(t - p)
        w = net.to_input(self.delta)
        gap = onp.vecdot(z, t) - onp.log(total[:, 0]) - onp.log(C)
        self.sign, self.phi = onp.sign(gap), onp.abs(gap)
        self.slope = sigmoid(C - self.p_t)
        self.goes = onp.round(self.slope)  # i_m
        self.slope *= 1 - self.slope  # σ'(C − p_t)
        if geometry == "l2":
            self.n = onp.sqrt(eps + onp.vecdot(w, w))
            self.direction, self.move = w, (math.sqrt(eps) + self.phi / self.n) / self.n
        else:
            size = onp.abs(w).sum(axis=1)
            self.n = size + (size == 0)
            self.direction, self.move = onp.sign(w), (math.sqrt(eps) + self.phi) / self.n

    def reverse(self, r_bar, c_bar):
        """r̄ (n, d) and i_{m+1} c̄_{m+1} (n,) -> (τ_0 …, ρ_1 …, C̄ (n,), i_m c̄_m (n,))."""
        n, phi, root = self.n, self.phi, math.sqrt(self.eps)
        along = onp.vecdot(r_bar, self.direction)
        c_bar = self.move * along + c_bar
        along *= self.goes  # ⟨ū, direction⟩
        if self.geometry == "l2":  # move = √ε/n + φ/n², direction = w
            phi_bar, n_bar = along / (n * n), -along * (root + 2 * phi / n) / (n * n)
            w_bar = (self.move * self.goes)[:, None] * r_bar
            w_bar += (n_bar / n)[:, None] * self.direction
        else:  # move = (√ε + φ)/‖w‖₁, direction = sign(w)
            phi_bar = along / n
            w_bar = (-self.move * phi_bar)[:, None] * self.direction
        log_p_bar, p_bar = self.sign * phi_bar, -c_bar * self.slope
        tau, Jv = self.net.tangent(w_bar)
        zeta = self.p * (onp.vecdot(self.p, Jv)[:, None] - Jv)
        zeta += (log_p_bar + self.p_t * p_bar)[:, None] * self.delta[-1]
        return tau, self.net.backward(zeta), -log_p_bar / self.C - p_bar, self.goes * c_bar


class Unrolled:
    """The attack on raw arrays, forwards at once and in reverse on demand.

    t: one-hot targets (n, k); C: (n,); first: the pass at x, if it is there already.
    """

    def __init__(self, params, x, t, C, iterations, overshoot, eps, gradient, geometry, first: Pass | None = None):
        self.shape, self.overshoot, self.gradient = C.shape, overshoot, gradient
        self.steps = []  # (rows, step): what was still under attack, and its step
        rows = slice(None)  # all, at no cost
        for _ in range(iterations):
            step = Step(first or Pass(params, x[rows]), t[rows], C[rows], eps, geometry)
            self.steps.append((rows, step))
            first, u, moving = None, step.direction * ((1 + overshoot) * step.move)[:, None], step.goes > 0
            if not moving.all():
                rows, u = onp.arange(len(x))[rows][moving], u[moving]
                if not len(rows):
                    break
            x = x.copy()  # the step before keeps its own
            x[rows] += u
        self.images = x

    def reverse(self, g):
        """x̂'s cotangent g (n, d) -> (pairs (τ, δ), pairs (h, ρ), x̄ (n, d), C̄ (n,))."""
        r_bar, x_bar = (1 + self.overshoot) * g, g.copy()
        C_bar, c_bar = onp.zeros(self.shape, g.dtype), onp.zeros(self.shape, g.dtype)
        second, first = [], []
        for rows, step in reversed(self.steps):
            tau, rho, C_part, c_bar[rows] = step.reverse(r_bar[rows], c_bar[rows])
            C_bar[rows] += C_part
            second.append((tau, step.delta))
            first.append((step.net.h, rho))
            if self.gradient == "full":
                part = step.net.to_input(rho)
                x_bar[rows] += part
                r_bar[rows] += (1 + self.overshoot) * part
        return second, first, x_bar, C_bar


@primitive
def _unrolled(tape, x, targets, confidence, iterations, overshoot, eps, gradient, geometry, *arrays):
    t = one_hot(targets, len(arrays[-1]), x.dtype)
    tape.append(Unrolled(layers(arrays), x, t, confidence, iterations, overshoot, eps, gradient, geometry))
    return tape[0].images


def _unrolled_vjp(argnums, ans, args, kwargs):
    tape, *rest = args
    first_order_only("unrolled", *args)

    def vjp(g):
        first_order_only("unrolled", g)
        second, first, x_bar, C_bar = tape[0].reverse(g)
        theta_bar = flat(weight_gradients(layers(rest[8:]), second, first))
        every = [None, x_bar, None, C_bar, None, None, None, None, None, *theta_bar]
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
            every |= dict(enumerate(flat(weight_gradients(net.params, [], [(net.h, rho)])), start=4))
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


def gaps(net: Pass, y, geometry: str):
    """-> (‖∇_x f_j − ∇_x f_y‖ (n, k), the signals of e_j − e_y, their input gradients (n, k, d)); see `gradient_gaps`."""
    n, k = net.z.shape
    delta = net.backward(onp.eye(k, dtype=net.z.dtype) - one_hot(y, k, net.z.dtype)[:, None])
    w = net.to_input(delta)
    return onp.sqrt(onp.vecdot(w, w)) if geometry == "l2" else onp.abs(w).sum(axis=2), delta, w


@primitive
def _gradient_gaps(tape, x, y, geometry, *arrays):
    net = Pass(layers(arrays), x)
    tape.append((net, *gaps(net, y, geometry)))
    return tape[0][1]


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
