"""The demo's experiment: train every defence for every seed, attack each, side by side in processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as onp

from ..attacks import carlini_wagner, ddn, deepfool, high_confidence, projected_gradient, strongest
from ..by_hand import steps as by_hand
from ..by_hand.model import from_params
from ..data import Digits, Split, load, load_idx
from ..errors import check_labels
from ..method import steps as definitions
from ..method.numerics import predict
from ..plumbing import executors
from .evaluate import Evaluation, evaluate, from_predicted, measure, robust_accuracy
from .plans import Experiment
from .standin import StandIn
from .state import State
from .train import train

# The pictured attacks stop at the same confidence for every defence: an over-confident one's own is out of reach.
SHEET_CONFIDENCE = 0.8

Report = Callable[[str, int, int, int, dict], None]


@dataclass(frozen=True)
class Outcome:
    """One defence, one seed: how training went and what the attacks found.

    true, predicted: evaluations that attack the true and the predicted label.  curves: {attack: (radii, robust
    accuracy)}.  sheet: the first test image of each class under the high-confidence attack, C = 0.8.  attacked: what
    `attack_shown` makes of the test images; looks: the share of these that look like the class they are taken for to
    each of the stand-in's classifiers, {} until `judge_looks`.  seconds: {part of the run: how long it took}, in order.
    ended: when, in seconds since 1970.
    """

    defence: str
    seed: int
    history: list[dict[str, float]]
    true: Evaluation
    predicted: Evaluation
    curves: dict[str, tuple[onp.ndarray, onp.ndarray]]
    sheet: dict[str, onp.ndarray]
    attacked: tuple[onp.ndarray, onp.ndarray, onp.ndarray]
    looks: dict[str, float]
    seconds: dict[str, float]
    ended: float


def digits(side: int, folder: str | Path | None = None, full: bool = False) -> Digits:
    """The embedded digits, the 5,000 or all of MNIST, or another set from the user's `folder`."""
    if folder is None:
        return load(side, full=full)
    found = load_idx(folder, side)
    check_labels(found.test.y, int(found.train.y.max()) + 1, name="test labels")
    return found


def steps_of(plan: Experiment) -> ModuleType:
    """The module that takes the training steps: the hand-written ones, or the definitions themselves."""
    return definitions if plan.plain else by_hand


def estimate(plan: Experiment, data: Digits, jobs: int, batches: int = 3) -> str:
    """How long training will take here, in words, from the time of a few batches of each defence."""
    rows = onp.linspace(0, len(data.train.y) - 1, plan.training.batch * batches).astype(int)  # of every class
    few = Split(data.train.x[rows], data.train.y[rows])
    few = data._replace(train=few, validation=few)
    once = replace(plan.training, epochs=1, pretrain_epochs=0)
    seconds = {}
    for name, defence in plan.defences.items():
        epochs = plan.training_of(name).epochs + plan.training.pretrain_epochs
        steps = -(-len(data.train.y) // plan.training.batch) * epochs
        began = time.perf_counter()
        train(few, defence, once, steps=steps_of(plan))
        seconds[name] = (time.perf_counter() - began) / batches * steps * plan.seeds
    each = ", ".join(f"{name} {_words(value)}" for name, value in seconds.items())
    wall = max(sum(seconds.values()) / jobs, max(seconds.values()) / plan.seeds)
    return (
        f"Training will take about {_words(wall)} here with {jobs} processes ({each}), attacks on top; "
        "Ctrl-C keeps the epochs done, --resume goes on."
    )


def _words(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def run(
    plan: Experiment, name: str, seed: int, checkpoint: Path | None, resume: bool, source, report: Report | None = None
) -> Outcome:
    """Train the defence `name` from `seed`, then attack the result.  source: the digits, or what `digits` takes."""
    data = source if isinstance(source, Digits) else digits(plan.side, source, plan.full)
    seconds = Seconds()
    progress = None if report is None else partial(report, name, seed)
    with seconds.of("training"):
        how = plan.training_of(name), seed, progress, checkpoint, resume, steps_of(plan)
        state = train(data, plan.defences[name], *how)
    return attack(plan, name, seed, state, data, seconds)


class Seconds(dict):
    """How long each part of a run took: {its name: seconds}."""

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Add the time that the block takes to the part's."""
        began = time.perf_counter()
        yield
        self[part] = self.get(part, 0.0) + time.perf_counter() - began

    def timed(self, part: str, function: Callable) -> Callable:
        """The function, each call of which adds to the part's time."""
        return self.of(part)(function)


def attack(
    plan: Experiment, name: str, seed: int, state: State, data: Digits, seconds: Seconds | None = None
) -> Outcome:
    """The evaluation of a trained classifier on the test split; what each attack takes is added to `seconds`."""
    seconds = Seconds() if seconds is None else seconds
    model = from_params(state.params)
    x, y = data.test.x[: plan.test_images], data.test.y[: plan.test_images]
    slow = partial(
        carlini_wagner,
        search_steps=plan.search_steps,
        iterations=plan.attack_iterations,
        learning_rate=plan.attack_learning_rate,
    )
    fast = {"DeepFool": deepfool, "DDN": ddn, "high-confidence": high_confidence, "strongest": strongest}
    attacks = {attack: seconds.timed(attack, call) for attack, call in (fast | {"Carlini-Wagner": slow}).items()}
    first = {
        "high-confidence": plan.fast_images,
        "strongest": plan.strongest_images,
        "Carlini-Wagner": plan.slow_images,
    }
    true = evaluate(model, x, y, attacks, "true", first)
    predicted = from_predicted(true, model, x, {attack: attacks[attack] for attack in fast})

    radii = onp.linspace(0, 1.25 * max(plan.radii), 100)
    curves = {name: (radii, robust_accuracy(found, y, radii)) for name, found in true.attacks.items()}
    few, labels = x[: plan.slow_images], y[: plan.slow_images]
    within = [onp.mean(true.predicted[: len(few)] == labels)]
    projected = seconds.timed("projected gradient", projected_gradient)
    for radius in plan.radii:
        found = projected(model, few, ("true", labels), radius, restarts=1, targets="all")
        within.append(robust_accuracy(measure(found, few, model.logits), labels, [radius])[0])
    # What works in a ball works in a larger one, whether or not the larger search came upon it.
    curves["projected gradient"] = (onp.array([0, *plan.radii]), onp.minimum.accumulate(within))

    with seconds.of("pictured attacks"):
        attacked = attack_shown(model, x[: plan.fast_images], y[: plan.fast_images])
        sheet = pictured(model, x, y)
    return Outcome(name, seed, state.history, true, predicted, curves, sheet, attacked, {}, seconds, time.time())


def pictured(model, x, y) -> dict[str, onp.ndarray]:
    """The first image of each class under the high-confidence attack, C = 0.8: what an `Outcome` calls its sheet."""
    ten = onp.array([onp.flatnonzero(y == digit)[0] for digit in onp.unique(y)])
    shown = high_confidence(model, x[ten], ("true", y[ten]), SHEET_CONFIDENCE)
    sheet = {"x": x[ten], "y": y[ten], "adversarial": shown.last, "success": shown.success}
    return sheet | {"taken_for": predict(model.logits(shown.last))}


def attack_shown(
    model, x, y, confidence: float | None = SHEET_CONFIDENCE
) -> tuple[onp.ndarray, onp.ndarray, onp.ndarray]:
    """The high-confidence attack to `confidence` (None: each image's own), where it succeeds.

    Attacked are those of `x` (n, d) that are classified as `y` (n,).

    -> (attacked images (m, d), the classes (m,) that the model takes them for, their labels (m,)).
    """
    found = high_confidence(model, x, ("true", y), confidence)
    rows = found.success & (predict(model.logits(x)) == y)
    return found.images[rows], predict(model.logits(found.images[rows])), y[rows]


def judge_looks(outcomes: Sequence[Outcome], stand_in: StandIn) -> list[Outcome]:
    """The outcomes with what the stand-in sees in their attacked images."""

    def changed(images, taken_for, labels):
        if not len(images):
            return {}
        return {name: shares["changed"] for name, shares in stand_in.shares(images, taken_for, labels).items()}

    return [replace(outcome, looks=changed(*outcome.attacked)) for outcome in outcomes]


def run_all(
    plan: Experiment,
    out: Path,
    jobs: int | None = 1,
    resume: bool = False,
    folder: str | Path | None = None,
    report: Report | None = None,
    cluster: executors.Cluster = None,
) -> list[Outcome]:
    """Every defence of `plan` for every seed, `jobs` at a time, each run in its own process.

    Checkpoints go to `out`/checkpoints; without `resume`, those of the same names are removed first.  On a
    `cluster` (see `executors.run_all`), a user's `folder` is read here, and its digits are sent to each worker once.
    report(defence, seed, epoch, epochs, record) is called in this process after
    every epoch of every run.  The outcomes come in the order of (defence, seed), whichever ended first.
    What a run raises is raised here, and `ChildProcessError` if its process died; the other runs are ended then, as
    they are on Ctrl-C.
    """
    stand_in = StandIn(*digits(plan.side, folder, plan.full).train)  # if there is no room for it, this fails now
    waiting = [(name, seed) for seed in range(plan.seeds) for name in plan.defences]
    slow = "critic", "multi-step"  # they take longest, and go first, so that no core waits for them at the end
    waiting.sort(key=lambda task: slow.index(task[0]) if task[0] in slow else len(slow))
    source = folder
    if folder is not None and cluster is not None:
        source = digits(plan.side, folder, plan.full)
        source = executors.Shared(source) if isinstance(cluster, str) else source
    tasks = {}
    for name, seed in waiting:
        checkpoint = Path(out).resolve() / "checkpoints" / f"{name}-{seed}.npz"
        if not resume:
            checkpoint.unlink(missing_ok=True)
        # What is there is this experiment's: a run whose process died goes on from it.
        tasks[f"{name}, seed {seed}"] = plan, name, seed, checkpoint, True, source
    outcomes = executors.run_all(run, tasks, jobs, report=report or (lambda *_: None), cluster=cluster)
    ordered = [outcomes[f"{name}, seed {seed}"] for name in plan.defences for seed in range(plan.seeds)]
    return judge_looks(ordered, stand_in)
