"""What every study is: measurements over settings and seeds, a table with its spread, a picture, and a finding.

A study is a module.  The first line of its docstring is the question; the rest says how it is answered.  It holds

    SIZES                 {"quick": .., "preview": .., "full": ..}, whatever its `tasks` takes
    tasks(size)           [(about, arguments)]: about is a dict with "name" and "seed", see `records.collect`
    measure(*arguments)   one record of numbers, fit for JSON; runs in a process of its own
    table(records)        text
    FINDING               two or three sentences, written by hand; what was measured stands in square brackets
    found(records)        the same, in order, from the records: `finding` compares the two
    draw(records)         a matplotlib `Figure`
    JOBS                  if it has one: how many processes it bears at the most
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from types import ModuleType

import numpy as onp

from ..data import load
from ..experiment import plans
from ..experiment.figures import save
from ..experiment.tables import grid
from ..method.settings import Training
from ..plumbing.command import add_places
from ..plumbing.executors import Cluster
from ..plumbing.files import content_of, read_json, write_json, write_text
from ..plumbing.records import collect

Records = Sequence[dict]
CURE = "remove it, or choose another --out"
SHIPPED = Path(__file__).parents[1] / "gallery" / "studies"


@dataclass(frozen=True)
class Size:
    """How much a study on digits does."""

    training: Training
    seeds: int
    images: int
    """Test images that are attacked."""


DIGIT_SIZES = {
    "quick": Size(plans.with_epochs(plans.QUICK.training, 1), 1, 30),
    "preview": Size(plans.with_epochs(plans.DEMO.training, 12), 1, 300),
    "full": Size(plans.with_epochs(plans.DEMO.training, 60), 3, 1000),
}


def add_arguments(parser: argparse.ArgumentParser, study: ModuleType) -> None:
    """The command line that every study has."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = study.__doc__
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", dest="size", action="store_const", const="quick", help="seconds, to see that it works")
    size.add_argument("--full", dest="size", action="store_const", const="full", help="what the findings rest on")
    parser.set_defaults(size="preview")
    add = parser.add_argument
    add("--out", type=Path, default=Path("results/studies"), metavar="DIR", help="default: results/studies")
    add_places(parser)


def run(name: str, study: ModuleType, size: str, out: Path, jobs: int | None = None, cluster: Cluster = None) -> None:
    """Measure what `out`/`size` does not hold yet, then write NAME.json, NAME.md and NAME.png there and print."""
    tasks, path = study.tasks(study.SIZES[size]), out / size / f"{name}.json"
    records = read(path)["records"] if os.path.lexists(path) else []
    if size == "full" and (SHIPPED / path.name).exists():
        minutes = sum(record["seconds"] for record in read(SHIPPED / path.name)["records"]) / 60
        print(f"The shipped result's runs took {minutes:.0f} minutes in all.", file=sys.stderr, flush=True)

    def keep(records):
        write_json(path, {"study": name, "size": size, "records": records})
        if len(records) > before:
            last = records[-1]
            print(f"{name}: {last['name']}, seed {last['seed']}: {last['seconds']:.0f} s", file=sys.stderr, flush=True)

    before = len(records)
    jobs = min(filter(None, (jobs, getattr(study, "JOBS", None))), default=None)
    records = collect(study.measure, tasks, records, keep, jobs, cluster)
    with content_of(path, "this study's file", CURE) if before else nullcontext():
        found = {"study": name, "size": size, "finding": finding(study, records), "records": records}
        text = f"{question(study)}\n\n{study.table(records)}\n\n{found['finding']}"
        figure = study.draw(records)
    write_json(path, found)
    write_text(path.with_suffix(".md"), text + "\n")
    save(figure, path.with_suffix(".png"))
    print(f"{text}\n\n{path.with_suffix('.png')}")


def read(path: Path) -> dict:
    """What a study wrote; InputError if the file is another's."""
    found = read_json(path, CURE)
    with content_of(path, "a study's file", CURE):
        [(record["name"] + "", record["seed"] + 0, record["seconds"] + 0) for record in found["records"]]
    return found


def question(study: ModuleType) -> str:
    """The study's question."""
    return study.__doc__.partition("\n")[0]


def headline(name: str) -> str:
    """The first sentence of the shipped finding; "" if there is none."""
    path = SHIPPED / f"{name}.json"
    return read(path)["finding"].partition(". ")[0].rstrip(".") + "." if path.exists() else ""


def over_seeds(seeds: int, runs: Mapping[str, tuple]) -> list[tuple[dict, tuple]]:
    """The tasks of `runs`, {name: (settings, arguments)}, for each seed, which is the last argument."""
    return [
        ({"name": name, "seed": seed, "settings": repr(settings)}, (*arguments, seed))
        for seed in range(seeds)
        for name, (settings, arguments) in runs.items()
    ]


def by_name(records: Records) -> dict[str, list[dict]]:
    """The records of each setting, in order."""
    groups: dict[str, list[dict]] = {}
    for record in records:
        groups.setdefault(record["name"], []).append(record)
    return groups


def values(records: Records, key: str) -> onp.ndarray:
    """One number of every record; nan where it is None."""
    return onp.array([record[key] for record in records], float)


def entry(records: Records, key: str, digits: int = 3, scale: float = 1) -> str:
    """As in "0.123 ±0.004": mean and standard deviation over seeds; of one seed the value and its {key}_half."""
    found = scale * values(records, key)
    if onp.isnan(found).any():
        return "–"
    if len(found) > 1:
        return f"{found.mean():.{digits}f} ±{found.std(ddof=1):.{digits}f}"
    half = records[0].get(f"{key}_half")
    return f"{found[0]:.{digits}f}" + ("" if half is None else f" ±{scale * half:.{digits}f}")


ROBUST = (("error %", "error", 1, 100), ("ρ DeepFool", "deepfool"), ("ρ high-conf.", "high_confidence"))
"""Columns of `tabulate`, of what `measures.robustness` measures."""


def tabulate(title: str, groups: Mapping[str, Records], columns: Sequence[tuple]) -> str:
    """A row for each group: its name, under `title`, and an `entry` for each column (title, key, digits, scale)."""
    rows = [[name, *(entry(group, *how) for _, *how in columns)] for name, group in groups.items()]
    return grid([title, *(head for head, *_ in columns)], rows)


def compare(a: Records, b: Records, key: str) -> int:
    """Whether `key` is larger (1) or smaller (−1) in `b` than in `a`, by a paired t-test over seeds at 5 %; else 0.

    Not corrected for the number of tests.  Where all differences are the same there is nothing to test against: 0.
    """
    from scipy import stats

    first, second = ({record["seed"]: record[key] for record in group} for group in (a, b))
    differences = onp.array([second[seed] - first[seed] for seed in sorted(first.keys() & second.keys())], float)
    if len(differences) < 2 or not onp.ptp(differences) > 1e-9 * onp.abs(differences).max():  # nan is not either
        return 0
    return int(onp.sign(differences.mean())) * bool(stats.ttest_1samp(differences, 0).pvalue < 0.05)


def mean(records: Records, key: str, digits: int, scale: float = 1) -> str:
    """As in "0.123": the mean over the records."""
    return f"{scale * values(records, key).mean():.{digits}f}"


def told(a: Records, b: Records, key: str, more: str = "larger", less: str = "smaller") -> str:
    """Whether `key` is larger in `b` than in `a`, in a word; see `compare`."""
    return {1: more, -1: less, 0: "not told apart"}[compare(a, b, key)]


def finding(study: ModuleType, records: Records) -> str:
    """The study's finding, as long as the records say the same; otherwise what they say instead."""
    said, found = re.findall(r"\[([^]]*)\]", study.FINDING), study.found(records)
    text = re.sub(r"\[([^]]*)\]", r"\1", study.FINDING)
    if said == found:
        return text
    other = "; ".join(f"{b} for {a}" for a, b in zip_longest(said, found, fillvalue="nothing") if a != b)
    return f"The finding no longer holds, or not at this size: these numbers say {other} in: {text}"


def digits():
    """The digits of all studies."""
    return load(plans.DEMO.side)
