"""The loss terms.  One term is one function of arrays; no model, no attack and no stop-gradient in here.

Every mean is over the examples of the batch, every norm over one example's pixels.  All are differentiable to second
order in their float arguments; labels are constants.
"""

from __future__ import annotations

import autograd.numpy as np

from .numerics import log_softmax, masked_mean, mean, norm, one_hot, pick, relu, softmax, softplus, stop_gradient


def cross_entropy(z, y):
    """mean_i −log softmax(z_i)[y_i]: the L of eq. 1 and 3.  `z` (n, k) logits, `y` (n,)."""
    return mean(-pick(log_softmax(z), y))


def kl_divergence(z0, z):
    """mean_i KL(softmax z0_i ‖ softmax z_i), from logits (n, k): no logarithm of a probability that underflowed.

    Source: Miyato et al. 2015.
    """
    return mean(np.sum(softmax(z0) * (log_softmax(z0) - log_softmax(z)), axis=1))


def real_loss(scores, y):
    """mean_i softplus(−D_{y_i}(x_i)): the critic's loss on data.  `scores` (n, k), `y` (n,) true labels."""
    return mean(softplus(-pick(scores, y)))


def fake_loss(scores, y_adv):
    """mean_i softplus(D_{ŷ_i}(x̂_i)): the critic's loss on *all* attacked images.  `y_adv` (n,): ŷ, f's predictions."""
    return mean(softplus(pick(scores, y_adv)))


def gradient_penalty(gradients):
    """mean_i (‖∇_x D(x_i)‖ − 1)²: the norm per example, inside the mean.  `gradients` (n, d)."""
    return mean((norm(gradients) - 1) ** 2)


def fool_loss(scores, y_adv, changed):
    """mean_{i∈S} softplus(−D_{ŷ_i}(x̂_i)): the generator's non-saturating loss; 0 if S is empty.

    `scores` (n, k), `y_adv` (n,), `changed` (n,) bool: the set S of attacks that changed the prediction.
    """
    return masked_mean(softplus(-pick(scores, y_adv)), changed)


def cycle_loss(x, x_back, changed, squared: bool = True):
    """mean_{i∈S} ‖x_i − x_back_i‖² (eq. 7 as coded; the paper prints the norm: squared=False); 0 if S is empty."""
    r = x - x_back
    return masked_mean(np.sum(r * r, axis=1) if squared else norm(r), changed)


def margin_hinge(z, y, gradient_gaps, epsilon: float):
    """mean_i max_{j≠y} [1 + f_j − f_y + ε‖∇f_j − ∇f_y‖]₊: the hinge's worst case over an ε-ball, f linearised.

    `z` (n, k) logits, `y` (n,), `gradient_gaps` (n, k): ‖∇_x f_j − ∇_x f_y‖ in the dual norm of the ball.
    Source: Matyasko & Chau, IJCNN 2017.
    """
    hinge = relu(1 + z - pick(z, y)[:, None] + epsilon * gradient_gaps)
    # A hinge is never negative, so a 0 in place of j = y leaves the maximum over the others alone.
    others = stop_gradient(hinge) * (1 - one_hot(y, z.shape[1], z.dtype))
    return mean(pick(hinge, others.argmax(axis=1)) * (others.max(axis=1) > 0))


def weight_decay(params):
    """½ Σ‖W‖² over the hidden layers' weights: neither biases nor the last layer."""
    return sum((0.5 * np.sum(W * W) for W, _ in params[:-1]), 0.0)
