"""The defences' objectives and the critic's, each a visible sum of terms.

What is held fixed is decided in this file alone.  An objective returns its terms by name, `{name: (weight, value)}`;
`total` adds them up.

This is where the gradient goes in the adversary critic's two losses (Matyasko & Chau 2018, as their code has it):

    quantity                            θ (classifier)      ω (critic)
    targets t, S, ŷ, argmax f           constant            –
    C, the running mean                 constant            –
    C, the example's own confidence     flows               –
    conf in the cycle term              flows               –
    x̂ in the critic term                flows (2nd order)   held fixed
    x̂ as the cycle's input              constant            –
    x̂, ŷ in the critic's loss           held fixed          flows through D and ∇_x D only
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import autograd.numpy as np
import numpy as onp
from autograd import make_vjp

from ..errors import check_geometry
from . import critic, losses, network
from .generator import unrolled
from .numerics import absolute, like, norm, pick, predict, softmax, stop_gradient
from .perturbations import gradient_step, projected_steps, virtual_direction
from .settings import AdversarialTraining, AdversaryCritic, Generator, Margin, MultiStep, VirtualAdversarial
from .targets import RunningConfidence, distances, nearest, random_class

Terms = dict[str, tuple[float, object]]


def total(terms: Terms):
    """Σ weight·value."""
    return sum(weight * value for weight, value in terms.values())


def differentiate(objective: Callable[..., Terms], inputs):
    """-> (the terms of objective(inputs) as plain {name: (weight, float)}, the gradient of their total by `inputs`).

    inputs: arrays in nested lists and tuples, the parameters for example; the gradient is nested in the same way.
    """
    terms: Terms = {}

    def evaluated(inputs):
        terms.update(objective(inputs))
        return total(terms)

    pull_back, value = make_vjp(evaluated)(inputs)
    plain = {name: (weight, float(stop_gradient(v))) for name, (weight, v) in terms.items()}
    return plain, pull_back(onp.ones_like(value))


def fixed(params: network.Params) -> network.Params:
    """The same parameters as constants."""
    return [(stop_gradient(W), stop_gradient(b)) for W, b in params]


def undefended(params, x, y) -> Terms:
    """mean_i L(f(x_i), y_i)."""
    return {"cross_entropy": (1, losses.cross_entropy(network.logits(params, x), y))}


def pretraining(params, x, y, weight_decay: float) -> Terms:
    """Cross-entropy + weight_decay·½Σ‖W‖² over the hidden layers."""
    return undefended(params, x, y) | {"weight_decay": (weight_decay, losses.weight_decay(params))}


def adversarial_training(params, x, y, s: AdversarialTraining) -> Terms:
    """½ L(x) + ½ L(x + r), r one gradient step, held fixed."""
    r = gradient_step(lambda v: network.logits(fixed(params), v), x, y, s.epsilon, s.geometry)
    return {
        "cross_entropy": (0.5, losses.cross_entropy(network.logits(params, x), y)),
        "attacked": (0.5, losses.cross_entropy(network.logits(params, x + r), y)),
    }


def multi_step(params, x, y, s: MultiStep) -> Terms:
    """L(x + r), r from several projected gradient steps, held fixed."""
    r = projected_steps(lambda v: network.logits(fixed(params), v), x, y, s.epsilon, s.steps, s.geometry)
    return {"attacked": (1, losses.cross_entropy(network.logits(params, x + r), y))}


def virtual_adversarial(params, x, y, s: VirtualAdversarial, start: onp.ndarray) -> Terms:
    """L(x) + KL(sg[p(x)] ‖ p(x + ε d)), d held fixed.  `start` (n, d): the random start of the power iteration."""
    d = virtual_direction(lambda v: network.logits(fixed(params), v), x, start, s.xi, s.power_iterations)
    z = network.logits(params, x)
    return {
        "cross_entropy": (1, losses.cross_entropy(z, y)),
        "smoothness": (1, losses.kl_divergence(stop_gradient(z), network.logits(params, x + s.epsilon * d))),
    }


def margin(params, x, y, s: Margin) -> Terms:
    """mean_i max_{j≠y} [1 + f_j − f_y + ε‖∇f_j − ∇f_y‖]₊; the gradient's norm is differentiated too."""
    gaps = gradient_gaps(params, x, y, s.geometry)
    return {"margin": (1, losses.margin_hinge(network.logits(params, x), y, gaps, s.epsilon))}


def gradient_gaps(params, x, y, geometry: str = "l2"):
    """‖∇_x f_j(x_i) − ∇_x f_y(x_i)‖ for every class j: (n, k), the norm dual to the ball's ("linf": L1)."""
    gradients = network.class_gradients(lambda v: network.logits(params, v), x)
    n, k, d = gradients.shape
    differences = np.reshape(gradients - gradients[onp.arange(n), y][:, None], (n * k, d))
    size = norm(differences) if check_geometry(geometry) == "l2" else np.sum(absolute(differences), axis=1)
    return np.reshape(size, (n, k))


class Attacked(NamedTuple):
    """What the generator made of a batch.  All of it depends on θ."""

    logits: object
    """f(x), (n, k)."""
    confidence: object
    """max_j p_j(x), (n,)."""
    images: object
    """x̂, (n, d)."""
    target_confidence: object
    """C, (n,): attached only if C is the example's own confidence."""


def choose_targets(params, x, s: Generator, rng: onp.random.Generator | None = None) -> onp.ndarray:
    """The class (n,) that each example is attacked towards, relative to the *predicted* class; constants.

    rng: needed only where the targets are random.
    """
    theta = fixed(params)
    z = network.logits(theta, x)
    predicted = predict(z)
    if s.targets == "nearest":
        return nearest(z, distances(z, gradient_gaps(theta, x, predicted, s.geometry), predicted), predicted)
    return random_class(rng, z, predicted, weighted=s.targets == "softmax")


def attack(params, x, targets, confidence, s: Generator):
    """A_f(x, t; C) with the generator's settings `s`; the caller decides which arguments are held fixed."""
    return unrolled(params, x, targets, confidence, s.iterations, s.overshoot, s.eps, s.gradient, s.geometry)


def generate(params, x, targets, running: RunningConfidence, s: Generator) -> Attacked:
    """x̂ = A_f(x, t; C).  C is the running mean (a constant), the example's own confidence (attached) or a number."""
    z = network.logits(params, x)
    own = pick(softmax(z), predict(z))
    C = {"running": running.value[targets], "own": own}.get(s.confidence, s.confidence)
    C = like(C, x) * onp.ones_like(running.value[targets])
    return Attacked(z, own, attack(params, x, targets, C, s), C)


def judge(params, attacked: Attacked, x, y, critic_params, noise, s: AdversaryCritic) -> Terms:
    """The classifier's loss for a batch that has been attacked:

    mean_i L + λ·mean_{i∈S} softplus(−D_ŷ(x̂)) + β·mean_{i∈S} ‖x − A_f(sg[x̂], argmax f(x); conf)‖².

    S holds the examples whose attack changed the prediction.  If S is empty, both means are 0 with zero gradient.
    """
    z, own, x_hat, _ = attacked
    y_hat = predict(network.logits(fixed(params), stop_gradient(x_hat)))
    changed = y_hat != predict(z)
    D = critic.scores(fixed(critic_params), x_hat, s.slope, noise)
    x_back = attack(params, stop_gradient(x_hat), predict(z), own, s.generator)
    return {
        "cross_entropy": (1, losses.cross_entropy(z, y)),
        "critic": (s.critic_weight, losses.fool_loss(D, y_hat, changed)),
        "cycle": (s.cycle_weight, losses.cycle_loss(x, x_back, changed)),
    }


def adversary_critic(
    params, x, y, targets, running: RunningConfidence, critic_params, noise, s: AdversaryCritic
) -> Terms:
    """The classifier's objective: `judge` of what `generate` made, both at the same θ."""
    return judge(params, generate(params, x, targets, running, s.generator), x, y, critic_params, noise, s)


def critic_objective(critic_params, x, y, x_hat, y_hat, noise_real, noise_fake, s: AdversaryCritic) -> Terms:
    """softplus(−D_y(x)) + softplus(D_ŷ(x̂)) + weight·[(‖∇D_y(x)‖ − 1)² + (‖∇D_ŷ(x̂)‖ − 1)²], means over all examples.

    x_hat, y_hat: attacked images and the class each is taken for; constants here.  The noise of each forward pass is
    shared by its loss and its penalty.
    """
    x_hat = stop_gradient(x_hat)
    real = critic.scores(critic_params, x, s.slope, noise_real)
    fake = critic.scores(critic_params, x_hat, s.slope, noise_fake)
    slopes_real = critic.input_gradient(critic_params, x, y, s.slope, noise_real)
    slopes_fake = critic.input_gradient(critic_params, x_hat, y_hat, s.slope, noise_fake)
    return {
        "real": (1, losses.real_loss(real, y)),
        "fake": (1, losses.fake_loss(fake, y_hat)),
        "penalty_real": (s.penalty_weight, losses.gradient_penalty(slopes_real)),
        "penalty_fake": (s.penalty_weight, losses.gradient_penalty(slopes_fake)),
    }
