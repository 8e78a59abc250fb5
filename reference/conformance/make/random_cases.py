"""New networks, drawn at random and answered by the definitions: for `run --random` and `export --random`.

A problem is a few sizes and a seed; it is rejected where it comes near a kink or a tie, or where float32 would move the
definitions' own answers, since an implementation that is right may differ there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from ...errors import InputError
from ...plumbing.files import write_text
from ..adapter import CHOICES
from ..cases import TERMS, Case
from ..judge import calls, judge
from .generate import MARGIN, PROBED, STEADY, answers, asked, case_file, entry, margins, rounding, sizes
from .mistakes import CHOICES_AS_CHANGES
from .problems import LINF, POOL, Given, Problem, build, nearest_targets, terms
from .variants import variant

ASKED = [t for t in TERMS if t not in ("trajectory", "high-confidence", "carlini-wagner", "robustness")]
"""As they stand: several training steps say no more than one, the high-confidence attack gets a C that it may reach,
Carlini and Wagner's is slow and approximate, and ρ asks no network."""

WELL_CONDITIONED = STEADY / 10
"""What float32 may do to the definitions' own answers.  It stands for what it may do to another implementation's."""

SIZES = {"d": (2, 6), "k": (2, 3, 5), "n": (1, 3, 6), "width": (3, 8)}
"""Small sizes first: a failure shrinks towards them.  Few sizes: JAX compiles every operation for every shape."""


class Posed(NamedTuple):
    """A problem, its values, and the answers of the definitions by case."""

    problem: Problem
    values: Given
    expected: dict[str, dict]


def problem(name: str, d: int, k: int, n: int, hidden, inner, seed: int) -> Problem:
    return Problem(
        name,
        "Drawn at random.",
        terms(*ASKED) + [("high-confidence", "", {"C": "level"})] + LINF,
        seed=seed,
        rows=tuple(range(n)),
        sizes=(d, *hidden, k),
        critic_sizes=(d, *inner, k),
        change=labelled_and_aimed,
    )


def labelled_and_aimed(given: Given) -> None:
    """Targets as in training, and labels as on data: most are what f says."""
    nearest_targets(given)
    given["labels"] = given["y"]
    given["level"] = np.full(len(given["y"]), 7 / 16)  # what the box rarely makes impossible, which takes long


@contextmanager
def posing(choices: Mapping[str, str]) -> Iterator[Callable[[Problem], Posed | None]]:
    """`fitting`, by the definitions with the declared choices."""
    declared = [CHOICES_AS_CHANGES[choice] for choice in choices.items() if choice[1] != CHOICES[choice[0]][0]]
    edits = [edit for mistake in declared for edit in mistake.edits]
    with variant(PROBED) as probed, variant(edits) as chosen:
        yield partial(fitting, probed, chosen("conformance.adapters.ours").method)


def fitting(probed, definitions, p: Problem) -> Posed | None:
    """The problem with the first rows that are fit for it, and its answers; None if there are not enough."""
    # Evaluation ends on boundaries, and a training step depends on its whole batch.
    alone = [s for s in p.specs if TERMS[s[0]][0] < 6 and s[0] not in ("training-step", "state")]
    pool = replace(p, rows=tuple(range(POOL)), specs=alone)
    with np.errstate(all="ignore"):
        good = np.flatnonzero(margins(pool, build(pool), probed) >= MARGIN)
        if len(good) < len(p.rows):
            return None
        p = replace(p, rows=tuple(good[: len(p.rows)].tolist()))
        values = build(p)
        if margins(replace(p, specs=terms("state")), values, probed).min() < MARGIN / 100:
            return None
        expected = answers(definitions, p, values)
        virtual = expected.get(f"{p.name}-virtual-perturbation", {}).get("virtual_perturbation")
        if virtual is not None and not virtual.any(axis=1).all():  # ε·0/0 in a textbook, 0 by our convention
            return None
        if rounding(definitions, p, values, expected) > WELL_CONDITIONED:
            return None
    return Posed(p, values, expected)


def cases(posed: Posed) -> list[Case]:
    """Its questions."""
    (p, values, expected), n = posed, sizes(posed.values)
    return [
        Case(id, p.name, term, call, {a: values[v] for a, v in names.items()}, expected[id], basis, p.about, sizes=n)
        for id, term, call, _, names, basis in asked(p)
    ]


def search(adapter, examples: int, seed: int, dtype: str, save: Path | None) -> int:
    """Judge `examples` new problems; print, and save, the smallest that fails -> the exit status."""
    try:
        import autograd  # noqa: F401
        from hypothesis import HealthCheck, Phase, assume, given, settings
        from hypothesis import seed as seeded
        from hypothesis import strategies as st
        from hypothesis.configuration import set_hypothesis_home_dir
        from hypothesis.errors import Flaky
    except ImportError as error:
        raise InputError(f"--random needs our definitions: install autograd and hypothesis ({error})") from error

    drawn = {name: st.sampled_from(SIZES[name]) for name in "dkn"}
    widths = st.lists(st.sampled_from(SIZES["width"]), max_size=2)
    problems = st.builds(
        problem, st.just("random"), **drawn, hidden=widths, inner=widths, seed=st.integers(0, 2**32 - 1)
    )
    smallest, done = [], [0]
    with posing(adapter.choices) as pose, TemporaryDirectory() as aside:
        set_hypothesis_home_dir(aside)  # else it leaves a folder where the user works

        @seeded(seed)
        @settings(
            max_examples=examples,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(problems)
        def check(p):
            if smallest:  # shrinking: only what failed is asked again
                failing = {r.case.id for r in smallest[1]}
                p = replace(p, specs=[s for s in p.specs if "-".join(filter(None, (p.name, *s[:2]))) in failing])
            posed = pose(p)
            assume(posed is not None)
            done[0] += 1
            results = judge(cases(posed), calls(adapter.ask, dtype), {}, dtype)
            if wrong := [r for r in results if r.status in ("failed", "error")]:
                smallest[:] = posed, wrong
            assert not wrong

        try:
            check()
        except (AssertionError, Flaky):  # what failed once is reported, whether or not it shrinks
            pass
        finally:
            set_hypothesis_home_dir(None)
    if not smallest:
        print(f"{adapter.name}, {dtype}: {done[0]} random problems of seed {seed}, no difference")
        return 0 if done[0] else 3
    posed, wrong = smallest
    p = posed.problem
    shape = f"classifier {'-'.join(map(str, p.sizes))}, critic {'-'.join(map(str, p.critic_sizes))}, n = {len(p.rows)}"
    print(f"{adapter.name}, {dtype}: the smallest failure found, of {done[0]} problems: {shape}, seed {p.seed}")
    for r in sorted(wrong, key=lambda r: TERMS[r.case.term][0]):
        print(f"  {r.status.upper()} {r.case.term}: {r.text or f'error {r.error:.2g}'}")
    if save is not None:
        write_case_file(save, posed, {r.case.id for r in wrong})
        print(f"saved as {save}")
    return 2 if any(r.status == "error" for r in wrong) else 1


def draw(number: int, seed: int) -> Iterator[Posed]:
    """New problems, with the default choices."""
    rng, done = np.random.default_rng(seed), 0
    with posing({}) as pose:
        while done < number:
            d, k, n = (int(rng.choice(SIZES[name])) for name in "dkn")
            hidden, inner = ([int(w) for w in rng.choice(SIZES["width"], rng.integers(3))] for _ in range(2))
            posed = pose(problem(f"random-{done}", d, k, n, hidden, inner, int(rng.integers(2**32))))
            if posed is not None:
                yield posed
                done += 1


def write_random(folder: Path, number: int, seed: int) -> None:
    """A case file of each new problem."""
    for posed in draw(number, seed):
        write_case_file(folder / f"{posed.problem.name}.json", posed, {case.id for case in cases(posed)})


def write_case_file(path: Path, posed: Posed, ids: set[str]) -> None:
    """Some cases of a problem as a case file."""
    p, values, expected = posed
    entries = [entry(p, row, expected[row[0]], {}, {}, None) for row in asked(p) if row[0] in ids]
    write_text(path, case_file(p, values, sizes(values), entries))
