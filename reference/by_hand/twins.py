"""Fast twins of the plain definitions: same names, same signatures, same dtypes, by `adjoint` and `attack_adjoint`.

    logits           network.logits
    scores           critic.scores
    input_gradient   critic.input_gradient
    unrolled         attacks.high_confidence.unrolled
    gradient_gaps    objectives.gradient_gaps

Each is a primitive of autograd with a reverse-mode derivative of first order, which holds the second derivatives of
`adjoint`.  Differentiating it once more raises `InputError`: it never silently returns 0.
"""

from __future__ import annotations

from copy import deepcopy

import numpy as onp
from autograd.extend import defvjp_argnums, primitive
from autograd.tracer import isbox

from ..errors import InputError
from ..method import network
from ..method.generator import GRADIENT_MODES
from ..method.numerics import like, one_hot, stop_gradient
from ..method.objectives import Routes
from .generator import Sums, Unrolled
from .passes import Pass, Span, weight_gradients


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
        weights = rest[7:]
        attack = deepcopy(tape[0], {id(a): a for a in weights})  # `reverse` works in place, though not on the weights
        sums = Sums(layers(weights), x)
        bars = attack.reverse(sums, g)
        x_bar = g + bars.a @ weights[0].T if attack.full else g
        every = [None, x_bar, None, bars.C, None, None, None, None, None, *flat(sums.gradient(attack.span))]
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
    """Twin of `attacks.high_confidence.unrolled`, which see; first derivatives by `attack_adjoint`."""
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
    """Twin of `critic.input_gradient`, which see; first derivative by `adjoint`, section 2 (a)."""
    return _critic_gradient([], x, onp.asarray(labels), noise, *flat(params))


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
    """Twin of `objectives.gradient_gaps`, which see; first derivative by `adjoint`, section 2 (a)."""
    if geometry not in ("l2", "linf"):
        raise InputError(f'geometry = {geometry!r}: choose "l2" or "linf"')
    return _gradient_gaps([], x, onp.asarray(y), geometry, *flat(params))


TWINS = Routes(logits, scores, unrolled, input_gradient, gradient_gaps)
"""For the objectives' `via`."""
