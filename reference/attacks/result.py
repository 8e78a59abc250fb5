"""What every attack returns, and the checks with which every attack begins and ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as onp

from ..checks import check_images, check_labels
from ..errors import InputError
from ..numerics import predict
from .model import Model, as_model, warn_if_untrustworthy


@dataclass(frozen=True)
class AttackResult:
    """The outcome for n images.  A failed attack gives the original back, and nan for its norm: no average hides it.

    images:     (n, d), the adversarial image where `success`, the original elsewhere.
    success:    (n,) bool, judged on `images` after clipping, in the attack's own dtype.
    norms:      (n,) ‖images − x‖ where `success`, nan elsewhere.
    iterations: (n,) steps spent on each image.
    reason:     (n,) why it ended: "success", "iteration limit" or "vanishing gradient".
    last:       (n, d) the last iterate, successful or not.
    labels:     (n,) the labels attacked.
    convention: labels attacked, box, overshoot, iterations, in words; every table prints it.
    """

    images: onp.ndarray
    success: onp.ndarray
    norms: onp.ndarray
    iterations: onp.ndarray
    reason: onp.ndarray
    last: onp.ndarray
    labels: onp.ndarray
    convention: str


def begin(model, x, labels, box) -> tuple[Model, onp.ndarray, onp.ndarray, str]:
    """Check the input of an attack -> (model, x, labels (n,), the labels' name).

    labels: None for the model's own prediction, an array of n classes, or a pair (name, array), whose name enters
    the convention ("true", say).
    """
    model = as_model(model)
    if box is not None and not box[0] < box[1]:
        raise InputError(f"box = {box}: give (low, high) with low < high, or None for no clipping")
    x = check_images(x) if box == (0, 1) else onp.asarray(x)
    if x.ndim != 2 or x.dtype.kind != "f" or not onp.isfinite(x).all():
        raise InputError(f"x: expected a finite float array (n, d), got {x.dtype} {x.shape}")
    z, pull_back = model.linearise(x)
    if z.ndim != 2 or len(z) != len(x) or z.shape[1] < 2:
        raise InputError(f"logits(x) has shape {z.shape}: expected (n, k) with n = {len(x)} and k ≥ 2")
    if not onp.isfinite(z).all():
        raise InputError("logits(x) has nan or infinite entries: check the model's parameters")
    if labels is None:
        name, labels = "predicted", predict(z)
    else:
        name, labels = labels if isinstance(labels, tuple) else ("given", labels)
        labels = check_labels(labels, z.shape[1], len(x))
    top, second = onp.argsort(-z, axis=1)[:, :2].T
    rows, v = onp.arange(len(z)), onp.zeros_like(z)
    v[rows, top], v[rows, second] = 1, -1
    warn_if_untrustworthy(z, pull_back(v))
    return model, x, labels, name


def finish(x, last, success, iterations, labels, convention, stuck=None) -> AttackResult:
    """Put the parts together; what failed gets its original back.  `stuck` (n,) bool: gave up on a zero gradient."""
    reason = onp.where(success, "success", "iteration limit")
    if stuck is not None:
        reason = onp.where(stuck & ~success, "vanishing gradient", reason)
    images = onp.where(success[:, None], last, x)
    norms = onp.where(success, onp.linalg.norm(images - x, axis=1), onp.nan).astype(x.dtype)
    return AttackResult(images, success, norms, iterations, reason, last, labels, convention)


def clip(x, box):
    """`x` inside `box` = (low, high); `box` None leaves it alone."""
    return x if box is None else onp.clip(x, *box)


def describe(name: str, labels: str, box, **numbers) -> str:
    """The convention in words, for tables: "DeepFool, from the true label, box [0, 1], …"."""
    limits = "no box" if box is None else f"box [{box[0]:g}, {box[1]:g}]"
    rest = [f"{key.replace('_', ' ')} {value}" for key, value in numbers.items()]
    return ", ".join([name, f"from the {labels} label", limits, *rest])


Attack = Callable[..., AttackResult]
