"""What several studies measure: robustness of a trained classifier, and training with another objective."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as onp

from .. import adjoint, fused, steps
from ..attacks import deepfool, high_confidence
from ..data import Digits
from ..evaluate import Evaluation, evaluate
from ..experiment import attack_shown
from ..network import Params
from ..numerics import predict
from ..standin import StandIn
from ..twins import TWINS


def robustness(params: Params, data: Digits, images: int, stand_in: StandIn | None = None) -> dict:
    """Error on all test images, and of the first `images`: ρ by DeepFool and by the high-confidence attack.

    Attacks start from the true label.  -> {error, deepfool, high_confidence, success} and for one seed's sake half of
    each 95 % interval, {.._half}.  With a `stand_in`, what images attacked to C = 0.8 look like to it: `looks_like`.
    """
    model = adjoint.as_model(params)
    x, y = data.test.x[:images], data.test.y[:images]
    found = evaluate(model, x, y, {"deepfool": deepfool, "high_confidence": high_confidence})
    whole = Evaluation(predict(model.logits(data.test.x)), data.test.y, {})
    low, high = whole.error_interval()
    record = {"error": whole.error, "error_half": (high - low) / 2}
    for name, attack in found.attacks.items():
        low, high = attack.interval()
        record |= {name: attack.rho, f"{name}_half": (high - low) / 2}
    record["success"] = found.attacks["high_confidence"].success_rate
    if stand_in is not None:
        record |= looks_like(model, x, y, stand_in)
    return {key: float(value) if onp.isfinite(value) else None for key, value in record.items()}


def looks_like(model, x, y, stand_in: StandIn) -> dict[str, float]:
    """What attacked images (see `attack_shown`) look like: shares of them.

    -> {looks_like: the class they are taken for, looks_original: the class they were}, each the mean over the
    stand-in's two classifiers; nan if no attack succeeded.
    """
    images, taken_for, labels = attack_shown(model, x, y)
    if not len(images):
        return {"looks_like": onp.nan, "looks_original": onp.nan}
    shares = stand_in.shares(images, taken_for, labels).values()
    kinds = {"looks_like": "changed", "looks_original": "unchanged"}
    return {name: float(onp.mean([share[kind] for share in shares])) for name, kind in kinds.items()}


def with_objective(judge) -> SimpleNamespace:
    """For `train(via=..)`: the fused steps, but the critic's classifier step has the objective `judge`, by autograd.

    judge: as `objectives.judge`, with the same arguments.
    """

    class ClassifierStep(steps.ClassifierStep):
        def __init__(self, params, x):
            super().__init__(params, x, TWINS)

    ClassifierStep.judge = staticmethod(judge)
    return SimpleNamespace(**vars(fused) | {"ClassifierStep": ClassifierStep})
