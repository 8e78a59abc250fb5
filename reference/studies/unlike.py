"""Instead of "must look like the target", can one ask that misclassified images "must not look like the original"?

The method asks of an adversarial image x̂ that the critic take it for the class ŷ that the classifier takes it for:
λ·mean_S softplus(−D_ŷ(x̂)).  The alternative asks that the critic no longer take it for the class it came from, the one
predicted before the attack:

    μ·mean_{i∈S} softplus(+D_{argmax f(x_i)}(x̂_i)),    S: the attack changed the prediction.

Everything else is the same: x̂ is attached to θ, the critic held fixed, the same noise in both terms, the critic's own
loss unchanged.  λ and μ are 0 or the demo's λ each; the sum of both terms has twice the weight of either, so the
method at 2λ is beside it.  The cycle term is in all but one, where only the cross-entropy is left.  The settings are
the demo's.

Columns: error and ρ as in the demo; success: of the high-confidence attack.  Of images attacked to C = 0.8, looks
like: the share that the stand-in for annotators (see `reference.standin`; in smaller sizes trained on ten images per
attacked one) labels as the target and as the original.  Critic says: among test images whose attack, the one of
training, changed the prediction, the share with D_ŷ(x̂) > 0 and with D_original(x̂) > 0, each classifier by the critic
that was trained with it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as onp
from matplotlib.figure import Figure

from ..by_hand import steps as by_hand
from ..by_hand.model import from_params
from ..experiment.figures import BLUE, FONT, MARKERS, ORANGE, caption, plain
from ..experiment.plans import STUDIED
from ..experiment.run import pictured
from ..experiment.standin import StandIn
from ..experiment.state import State
from ..experiment.train import train
from ..method import critic, losses, network, objectives
from ..method.numerics import pick, predict
from ..method.objectives import fixed
from ..method.settings import AdversaryCritic
from .measures import robustness, with_objective
from .study import DIGIT_SIZES, ROBUST, Records, Size, by_name, digits, mean, over_seeds, tabulate, told, values

SIZES = DIGIT_SIZES

WEIGHT = STUDIED["critic"].critic_weight
CASES = {
    "neither, no cycle": (0.0, 0.0),
    "neither": (0.0, 0.0),
    "like the target": (WEIGHT, 0.0),
    "unlike the original": (0.0, WEIGHT),
    "both": (WEIGHT, WEIGHT),
    "like the target, 2λ": (2 * WEIGHT, 0.0),
}
"""{name: (λ, μ)}."""


def unlike(weight: float):
    """-> `objectives.judge` with the alternative term, of this weight μ, beside the method's own three."""

    def judge(params, attacked, x, y, critic_params, noise, s: AdversaryCritic):
        terms = objectives.judge(params, attacked, x, y, critic_params, noise, s)
        z, _, x_hat, _ = attacked
        original = predict(z)
        changed = predict(network.logits(fixed(params), x_hat)) != original
        D = critic.scores(fixed(critic_params), x_hat, s.slope, noise)
        # softplus(−v) at v = −D
        return terms | {"unlike": (weight, losses.fool_loss(-D, original, changed))}

    return judge


def tasks(size: Size):
    method = STUDIED["critic"]
    defences = dict.fromkeys(CASES, method) | {"neither, no cycle": replace(method, cycle_weight=0.0)}
    return over_seeds(
        size.seeds, {name: ((s, CASES[name], size), (s, *CASES[name], size)) for name, s in defences.items()}
    )


def measure(s: AdversaryCritic, weight: float, other: float, size: Size, seed: int) -> dict:
    data, s = digits(), replace(s, critic_weight=weight)
    state = train(data, s, size.training, seed, steps=with_objective(unlike(other)) if other else by_hand)
    stand_in = StandIn(*(part[: 10 * size.images] for part in data.train))
    found = robustness(state.params, data, size.images, stand_in)
    found |= critic_says(state, s, data.test.x[: size.images])
    return found | ({"sheet": sheet(state, *data.test)} if seed == 0 else {})


def critic_says(state: State, s: AdversaryCritic, x) -> dict:
    """Of the images `x` (n, d) in S: {target: share with D_ŷ(x̂) > 0, original: share with D_original(x̂) > 0}."""
    step = by_hand.ClassifierStep(state.params, x)
    step.attack(state.running, s.generator)
    D, S = critic.scores(state.critic, step.images, s.slope), step.taken_for != step.predicted
    if not S.any():
        return {"target": None, "original": None}
    return {
        name: float(onp.mean(pick(D, labels)[S] > 0))
        for name, labels in {"target": step.taken_for, "original": step.predicted}.items()
    }


def sheet(state: State, x, y) -> dict:
    """What is `pictured`: {pixels: in %, as hexadecimal bytes, unchanged where the attack failed; taken_for: classes,
    None for failed}."""
    shown = pictured(from_params(state.params), x, y)
    images = onp.where(shown["success"][:, None], shown["adversarial"], shown["x"])
    return {
        "pixels": [bytes(image).hex() for image in onp.rint(100 * images).astype(onp.uint8)],
        "taken_for": [int(j) if found else None for j, found in zip(shown["taken_for"], shown["success"], strict=True)],
    }


def table(records: Records) -> str:
    shares = {"success": "success %", "looks_like": "looks like: target %", "looks_original": "original %"}
    shares |= {"target": "critic says: target %", "original": "original %"}
    columns = ROBUST + tuple((title, key, 0, 100) for key, title in shares.items())
    return tabulate("critic term", by_name(records), columns)


FINDING = (
    'Yes, but fewer attacked images look like their target: "must not look like the original" alone reaches ρ '
    '[0.406] by the high-confidence attack, as "must look like the target" does ([0.406]; neither term [0.064]), '
    "and [36] % of its attacked images look like their target, [fewer] than [54] % (neither term [1] %, "
    "undefended [2] %). With both terms, at the same sum of weights, [81] % look like their target, against [87] "
    "% with the method's own at twice its weight."
)


def found(records: Records) -> list[str]:
    undefended, neither, like, other, both, twice = by_name(records).values()
    return [
        *(mean(group, "high_confidence", 3) for group in (other, like, neither)),
        mean(other, "looks_like", 0, 100),
        told(like, other, "looks_like", "more", "fewer"),
        *(mean(group, "looks_like", 0, 100) for group in (like, neither, undefended, both, twice)),
    ]


def draw(records: Records) -> Figure:
    groups, test = by_name(records), digits().test
    figure = Figure(figsize=(13, 5), layout="constrained")
    sheets, looks, rho = figure.subplots(1, 3, sharey=True, width_ratios=(8.2, 2.4, 2.4))
    _, first = onp.unique(test.y, return_index=True)
    pictures, classes = [100 * test.x[first]], [test.y[first]]
    for shown in (group[0]["sheet"] for group in groups.values()):
        pictures.append([onp.frombuffer(bytes.fromhex(image), onp.uint8) for image in shown["pixels"]])
        classes.append(shown["taken_for"])
    for row, images in enumerate(pictures):
        for column, (pixels, taken_for) in enumerate(zip(images, classes[row], strict=True)):
            square = onp.reshape(pixels, (round(len(pixels) ** 0.5), -1))
            at = (column, column + 0.72, row + 0.45, row - 0.45)
            sheets.imshow(square, cmap="gray_r", vmin=0, vmax=100, extent=at, interpolation="nearest")
            text = "failed" if taken_for is None else f"{taken_for}"
            sheets.text(column + 0.74, row - 0.1, text, fontsize=FONT, color=BLUE)
    for row, group in enumerate(groups.values(), start=1):
        left = 0.0
        for key, colour, hatch in (("looks_like", BLUE, ""), ("looks_original", ORANGE, "//")):
            share = 100 * values(group, key).mean()
            looks.barh(row, share, 0.6, left, color=colour, hatch=hatch, ec="white")
            left += share
        for key, colour, marker in (("deepfool", ORANGE, MARKERS[0]), ("high_confidence", BLUE, MARKERS[2])):
            rho.plot(values(group, key), [row] * len(group), marker, ms=9, alpha=0.7, color=colour)
    sheets.set(xlim=(-0.1, 10), ylim=(len(groups) + 0.5, -0.5), xticks=[], aspect="auto")
    sheets.set_yticks(range(len(groups) + 1), ["clean", *groups], fontsize=FONT)
    sheets.spines[:].set_visible(False)
    looks.set(xlim=(0, 100), xlabel="attacked images, %")
    rho.set(xlabel="ρ")
    for ax in (looks, rho):
        plain(ax)
        ax.tick_params(axis="y", length=0)
    small = {"loc": "upper left", "fontsize": FONT - 2, "frameon": False, "borderaxespad": 0, "handletextpad": 0.4}
    looks.legend(looks.containers[:2], ["look like target", "look like original"], **small)
    rho.legend(rho.lines[:2], ["DeepFool", "high-confidence"], **small)
    return caption(
        figure,
        "Like the target, or unlike the original: what each term makes of attacked images",
        "Left: the first test image of each class attacked to C = 0.8, and the class it is taken for (clean: its "
        "label), seed 0. Middle: what such images look like to the stand-in, the rest like neither; mean over seeds. "
        "Right: one mark per seed.",
    )
