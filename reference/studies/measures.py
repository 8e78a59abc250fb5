"""What several studies measure, on digits and on the toy problem, and training with another objective."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as onp

from ..attacks import Model, deepfool, high_confidence
from ..by_hand import steps as by_hand
from ..by_hand.model import from_params
from ..data import Digits, Split, toy
from ..experiment.evaluate import Evaluation, evaluate
from ..experiment.run import attack_shown
from ..experiment.standin import StandIn
from ..experiment.tables import interval, ratios
from ..method import losses, objectives, steps
from ..method.network import Params, logits
from ..method.numerics import predict

FIRST_TOY = 100
"""`toy.load`'s seed of the studies' seed 0: no sample on which settings were found, or that the demo shows."""


def robustness(params: Params, data: Digits, images: int, stand_in: StandIn | None = None) -> dict:
    """Error on all test images, and of the first `images`: ρ by DeepFool and by the high-confidence attack.

    Attacks start from the true label.  -> {error, deepfool, high_confidence, success} and for one seed's sake half of
    each 95 % interval, {.._half}.  With a `stand_in`, what images attacked to C = 0.8 look like to it: `looks_like`.
    """
    model = from_params(params)
    x, y = data.test.x[:images], data.test.y[:images]
    found = evaluate(model, x, y, {"deepfool": deepfool, "high_confidence": high_confidence})
    whole = Evaluation(predict(model.logits(data.test.x)), data.test.y, {})
    low, high = whole.error_interval()
    record = {"error": whole.error, "error_half": (high - low) / 2}
    for name, attack in found.attacks.items():
        low, high = interval(ratios([attack]))
        record |= {name: attack.rho, f"{name}_half": (high - low) / 2}
    record["success"] = found.attacks["high_confidence"].success_rate
    if stand_in is not None:
        record |= looks_like(model, x, y, stand_in)
    return {key: float(value) if onp.isfinite(value) else None for key, value in record.items()}


def looks_like(model, x, y, stand_in: StandIn, confidence: float | None = 0.8) -> dict[str, float]:
    """What images attacked to `confidence` (see `attack_shown`) look like: shares of them.

    -> {looks_like: the class they are taken for, looks_original: the class they were}, each the mean over the
    stand-in's two classifiers; nan if no attack succeeded.
    """
    images, taken_for, labels = attack_shown(model, x, y, confidence)
    if not len(images):
        return {"looks_like": onp.nan, "looks_original": onp.nan}
    shares = stand_in.shares(images, taken_for, labels).values()
    kinds = {"looks_like": "changed", "looks_original": "unchanged"}
    return {name: float(onp.mean([share[kind] for share in shares])) for name, kind in kinds.items()}


def with_objective(judge=objectives.judge, generate=objectives.generate) -> SimpleNamespace:
    """For `train(steps=..)`: the steps by hand, but the critic's classifier step has this objective, by autograd.

    judge, generate: as those of `objectives`, with the same arguments.
    """

    own = {"judge": staticmethod(judge), "generate": staticmethod(generate)}
    step = type("ClassifierStep", (steps.ClassifierStep,), own)
    return SimpleNamespace(**vars(by_hand) | {"ClassifierStep": step})


def on_toy(model: Model, data: Digits) -> dict:
    """How a classifier of the toy problem errs, clean and attacked, and of which kind: shares of 1.

    error: over the density itself, by quadrature to about 1e-4.
    Of the test points classified right, attacked from the true label up to p_t ≥ `toy.CONFIDENCE` (see `calibrated`):
    attacked_I, attacked_II, failed, of sum 1, and length, the mean ‖r‖ where the attack succeeded.
    """
    cells = toy.midpoints(250)
    taken_for = predict(model.logits(cells.astype(data.test.x.dtype)))
    right_mass = toy.densities(cells)[onp.arange(len(cells)), taken_for].mean() / len(toy.MEANS)

    right = predict(model.logits(data.test.x)) == data.test.y
    x, y = data.test.x[right], data.test.y[right]
    found = high_confidence(model, x, ("true", y), toy.CONFIDENCE)
    kinds = onp.where(found.success, toy.kind_of_error(found.last, predict(model.logits(found.last))), "")
    return {
        "error": float(1 - right_mass),
        "attacked_I": float(onp.mean(kinds == "I")),
        "attacked_II": float(onp.mean(kinds == "II")),
        "failed": float(onp.mean(kinds == "")),
        "length": float(onp.mean(found.norms[found.success])) if found.success.any() else None,
    }


def calibrated(params: Params, split: Split) -> Params:
    """The same classifier with its logits divided by the temperature at which `split` is likeliest.

    "90 % sure" means another thing to every objective: a hinge, say, stops at a margin of 1.  Now it is a frequency.
    Source: Guo et al., ICML 2017.
    """
    from scipy import optimize

    z = logits(params, split.x).astype(float)
    best = optimize.minimize_scalar(
        lambda t: losses.cross_entropy(z / onp.exp(t), split.y), bounds=(-5, 5), method="bounded"
    )
    W, b = params[-1]
    scale = W.dtype.type(onp.exp(-best.x))
    return [*params[:-1], (scale * W, scale * b)]
