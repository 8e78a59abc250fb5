"""The other defences in PyTorch."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from .pytorch import logits, pick


def slope(f, x):
    """∇_x f(x), f a scalar, as a constant."""
    x = x.detach().requires_grad_()
    return torch.autograd.grad(f(x), x)[0]


def adversarial(params, x, y, epsilon, geometry):
    """r of adversarial training (Goodfellow et al. 2015)."""
    g = slope(lambda v: F.cross_entropy(logits(params, v), y), x)
    return epsilon * (g.sign() if geometry == "linf" else F.normalize(g, dim=1))


def kl(z0, z):
    """mean KL(softmax z0 ‖ softmax z)."""
    return F.kl_div(F.log_softmax(z, 1), F.log_softmax(z0, 1), log_target=True, reduction="batchmean")


def virtual(params, x, start, xi, epsilon):
    """r of virtual adversarial training (Miyato et al. 2015), one power iteration."""
    z0 = logits(params, x).detach()
    g = slope(lambda r: kl(z0, logits(params, x + r)), xi * F.normalize(start, dim=1))
    return epsilon * F.normalize(g, dim=1)


def margin(params, x, y, epsilon):
    """The hinge's worst case over an ε-ball, f linearised (Matyasko & Chau 2017)."""
    x = x.detach().requires_grad_()
    z = logits(params, x)
    lead = z - pick(z, y)[:, None]
    slopes = [torch.autograd.grad(lead[:, j].sum(), x, create_graph=True)[0] for j in range(z.shape[1])]
    own = F.one_hot(y, z.shape[1]).bool()
    square = torch.stack([(g * g).sum(1) for g in slopes], dim=1)
    size = torch.where(square > 0, torch.where(square > 0, square, 1).sqrt(), 0)  # sqrt has no derivative at 0
    hinge = torch.where(own, -torch.inf, 1 + lead + epsilon * size).amax(1)
    return hinge.clamp(min=0).mean()


def terms(params, x, y, start, epsilon, xi, weight_decay):
    """-> {pretraining, adversarial, virtual, margin}"""
    z = logits(params, x)
    loss = F.cross_entropy(z, y)
    decay = sum((W * W).sum() for W, _ in params[:-1]) / 2
    attacked = logits(params, x + adversarial(params, x, y, epsilon, "l2").detach())
    moved = logits(params, x + virtual(params, x, start, xi, epsilon).detach())
    return {
        "pretraining": loss + weight_decay * decay,
        "adversarial": (loss + F.cross_entropy(attacked, y)) / 2,
        "virtual": loss + kl(z.detach(), moved),
        "margin": margin(params, x, y, epsilon),
    }
