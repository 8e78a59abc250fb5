"""Does the adversary critic help when data are scarce, and cost when they are plenty?

Objective (3), −log p(y|x) plus a distance between p_data(x, y) and p_adv(x, y), has the form of a pseudo-likelihood
p(y|x)·p(x|y): a classifier with a generative term.  Generative terms are known to help on few data and to cost
accuracy on many.  Here: test error against the number of training images.

Four methods at their demo's strength, which was chosen on the validation split at 3,500 images: cross-entropy, the same
with weight decay c·½Σ‖W‖² of the hidden layers throughout, virtual adversarial training, and the adversary critic.
c is chosen likewise: of `DECAYS`, the smallest validation error, mean over seeds, at the largest size.
A seed draws n of the 3,500 training images, the same for every method, classes balanced, smaller draws inside larger
ones.  Whatever n, every training takes the same number of steps (a tenth of them pre-training) in batches of
min(100, n), by the demo's recipe with the learning rate halved at the same fractions.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import NamedTuple

import numpy as onp
from matplotlib.figure import Figure

from ..by_hand import steps as by_hand
from ..data import Split
from ..experiment.figures import FONT, caption, look, plain
from ..experiment.plans import DEMO, QUICK, STUDIED, with_epochs
from ..experiment.tables import grid
from ..experiment.train import error, train
from ..method.settings import Training, Undefended
from .study import Records, by_name, compare, digits, entry, values

DECAYS = (3e-4, 1e-3, 3e-3, 1e-2)
DECAY = 1e-3
"""The c of `DECAYS` that is chosen; `test_studies_scarcity` looks it up in the shipped records."""


class Size(NamedTuple):
    """How much is trained."""

    recipe: Training
    steps: int
    numbers: tuple[int, ...]
    """Of training images."""
    seeds: int
    decays: tuple[float, ...] = DECAYS


SIZES = {
    "quick": Size(QUICK.training, 20, (50, 100), 1, (DECAY,)),
    "preview": Size(DEMO.training, 700, (50, 500, 3500), 1),
    "full": Size(DEMO.training, 1400, (50, 100, 200, 500, 1000, 3500), 5),
}
METHODS = {
    "cross-entropy": Undefended(),
    "weight decay": Undefended(),
    "virtual adversarial": STUDIED["virtual"],
    "adversary critic": STUDIED["critic"],
}


def tasks(size: Size):
    largest = max(size.numbers)
    runs = [(name, n, DECAY if name == "weight decay" else 0) for n in size.numbers for name in METHODS]
    runs += [("weight decay", largest, decay) for decay in size.decays if decay != DECAY]
    return [
        (
            {"name": f"{name}, {n} images{tried}", "method": name, "images": n, "decay": decay, "seed": seed}
            | {"settings": repr((METHODS[name], size.recipe, size.steps))},
            (name, n, decay, size, seed),
        )
        for seed in range(size.seeds)
        for name, n, decay in runs
        for tried in [f", c = {decay:g}" if decay not in (0, DECAY) else ""]
    ]


def draw_images(split: Split, n: int, seed: int) -> Split:
    """`n` images of `split` in random order of `seed`, each class ⌊n/k⌋ or ⌈n/k⌉ times; the first of a larger draw."""
    rng = onp.random.default_rng(seed)
    order = rng.permutation(len(split.y))
    y, first = split.y[order], rng.permutation(int(split.y.max()) + 1)  # the classes' order within a turn
    turn = onp.array([onp.sum(y[:i] == y[i]) for i in range(len(y))])
    rows = order[onp.lexsort((first[y], turn))[:n]]
    return Split(split.x[rows], split.y[rows])


def schedule(size: Size, n: int) -> Training:
    """The recipe for `n` images: `size.steps` steps, a tenth of them pre-training, whole epochs of each."""
    batch = min(size.recipe.batch, n)
    steps_per_epoch = -(-n // batch)
    epochs = size.steps // steps_per_epoch
    before = max(epochs // 10, 1)
    return replace(with_epochs(size.recipe, epochs - before), batch=batch, pretrain_epochs=before)


def measure(name: str, n: int, decay: float, size: Size, seed: int) -> dict:
    data = digits()
    plan, steps = schedule(size, n), SimpleNamespace(**vars(by_hand))
    if decay:  # in pre-training and after
        plan = replace(plan, weight_decay=decay)
        steps.undefended = lambda params, x, y: by_hand.pretraining(params, x, y, decay)  # with + decay·½Σ‖W‖²
    drawn = data._replace(train=draw_images(data.train, n, seed))
    state = train(drawn, METHODS[name], plan, seed, steps=steps)
    return {split: error(state.params, *getattr(data, split)) for split in ("validation", "test")}


def by_number(records: Records, method: str) -> dict[int, list[dict]]:
    """A method's records at its chosen strength, by the number of training images."""
    own = [r for r in records if r["method"] == method and r["decay"] in (0, DECAY)]
    return {group[0]["images"]: group for group in by_name(own).values()}


def table(records: Records) -> str:
    methods = {method: by_number(records, method) for method in METHODS}
    rows = [
        [str(n), *(entry(methods[method][n], "test", 1, 100) for method in METHODS)] for n in methods["cross-entropy"]
    ]
    largest = max(record["images"] for record in records)
    tried = [r for r in sorted(records, key=lambda r: r["decay"]) if r["decay"] and r["images"] == largest]
    choice = [[f"{g[0]['decay']:g}", entry(g, "validation", 1, 100)] for g in by_name(tried).values()]
    header = ["training images", *(f"{method}: test error %" for method in METHODS)]
    return f"{grid(header, rows)}\n\n{grid(['weight decay c', 'validation error %, all images'], choice)}"


def against(records: Records, other: str) -> dict[int, tuple[int, float]]:
    """By number of images: whether the critic errs more (1) or less (−1) than `other` (`compare`), and by how much."""
    a, b = by_number(records, other), by_number(records, "adversary critic")
    gaps = {n: float((values(b[n], "test") - values(a[n], "test")).mean()) for n in a}
    return {n: (compare(a[n], b[n], "test"), gaps[n]) for n in a}


FINDING = (
    "The critic helps where data are scarce, though not where they are scarcest: against cross-entropy its test "
    "error is [+1.4] points with 50 training images, [−2.3], [−2.2], [−2.0] and [−1.5] points with 100, 200, 500 "
    "and 1,000, and [not told apart] with 3,500. Virtual adversarial training, which has no generative term, errs "
    "less than the critic at [5] of [6] numbers of images."
)


def found(records: Records) -> list[str]:
    gaps = against(records, "cross-entropy")
    rivals = against(records, "virtual adversarial")
    said = [f"{100 * gap:+.1f}".replace("-", "−") if sign else "not told apart" for sign, gap in gaps.values()]
    return [*said, f"{sum(sign > 0 for sign, _ in rivals.values())}", f"{len(rivals)}"]


def draw(records: Records) -> Figure:
    figure = Figure(figsize=(13, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    base = by_number(records, "cross-entropy")
    numbers = onp.array(list(base))
    for i, method in enumerate(METHODS):
        own = by_number(records, method)
        colour, style, marker = look("undefended" if method == "cross-entropy" else method, list(METHODS))
        style = {"color": colour, "ls": style, "marker": marker, "ms": 6, "lw": 1.6, "capsize": 3, "label": method}
        x = numbers * 1.03 ** (i - 1.5)  # side by side
        errors = onp.array([100 * values(own[n], "test") for n in numbers])
        gaps = errors - onp.array([100 * values(base[n], "test") for n in numbers])
        for ax, quantity in ((left, errors), (right, gaps)):
            sd = quantity.std(axis=1, ddof=1) if quantity.shape[1] > 1 else None
            ax.errorbar(x, quantity.mean(axis=1), sd, **style)
    left.set_ylabel("test error (%)", fontsize=FONT)
    left.set_yscale("log")
    right.set_ylabel("test error minus that of cross-entropy (points)", fontsize=FONT)
    for ax in (left, right):
        ax.set_xscale("log")
        ax.set_xlabel("training images", fontsize=FONT)
        ax.set_xticks(numbers, [f"{n:,}" for n in numbers])
        ax.minorticks_off()
        plain(ax)
    left.set_yticks((5, 10, 20, 30), ("5", "10", "20", "30"))
    left.legend(fontsize=FONT - 1, frameon=False)
    text = "Means over seeds; bars: standard deviation over seeds, right: of the difference on the same draw."
    return caption(figure, "Test error against the number of training images", text)
