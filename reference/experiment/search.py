"""The search behind `plans.DEMO`: every defence's candidates, trained alike, judged on the validation split.

    python -m reference.experiment.search [--only DEFENCE] [--jobs N] [--out FILE]

Two rules, the same for every defence: (1) the smallest validation error, on a tie the larger ρ; (2) the largest ρ at a
validation error within one point of the defence's best.  ρ is DeepFool's plus the high-confidence attack's, from the
true label.  The test split is not touched.  About an hour on 2 cores; results that FILE already holds are not redone.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

from ..attacks import deepfool, high_confidence
from ..by_hand.model import from_params
from ..data import load
from ..errors import InputError
from ..method.settings import AdversarialTraining, Defence, Generator, Margin, Training, Undefended, VirtualAdversarial
from ..plumbing import executors
from ..plumbing.command import Parser, answer
from ..plumbing.files import write_json
from .evaluate import evaluate
from .plans import DEMO
from .tables import grid
from .train import train

_BASE = DEMO.defences["critic"]
CANDIDATES: dict[str, Sequence[Defence]] = {
    "undefended": [Undefended()],
    "adversarial": [AdversarialTraining(e, "linf") for e in (0.05, 0.1, 0.15, 0.2)]
    + [AdversarialTraining(e, "l2") for e in (0.7, 1.0, 1.5, 2.0)],
    "virtual": [VirtualAdversarial(e) for e in (0.5, 0.7, 1.0, 1.5, 2.0)],
    "margin": [Margin(e) for e in (0.3, 0.5, 0.65, 0.8, 1.2)],
    "critic": [replace(_BASE, critic_weight=weight) for weight in (0.25, 0.5, 1.0, 2.0)]
    + [
        replace(_BASE, critic_weight=1.0, **change)
        for change in (
            {"penalty_weight": 1.0},
            {"hidden": (256, 256)},
            {"generator": Generator(confidence=0.9)},
            {"generator": Generator(confidence="own")},
        )
    ],
}


def short(defence: Defence, other: Defence | None = None) -> str:
    """ε, and what differs from the defaults of the defence's class: "critic_weight 2.0, gradient full"."""
    other = type(defence)() if other is None else other
    words = []
    for field in fields(defence):
        mine, theirs = getattr(defence, field.name), getattr(other, field.name)
        if is_dataclass(mine):
            words.append(short(mine, theirs))
        elif mine != theirs or field.name == "epsilon":
            words.append(f"{field.name} {mine}")
    return ", ".join(filter(None, words))


def judge(defence: Defence, training: Training, seed: int) -> dict:
    """Train one candidate and measure it on the validation split."""
    data = load(DEMO.side)
    state = train(data, defence, training, seed)
    attacks = {"DeepFool": deepfool, "high-confidence": high_confidence}
    found = evaluate(from_params(state.params), *data.validation, attacks)
    return {"error": found.error, "rho": {attack: r.rho for attack, r in found.attacks.items()}}


def select(results: Sequence[dict]) -> tuple[dict, dict]:
    """The candidates of one defence that the two rules choose."""

    def rho(result):
        return sum(result["rho"].values())

    first = min(results, key=lambda result: (result["error"], -rho(result)))
    close = [result for result in results if result["error"] <= first["error"] + 0.01 + 1e-9]
    return first, max(close, key=rho)


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing, then print every candidate and the choices -> the exit status."""
    parser = Parser(prog="python -m reference.experiment.search", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=list(CANDIDATES), help="one defence (default: all)")
    parser.add_argument("--jobs", type=int, default=executors.cores(), help="processes (default: one per core)")
    parser.add_argument("--out", type=Path, default=Path("results/search.json"), help="default: results/search.json")

    def work():
        args = parser.parse_args(argv)
        print(table(search(args.out, args.only, args.jobs)))

    return answer("reference.experiment.search", work, "what was measured is kept; the same command goes on")


def search(out: Path, only: str | None, jobs: int) -> list[dict]:
    """Judge the candidates that the file `out` does not hold yet, and add them to it -> all that it then holds."""
    try:
        kept = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else []
        before = len([record["name"] + record["settings"] for record in kept])
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise InputError(f"{out} is not a file of this program ({error}): remove it, or name another") from None
    tasks = [
        ({"name": name, "settings": repr(c), "training": repr(DEMO.training), "seed": 0}, (c, DEMO.training, 0))
        for name, candidates in CANDIDATES.items()
        for c in candidates
        if only in (None, name)
    ]

    def save(records):
        kept[:] = records
        write_json(out, records)
        if len(records) > before:
            print(table(records[-1:]).splitlines()[-1], file=sys.stderr, flush=True)

    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # for the processes about to start
    executors.collect(judge, tasks, kept, save, jobs)
    return kept


def table(results: Sequence[dict]) -> str:
    """All candidates as they are now, trained by today's recipe, and which rule chooses them."""
    rows = []
    for name, candidates in CANDIDATES.items():
        labels = {repr(c): f"{name}: {short(c)}".removesuffix(": ") for c in candidates}
        own = [r for r in results if r["settings"] in labels and r["training"] == repr(DEMO.training)]
        chosen = select(own) if own else ()
        for result in own:
            mark = " and ".join(str(rule) for rule, best in enumerate(chosen, 1) if best is result)
            rho = [f"{value:.3f}" for value in result["rho"].values()]
            rows.append([labels[result["settings"]], f"{100 * result['error']:.1f}", *rho, mark])
    return grid(["candidate", "error %", "ρ DeepFool", "ρ high-confidence", "chosen by rule"], rows)


if __name__ == "__main__":
    sys.exit(main())
