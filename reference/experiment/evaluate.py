"""How robust a classifier is: ρ = mean ‖r‖/‖x‖ over test images, r the perturbation that an attack found.

Two conventions, never mixed: attacks start from the *true* label, as published, so that an image
that is misclassified to begin with counts as 0 under DeepFool; or from the *predicted* one.  Failed attacks are
reported as a rate and never averaged in; `authors_rho` averages their last iterate in, as the authors do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as onp

from ..attacks import ATTACKS, AttackResult, as_model
from ..attacks.model import row_norms
from ..attacks.result import probe
from ..errors import InputError, check_labels, require
from ..method.numerics import predict, softmax
from ..plumbing.checks import check_images

STARTS = ("true", "predicted")
PUBLISHED = {name: ATTACKS[name] for name in ("DeepFool", "Carlini-Wagner", "high-confidence")}
"""The attacks of the published table."""


@dataclass(frozen=True)
class Robustness:
    """What one attack found on n images of one classifier, image by image.

    ratios: (n,) ‖r‖/‖x‖, nan where the attack failed; last_ratios: (n,) the same of the last iterate, never nan.
    norms: (n,) ‖r‖, nan where it failed; success: (n,); before, after: (n,) predicted classes.
    convention: what was attacked and how, in words.
    """

    ratios: onp.ndarray
    last_ratios: onp.ndarray
    norms: onp.ndarray
    success: onp.ndarray
    before: onp.ndarray
    after: onp.ndarray
    convention: str

    @property
    def rho(self) -> float:
        """Mean ‖r‖/‖x‖ over the images on which the attack succeeded; nan if there are none."""
        return float(onp.mean(self.ratios[self.success])) if self.success.any() else float("nan")

    @property
    def authors_rho(self) -> float:
        """Mean ‖r‖/‖x‖ with the last iterate of failed attacks averaged in, as the authors' script does."""
        return float(onp.mean(self.last_ratios))

    @property
    def median(self) -> float:
        """Median ‖r‖/‖x‖ over all images, a failed attack counting as infinitely far."""
        return float(onp.median(onp.where(self.success, self.ratios, onp.inf)))

    @property
    def success_rate(self) -> float:
        """The fraction of images on which the attack succeeded."""
        return float(onp.mean(self.success))


@dataclass(frozen=True)
class Evaluation:
    """A classifier's error on n images and its `Robustness` under each attack (on the first images, if fewer).

    confidence: (n,) the probabilities of the predicted classes, in the classifier's dtype.
    """

    predicted: onp.ndarray
    labels: onp.ndarray
    attacks: dict[str, Robustness]
    confidence: onp.ndarray | None = None

    @property
    def error(self) -> float:
        """The fraction of images that are misclassified."""
        return float(onp.mean(self.predicted != self.labels))

    @property
    def calibration_error(self) -> float:
        """The expected calibration error, see `calibration_error`; nan if the confidences are unknown."""
        if self.confidence is None:
            return float("nan")
        return calibration_error(self.confidence, self.predicted == self.labels)

    def error_interval(self, level: float = 0.95) -> tuple[float, float]:
        """Wilson's interval of `error`."""
        from scipy import stats

        wrong = int(onp.sum(self.predicted != self.labels))
        interval = stats.binomtest(wrong, len(self.labels)).proportion_ci(level, method="wilson")
        return float(interval.low), float(interval.high)


def calibration_error(confidence, right, bins: int = 15) -> float:
    """ECE = Σ_b n_b/n·|mean of `right` − mean of `confidence`| over equal bins (b/bins, (b + 1)/bins] of confidence.

    confidence: (n,) in [0, 1]; right: (n,) bool.  Source: Guo et al. 2017, eq. 3.
    """
    confidence = onp.asarray(confidence, float)
    which = onp.clip(onp.ceil(bins * confidence).astype(int) - 1, 0, bins - 1)
    return float(onp.abs(onp.bincount(which, right - confidence)).sum() / len(which))


def check_not_blank(x: onp.ndarray) -> onp.ndarray:
    """`x` (n, d), no image of which is too dark for ‖r‖/‖x‖."""
    blank = onp.flatnonzero(x.max(axis=1) < onp.finfo(x.dtype).tiny)  # dividing by less overflows
    if len(blank):
        raise InputError(f"image {blank[0]} is all zero, or so near it that ‖r‖/‖x‖ overflows: leave it out")
    return x


def measure(result: AttackResult, x: onp.ndarray, logits: Callable) -> Robustness:
    """An attack's result on `x` (n, d) as ratios ‖r‖/‖x‖; `logits` the classifier attacked."""
    size, last = row_norms(check_not_blank(x)), row_norms(result.last - x)
    before, after = predict(logits(x)), predict(logits(result.images))
    return Robustness(result.norms / size, last / size, result.norms, result.success, before, after, result.convention)


def evaluate(
    model,
    x: onp.ndarray,
    y: onp.ndarray,
    attacks: Mapping[str, Callable[..., AttackResult]] = PUBLISHED,
    start: str = "true",
    subset: Mapping[str, int] | None = None,
    batch: int = 1000,
) -> Evaluation:
    """The classifier's error and its robustness under each of `attacks`.

    model: see `attacks.as_model`; x: (n, d) in [0, 1]; y: (n,) true labels; attacks: by name, called as
    attack(model, x, labels).  start: "true" or "predicted", the label that is attacked.  subset: {attack: m} runs a
    slow attack on the first m images only.  Attacks run on `batch` images at a time, which the result does not show.
    Raises `InputError` on another start, an unknown attack in `subset`, an empty batch or subset, unfit images.
    """
    if start not in STARTS:
        raise InputError(f'start = {start!r}: choose "true" (published) or "predicted"')
    subset = {} if subset is None else subset
    if not isinstance(subset, Mapping):
        raise InputError(f"subset = {subset!r}: give {{attack: number of images}}")
    if not subset.keys() <= attacks.keys():
        raise InputError(f"subset names {', '.join(subset.keys() - attacks.keys())}: choose from {', '.join(attacks)}")
    (batch,) = require("a whole number, 1 or more", batch=batch)
    for name, images in subset.items():
        require("a whole number, 1 or more", **{f"subset[{name!r}]": images})
    if not attacks:
        raise InputError("attacks is empty: name at least one")
    model, x = as_model(model), check_images(x)
    check_not_blank(x)  # before the attacks, which take long
    z, _ = probe(model, x)
    predicted, y = predict(z), check_labels(y, z.shape[1], len(x))
    labels = y if start == "true" else predicted
    found = {}
    for name, attack in attacks.items():
        n = min(len(x), subset.get(name, len(x)))
        rows = [slice(i, min(i + batch, n)) for i in range(0, n, batch)]
        parts = [attack(model, x[part].copy(), (start, labels[part])) for part in rows]
        found[name] = measure(_join(parts), x[:n], model.logits)
    return Evaluation(predicted, y, found, softmax(z).max(axis=1))


def from_predicted(true: Evaluation, model, x: onp.ndarray, attacks: Mapping[str, Callable]) -> Evaluation:
    """What `evaluate` finds from the predicted label, given what it found from the `true` one on the same `x` (n, d).

    The two conventions differ on misclassified images only, so these alone are attacked anew.
    """
    wrong = onp.flatnonzero(true.predicted != true.labels)
    few = {name: max(1, int(onp.sum(wrong < len(true.attacks[name].ratios)))) for name in attacks}
    anew = evaluate(model, x[wrong], true.labels[wrong], attacks, "predicted", few).attacks if len(wrong) else {}
    found = {}
    for name in attacks:
        values = {key: value.copy() for key, value in vars(true.attacks[name]).items() if key != "convention"}
        rows = wrong[wrong < len(values["ratios"])]
        for key, value in values.items():
            value[rows] = getattr(anew[name], key)[: len(rows)] if len(rows) else value[rows]
        said = true.attacks[name].convention.replace("from the true label", "from the predicted label")
        found[name] = Robustness(**values, convention=said)
    return Evaluation(true.predicted, true.labels, found, true.confidence)


def _join(parts: list[AttackResult]) -> AttackResult:
    """The results of consecutive batches as one."""
    fields = ("images", "success", "norms", "iterations", "reason", "last", "labels")
    joined = {name: onp.concatenate([getattr(part, name) for part in parts]) for name in fields}
    return AttackResult(**joined, convention=parts[0].convention)


def robust_accuracy(found: Robustness, labels: onp.ndarray, radii: onp.ndarray) -> onp.ndarray:
    """The fraction of images that are classified right and stay so within each of `radii` (m,): (m,).

    found: attacks on the true `labels` (n,); an attack that failed leaves its image robust at every radius.
    """
    right = found.before == labels[: len(found.before)]
    distance = onp.where(found.success, found.norms, onp.inf)
    return (right & (distance > onp.asarray(radii)[:, None])).mean(axis=1)
