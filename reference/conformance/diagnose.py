"""What a wrong answer looks like, in order: its form, a constant factor, a known mistake."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .cases import Case, flatten
from .judge import FLOOR, TOLERANCE, Result, distance

STORED = 5e-6
"""The stored answers of mistakes have six digits."""
NEAR = 1e-2
"""An answer is a mistake's if it is this much nearer to the mistake's answer than the mistake's is to the right one."""


def diagnose(results: Sequence[Result], dtype: str) -> list[str]:
    """Fill in `findings` and `mistakes` of the failed results -> the mistakes that explain them, the best first.

    A mistake explains a failed case if it gives the same wrong answer, and is contradicted by a case that it would
    have failed.  The one that explains the most beyond its contradictions is named, then the one that explains the
    most of the rest, and so on: mistakes in different terms are found side by side.
    """
    judged = [r for r in results if r.status in ("passed", "failed", "known") and r.got]
    failed = [r for r in judged if r.status != "passed"]
    explains: dict[str, set[str]] = {}
    against: dict[str, int] = {}
    for result in judged:
        expected = flatten(result.case.expected)
        for name, wrong in result.case.mistakes.items():
            wrong = flatten(wrong)
            if result.status == "passed":
                against[name] = against.get(name, 0) + (
                    distance(wrong, expected) > 10 * (result.case.tolerance or TOLERANCE[dtype])
                )
            elif matches(result.got, wrong, expected, dtype):
                explains.setdefault(name, set()).add(result.case.id)
    for result in failed:
        result.findings = form(result) + factor(result)
    named, rest = [], {r.case.id for r in failed}
    while True:
        scored = {name: len(ids & rest) - against.get(name, 0) for name, ids in explains.items() if ids & rest}
        if not scored:
            break
        # On equal terms, the one that explains the most in all, and then the one that stands first in the catalogue.
        best = max(scored, key=lambda name: (scored[name], len(explains[name]), -list(explains).index(name)))
        named.append(best)
        rest -= explains[best]
    for result in failed:
        mine = [name for name, ids in explains.items() if result.case.id in ids]
        mine.sort(key=lambda name: (name not in named, against.get(name, 0) - len(explains[name])))
        result.mistakes = mine
    return named


def matches(got, wrong, expected, dtype: str) -> bool:
    """Whether `got` is nearer to `wrong` than 1 % of the way from the right answer, in every array."""
    for name, right in expected.items():
        if right.dtype.kind != "f":
            if not np.array_equal(got[name], wrong[name]):
                return False
            continue
        way, off = np.linalg.norm(wrong[name] - right), np.linalg.norm(got[name] - wrong[name])
        rounding = max(TOLERANCE[dtype], STORED) * (np.linalg.norm(wrong[name]) + FLOOR)
        if off > max(NEAR * way, rounding):
            return False
    return True


def form(result: Result) -> list[str]:
    """Sign, transposition, order of the batch, zeros."""
    found: dict[str, list[str]] = {}
    for name, right in flatten(result.case.expected).items():
        got = result.got[name]
        if right.dtype.kind != "f" or _close(got, right):
            continue
        if not np.any(got):
            says = "0 everywhere: detached?"
        elif _close(got, -right):
            says = "the opposite sign"
        elif right.ndim == 2 and right.shape[0] == right.shape[1] and _close(got.T, right):
            says = "transposed: W is (in, out)"
        elif right.ndim == 2 and len(right) == result.case.sizes.get("n") and _permuted(got, right):
            says = "the right rows in another order: the batch is permuted"
        else:
            continue
        found.setdefault(says, []).append(name)
    return [f"{', '.join(names)}: {says}" for says, names in found.items()]


def factor(result: Result) -> list[str]:
    """A constant factor, by name if it is one that sums, means and scales make."""
    right = np.concatenate([a.ravel() for a in flatten(result.case.expected).values() if a.dtype.kind == "f"] or [[0]])
    got = np.concatenate([a.ravel() for a in result.got.values() if a.dtype.kind == "f"] or [[0]]).astype(float)
    if right.size != got.size or not np.any(right) or not np.any(got):
        return []
    c = float(got @ right / (right @ right))
    if abs(c - 1) < 1e-3 or not _close(got, c * right):
        return []
    names = [name for name, value in factors(result.case).items() if abs(c - value) <= 1e-3 * abs(value)]
    return [f"got = {c:.6g} · expected" + (f", and {c:.6g} = {' = '.join(names)}" if names else "")]


def factors(case: Case) -> dict[str, float]:
    """{name: value} of the constants that are easily put in or left out."""
    n, d, k, kept = (case.sizes.get(name, 0) for name in ("n", "d", "k", "kept"))
    found = {"n": n, "d": d, "k": k, "n·d": n * d, "|S|": kept}
    found |= {f"1/{name}" if "·" not in name else f"1/({name})": 1 / value for name, value in found.items() if value}
    if n and kept:
        found |= {"n/|S|": n / kept, "|S|/n": kept / n}
    return {"2": 2.0, "½": 0.5, "−1": -1.0, "1 + o": 1.05, "1/(1 + o)": 1 / 1.05, "10": 10.0} | found


def first_difference(results: Sequence[Result]) -> Result | None:
    """The failed case of the lowest level: where to look when no known mistake fits."""
    failed = [r for r in results if r.status == "failed"]
    return min(failed, key=lambda r: (r.case.level, bool(r.case.flags)), default=None)


def _close(a, b) -> bool:
    return np.linalg.norm(a - b) <= 1e-4 * np.linalg.norm(b)


def _permuted(got, right) -> bool:
    def ordered(a):
        return a[np.lexsort(np.round(a, 6).T)]

    return bool(_close(ordered(got), ordered(right)))
