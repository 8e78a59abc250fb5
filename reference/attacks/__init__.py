"""Attacks.  One file is one method; those of the evaluation share one signature, `attack(model, x, labels, …)`, and
one result, `AttackResult`."""

from .carlini_wagner import carlini_wagner
from .ddn import ddn
from .deepfool import deepfool
from .high_confidence import high_confidence
from .model import AttackWarning, Model, as_model
from .projected_gradient import projected_gradient
from .result import AttackResult
from .strongest import strongest

ATTACKS = {
    "DeepFool": deepfool,
    "DDN": ddn,
    "Carlini-Wagner": carlini_wagner,
    "high-confidence": high_confidence,
    "projected gradient": projected_gradient,
}
"""Every single attack by its name in tables; `strongest` combines three of them."""

__all__ = [
    "ATTACKS", "AttackResult", "AttackWarning", "Model", "as_model",
    "carlini_wagner", "ddn", "deepfool", "high_confidence", "projected_gradient", "strongest",
]  # fmt: skip
