"""The method in PyTorch, by double backward; its mathematics shares nothing with the rest of this package.

Parameters are lists of layers (W (in, out), b (out,)), images (n, d), classes (n,) int64, noise a list of one (n, in)
per layer of the critic.  Source: Matyasko & Chau 2018.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F
from torch.optim.adam import adam


def logits(params, x):
    """f(x), (n, k): a ReLU perceptron."""
    *hidden, (W, b) = params
    for V, c in hidden:
        x = torch.relu(torch.addmm(c, x, V))
    return torch.addmm(b, x, W)


def scores(params, x, noise):
    """D(x), (n, k): a LeakyReLU perceptron with Gaussian noise on every layer's input."""
    for i, ((W, b), e) in enumerate(zip(params, noise, strict=True)):
        x = (F.leaky_relu(x, 0.2) if i else x) + e
        x = torch.addmm(b, x, W)
    return x


def pick(v, labels):
    """One entry of each row: (n, k) -> (n,)."""
    return v.gather(1, labels[:, None])[:, 0]


def masked_mean(v, mask):
    """Mean over the True entries of `mask`; 0, with gradient 0, if there are none."""
    return (v * mask).sum() / mask.sum().clamp(min=1)


def attack_step(params, x, targets, C, eps=1e-8, create_graph=True):
    """-> (Newton's step on log p_t towards log C, p_t)"""
    x = x if x.requires_grad else x.detach().requires_grad_()
    z = logits(params, x)
    log_p, p = pick(F.log_softmax(z, 1), targets), pick(F.softmax(z, 1), targets)
    (w,) = torch.autograd.grad(log_p.sum(), x, create_graph=create_graph, retain_graph=True)
    n = (eps + (w * w).sum(1, keepdim=True)).sqrt()
    phi = (log_p - C.log()).abs()[:, None]
    return (eps**0.5 + phi / n) * w / n, p


def unrolled(params, x, targets, C, iterations=5, overshoot=0.05, eps=1e-8, gradient="truncated"):
    """x̂ = A_f(x, t; C); differentiable by θ and C (and by x where gradient = "full")."""
    r, active = torch.zeros_like(x), torch.ones_like(C)
    for _ in range(iterations):
        x_hat = x + (1 + overshoot) * r
        if gradient != "full":
            x_hat = x_hat.detach()
        step, p = attack_step(params, x_hat, targets, C, eps, gradient != "detached")
        s = torch.sigmoid(C - p)
        active = active * (s + (s.round() - s).detach())  # the rounded value, the identity's gradient
        r = r + active[:, None] * step
    x_hat = x + (1 + overshoot) * r
    return x_hat.detach() if gradient == "detached" else x_hat


def nearest_class(params, x):
    """The class, other than the predicted one, whose linearised boundary is nearest: (n,)."""
    x = x.detach().requires_grad_()
    z = logits(params, x)
    n, k = z.shape
    every = torch.eye(k, dtype=z.dtype)[:, None].expand(k, n, k)
    (jacobian,) = torch.autograd.grad(z, x, every, is_grads_batched=True)  # faster than k passes, or k copies of x
    z = z.detach()
    predicted = z.argmax(1)
    gaps = (jacobian - jacobian[predicted, torch.arange(n)]).norm(dim=2).T
    others = torch.arange(k) != predicted[:, None]
    away = torch.where(others & (gaps > 0), (z - pick(z, predicted)[:, None]).abs() / gaps, torch.inf)
    return torch.where(away.isfinite().any(1), away.argmin(1), torch.where(others, z, -torch.inf).argmax(1))


def generate(params, x, targets, C, **attack):
    """-> (f(x), max_j p_j(x), x̂, ŷ).  C: (n,), or None for every example's own confidence, which stays attached.

    `attack`: iterations, overshoot, eps and gradient of `unrolled`.
    """
    z = logits(params, x)
    own = pick(F.softmax(z, 1), z.argmax(1))
    x_hat = unrolled(params, x, targets, own if C is None else C, **attack)
    with torch.no_grad():
        y_hat = logits(params, x_hat).argmax(1)
    return z, own, x_hat, y_hat


def judge(params, generated, x, y, critic, noise, **attack):
    """-> {cross_entropy, critic, cycle}, unweighted, of what `generate` made at the same θ."""
    z, own, x_hat, y_hat = generated
    predicted = z.argmax(1)
    changed = y_hat != predicted
    D = pick(scores([(W.detach(), b.detach()) for W, b in critic], x_hat, noise), y_hat)
    x_back = unrolled(params, x_hat.detach(), predicted, own, **attack)
    return {
        "cross_entropy": F.cross_entropy(z, y),
        "critic": masked_mean(F.softplus(-D), changed),
        "cycle": masked_mean(((x - x_back) ** 2).sum(1), changed),
    }


def classifier_terms(params, x, y, targets, C, critic, noise, **attack):
    """`judge` of what `generate` made."""
    return judge(params, generate(params, x, targets, C, **attack), x, y, critic, noise, **attack)


def critic_terms(critic, x, y, x_hat, y_hat, noise_real, noise_fake):
    """-> {real, fake, penalty_real, penalty_fake}, unweighted; both halves in one batch, one forward pass for all."""
    both = torch.cat([x, x_hat]).detach().requires_grad_()
    noise = [torch.cat(pair) for pair in zip(noise_real, noise_fake, strict=True)]
    D = pick(scores(critic, both, noise), torch.cat([y, y_hat]))
    (g,) = torch.autograd.grad(D.sum(), both, create_graph=True)
    penalty = (torch.linalg.vector_norm(g, dim=1) - 1) ** 2
    n = len(x)
    return {
        "real": F.softplus(-D[:n]).mean(),
        "fake": F.softplus(D[n:]).mean(),
        "penalty_real": penalty[:n].mean(),
        "penalty_fake": penalty[n:].mean(),
    }


def gradient(terms, weights, params):
    """The gradient of Σ weight·term, nested like `params`; `weights` by name, 1 where there is none."""
    total = sum(weights.get(name, 1) * value for name, value in terms.items())
    flat = torch.autograd.grad(total, [a for layer in params for a in layer], materialize_grads=True)
    return list(zip(flat[::2], flat[1::2]))


@torch.no_grad()
def adam_step(params, gradient, m, v, t, rate, beta1=0.5, beta2=0.999, eps=1e-8):
    """Adam's step number t + 1 in TensorFlow's form, in place; PyTorch's has ε inside the bias correction."""
    trees = ([a for layer in tree for a in layer] for tree in (params, gradient, m, v))
    steps = [torch.tensor(float(t)) for layer in params for _ in layer]
    adam(*trees, [], steps, fused=True, amsgrad=False, beta1=beta1, beta2=beta2, lr=rate, weight_decay=0.0,
         eps=eps / (1 - beta2 ** (t + 1)) ** 0.5, maximize=False)  # fmt: skip
