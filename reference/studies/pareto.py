"""Which defence gives the most robustness for the least error, as each one's strength varies?

Each defence is trained at five strengths around the demo's (ε of adversarial training, virtual adversarial training and
the margin loss; λ of the critic), all else as in the demo; at strength 0 all are the undefended network, up to the
critic's cycle term.  Adversarial training comes in both of its geometries, L2 where nothing is said.  With --full all
take 60 epochs, the demo's 115 cut short: at λ = 2 that ends while the classifier's confidence has collapsed, from which
it recovers in the 115 of `reference.experiment.search`.

Error is of all test images, ρ of the images attacked, from the true label.  Nothing is chosen by them: every setting
that was trained is shown.  A setting is on the front of (error, ρ), means over seeds, if no other has at most its error
and at least its ρ, and one of the two better.  It is beaten beyond the spread if some other is better in both by
`study.compare`, a paired t-test over the seeds.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as onp
from matplotlib.figure import Figure

from ..experiment.figures import FONT, caption, look, plain
from ..experiment.plans import STUDIED
from ..experiment.tables import grid
from ..experiment.train import train
from ..method.settings import AdversarialTraining, Defence, Margin, Undefended, VirtualAdversarial
from .measures import robustness
from .study import DIGIT_SIZES, Records, Size, by_name, compare, digits, entry, values

SIZES = dict(zip(DIGIT_SIZES, zip(DIGIT_SIZES.values(), (5, 2, 1))))
"""Size and step: every step-th strength of each defence."""

FAMILIES: dict[str, dict[float, Defence]] = {
    "undefended": {0: Undefended()},
    "adversarial training": {e: AdversarialTraining(e, "l2") for e in (0.35, 0.7, 1.0, 1.5, 2.0)},
    "virtual adversarial": {e: VirtualAdversarial(e) for e in (0.35, 0.7, 1.0, 1.5, 2.0)},
    "margin": {e: Margin(e) for e in (0.15, 0.3, 0.5, 0.65, 0.8)},
    "adversary critic": {w: replace(STUDIED["critic"], critic_weight=w) for w in (0.125, 0.25, 0.5, 1.0, 2.0)},
    "adversarial training, L∞": {e: AdversarialTraining(e, "linf") for e in (0.025, 0.05, 0.1, 0.15, 0.2)},
}
MEASURES = {"deepfool": "DeepFool", "high_confidence": "the high-confidence attack"}


def tasks(of: tuple[Size, int]):
    size, step = of
    return [
        (
            {"name": label(family, f"{strength:g}"), "family": family, "strength": strength, "seed": seed}
            | {"settings": repr((defence, size.training, size.images))},
            (defence, size, seed),
        )
        for seed in range(size.seeds)
        for family, defences in FAMILIES.items()
        for strength, defence in list(defences.items())[::step]
    ]


def label(family: str, strengths: str) -> str:
    """As in "margin, ε = 0.5"."""
    return family if strengths == "0" else f"{family}, {'λ' if 'critic' in family else 'ε'} = {strengths}"


def measure(defence: Defence, size: Size, seed: int) -> dict:
    data = digits()
    return robustness(train(data, defence, size.training, seed).params, data, size.images)


def on_front(error, rho) -> onp.ndarray:
    """(n,) bool: not dominated, i.e. no other of the n points has error ≤, rho ≥ and one of them strictly."""
    error, rho = onp.asarray(error), onp.asarray(rho)
    no_worse = (error[:, None] <= error) & (rho[:, None] >= rho)  # [i, j]: of i against j
    better = (error[:, None] < error) | (rho[:, None] > rho)
    return ~(no_worse & better).any(axis=0)


def fronts(records: Records) -> dict[str, dict[str, str]]:
    """{measure: {setting: "front", "beaten" (beyond the spread) or ""}}."""
    groups, found = by_name(records), {}
    error = [values(group, "error").mean() for group in groups.values()]
    for key in MEASURES:
        front = on_front(error, [values(group, key).mean() for group in groups.values()])
        found[key] = {
            name: "front"
            if on
            else "beaten"
            if any(compare(group, other, "error") < 0 < compare(group, other, key) for other in groups.values())
            else ""
            for (name, group), on in zip(groups.items(), front, strict=True)
        }
    return found


def table(records: Records) -> str:
    found = fronts(records)
    header = ["setting", "error %", "ρ DeepFool", "", "ρ high-confidence", ""]
    rows = [
        [name, entry(group, "error", 1, 100), entry(group, "deepfool"), found["deepfool"][name]]
        + [entry(group, "high_confidence"), found["high_confidence"][name]]
        for name, group in by_name(records).items()
    ]
    return grid(header, rows)


FINDING = (
    "The critic is [not] on the front of test error and ρ: by DeepFool there stand [adversarial training, ε = "
    "0.7, 1, 1.5; virtual adversarial, ε = 2], by the high-confidence attack [adversarial training, ε = 0.7, 1, "
    "1.5]. Of the critic's settings [4 of 5] by DeepFool and [5 of 5] by the high-confidence attack are worse "
    "than some other in both error and ρ, beyond what 3 seeds leave to chance."
)


def found(records: Records) -> list[str]:
    groups, states, stands, beaten = by_name(records), fronts(records), [], []
    for state in states.values():
        front: dict[str, list[str]] = {}
        for name in (name for name in state if state[name] == "front"):
            front.setdefault(groups[name][0]["family"], []).append(f"{groups[name][0]['strength']:g}")
        stands.append("; ".join(label(family, ", ".join(each)) for family, each in front.items()))
        ours = [state[name] for name in state if "critic" in name]
        beaten.append(f"{ours.count('beaten')} of {len(ours)}")
    return ["indeed" if any("critic" in stand for stand in stands) else "not", *stands, *beaten]


def draw(records: Records) -> Figure:
    figure, found = Figure(figsize=(13, 5.4), layout="constrained"), fronts(records)
    least = 100 * min(values(group, "error").mean() for group in by_name(records).values())
    edge = 2.3 * least
    for ax, (key, by) in zip(figure.subplots(1, 2), MEASURES.items(), strict=True):
        for family in FAMILIES:
            groups = by_name([record for record in records if record["family"] == family])
            x, y = (onp.array([values(group, k) for group in groups.values()]) for k in ("error", key))
            x *= 100
            (colour, style, marker), (mx, my) = look(family, list(FAMILIES)), (x.mean(axis=1), y.mean(axis=1))
            ax.plot(mx, my, color=colour, ls=style, marker=marker, ms=6, lw=1.3, label=family)
            if x.shape[1] > 1:
                sd = {"xerr": x.std(axis=1, ddof=1), "yerr": y.std(axis=1, ddof=1)}
                ax.errorbar(mx, my, **sd, fmt="none", ecolor=colour, elinewidth=1, alpha=0.5)
            front = [found[key][name] == "front" for name in groups]
            ax.plot(mx[front], my[front], "o", ms=15, mfc="none", mec="0.35", mew=1.4)
            strengths = [f"{group[0]['strength']:g}" for group in groups.values()]
            near = {"textcoords": "offset points", "fontsize": FONT - 2, "color": colour}
            for i, offset in zip(onp.flatnonzero(mx <= edge)[[-1, 0]], ((9, -4), (-8, -16))[: len(mx)]):
                ax.annotate(strengths[i], (mx[i], my[i]), offset, **near)
            for i in onp.flatnonzero(mx > edge):
                ax.annotate(f"{strengths[i]}: {mx[i]:.0f} % →", (edge, my[i]), (-4, 6), ha="right", **near)
        ax.set_xlim(0.85 * least, edge)
        ax.set_xlabel("test error (%)", fontsize=FONT)
        ax.set_ylabel(f"ρ by {by}", fontsize=FONT)
        plain(ax)
    ax.plot([], [], "o", ms=11, mfc="none", mec="0.35", mew=1.4, label="on the front")
    figure.legend(*ax.get_legend_handles_labels(), fontsize=FONT - 1, frameon=False, loc="outside right center")
    text = (
        "Better is up and left. Numbers: the first and last strength of a curve (ε, or the critic's λ); with an arrow, "
    )
    text += "beyond the edge. Bars: standard deviation over seeds."
    return caption(figure, "Robustness against error, as each defence's strength varies", text)
