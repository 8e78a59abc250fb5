"""The adapter of the PyTorch implementation, and the other defences in PyTorch.

python -m reference.conformance run reference.conformance.adapters.pytorch_adapter
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils._pytree import tree_map

from . import pytorch
from .evaluation import Evaluation
from .tensors import Tensors


class PyTorch(Tensors, Evaluation):
    name, method = "PyTorch", pytorch

    def to(self, tree):
        return tree_map(lambda a: torch.tensor(a) if isinstance(a, np.ndarray) else a, tree)

    def back(self, tree):
        return tree_map(lambda t: t.detach().numpy(), tree)

    def slope(self, f, x):
        x = x.detach().requires_grad_()
        return torch.autograd.grad(f(x).sum(), x)[0]

    def gradients(self, terms, params):
        params = tree_map(lambda a: torch.tensor(a, requires_grad=True), params)

        def one(name):  # the 0: a term that is detached from the parameters has gradient 0, not none
            return pytorch.gradient({name: terms(params)[name] + 0 * params[0][0].sum()}, {}, params)

        return {name: one(name) for name in terms(params)}

    def adam_step(self, params, gradient, m, v, t, rate):
        trees = self.to((params, gradient, m, v))
        pytorch.adam_step(*trees, t, rate)
        return dict(zip(("params", "m", "v"), (self.back(trees[i]) for i in (0, 2, 3))))

    def adversarial_perturbation(self, params, x, y, epsilon, geometry):
        return self.back(adversarial(*self.to((params, x, y)), epsilon, geometry))

    def virtual_perturbation(self, params, x, start, xi, epsilon):
        return self.back(virtual(*self.to((params, x, start)), xi, epsilon))

    def baseline_losses(self, params, **given):
        return self.back(baseline_terms(self.to(params), **self.to(given)))

    def baseline_gradients(self, params, **given):
        given = self.to(given)
        return self.back(self.gradients(lambda p: baseline_terms(p, **given), params))


def slope(f, x):
    """∇_x f(x), f a scalar, as a constant."""
    x = x.detach().requires_grad_()
    return torch.autograd.grad(f(x), x)[0]


def adversarial(params, x, y, epsilon, geometry):
    """r of adversarial training (Goodfellow et al. 2015)."""
    g = slope(lambda v: F.cross_entropy(pytorch.logits(params, v), y), x)
    return epsilon * (g.sign() if geometry == "linf" else F.normalize(g, dim=1))


def kl(z0, z):
    """mean KL(softmax z0 ‖ softmax z)."""
    return F.kl_div(F.log_softmax(z, 1), F.log_softmax(z0, 1), log_target=True, reduction="batchmean")


def virtual(params, x, start, xi, epsilon):
    """r of virtual adversarial training (Miyato et al. 2015), one power iteration."""
    z0 = pytorch.logits(params, x).detach()
    g = slope(lambda r: kl(z0, pytorch.logits(params, x + r)), xi * F.normalize(start, dim=1))
    return epsilon * F.normalize(g, dim=1)


def margin(params, x, y, epsilon):
    """The hinge's worst case over an ε-ball, f linearised (Matyasko & Chau 2017)."""
    x = x.detach().requires_grad_()
    z = pytorch.logits(params, x)
    lead = z - pytorch.pick(z, y)[:, None]
    slopes = [torch.autograd.grad(lead[:, j].sum(), x, create_graph=True)[0] for j in range(z.shape[1])]
    own = F.one_hot(y, z.shape[1]).bool()
    square = torch.stack([(g * g).sum(1) for g in slopes], dim=1)
    size = torch.where(own, 1, square).sqrt()
    hinge = torch.where(own, -torch.inf, 1 + lead + epsilon * size).amax(1)
    return hinge.clamp(min=0).mean()


def baseline_terms(params, x, y, start, epsilon, xi, weight_decay):
    """-> {pretraining, adversarial, virtual, margin}"""
    z = pytorch.logits(params, x)
    loss = F.cross_entropy(z, y)
    decay = sum((W * W).sum() for W, _ in params[:-1]) / 2
    attacked = pytorch.logits(params, x + adversarial(params, x, y, epsilon, "l2").detach())
    moved = pytorch.logits(params, x + virtual(params, x, start, xi, epsilon).detach())
    return {
        "pretraining": loss + weight_decay * decay,
        "adversarial": (loss + F.cross_entropy(attacked, y)) / 2,
        "virtual": loss + kl(z.detach(), moved),
        "margin": margin(params, x, y, epsilon),
    }


adapter = PyTorch()
