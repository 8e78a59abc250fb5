"""The search behind the settings in `plans`: every defence's candidates, trained alike, judged on the validation split.

    python -m reference.experiment.search [--scale demo|full|paper] [--only DEFENCE] [--jobs N] [--cluster ADDRESS]
                                          [--out FOLDER]

Every defence has nine candidates (undefended training, which has no setting, fewer): radii, or for the critic λ and C,
from too small to too large; at full size also fewer epochs.  At the paper's sizes only the number of epochs is chosen,
of two.  All are judged by the same two rules, on means over the seeds, where ρ is that of the strongest attack from the
true label:

1. the smallest validation error, on a tie the larger ρ;
2. the largest ρ among the candidates whose validation error is at most a budget, the same budget for every defence.

The test split is not touched.  FOLDER keeps a record of everything measured and a checkpoint of every run: the same
command goes on where it was stopped.
"""

from __future__ import annotations

if __name__ == "__main__":
    from ..plumbing import process

    process.begin()  # before NumPy is imported

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import numpy as onp
from matplotlib.figure import Figure

from ..attacks import deepfool, high_confidence, strongest
from ..by_hand.model import from_params
from ..data import load
from ..method.numerics import predict
from ..method.settings import (
    AdversarialTraining,
    AdversaryCritic,
    Defence,
    Generator,
    Margin,
    MultiStep,
    Training,
    Undefended,
    VirtualAdversarial,
)
from ..plumbing.command import Parser, add_places, answer
from ..plumbing.executors import Cluster
from ..plumbing.files import content_of, locked, read_json, write_json, write_text
from ..plumbing.records import collect
from . import fronts
from .evaluate import evaluate
from .figures import save as save_figure
from .plans import FULL, LONG, PAPER, Experiment, with_epochs
from .run import attack_shown
from .standin import StandIn
from .tables import JUDGES, grid
from .train import train

IMAGES = 1000
"""Of the validation split, the first ones, that are attacked; the error is of all of it."""


@dataclass(frozen=True)
class Scale:
    """A search: which candidates are trained how, on which seeds, and which errors are within budget."""

    plan: Experiment
    candidates: dict[str, list[tuple[Defence, Training]]]
    seeds: int
    budgets: tuple[float, float, float]
    """Of validation error.  The middle one is that of `plans.ROBUST`."""


def _critics(base: AdversaryCritic, *cases: tuple[float, str | float]) -> list[AdversaryCritic]:
    return [replace(base, critic_weight=weight, generator=Generator(confidence=c)) for weight, c in cases]


def _full_candidates() -> dict[str, list[tuple[Defence, Training]]]:
    """Most candidates train for 30 epochs, two of the middle ones for 10, and one of single-step training for 5."""
    thirty, ten, five = (with_epochs(FULL.training, epochs) for epochs in (30, 10, 5))
    c = "running"
    at_thirty: dict[str, list[Defence]] = {
        "undefended": [Undefended()],
        "adversarial": [AdversarialTraining(e, "l2") for e in (1.0, 1.4, 2.0)]
        + [AdversarialTraining(e, "linf") for e in (0.1, 0.05, 0.2)],
        "virtual": [VirtualAdversarial(e) for e in (0.7, 1.0, 1.4, 2.0, 2.2, 2.5, 3.0)],
        "margin": [Margin(e) for e in (0.5, 0.7, 1.0, 1.2, 1.5, 1.7, 2.2)],
        "critic": _critics(
            FULL.defences["critic"], (0.125, c), (0.25, c), (0.5, 0.9), (0.5, c), (1.0, c), (1.0, 0.9), (2.0, c)
        ),
        "multi-step": [MultiStep(e) for e in (0.7, 1.0, 1.5, 2.0, 2.1, 2.5, 3.0)],
    }
    at_ten: dict[str, list[Defence]] = {
        "undefended": [Undefended()],
        "adversarial": [AdversarialTraining(1.4, "l2"), AdversarialTraining(0.1, "linf")],
        "virtual": [VirtualAdversarial(1.4), VirtualAdversarial(2.0)],
        "margin": [Margin(1.0), Margin(1.2)],
        "critic": _critics(FULL.defences["critic"], (0.5, c), (1.0, c)),
        "multi-step": [MultiStep(1.5), MultiStep(2.0)],
    }
    found = {name: [(d, thirty) for d in at_thirty[name]] + [(d, ten) for d in at_ten[name]] for name in at_thirty}
    found["adversarial"].append((AdversarialTraining(1.4, "l2"), five))
    return found


def _demo_candidates() -> dict[str, list[tuple[Defence, Training]]]:
    nine: dict[str, list[Defence]] = {
        "undefended": [Undefended()],
        "adversarial": [AdversarialTraining(e, "linf") for e in (0.05, 0.1, 0.15, 0.2)]
        + [AdversarialTraining(e, "l2") for e in (0.5, 0.7, 1.0, 1.2, 1.5)],
        "virtual": [VirtualAdversarial(e) for e in (0.35, 0.5, 0.7, 1.0, 1.25, 1.35, 1.5, 2.0, 2.8)],
        "margin": [Margin(e) for e in (0.2, 0.35, 0.5, 0.65, 0.72, 0.8, 1.0, 1.2, 1.6)],
        "critic": _critics(
            LONG.defences["critic"],
            *((weight, c) for weight in (0.25, 0.5, 1.0, 2.0) for c in ("running", 0.9)),
            (4.0, "running"),
        ),
        "multi-step": [MultiStep(e) for e in (0.3, 0.5, 0.65, 0.8, 0.9, 1.0, 1.25, 1.5, 2.0)],
    }
    return {name: [(d, LONG.training) for d in defences] for name, defences in nine.items()}


def _paper_candidates() -> dict[str, list[tuple[Defence, Training]]]:
    """20 epochs and 50, with the settings of `PAPER`; a third of these for single-step training, as `FULL` has it."""
    return {
        name: [(d, with_epochs(PAPER.training, round(0.33 * e) if name == "adversarial" else e)) for e in (20, 50)]
        for name, d in PAPER.defences.items()
    }


SCALES = {
    "demo": Scale(LONG, _demo_candidates(), 3, (0.03, 0.04, 0.05)),
    "full": Scale(FULL, _full_candidates(), 1, (0.015, 0.02, 0.03)),
    "paper": Scale(PAPER, _paper_candidates(), 1, (0.015, 0.02, 0.03)),
}
"""The demo's 5,000 digits at 14×14, at the epochs of `--long`; all of MNIST at 28×28, at those of `--full`, with one
seed; the same at the paper's sizes.  A hundred epochs, the authors' number, of all candidates would take days."""


def label(scale: Scale, name: str, defence: Defence, training: Training) -> str:
    """A candidate's name in tables, as in "virtual ε 1, 30 epochs"; the epochs only where they vary."""
    match defence:
        case AdversaryCritic():
            words = f" λ {defence.critic_weight:g}, C {defence.generator.confidence}"
        case AdversarialTraining():
            words = f" {'L2' if defence.geometry == 'l2' else 'L∞'} ε {defence.epsilon:g}"
        case Undefended():
            words = ""
        case _:
            words = f" ε {defence.epsilon:g}"
    vary = len({t.epochs for candidates in scale.candidates.values() for _, t in candidates}) > 1
    return f"{name}{words}" + (f", {training.epochs} epochs" if vary else "")


def judge(scale_name: str, name: str, defence: Defence, training: Training, seed: int, folder: Path) -> dict:
    """Train one candidate and measure it on the validation split.

    -> error, of the whole split; rho and success {attack: …}, with "strongest" among them, on the first `IMAGES`; looks
    {classifier of the stand-in: share of the attacked images, of `attacked` ones, that look like their target}.
    """
    scale = SCALES[scale_name]
    data = load(scale.plan.side, full=scale.plan.full)
    state = train(
        data,
        defence,
        training,
        seed,
        checkpoint=checkpoint(scale_name, name, defence, training, seed, folder),
        resume=True,
    )
    model, (x, y) = from_params(state.params), data.validation
    few, labels = x[:IMAGES], y[:IMAGES]
    attacks = {"DeepFool": deepfool, "high-confidence": high_confidence, "strongest": strongest}
    found = evaluate(model, few, labels, attacks).attacks
    shown = attack_shown(model, few, labels)
    looks = StandIn(*data.train).shares(*shown) if len(shown[0]) else {}
    return {
        "error": float(onp.mean(predict(model.logits(x)) != y)),
        "images": len(few),
        "rho": {attack: r.rho if r.success.any() else None for attack, r in found.items()},
        "success": {attack: r.success_rate for attack, r in found.items()},
        "looks": {who: shares["changed"] for who, shares in looks.items()},
        "attacked": len(shown[0]),
        "dtype": str(x.dtype),
    }


def checkpoint(scale_name: str, name: str, defence: Defence, training: Training, seed: int, folder: Path) -> Path:
    """The file of a candidate's training."""
    words = re.sub(r"[^A-Za-z0-9.]+", "-", label(SCALES[scale_name], name, defence, training))
    return Path(folder) / f"checkpoints-{scale_name}" / f"{words}-seed-{seed}.npz"


def select(results: Sequence[dict], budgets: Sequence[float]) -> tuple[dict, list[dict | None]]:
    """Of one defence's results (error, rho, means over seeds): what rule 1 chooses, and rule 2 for each budget.

    None where no candidate is within the budget.
    """

    def rho(result):
        return result["rho"]["strongest"]

    first = min(results, key=lambda result: (result["error"], -rho(result)))
    within = [[result for result in results if result["error"] <= budget + 1e-9] for budget in budgets]
    return first, [max(close, key=rho, default=None) for close in within]


def means(scale: Scale, records: Sequence[dict], name: str) -> list[dict]:
    """One result per candidate of the defence `name` that was measured at all, in the order of the candidates.

    Each has the candidate's `label`, the number of `seeds` done, and means over these of error, rho and looks; `spread`
    has the standard deviations over seeds of error and of ρ (strongest), if there are several.
    """
    results = []
    for defence, training in scale.candidates[name]:
        about = {"name": name, "settings": repr(defence), "training": repr(training)}
        own = [r for r in records if about.items() <= r.items() and r["seed"] < scale.seeds]
        if not own:
            continue
        both = [r["error"] for r in own], [r["rho"]["strongest"] or onp.nan for r in own]
        results.append(
            {
                "label": label(scale, name, defence, training),
                "seeds": len(own),
                "error": fmean(both[0]),
                "rho": {attack: fmean(r["rho"][attack] or onp.nan for r in own) for attack in own[0]["rho"]},
                "looks": [fmean(r["looks"].get(who, onp.nan) for r in own) for who in JUDGES],
                "spread": [float(onp.std(values, ddof=1)) for values in both] if len(own) > 1 else None,
            }
        )
    return results


def search(
    scale_name: str, out: Path, only: str | None, jobs: int | None = None, cluster: Cluster = None
) -> list[dict]:
    """Judge the candidates that are not yet in `out`/search-SCALE.json -> all records that it then holds."""
    scale, path = SCALES[scale_name], out / f"search-{scale_name}.json"
    kept = read(path)
    before = len(kept)
    tasks = [
        (
            {"name": name, "settings": repr(defence), "training": repr(training), "seed": seed},
            (scale_name, name, defence, training, seed, out.resolve()),
        )
        for seed in range(scale.seeds)
        for name, candidates in scale.candidates.items()
        for defence, training in candidates
        if only in (None, name)
    ]

    def save(records):
        kept[:] = records
        write_json(path, records)
        if len(records) > before:
            new = records[-1]
            print(
                f"{new['name']} {new['settings']}, seed {new['seed']}: error {100 * new['error']:.2f} %, "
                f"ρ strongest {new['rho']['strongest'] or onp.nan:.3f}",
                file=sys.stderr,
                flush=True,
            )

    collect(judge, tasks, kept, save, jobs, cluster)
    return kept


def read(path: Path) -> list[dict]:
    """The records in a file of this program, [] if there is none; InputError if it is none of its files."""
    cure = "remove it, or name another folder"
    kept = read_json(path, cure) if os.path.lexists(path) else []
    with content_of(path, "a file of this program", cure):
        if not isinstance(kept, list):
            raise TypeError("it is no list of records")
        for record in kept:
            record["name"] + record["settings"] + record["training"]
            rho = [record["rho"][attack] or 0.0 for attack in ("DeepFool", "high-confidence", "strongest")]
            numbers = [float(number) for number in (record["error"], *rho, *record["looks"].values())]
            if type(record["seed"]) is not int or not 0 <= min(numbers) <= max(numbers) < onp.inf:
                raise ValueError(f"a record of {record['name']} holds a wrong number")
    return kept


def table(scale: Scale, records: Sequence[dict]) -> str:
    """All candidates that were measured, in Markdown, and which rule chooses them.

    A choice is shown once all candidates of the defence are measured on all seeds.
    """
    rows, done = [], 0
    for name, candidates in scale.candidates.items():
        results = means(scale, records, name)
        done += sum(result["seeds"] for result in results)
        complete = sum(result["seeds"] for result in results) == scale.seeds * len(candidates)
        first, robust = select(results, scale.budgets) if complete else (None, [])
        for result in results:
            marks = ["1"] * (result is first)
            marks += [f"2 ({100 * b:g} %)" for b, r in zip(scale.budgets, robust, strict=False) if r is result]
            error, rho = f"{100 * result['error']:.{1 if scale.seeds > 1 else 2}f}", f"{result['rho']['strongest']:.3f}"
            if result["spread"]:
                error, rho = f"{error} ±{100 * result['spread'][0]:.1f}", f"{rho} ±{result['spread'][1]:.3f}"
            others = (f"{result['rho'][attack]:.3f}" for attack in ("DeepFool", "high-confidence"))
            looks = ("–" if onp.isnan(share) else f"{100 * share:.0f}" for share in result["looks"])
            rows.append([result["label"], str(result["seeds"]), error, *others, rho, *looks, ", ".join(marks)])
    every = scale.seeds * sum(map(len, scale.candidates.values()))
    header = ["candidate", "seeds", "error %", "ρ DeepFool", "ρ high-confidence", "ρ strongest"]
    header += ["looks: neighbours %", "looks: kernel %", "chosen by rule"]
    unfinished = (
        f"Unfinished: {done} of {every} runs are measured.  A choice is shown where a defence's are complete.\n\n"
    )
    return unfinished * (done < every) + grid(header, rows)


def page(scale: Scale, records: Sequence[dict]) -> str:
    """The table with what was measured, on what."""
    plan = scale.plan
    budgets = ", ".join(f"{100 * b:g}" for b in scale.budgets)
    return (
        f"Validation split of {'all of MNIST' if plan.full else 'the 5,000 digits'}, {plan.side}×{plan.side}, "
        f"{'mean ± standard deviation of ' if scale.seeds > 1 else ''}{scale.seeds} seed{'s' * (scale.seeds > 1)}, "
        f"classifier {'-'.join(map(str, plan.training.hidden))}.  Error of the whole split; attacks from the true "
        f"label on its first {IMAGES} images at most, in float32.  Looks: of the images that the high-confidence "
        "attack moves to C = 0.8, those that look like their target to either classifier of the stand-in.  Rule 1 "
        "takes the smallest error, rule 2 the largest ρ (strongest) at an error of at most "
        f"{budgets} %, the same for every defence.\n\n" + table(scale, records)
    )


def draw(scale: Scale, records: Sequence[dict], gains: Sequence[str] = tuple(fronts.GAINS)) -> Figure:
    """What each defence gains for its error: the candidates that were measured, in a panel for each of `gains`."""
    results = {candidates[0][0].name: means(scale, records, name) for name, candidates in scale.candidates.items()}
    return fronts.draw(results, 2 * scale.budgets[1], gains)


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing, then print every candidate and the choices -> the exit status."""
    parser = Parser(prog="python -m reference.experiment.search", description=__doc__.partition("\n")[0])
    parser.add_argument("--scale", choices=list(SCALES), default="demo", help="digits and sizes (default: %(default)s)")
    parser.add_argument("--only", choices=list(LONG.defences), help="one defence (default: all)")
    add_places(parser)
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder (default: results)")

    def work():
        args = parser.parse_args(argv)
        with locked(args.out):
            records = search(args.scale, args.out, args.only, args.jobs, args.cluster)
            text = page(SCALES[args.scale], records)
            write_text(args.out / f"search-{args.scale}.md", text + "\n")
            save_figure(draw(SCALES[args.scale], records), args.out / f"search-{args.scale}.png")
        print(text)

    return answer("reference.experiment.search", work, "what was measured is kept; the same command goes on")


if __name__ == "__main__":
    sys.exit(main())
