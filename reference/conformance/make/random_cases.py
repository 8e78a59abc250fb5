"""Random mode: new networks, drawn and shrunk by hypothesis, answered by the definitions and by the adapter.

A problem is a few sizes and a seed; it is rejected where it comes near a kink or a tie, or where float32 would move the
definitions' own answers, since an implementation that is right may differ there.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.errors import Flaky

from ...errors import InputError
from ...plumbing.files import write_text
from ..cases import TERMS, VERSION, Case, encode
from ..judge import calls, judge
from .generate import MARGIN, PROBED, STEADY, answers, asked, dumps, entry, margins, rounding
from .mistakes import CHOICES_AS_CHANGES
from .problems import BASELINES, BOTH, POOL, Problem, build, nearest_targets, terms
from .variants import variant

ASKED = [
    "logits",
    "scores",
    "input-gradient",
    "critic-gradient",
    "nearest-class",
    "confidence",
    "attack-step",
    "attack",
]
ASKED += ["adversarial-perturbation", "virtual-perturbation", *BOTH, *BASELINES, "adam"]
LINF = [(term, "linf", {"geometry": "linf"}) for term in ("nearest-class", "attack-step", "adversarial-perturbation")]

WELL_CONDITIONED = STEADY / 10
"""What float32 may do to the definitions' own answers.  It stands for what it may do to another implementation's."""


@st.composite
def problems(draw) -> Problem:
    """Small sizes first: a failure shrinks towards them.  Few sizes: JAX compiles every operation for every shape."""
    d, k, n = (draw(st.sampled_from(sizes)) for sizes in ((2, 6), (2, 3, 5), (1, 3, 6)))
    hidden, inner = (draw(st.lists(st.sampled_from((3, 8)), max_size=2)) for _ in range(2))
    return Problem(
        "random",
        "Drawn at random.",
        terms(*ASKED) + LINF,
        seed=draw(st.integers(0, 2**32 - 1)),
        rows=tuple(range(n)),
        sizes=(d, *hidden, k),
        critic_sizes=(d, *inner, k),
        change=nearest_targets,
    )


def search(adapter, examples: int, seed: int, dtype: str, save: Path | None) -> int:
    """Judge `examples` new problems; print, and save, the smallest that fails -> the exit status."""
    chosen = [CHOICES_AS_CHANGES[choice] for choice in adapter.choices.items() if choice in CHOICES_AS_CHANGES]
    if chosen:
        raise InputError(f"--random knows the default choices only, and the adapter declares {chosen[0].choice}")
    smallest, done = [], [0]
    with variant(PROBED) as probed:
        definitions = probed("conformance.adapters.ours").method

        @seeded(seed)
        @settings(
            max_examples=examples,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(problems())
        def check(p):
            if smallest:  # shrinking: only what failed is asked again
                failing = {r.case.id for r in smallest[2]}
                p = replace(p, specs=[s for s in p.specs if "-".join(filter(None, (p.name, *s[:2]))) in failing])
            pool = replace(p, rows=tuple(range(POOL)))
            with np.errstate(all="ignore"):
                good = np.flatnonzero(margins(pool, build(pool), probed) >= MARGIN)
                assume(len(good) >= len(p.rows))
                p = replace(p, rows=tuple(good[: len(p.rows)].tolist()))
                values = build(p)
                probed("method.numerics").NEAR = lambda v: None
                expected = answers(definitions, p, values)
                virtual = expected.get("random-virtual-perturbation", {}).get("virtual_perturbation")
                assume(virtual is None or virtual.any(axis=1).all())  # ε·0/0 in a textbook, 0 by our convention
                assume(rounding(definitions, p, values, expected) <= WELL_CONDITIONED)
            done[0] += 1
            cases = [Case(row[0], p.name, row[1], row[2], {a: values[v] for a, v in row[4].items()}, expected[row[0]],
                          row[5], p.about, sizes={"n": len(p.rows), "d": p.sizes[0], "k": p.sizes[-1]})
                     for row in asked(p)]  # fmt: skip
            wrong = [r for r in judge(cases, calls(adapter.ask, dtype), {}, dtype) if r.status in ("failed", "error")]
            if wrong:
                smallest[:] = [p, values, wrong]
            assert not wrong

        try:
            check()
        except (AssertionError, Flaky):  # what failed once is reported, whether or not it shrinks
            pass
    if not smallest:
        print(f"{adapter.name}, {dtype}: {done[0]} random problems of seed {seed}, no difference")
        return 0 if done[0] else 3
    p, values, wrong = smallest
    shape = f"classifier {'-'.join(map(str, p.sizes))}, critic {'-'.join(map(str, p.critic_sizes))}, n = {len(p.rows)}"
    print(f"{adapter.name}, {dtype}: the smallest failure found, of {done[0]} problems: {shape}, seed {p.seed}")
    for r in sorted(wrong, key=lambda r: TERMS[r.case.term][0]):
        print(f"  {r.status.upper()} {r.case.term}: {r.text or f'error {r.error:.2g}'}")
    if save is not None:
        save_case(save, p, values, wrong)
        print(f"saved as {save}")
    return 2 if any(r.status == "error" for r in wrong) else 1


def save_case(path: Path, p: Problem, values: dict, wrong) -> None:
    """The failing cases as a case file."""
    rows = [row for row in asked(p) if row[0] in {r.case.id for r in wrong}]
    expected = {r.case.id: r.case.expected for r in wrong}
    used = {name for row in rows for name in row[4].values()}
    file = {
        "version": VERSION,
        "problem": p.name,
        "about": p.about,
        "sizes": {"n": len(p.rows), "d": p.sizes[0], "k": p.sizes[-1]},
        "given": {name: encode(values[name]) for name in sorted(used)},
        "cases": [entry(p, row, expected[row[0]], {}, {}, None) for row in rows],
    }
    write_text(path, dumps(file) + "\n")
