"""The tables: what was measured, beside what was published, as text, Markdown and JSON."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as onp

from .evaluate import Evaluation, Robustness
from .plans import DEMO, Experiment
from .run import SHEET_CONFIDENCE, Outcome

# Matyasko & Chau 2018, MNIST at full scale, MLP, mean of 10 runs: error %, then ρ.
PUBLISHED = {
    "undefended": (1.46, 0.131, 0.124, 0.173),
    "adversarial": (0.90, 0.228, 0.210, 0.299),
    "virtual": (0.84, 0.244, 0.215, 0.355),
    "margin": (0.84, 0.262, 0.230, 0.453),
    "critic": (1.18, 0.290, 0.272, 0.575),
}
# The same, their annotators on MTurk, images of the high-confidence attack: % labelled as the target, as the original.
PEOPLE = {
    "undefended": (0.57, 98.74),
    "adversarial": (19.02, 77.21),
    "virtual": (35.08, 59.68),
    "margin": (60.47, 34.52),
    "critic": (87.99, 9.86),
}
NAMES = {name: defence.name for name, defence in DEMO.defences.items()}
COLUMNS = ("DeepFool", "Carlini-Wagner", "high-confidence")
LOOKS = "looks like target %"


def grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns line up, so that it reads as plain text too."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells):
        rest = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return "| " + " | ".join([cells[0].ljust(widths[0]), *rest]) + " |"

    rule = "|" + "|".join("-" * (width + 1) + ("-" if i == 0 else ":") for i, width in enumerate(widths)) + "|"
    return "\n".join([line(header), rule, *map(line, rows)])


def spread(values: Sequence[float], interval: tuple[float, float], digits: int = 3) -> str:
    """As in "0.123 ±0.004": one run with half its 95 % interval, or the mean of several with their spread (sd)."""
    if len(values) > 1:
        half = float(onp.std(values, ddof=1))
    else:
        half = (interval[1] - interval[0]) / 2
    if onp.isnan(values).any():
        return "–"
    return f"{onp.mean(values):.{digits}f} ±" + ("–" if onp.isnan(half) else f"{half:.{digits}f}")


def rho_cell(found: Sequence[Robustness]) -> str:
    """ρ over the runs, and the success rate where an attack failed."""
    rate = onp.mean([f.success_rate for f in found])
    cell = spread([f.rho for f in found], found[0].interval())
    return cell if rate == 1 else f"{cell} ({100 * rate:.3g} %)"


def error_cell(evaluations: Sequence[Evaluation]) -> str:
    """Error in percent."""
    low, high = evaluations[0].error_interval()
    return spread([100 * e.error for e in evaluations], (100 * low, 100 * high), 1)


def looks_cell(runs: Sequence[Outcome]) -> str:
    """How many attacked images look like their target to the stand-in, in percent: the mean of its two classifiers."""
    shares = [100 * float(onp.mean(list(run.looks.values()))) if run.looks else onp.nan for run in runs]
    interval = (onp.nan, onp.nan)
    if runs[0].looks:
        from scipy import stats

        n = len(runs[0].attacked[2])
        test = stats.binomtest(round(n * shares[0] / 100), n)
        interval = tuple(100 * end for end in test.proportion_ci(method="wilson"))
    return spread(shares, interval, 1)


def table(outcomes: Sequence[Outcome], start: str = "true") -> str:
    """Rows are defences; attacks start from the `start` label ("true" is the published convention)."""
    columns = (*COLUMNS, "strongest") if start == "true" else ("DeepFool", "high-confidence", "strongest")
    rows = []
    for name, runs in by_defence(outcomes).items():
        evaluations = [getattr(run, start) for run in runs]
        cells = [rho_cell([e.attacks[column] for e in evaluations]) for column in columns]
        if start == "true":
            cells.append(looks_cell(runs))
        rows.append([NAMES[name], error_cell(evaluations), *cells])
    e = evaluations[0]
    header = [f"ρ {column} ({len(e.attacks[column].ratios)})" for column in columns]
    return grid(["defence", "error %", *header, *[LOOKS] * (start == "true")], rows)


def _images(found: Robustness) -> str:
    return f"the first {len(found.ratios)} test images"


def published(names: Sequence[str]) -> str:
    """The published block for the same defences."""
    rows = []
    for name in (name for name in names if name in PUBLISHED):
        error, *rhos = PUBLISHED[name]
        rows.append([NAMES[name], f"{error:.2f}", *(f"{rho:.3f}" for rho in rhos), f"{PEOPLE[name][0]:.2f}"])
    return grid(["defence", "error %", *(f"ρ {column}" for column in COLUMNS), LOOKS], rows)


def full_report(outcomes: Sequence[Outcome], plan: Experiment, source: str) -> str:
    """All blocks with their conventions, as Markdown that reads as text."""
    runs = by_defence(outcomes)
    first = outcomes[0]
    t = plan.training
    hidden = "-".join(map(str, t.hidden)) or "linear"
    spread_is = (
        "half the 95 % interval over images" if plan.seeds == 1 else f"standard deviation over {plan.seeds} seeds"
    )

    def conventions(e: Evaluation):
        return [f"- {found.convention}, on {_images(found)}" for found in e.attacks.values()]

    return "\n".join(
        [
            f"Measured: {source}, {plan.side}×{plan.side}, classifier {hidden}, {t.epochs} epochs, "
            f"{len(first.true.labels)} test images; ± is {spread_is}.",
            "ρ = mean ‖r‖/‖x‖ over the images on which the attack succeeded, larger is better; "
            "(success rate) where it sometimes failed. (n) in the header: on the first n test images.",
            "",
            "Attacks from the true label (the published convention):",
            "",
            table(outcomes),
            "",
            *conventions(first.true),
            f"- {LOOKS}: of the test images that are classified right and that the high-confidence attack moves to "
            f"C = {SHEET_CONFIDENCE:g} ({len(first.attacked[2])} of {NAMES[first.defence]}, seed {first.seed}), those "
            "that a stand-in for people labels as the network does: the mean of nearest neighbours and a kernel "
            "machine, which no defence ever saw",
            "",
            "Attacks from the predicted label:",
            "",
            table(outcomes, "predicted"),
            "",
            *conventions(first.predicted),
            "",
            "Published (Matyasko & Chau 2018): full-scale MNIST, 28×28, 1200-1200-1200, from the true label; "
            f"{LOOKS}: to people:",
            "",
            published(list(runs)),
        ]
    )


def as_json(outcomes: Sequence[Outcome], plan: Experiment, source: str) -> dict:
    """Everything in the tables, unrounded, per run; None stands for "no attack succeeded"."""

    def attack(found: Robustness):
        low, high = found.interval()
        values = {
            "rho": found.rho,
            "rho_low": low,
            "rho_high": high,
            "median": found.median,
            "success_rate": found.success_rate,
            "rho_with_last_iterates": found.authors_rho,
        }
        finite = {key: value if onp.isfinite(value) else None for key, value in values.items()}
        return finite | {"images": len(found.ratios), "convention": found.convention}

    def evaluation(e: Evaluation):
        found = {name: attack(r) for name, r in e.attacks.items()}
        return {"error": e.error, "error_interval": e.error_interval(), "attacks": found}

    runs = [
        {
            "defence": run.defence,
            "seed": run.seed,
            "settings": repr(plan.defences[run.defence]),
            "training_seconds": run.training_seconds,
            "evaluation_seconds": run.evaluation_seconds,
            "from_true_label": evaluation(run.true),
            "from_predicted_label": evaluation(run.predicted),
            "looks_like_target": {"images": len(run.attacked[2]), **run.looks},
            "history": run.history,
        }
        for run in outcomes
    ]
    return {
        "data": source,
        "side": plan.side,
        "training": repr(plan.training),
        "runs": runs,
        "published": {
            "what": "Matyasko & Chau 2018, full-scale MNIST: error %, rho " + ", ".join(COLUMNS),
            "values": PUBLISHED,
        },
    }


def by_defence(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """The runs of each defence, in order."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.defence, []).append(outcome)
    return groups
