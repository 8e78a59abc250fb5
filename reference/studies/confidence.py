"""Why high confidence? What does a generator that stops at the boundary do to it?

The adversary critic is trained with generators that stop earlier or later, and all else is the same:

    boundary    the attack stops at the boundary, where p_t = p_original (`to_boundary`)
    0.5, 0.8    it stops where p_t = C
    running     C is the target class's running mean of confidence, the authors' choice
    own         C is the example's own confidence

The undefended classifier stands beside them as "none".

On the toy problem (`plans.TOY_CRITIC`, C = 0.9) each seed is another sample and another start.  Three numbers tell
whether the boundary is fractured:

    length      the length of the boundary between the predicted classes, per area of the unit square (`regions`)
    regions     the number of connected regions, of all classes together (`regions`)
    I %         how often an attack until 90 % sure ends where the point does not look like the class that it is taken
                for (`measures.on_toy`)

On digits the demo's recipe is used, 60 of its 115 epochs at full size.  Error and ρ are measured as in the demo, and
"looks like" is the share of images attacked to C = 0.8 that look to the stand-in like the class they are taken for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import autograd.numpy as np
import numpy as onp
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from ..by_hand import steps as by_hand
from ..by_hand.model import from_params
from ..data import toy
from ..experiment import plans
from ..experiment.figures import BLACK, COLOURS, FONT, GREEN, MARKERS, ORANGE, SKY, caption, plain
from ..experiment.standin import StandIn
from ..experiment.train import train
from ..method.generator import newton_step
from ..method.network import logits
from ..method.numerics import one_hot, pick, predict, round_straight_through, sigmoid, softmax, softplus, stop_gradient
from ..method.objectives import Attacked
from ..method.settings import Defence, Generator, Training, Undefended
from . import study
from .measures import FIRST_TOY, calibrated, on_toy, robustness, with_objective
from .study import DIGIT_SIZES, ROBUST, Records, by_name, compare, mean, told, values

NONE, BOUNDARY = "none", "boundary"
CONFIDENCES = {BOUNDARY: 0.5, "0.5": 0.5, "0.8": 0.8, "running": "running", "own": "own"}
TOY, DIGITS = "toy, ", "digits, "  # a record's name begins with one of them
SIDE = 500  # of the grid on which regions are counted
SHOWN = 100  # and of the one that is drawn


@dataclass(frozen=True)
class Size:
    """How much this study does."""

    generators: tuple[str, ...]
    toy: Training
    toy_seeds: int
    digits: study.Size


EVERY = (NONE, *CONFIDENCES)
SIZES = {
    "quick": Size((NONE, BOUNDARY, "running"), plans.with_epochs(plans.TOY_TRAINING, 3), 1, DIGIT_SIZES["quick"]),
    "preview": Size(EVERY, plans.with_epochs(plans.TOY_TRAINING, 60), 1, replace(DIGIT_SIZES["preview"], images=100)),
    "full": Size(EVERY, plans.TOY_TRAINING, 6, DIGIT_SIZES["full"]),
}


def to_boundary(params, x, targets, labels, s: Generator):
    """A generator that stops at the boundary of class `targets` (n,) with class `labels` (n,): x (n, d) -> x̂ (n, d).

    This is `method.generator.unrolled` at C = ½, for a classifier that knows these two classes alone: q = σ(f_t − f_l)
    takes the place of p_t, so that Newton's steps go from log q to log ½ and the indicator compares q with ½.
    x̂ = x + (1+o) r lies beyond the boundary by the overshoot o.  DeepFool's steps, which linearise f_t − f_l itself,
    would end there in fewer steps.  They are not taken, because each step adds its share to the truncated gradient,
    and then not only the end of the attack would differ.
    """
    k = params[-1][1].size
    signs = one_hot(targets, k, x.dtype) - one_hot(labels, k, x.dtype)
    r, active = np.zeros_like(stop_gradient(x)), 1
    for _ in range(s.iterations):
        gap, w = linearise_gap(params, stop_gradient(x + (1 + s.overshoot) * r), signs)
        q = sigmoid(gap)
        active = active * round_straight_through(sigmoid(0.5 - q))
        r = r + active[:, None] * newton_step(-softplus(-gap), (1 - q)[:, None] * w, 0.5, s.eps)
    return x + (1 + s.overshoot) * r


def linearise_gap(params, x, signs):
    """-> (Σ_j signs_j f_j, its gradient by x): `signs` (n, k) -> (n,), (n, d).  By hand: a tape in a tape is slow."""
    h, masks = x, []
    for W, b in params[:-1]:
        z = h @ W + b
        masks.append(stop_gradient(z) > 0)
        h = z * masks[-1]
    W, b = params[-1]
    gap, w = np.sum((h @ W + b) * signs, axis=1), signs @ np.transpose(W)
    for (W, _), mask in zip(params[-2::-1], masks[::-1], strict=True):
        w = (w * mask) @ np.transpose(W)
    return gap, w


def generate(params, x, targets, running, s: Generator) -> Attacked:
    """`objectives.generate`, but it stops at the boundary with the predicted class."""
    z = logits(params, x)
    own = pick(softmax(z), predict(z))
    return Attacked(z, own, to_boundary(params, x, targets, predict(z), s), onp.full_like(stop_gradient(own), 0.5))


def regions(scores) -> dict:
    """How fractured the regions {argmax_j scores_j = k} are; scores (g, g, k) at the midpoints of a grid on [0, 1]².

    boundary: the length of all boundaries, per area 1.  Each is the contour at 0 of a class's score minus the largest
    other one, linear between midpoints (marching squares), and belongs to two classes.  regions: connected sets of
    cells (by their sides), all classes together.  What is finer than a cell escapes both.
    """
    from scipy import ndimage

    g, _, k = scores.shape
    t = (onp.arange(g) + 0.5) / g
    margins = [scores[..., j] - onp.delete(scores, j, axis=2).max(axis=2) for j in range(k)]
    axes = Figure().add_subplot()
    margins = [margin for margin in margins if margin.min() < 0 < margin.max()]
    lines = [line for margin in margins for line in axes.contour(t, t, margin, [0]).allsegs[0]]
    taken_for = scores.argmax(axis=2)
    return {
        "boundary": float(sum(onp.linalg.norm(onp.diff(line, axis=0), axis=1).sum() for line in lines)) / 2,
        "regions": sum(int(ndimage.label(taken_for == j)[1]) for j in range(k)),
    }


@cache
def bayes_regions() -> dict:
    """`regions` of the Bayes classifier."""
    return regions(toy.densities(toy.midpoints(SIDE)).reshape(SIDE, SIDE, -1))


def tasks(size: Size):
    found = []
    for prefix, critic, training, count, measured in (
        (TOY, plans.TOY_CRITIC, size.toy, size.toy_seeds, ()),
        (DIGITS, plans.STUDIED["critic"], size.digits.training, size.digits.seeds, size.digits.images),
    ):
        runs = {}
        for name in size.generators:
            defence: Defence = Undefended()
            if name != NONE:
                defence = replace(critic, generator=replace(critic.generator, confidence=CONFIDENCES[name]))
            runs[prefix + name] = (defence, training, measured), (prefix + name, defence, training, size.digits.images)
        found += study.over_seeds(count, runs)
    return found


def measure(name: str, defence: Defence, training: Training, images: int, seed: int) -> dict:
    steps = with_objective(generate=generate) if name.endswith(BOUNDARY) else by_hand
    if name.startswith(DIGITS):
        data = study.digits()
        params = train(data, defence, training, seed, steps=steps).params
        return robustness(params, data, images, StandIn(*data.train))
    data = toy.load(FIRST_TOY + seed, test=1000)
    params = train(data, defence, training, seed, steps=steps).params

    def scores(side):
        return logits(params, toy.midpoints(side).astype(data.train.x.dtype)).reshape(side, side, -1)

    record = regions(scores(SIDE)) | on_toy(from_params(calibrated(params, data.validation)), data)
    drawn = ["".join(map(str, row)) for row in scores(SHOWN).argmax(axis=2)] if seed == 0 else None
    return record | {"drawn": drawn}


def groups_of(records: Records, prefix: str) -> dict[str, list[dict]]:
    """By generator, the records of one problem."""
    return {name.removeprefix(prefix): g for name, g in by_name(records).items() if name.startswith(prefix)}


COLUMNS = {
    TOY: (
        ("length", "boundary", 2),
        ("regions", "regions", 1),
        ("error %", "error", 2, 100),
        ("I %", "attacked_I", 1, 100),
        ("failed %", "failed", 1, 100),
    ),
    DIGITS: (*ROBUST, ("success %", "success", 1, 100), ("looks like %", "looks_like", 1, 100)),
}


def table(records: Records) -> str:
    on_plane, on_digits = (
        study.tabulate(prefix + "generator", groups_of(records, prefix), columns) for prefix, columns in COLUMNS.items()
    )
    bayes = bayes_regions()
    length, error = f"{bayes['boundary']:.2f}", f"{100 * toy.bayes_error():.2f} %"
    note = f"Bayes classifier: length {length}, {bayes['regions']} regions, error {error}."
    return f"{on_plane}\n\n{note}\n\n{on_digits}"


FINDING = (
    "Compared with the running confidence, a generator that stops at the boundary does [not] fracture the regions "
    "on the toy problem; on digits [21] % of its attacked images look like the class they are taken for, [fewer] "
    "than [54] %. On the toy problem the boundary has length [1.92] and [3.0] regions, with the running "
    "confidence [1.84] and [4.3], undefended [1.96] and [3.0], and the Bayes classifier's [1.86] and [3]. There "
    "[23] % of the attacks end in harmful errors, with the running confidence [14] %, and undefended [35] %."
)


def found(records: Records) -> list[str]:
    on_plane, on_digits = groups_of(records, TOY), groups_of(records, DIGITS)
    none, boundary, running = on_plane[NONE], on_plane[BOUNDARY], on_plane["running"]
    bayes = bayes_regions()
    looks = on_digits[BOUNDARY], on_digits["running"]
    both = ("boundary", 2), ("regions", 1)
    shapes = [mean(group, key, digits) for group in (boundary, running, none) for key, digits in both]
    return [
        "indeed" if compare(running, boundary, "regions") > 0 else "not",
        mean(looks[0], "looks_like", 0, 100),
        told(*looks[::-1], "looks_like", "more", "fewer"),
        mean(looks[1], "looks_like", 0, 100),
        *shapes,
        f"{bayes['boundary']:.2f}",
        f"{bayes['regions']}",
        *(mean(group, "attacked_I", 0, 100) for group in (boundary, running, none)),
    ]


def draw(records: Records) -> Figure:
    on_plane, on_digits = groups_of(records, TOY), groups_of(records, DIGITS)
    figure = Figure(figsize=(13, 5.6), layout="constrained")
    cells = figure.add_gridspec(2, 12, height_ratios=(1.15, 1))
    t = (onp.arange(SHOWN) + 0.5) / SHOWN
    typical = toy.typicality(toy.midpoints(SHOWN)).reshape(SHOWN, SHOWN, -1)
    classes = (SKY, ORANGE, GREEN)
    for i, (name, group) in enumerate(on_plane.items()):
        shown = next(record for record in group if record["drawn"])
        taken_for = onp.array([list(row) for row in shown["drawn"]], int)
        axes = figure.add_subplot(cells[0, 2 * i : 2 * i + 2])
        area = {"origin": "lower", "extent": (0, 1, 0, 1), "interpolation": "nearest"}
        axes.imshow(taken_for, cmap=ListedColormap(classes), vmin=0, vmax=len(classes) - 1, alpha=0.4, **area)
        for k, letter in enumerate(toy.CLASS_NAMES):
            axes.contour(t, t, typical[..., k], [1], colors=BLACK, linewidths=0.9, linestyles="dashed")
            for center in toy.MEANS[k]:
                axes.text(*center, letter, ha="center", va="center", fontsize=FONT)
        axes.set_title(f"{name}\nlength {shown['boundary']:.2f}, {shown['regions']} regions", fontsize=FONT - 1)
        axes.set(xticks=(0, 1), yticks=(0, 1))
        axes.set_xlabel("$x_1$", labelpad=-8)
        if i == 0:
            axes.set_ylabel("$x_2$", labelpad=-8)
    panels = (
        (on_plane, "boundary", 1, "toy: boundary length"),
        (on_plane, "attacked_I", 100, "toy: harmful errors, %"),
        (on_digits, "high_confidence", 1, "digits: ρ, high-conf. attack"),
        (on_digits, "looks_like", 100, "digits: looks like target, %"),
    )
    for i, (groups, key, scale, label) in enumerate(panels):
        axes = figure.add_subplot(cells[1, 3 * i : 3 * i + 3])
        for j, group in enumerate(groups.values()):
            found = scale * values(group, key)
            axes.plot([j] * len(found), found, MARKERS[j], color=COLOURS[j], ms=6, alpha=0.7)
            axes.plot([j - 0.3, j + 0.3], [found.mean()] * 2, color=COLOURS[j], lw=2)
        if key == "boundary":
            axes.axhline(bayes_regions()["boundary"], color=BLACK, ls=":", lw=1.3, label="Bayes")
            axes.legend(fontsize=FONT - 2, frameon=False)
        axes.set_xticks(range(len(groups)), groups, fontsize=FONT - 1)
        axes.set_ylabel(label, fontsize=FONT)
        axes.set_xlim(-0.6, len(groups) - 0.4)
        plain(axes)
        axes.tick_params("x", labelrotation=35, labelsize=FONT - 2)
    text = (
        "Top: predicted classes on the toy problem, seed 0, by where the generator stops; dashed: holds 99 % of a "
        "class. Bottom: one mark per seed, a bar at their mean; none: undefended."
    )
    return caption(figure, "What a generator does that stops earlier or later", text)
