"""Which defence gives the most robustness for the least error, as each one's strength varies?

Each defence is trained at five strengths around the demo's (ε of adversarial training, virtual adversarial training and
the margin loss; λ of the critic), all else as in the demo; at strength 0 all are the undefended network, up to the
critic's cycle term.  Adversarial training comes in both of its geometries.

Error is of all test images, ρ of the images attacked, from the true label.  Nothing is chosen by them: every setting
that was trained is shown.  A setting is on the front of (error, ρ), means over seeds, if no other has at most its error
and at least its ρ, and one of the two better.  It is beaten beyond the spread if some other is better in both by
`study.compare`, a paired t-test over the seeds.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as onp
from matplotlib.figure import Figure

from ..figures import FONT, caption, look, plain
from ..report import grid
from ..settings import DEMO, AdversarialTraining, Defence, Margin, Undefended, VirtualAdversarial
from ..train import train
from .measures import robustness
from .study import DIGIT_SIZES, Records, Size, by_name, compare, digits, entry, values

SIZES = dict(zip(DIGIT_SIZES, zip(DIGIT_SIZES.values(), (5, 2, 1))))
"""Size and step: every step-th strength of each defence."""

FAMILIES: dict[str, dict[float, Defence]] = {
    "undefended": {0: Undefended()},
    "adversarial training": {e: AdversarialTraining(e, "l2") for e in (0.35, 0.7, 1.0, 1.5, 2.0)},
    "virtual adversarial": {e: VirtualAdversarial(e) for e in (0.35, 0.7, 1.0, 1.5, 2.0)},
    "margin": {e: Margin(e) for e in (0.15, 0.3, 0.5, 0.65, 0.8)},
    "adversary critic": {w: replace(DEMO.defences["critic"], critic_weight=w) for w in (0.125, 0.25, 0.5, 1.0, 2.0)},
    "adversarial training, L∞": {e: AdversarialTraining(e, "linf") for e in (0.025, 0.05, 0.1, 0.15, 0.2)},
}
MEASURES = {"deepfool": "DeepFool", "high_confidence": "the high-confidence attack"}


def tasks(of: tuple[Size, int]):
    size, step = of
    return [
        (
            {"name": label(family, strength), "family": family, "strength": strength, "seed": seed}
            | {"settings": repr((defence, size.training, size.images))},
            (defence, size, seed),
        )
        for seed in range(size.seeds)
        for family, defences in FAMILIES.items()
        for strength, defence in list(defences.items())[::step]
    ]


def label(family: str, strength: float) -> str:
    """As in "margin, ε = 0.5"."""
    return f"{family}, {'λ' if 'critic' in family else 'ε'} = {strength:g}" if strength else family


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


def finding(records: Records) -> str:
    groups, states, members, beaten = by_name(records), fronts(records), [], []
    for key, by in MEASURES.items():
        strengths: dict[str, list[str]] = {}
        for name, group in groups.items():
            if states[key][name] == "front":
                strengths.setdefault(group[0]["family"], []).append(f"{group[0]['strength']:g}")
        stand = [f"{family} at {', '.join(each)}".removesuffix(" at 0") for family, each in strengths.items()]
        members.append(f"by {by}, {'; '.join(stand)}")
        off = [state for state in states[key].values() if state != "front"]
        beaten.append(f"{off.count('beaten')} of {len(off)} by {by}")
    seeds = len({record["seed"] for record in records})
    told = (
        f"For {' and '.join(beaten)}, {seeds} seeds tell that another setting is better in both"
        if seeds > 1
        else "One seed cannot tell where another setting is really better in both"
    )
    return (
        f"On the front of test error and ρ (means over seeds) stand, {'; and '.join(members)}. "
        f"The other settings are off it by their means: {told[0].lower()}{told[1:]}."
    )


def draw(records: Records) -> Figure:
    figure = Figure(figsize=(13, 5.6), layout="constrained")
    axes = figure.subplots(1, 2)
    found = fronts(records)
    for ax, (key, measure_name) in zip(axes, MEASURES.items(), strict=True):
        for family in FAMILIES:
            groups = by_name([record for record in records if record["family"] == family])
            colour, style, marker = look(family, list(FAMILIES))
            x, y = (
                onp.array([f * values(g, k).mean() for g in groups.values()]) for k, f in (("error", 100), (key, 1))
            )
            if len(records) > len(by_name(records)):
                sd = {k: [values(g, k).std(ddof=1) for g in groups.values()] for k in ("error", key)}
                spread = {"xerr": 100 * onp.array(sd["error"]), "yerr": sd[key]}
                ax.errorbar(x, y, **spread, fmt="none", ecolor=colour, elinewidth=0.9, alpha=0.55)
            ax.plot(x, y, color=colour, ls=style, marker=marker, ms=6, lw=1.3, label=family)
            front = [found[key][name] == "front" for name in groups]
            ax.plot(x[front], y[front], "o", ms=15, mfc="none", mec="0.35", mew=1.4)
            for i in {0, len(x) - 1}:
                strength = next(iter(groups.values()))[0] if i == 0 else list(groups.values())[-1][0]
                ax.annotate(f"{strength['strength']:g}", (x[i], y[i]), (7, -11), textcoords="offset points",
                            fontsize=FONT - 2, color=colour)  # fmt: skip
        ax.set_xlabel("test error (%)", fontsize=FONT)
        ax.set_ylabel(f"ρ by {measure_name}", fontsize=FONT)
        plain(ax)
    axes[1].plot([], [], "o", ms=11, mfc="none", mec="0.35", mew=1.4, label="on the front")
    axes[1].legend(fontsize=FONT - 1, frameon=False, loc="lower right")
    text = "Better is up and left. Numbers: the first and last strength of each curve (ε, or the critic's λ). "
    text += "Bars: standard deviation over seeds."
    return caption(figure, "Robustness against error, as each defence's strength varies", text)
