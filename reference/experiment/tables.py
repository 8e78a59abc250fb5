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
"""The attacks of the published table."""
OTHERS = ("DDN", "strongest")
JUDGES = ("nearest neighbours", "kernel machine")
RESAMPLES = 2000


def grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns line up, so that it reads as plain text too."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells):
        rest = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return "| " + " | ".join([cells[0].ljust(widths[0]), *rest]) + " |"

    rule = "|" + "|".join("-" * (width + 1) + ("-" if i == 0 else ":") for i, width in enumerate(widths)) + "|"
    return "\n".join([line(header), rule, *map(line, rows)])


def interval(values: onp.ndarray, seeds: bool = False) -> tuple[float, float]:
    """A 95 % bootstrap interval of a mean: percentiles of 2,000 resamples, always the same ones.

    values: (seeds, n), one an image, nan where there is none; the mean is taken over the images, then over the seeds.
    Images are drawn anew, the same for every seed; `seeds` draws the seeds anew, too.  nan for fewer than two images,
    or if a seed has no value at all.
    """
    values = values[:, onp.isfinite(values).any(axis=0)].astype(float)
    s, n = values.shape
    if n < 2 or not onp.isfinite(values).any(axis=1).all():
        return float("nan"), float("nan")
    there, rng, means = onp.isfinite(values), onp.random.default_rng(0), []
    values = onp.where(there, values, 0)
    for _ in range(RESAMPLES // 100):  # in parts, for the sake of memory
        rows = rng.integers(n, size=(100, n))
        with onp.errstate(invalid="ignore"):
            each = values[:, rows].sum(axis=2) / there[:, rows].sum(axis=2)  # (seeds, 100)
        if seeds:
            each = onp.take_along_axis(each, rng.integers(s, size=(s, 100)), axis=0)
        means.append(each.mean(axis=0))
    low, high = onp.nanquantile(onp.concatenate(means), [0.025, 0.975])
    return float(low), float(high)


def ratios(found: Sequence[Robustness]) -> onp.ndarray:
    """‖r‖/‖x‖ of several runs on the same images: (seeds, n), nan where the attack failed."""
    return onp.stack([onp.where(f.success, f.ratios, onp.nan) for f in found])


def finite(values: dict) -> dict:
    """The values, None in place of each number that is not finite: what JSON can hold."""
    return {key: None if isinstance(v, float) and not onp.isfinite(v) else v for key, v in values.items()}


def difference(a: Sequence[Robustness], b: Sequence[Robustness]) -> dict[str, float]:
    """How much larger ρ is for `a` than for `b`, runs of the same seeds attacked on the same images.

    The difference is taken image by image where both attacks succeeded: {mean, low, high, images}, the ends of a 95 %
    interval over images, and over seeds if there are several.
    """
    pairs = ratios(a) - ratios(b)
    low, high = interval(pairs, seeds=len(pairs) > 1)
    images = int(onp.isfinite(pairs).all(axis=0).sum())
    mean = float(onp.mean([onp.nanmean(row) if onp.isfinite(row).any() else onp.nan for row in pairs]))
    return {"mean": mean, "low": low, "high": high, "images": images}


def cell(values: Sequence[float], ends: tuple[float, float], digits: int = 3) -> str:
    """As in "0.123 ±0.002 (±0.004)": mean, standard deviation over runs if there are several, half the interval."""
    if onp.isnan(values).any():
        return "–"
    text = f"{onp.mean(values):.{digits}f}"
    if len(values) > 1:
        text += f" ±{onp.std(values, ddof=1):.{digits}f}"
    half = (ends[1] - ends[0]) / 2
    return text + ("" if onp.isnan(half) else f" (±{half:.{digits}f})")


def rho_cell(found: Sequence[Robustness]) -> str:
    """ρ over the runs, and the success rate where an attack failed."""
    rate = onp.mean([f.success_rate for f in found])
    text = cell([f.rho for f in found], interval(ratios(found)))
    return text if rate == 1 else f"{text}, {100 * rate:.3g} %"


def share_cell(shares: Sequence[float], n: int) -> str:
    """Shares of n images, in percent, with Wilson's interval of their mean."""
    ends = (onp.nan, onp.nan)
    if n and not onp.isnan(shares).any():
        from scipy import stats  # slow to import

        ends = stats.binomtest(round(n * float(onp.mean(shares))), n).proportion_ci(method="wilson")
    return cell([100 * share for share in shares], (100 * ends[0], 100 * ends[1]), 1)


def columns_of(e: Evaluation) -> list[str]:
    """The attacks that were run, in the order of the tables."""
    return [column for column in (*COLUMNS, *OTHERS) if column in e.attacks]


def table(outcomes: Sequence[Outcome], start: str = "true") -> str:
    """Rows are defences; attacks start from the `start` label.  "true" is the published convention, and the published
    numbers stand below the measured ones."""
    rows, everything = [], start == "true"
    columns = columns_of(getattr(outcomes[0], start))
    for name, runs in by_defence(outcomes).items():
        evaluations = [getattr(run, start) for run in runs]
        errors = share_cell([e.error for e in evaluations], len(evaluations[0].labels))
        cells = [rho_cell([e.attacks[column] for e in evaluations]) for column in columns]
        if everything:
            cells.insert(0, cell([e.calibration_error for e in evaluations], (onp.nan, onp.nan)))
            attacked = len(runs[0].attacked[2])
            cells += [share_cell([run.looks.get(judge, onp.nan) for run in runs], attacked) for judge in JUDGES]
            cells.append("–")
        rows.append([NAMES[name], errors, *cells])
        if everything and name in PUBLISHED:
            error, *rhos = PUBLISHED[name]
            known = dict(zip(COLUMNS, (f"{rho:.3f}" for rho in rhos), strict=True))
            cells = [known.get(column, "–") for column in columns]
            rows.append(["– published", f"{error:.2f}", "–", *cells, "–", "–", f"{PEOPLE[name][0]:.1f}"])
    e = evaluations[0]
    header = [f"ρ {column} ({len(e.attacks[column].ratios)})" for column in columns]
    if everything:
        header = ["ECE", *header, *(f"looks: {judge} %" for judge in (*JUDGES, "people"))]
    return grid(["defence", "error %", *header], rows)


def lead(outcomes: Sequence[Outcome]) -> str:
    """The critic's ρ less each other defence's, image by image; "" without the critic, or with nothing beside it."""
    runs = by_defence(outcomes)
    if "critic" not in runs or len(runs) < 2:
        return ""
    rows, columns = [], columns_of(outcomes[0].true)
    for name in (name for name in runs if name != "critic"):
        cells = []
        for column in columns:
            pair = ([run.true.attacks[column] for run in runs[which]] for which in ("critic", name))
            found = difference(*pair)
            signs = "{mean:+.4f} [{low:+.4f}, {high:+.4f}] ({images})"
            cells.append(signs.format(**found) if onp.isfinite(found["mean"]) else "–")
        rows.append([NAMES[name], *cells])
    return grid(["the critic's ρ less that of", *columns], rows)


def full_report(outcomes: Sequence[Outcome], plan: Experiment, record: dict) -> str:
    """All blocks with their conventions, as Markdown that reads as text.  record: what `as_json` made of the same."""
    first, t = outcomes[0], plan.training
    hidden = "-".join(map(str, t.hidden)) or "linear"
    others = ", ".join(f"{NAMES[name]} {n}" for name, n in plan.epochs.items() if name in plan.defences)
    epochs = f"{t.epochs} epochs" + (f" ({others})" if others else "")
    several = f"±: the standard deviation over {plan.seeds} seeds; " if plan.seeds > 1 else "One seed; "
    again = " and seeds" if plan.seeds > 1 else ""

    def conventions(e: Evaluation):
        return [f"- {found.convention}, on the first {len(found.ratios)} test images" for found in e.attacks.values()]

    differences = lead(outcomes)
    return "\n".join(
        [
            f"Measured: {record['data']}, {plan.side}×{plan.side}, classifier {hidden}, {epochs}, "
            f"{len(first.true.labels)} test images, {first.true.confidence.dtype}.",
            f"{several}(±): half the 95 % interval over images.",
            "ρ = mean ‖r‖/‖x‖ over the images on which the attack succeeded, larger is better; "
            "the success rate follows where an attack sometimes failed. (n) in the header: on the first n test images.",
            "",
            "In short, measured / published (± and intervals below):",
            "",
            in_short(record),
            "",
            "Attacks from the true label (the published convention):",
            "",
            table(outcomes),
            "",
            *conventions(first.true),
            "- ECE: expected calibration error on all test images, in 15 equal bins of confidence",
            f"- looks: of the first {min(plan.fast_images, len(first.true.labels))} test images, as far as they "
            "are classified right and the high-confidence attack moves them to "
            f"C = {SHEET_CONFIDENCE:g} ({len(first.attacked[2])} of {NAMES[first.defence]}, seed {first.seed}), those "
            "that look like their target: to two classifiers that stand in for people and that no defence ever saw, "
            "in the published rows to people",
            "- published: Matyasko & Chau 2018, full-scale MNIST, 28×28, 1200-1200-1200, 10 runs, from the true label",
            "",
            "Attacks from the predicted label:",
            "",
            table(outcomes, "predicted"),
            "",
            *conventions(first.predicted),
            *(
                [
                    "",
                    f"Differences of ρ, image by image, with their 95 % interval over images{again} (in brackets, the "
                    "images on which both attacks succeeded):",
                    "",
                    differences,
                ]
                if differences
                else []
            ),
        ]
    )


def as_json(outcomes: Sequence[Outcome], plan: Experiment, source: str) -> dict:
    """Everything in the tables, unrounded, per run and per defence; None stands for "no attack succeeded"."""

    def attack(found: Robustness):
        low, high = interval(ratios([found]))
        values = {
            "rho": found.rho,
            "rho_low": low,
            "rho_high": high,
            "median": found.median,
            "success_rate": found.success_rate,
            "rho_with_last_iterates": found.authors_rho,
        }
        return finite(values) | {"images": len(found.ratios), "convention": found.convention}

    def evaluation(e: Evaluation):
        found = {name: attack(r) for name, r in e.attacks.items()}
        about = {"error": e.error, "error_interval": e.error_interval(), "calibration_error": e.calibration_error}
        return about | {"dtype": str(e.confidence.dtype), "attacks": found}

    def over_seeds(runs: Sequence[Outcome], others: Sequence[Outcome] | None):
        values = {}
        for column in columns_of(runs[0].true):
            found = [run.true.attacks[column] for run in runs]
            low, high = interval(ratios(found))
            values[column] = finite({"rho": float(onp.mean([f.rho for f in found])), "low": low, "high": high})
            if others:
                critic = [run.true.attacks[column] for run in others]
                values[column]["critic_less_this"] = finite(difference(critic, found))
        return values

    groups = by_defence(outcomes)
    runs = [
        {
            "defence": run.defence,
            "seed": run.seed,
            "settings": repr(plan.defences[run.defence]),
            "epochs": plan.training_of(run.defence).epochs,
            "seconds": run.seconds,
            "from_true_label": evaluation(run.true),
            "from_predicted_label": evaluation(run.predicted),
            "looks_like_target": {"images": len(run.attacked[2]), **run.looks},
        }
        for run in outcomes
    ]
    return {
        "data": source,
        "side": plan.side,
        "training": repr(plan.training),
        "runs": runs,
        "over_seeds": {
            name: over_seeds(group, groups.get("critic") if name != "critic" else None)
            for name, group in groups.items()
        },
        "published": {
            "what": "Matyasko & Chau 2018, full-scale MNIST: error %, rho " + ", ".join(COLUMNS),
            "values": PUBLISHED,
        },
    }


def in_short(record: dict) -> str:
    """The table of the README, from what `as_json` made: measured, mean ± standard deviation over seeds; published.

    "looks like target" is the mean over the two classifiers that stand in for people; published, it is people's.
    """

    def measured(values, digits, scale=1):
        values = [scale * value for value in values]
        spread = f" ±{onp.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
        return f"{onp.mean(values):.{digits}f}{spread}"

    rows = []
    for name in record["over_seeds"]:
        runs = [run for run in record["runs"] if run["defence"] == name]
        found = [run["from_true_label"] for run in runs]
        known = PUBLISHED.get(name)
        cells = [measured([e["error"] for e in found], 1, 100) + (f" / {known[0]:.2f}" if known else "")]
        for attack, place in (("DeepFool", 1), ("strongest", None), ("high-confidence", 3)):
            text = measured([e["attacks"][attack]["rho"] for e in found], 3)
            cells.append(text + (f" / {known[place]:.3f}" if known and place else ""))
        looks = [onp.mean([run["looks_like_target"][judge] for judge in JUDGES]) for run in runs]
        cells.append(measured(looks, 1, 100) + (f" / {PEOPLE[name][0]:.1f}" if known else ""))
        rows.append([NAMES[name], *cells])
    return grid(["defence", "error %", "ρ DeepFool", "ρ strongest", "ρ high-confidence", "looks like target %"], rows)


def per_image(outcomes: Sequence[Outcome]) -> dict[str, onp.ndarray]:
    """‖r‖/‖x‖ of every image, from the true label, nan where the attack failed: {"DEFENCE SEED ATTACK": (n,)}."""
    return {
        f"{run.defence} {run.seed} {name}": ratios([found])[0]
        for run in outcomes
        for name, found in run.true.attacks.items()
    }


def by_defence(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """The runs of each defence, in order."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.defence, []).append(outcome)
    return groups


def timings(outcomes: Sequence[Outcome], before: float, after: float) -> str:
    """Where the time of each run went, in seconds, in Markdown.

    before: from the command's start to the first run's; after: from the last run's end to the end of the pictures.
    """
    parts = list(dict.fromkeys(part for run in outcomes for part in run.seconds))
    rows = [
        [f"{run.defence} {run.seed}"]
        + [f"{value:.1f}" for value in (*(run.seconds.get(part, 0) for part in parts), sum(run.seconds.values()))]
        for run in outcomes
    ]
    return f"Seconds.  Until the first run began: {before:.1f}.  Table and pictures: {after:.1f}.\n\n" + grid(
        ["run", *parts, "sum"], rows
    )
