"""Attacks.  One file is one method; those of the evaluation share one signature, `attack(model, x, labels, …)`, and
one result, `AttackResult`."""

from .carlini_wagner import carlini_wagner
from .deepfool import deepfool
from .high_confidence import high_confidence
from .model import AttackWarning, Model, as_model
from .projected_gradient import projected_gradient
from .result import AttackResult

ATTACKS = {
    "deepfool": deepfool,
    "carlini_wagner": carlini_wagner,
    "high_confidence": high_confidence,
    "projected_gradient": projected_gradient,
}

__all__ = ["ATTACKS", "AttackResult", "AttackWarning", "Model", "as_model", *ATTACKS]
