"""The adapter of the PyTorch implementation.

python -m reference.conformance run reference.conformance.adapters.pytorch_adapter
"""

from __future__ import annotations

import numpy as np
import torch
from torch.utils._pytree import tree_map

from . import pytorch, pytorch_defences
from .evaluation import Evaluation
from .tensors import Tensors


class PyTorch(Tensors, Evaluation):
    name, method, defences = "PyTorch", pytorch, pytorch_defences

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


adapter = PyTorch()
