"""The demo's four pictures: what was measured, arranged for `figures` to draw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as onp

from ..attacks import high_confidence
from ..by_hand.model import from_params
from ..data import toy
from ..experiment import plans
from ..method.numerics import predict
from ..method.settings import Undefended
from . import figures
from .plans import Experiment, with_epochs
from .run import SHEET_CONFIDENCE, Outcome
from .tables import NAMES, by_defence
from .train import train


def draw_all(outcomes: Sequence[Outcome], plan: Experiment, out: Path) -> list[tuple[Path, str]]:
    """Draw and save every picture in `out` -> [(path, what to see)].  Seed 0 is shown where one run must be chosen."""
    runs = {name: group[0] for name, group in by_defence(outcomes).items()}
    drawn = [
        (digit_sheet(runs, plan), "digits.png", "does each adversarial digit look like the class it is taken for?"),
        (accuracy(outcomes, plan), "robust_accuracy.png", "the higher for longer, the more robust"),
        (two_kinds(plan.toy_epochs), "two_kinds.png", "where do attacked points end, with and without the critic?"),
        (training(runs), "training.png", "losses, errors, and how the critic's generator fared"),
    ]
    written = []
    for figure, name, caption in drawn:
        figures.save(figure, out / name)
        written.append((out / name, caption))
    return written


def digit_sheet(runs: dict[str, Outcome], plan: Experiment):
    """The first test image of each class, attacked from its true label until C = 0.8, per defence."""
    sheets = [run.sheet for run in runs.values()]
    return figures.digit_sheet(
        sheets[0]["x"],
        onp.stack([sheet["adversarial"] for sheet in sheets]),
        sheets[0]["y"],
        onp.stack([sheet["taken_for"] for sheet in sheets]),
        onp.stack([sheet["success"] for sheet in sheets]),
        [NAMES[name] for name in runs],
        plan.side,
        f"High-confidence attack from the true label, C = {SHEET_CONFIDENCE:g} for every defence; seed 0.",
    )


def accuracy(outcomes: Sequence[Outcome], plan: Experiment):
    """Robust accuracy against ‖r‖, the mean over seeds."""
    curves: dict[str, dict[str, tuple]] = {}
    for name, group in by_defence(outcomes).items():
        for attack, (radii, _) in group[0].curves.items():
            mean = onp.mean([run.curves[attack][1] for run in group], axis=0)
            curves.setdefault(attack, {})[NAMES[name]] = (radii, mean)
    attacked = {name: len(found.ratios) for name, found in outcomes[0].true.attacks.items()}
    attacked["projected gradient"] = min(plan.slow_images, plan.test_images)
    counts = ", ".join(f"{name} {images:,}" for name, images in attacked.items())
    return figures.robust_accuracy(curves, ("projected gradient",), f"From the true label.  Test images: {counts}.")


def training(runs: dict[str, Outcome]):
    """The records of seed 0."""
    return figures.training_curves({NAMES[name]: run.history for name, run in runs.items()}, "Seed 0.")


def two_kinds(epochs: int):
    """Where attacks end on the toy problem of known density, without and with the critic: the two kinds of error."""
    data, cells = toy.load(), toy.midpoints()
    on_grid = (toy.GRID, toy.GRID)
    panels = {}
    for defence in (Undefended(), plans.TOY_CRITIC):
        model = from_params(train(data, defence, with_epochs(plans.TOY_TRAINING, epochs)).params)
        right = predict(model.logits(data.test.x)) == data.test.y
        x, y = data.test.x[right], data.test.y[right]
        found = high_confidence(model, x, ("true", y), toy.CONFIDENCE)
        kinds = toy.kind_of_error(found.last, predict(model.logits(found.last)))
        predicted = predict(model.logits(cells.astype(x.dtype))).reshape(on_grid)
        panels[defence.name] = figures.Panel(predicted, x, found.last, onp.where(found.success, kinds, ""))
    return figures.two_kinds(
        panels,
        *data.train,
        toy.bayes_classes(cells).reshape(on_grid),
        toy.typicality(cells).reshape(*on_grid, -1),
        toy.CLASS_NAMES,
        note=f"High-confidence attack, C = {toy.CONFIDENCE:g}, on the test points that are classified right.",
    )
