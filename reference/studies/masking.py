"""Does any defence only hide its gradient, so that attacks fail although the perturbations are there?

The checklist of Carlini et al. (arXiv 1902.06705) is gone through on the six defences at the settings of the studies
(`plans.STUDIED`), trained for 230 epochs.  Every attack gets the same question: which share of the test images is still
classified right when a perturbation may be ‖r‖ = 1 long?  If a gradient is hidden, an attack that needs none, or that
mends it, breaks more images than those that follow it.  All start from the true label.

These columns are shares of images that are still right, in percent:

    one start       projected gradient on the margin, 40 steps from the image itself
    ten starts      the same, and from nine random points of the sphere
    targets         from the image towards every class in turn
    cross-entropy   as one start, but on that loss, whose gradient may vanish where the network is sure
    noise           as one start, each gradient averaged over 16 copies of the image with Gaussian noise of 0.05
    float64         as targets, by the same weights in double precision
    transfer        the perturbations that "targets" finds on a network of another seed with multi-step training
    decision        an attack that sees predicted classes only
    strongest       `attacks.strongest`
    r = 6           as one start, at six times the radius, where a sound attack leaves nothing

And these are shares of another kind:

    missed             images that any of these attacks breaks, but not the strongest
    decision nearer    images where that attack's perturbation is shorter than the strongest's by more than 1 %
    flat               images at which the gradient of the cross-entropy is exactly zero in float32
"""

from __future__ import annotations

import warnings

import numpy as onp
from matplotlib.figure import Figure

from ..attacks import AttackWarning, Model, projected_gradient, strongest
from ..attacks.result import clip
from ..by_hand.model import from_params
from ..experiment.figures import FONT, caption, look, plain
from ..experiment.plans import LONG, STUDIED
from ..experiment.tables import NAMES
from ..experiment.train import train
from ..method.numerics import norm, one_hot, predict, softmax
from ..method.perturbations import unit_rows
from ..method.settings import Defence
from .study import DIGIT_SIZES, Records, Size, by_name, digits, mean, over_seeds, tabulate, values

SIZES = {
    "quick": (Size(DIGIT_SIZES["quick"].training, 1, 10), ("undefended",)),
    "preview": (Size(DIGIT_SIZES["preview"].training, 1, 100), STUDIED),
    "full": (Size(LONG.training, LONG.seeds, 300), STUDIED),
}
"""Size, and the defences asked about."""
RADIUS, RADII = 1.0, (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
COPIES, NOISE = 16, 0.05

CHECKS = {
    "one": "one start", "ten": "ten starts", "targets": "targets", "cross_entropy": "cross-entropy", "noise": "noise",
    "double": "float64", "transfer": "transfer", "decision": "decision", "strongest": "strongest",
}  # fmt: skip


def tasks(of):
    size, names = of
    return over_seeds(size.seeds, {NAMES[name]: ((STUDIED[name], size), (name, size)) for name in names})


def measure(name: str, size: Size, seed: int) -> dict:
    data = digits()

    def trained(defence: Defence, seed: int):
        return train(data, defence, size.training, seed).params

    params, other = trained(STUDIED[name], seed), trained(STUDIED["multi-step"], (seed + 1) % LONG.seeds)
    x, y = data.test.x[: size.images], data.test.y[: size.images]
    model = from_params(params)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AttackWarning)  # what it warns of is measured here
        right, nearer = broken_by(params, from_params(other), x, y, seed)
        budgets = [float(onp.mean(~descend(model, x, y, radius=radius).success)) for radius in RADII]
    z, pull_back = model.linearise(x)
    return {key: float(onp.mean(each)) for key, each in right.items()} | {
        "missed": float(onp.mean(right["strongest"] & ~onp.all(list(right.values()), axis=0))),
        "nearer": float(onp.mean(nearer)),
        "clean": float(onp.mean(predict(z) == y)),
        "budgets": budgets,
        "far": budgets[-1],
        "flat": float(onp.mean(~pull_back(softmax(z) - one_hot(y, z.shape[1], z.dtype)).any(axis=1))),
    }


def broken_by(params, other: Model, x, y, seed: int):
    """-> ({check: (n,) still right at ‖r‖ ≤ `RADIUS`}, (n,) the decision attack is nearer than the strongest)."""
    model, rng = from_params(params), onp.random.default_rng(seed)
    double = from_params([(W.astype(float), b.astype(float)) for W, b in params])
    one, best = descend(model, x, y).success, strongest(model, x, ("true", y))
    found = descend(other, x, y, targets="all")
    moved = onp.where(found.success[:, None], found.images, found.last)
    blind = by_decision(model.logits, x, y, rng)
    broken = {
        "one": one,
        "ten": one | descend(model, x, y, restarts=10, rng=rng).success,
        "targets": descend(model, x, y, targets="all").success,
        "cross_entropy": descend(by_cross_entropy(model), x, y).success,
        "noise": descend(averaged(model, rng), x, y).success,
        "double": descend(double, x.astype(float), y, targets="all").success,
        "transfer": predict(model.logits(moved)) != y,
        "decision": blind <= RADIUS,
        "strongest": best.success & (best.norms <= RADIUS),
    }
    return {name: ~each for name, each in broken.items()}, blind < 0.99 * onp.where(best.success, best.norms, onp.inf)


def descend(model, x, y, radius=RADIUS, restarts=1, **more):
    """Projected gradient from the true label."""
    return projected_gradient(model, x, ("true", y), radius, restarts=restarts, **more)


def by_cross_entropy(model: Model) -> Model:
    """The same logits, but an attack that climbs f_j − f_l, v = e_j − e_l, climbs the cross-entropy of l instead."""

    def linearise(x):
        z, pull_back = model.linearise(x)
        return z, lambda v: pull_back(softmax(z) - one_hot(v.argmin(axis=1), z.shape[1], z.dtype))

    return Model(model.logits, linearise)


def averaged(model: Model, rng) -> Model:
    """The same logits, but their gradient is the mean of those at `COPIES` images with Gaussian noise of `NOISE`."""

    def linearise(x):
        noisy = x + NOISE * rng.standard_normal((COPIES, *x.shape), dtype=onp.float32)
        _, pull_back = model.linearise(noisy.reshape(-1, x.shape[1]))
        return model.logits(x), lambda v: pull_back(onp.tile(v, (COPIES, 1))).reshape(COPIES, *x.shape).mean(axis=0)

    return Model(model.logits, linearise)


def by_decision(logits, x, y, rng, iterations: int = 30, directions: int = 100) -> onp.ndarray:
    """‖r‖ (n,) of an attack that asks which class is predicted, nothing else; 0 where it is not `y` (n,) at once.

    From the nearest of the images `x` (n, d) that is taken for another class, it bisects the line to the boundary,
    estimates the boundary's normal from the predictions at random points around, steps along it, and begins again.
    Infinite where there is no image to start from.
    Source: Chen et al., HopSkipJumpAttack, IEEE S&P 2020, for L2; the step is halved until it stays on the other side.
    """
    taken_for = predict(logits(x))
    gaps = onp.stack([norm(x - one) for one in x])
    gaps[y[:, None] == taken_for] = onp.inf
    image = best = x[gaps.argmin(axis=1)]
    none = onp.isinf(gaps.min(axis=1))

    def outside(images, labels=y):
        return predict(logits(images)) != labels

    for iteration in range(iterations + 1):
        near, far = onp.zeros((len(x), 1), x.dtype), onp.ones((len(x), 1), x.dtype)
        for _ in range(12):
            middle = (near + far) / 2
            out = outside(x + middle * (image - x))[:, None]
            near, far = onp.where(out, near, middle), onp.where(out, middle, far)
        image = x + far * (image - x)
        best = onp.where((norm(image - x) < norm(best - x))[:, None], image, best)
        size = norm(image - x)[:, None]
        u = unit_rows(rng.standard_normal((directions * len(x), x.shape[1]), dtype=onp.float32))
        around = clip(image + 0.03 * size * u.reshape(directions, *x.shape), (0, 1)).astype(x.dtype)
        sides = outside(around.reshape(-1, x.shape[1]), onp.tile(y, directions)).reshape(directions, -1, 1) * 2.0 - 1
        normal = unit_rows(onp.mean((sides - sides.mean(axis=0)) * (around - image), axis=0).astype(x.dtype))
        step, waits = size / (iteration + 1) ** 0.5, onp.ones(len(x), bool)
        for _ in range(8):
            trial = clip(image + step * normal, (0, 1))
            go = waits & outside(trial)
            image, waits, step = onp.where(go[:, None], trial, image), waits & ~go, step / 2
    return onp.where(taken_for != y, 0, onp.where(none, onp.inf, norm(best - x)))


def table(records: Records) -> str:
    more = {"missed": "missed", "nearer": "decision nearer", "far": "r = 6", "flat": "flat"}
    columns = {"clean": "no attack"} | CHECKS | more
    return tabulate("defence", by_name(records), [(f"{name} %", key, 1, 100) for key, name in columns.items()])


FINDING = (
    "[None] of the six defences masks its gradient: on [none] of [18] networks does another attack of the checklist "
    "break more images at ‖r‖ = 1 than the strongest. All of them together break at most [0.3] % that it leaves, and "
    "at ‖r‖ = 4 at most [0.0] % are still right. Of the critic's images [35.3] % are still right under the strongest "
    "attack, against [86.0] % under transferred perturbations and [48.2] % by decisions alone; one start leaves "
    "[41.0] %, and [40.9] % with its gradient averaged over noise, [41.6] % on the cross-entropy; targets leave "
    "[36.1] % in float32 and [36.1] % in float64. Targets help more than starts, ten of which leave [39.1] %."
)


def found(records: Records) -> list[str]:
    weak = [record for record in records if min(record[key] for key in CHECKS) < record["strongest"]]
    worst = [max(record["missed"] for record in records), max(record["budgets"][RADII.index(4)] for record in records)]
    critic = by_name(records).get(NAMES["critic"], records)
    keys = ("strongest", "transfer", "decision", "one", "noise", "cross_entropy", "targets", "double", "ten")
    return [
        ", ".join(by_name(weak)) or "None",
        str(len(weak) or "none"),
        str(len(records)),
        *(f"{100 * share:.1f}" for share in worst),
        *(mean(critic, key, 1, 100) for key in keys),
    ]


def draw(records: Records) -> Figure:
    figure, groups = Figure(figsize=(13, 5.4), layout="constrained"), by_name(records)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for name, group in groups.items():
        colour, style, marker = look(name, list(groups))
        shape = {"color": colour, "marker": marker, "ms": 7}
        left.plot(range(len(CHECKS)), [100 * values(group, key).mean() for key in CHECKS], ls="", label=name, **shape)
        curve = 100 * onp.mean([[record["clean"], *record["budgets"]] for record in group], axis=0)
        right.plot([0, *RADII], curve, ls=style, lw=1.6, **shape)
    for edge in (list(CHECKS).index("transfer") - 0.5, list(CHECKS).index("strongest") - 0.5):
        left.axvline(edge, color="0.6", lw=1)
    left.set_xticks(range(len(CHECKS)), CHECKS.values(), rotation=25, ha="right")
    left.set_xlabel("attack: by the gradient | without it | several together", fontsize=FONT)
    left.set_ylabel(f"still right at ‖r‖ ≤ {RADIUS:g} (%)", fontsize=FONT)
    right.set_xlabel("‖r‖ allowed", fontsize=FONT)
    right.set_ylabel("still right, one start (%)", fontsize=FONT)
    for ax in (left, right):
        ax.set_ylim(-2, 102)
        plain(ax)
    left.legend(fontsize=FONT - 1, frameon=False, ncols=2)
    text = "Left: an attack without the gradient, or one that mends it, should not lie below the strongest. "
    text += "Right: a larger budget should leave nothing. Means over seeds."
    return caption(figure, "Is a gradient hidden?", text)
