"""What a wrong answer looks like, in order: its form, a constant factor, a known mistake, a sum of several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from .cases import Case, flatten
from .judge import FLOOR, TOLERANCE, Result, distance

NEAR = {"float64": 1e-3, "float32": 1e-2}
"""An answer is a mistake's if it is this much nearer to the mistake's answer than the mistake's is to the right one."""
DECISIVE = 4
"""By how many tolerances a mistake must move an array of an answer to be recognised by it."""
ENOUGH = 12
"""Numbers that an answer must have for a sum of mistakes to be recognised by it; a few numbers are many sums."""
Arrays = Mapping[str, np.ndarray]
Mistakes = tuple[str, ...]
"""Their names, made at once."""


def diagnose(results: Sequence[Result], dtype: str) -> list[str]:
    """Fill in `findings` and `mistakes` of the failed results -> the mistakes that explain them, the best first."""
    judged = [r for r in results if r.status in ("passed", "failed", "known") and r.got]
    failed = sorted((r for r in judged if r.status != "passed"), key=first)
    for result, scale in zip(failed, scales(failed)):
        result.findings = form(result) + places(result, dtype) + scale
    explains, against = evidence(judged, dtype)
    named = names(failed, explains, against)
    for result in failed:
        mine = [several for several, ids in explains.items() if result.case.id in ids]
        mine.sort(key=lambda several: (not set(several) <= set(named), len(several), -len(explains[several])))
        result.mistakes = [" + ".join(several) for several in mine]
    return named


def evidence(judged: Sequence[Result], dtype: str) -> tuple[dict[Mistakes, set[str]], Counter[str]]:
    """-> ({mistakes: the ids of the failed cases that they explain}, {mistake: how many cases contradict it}).

    A mistake explains a failed case if it gives the same wrong answer; somewhere it must move an answer by more than
    `DECISIVE`.  Several that act in one gradient at once explain it by their sum.  A mistake is contradicted by a case
    that it would have failed and that passes, and by a case of a term that it explains, where the answer is wrong in
    another way, which nothing explains.
    """
    explains: dict[Mistakes, set[str]] = {}
    differs: dict[str, list[Case]] = {}
    decisive, against, terms = set(), Counter(), {r.case.id: r.case.term for r in judged}
    for result in judged:
        expected = flatten(result.case.expected)
        for name, wrong in result.case.mistakes.items():
            wrong = flatten(wrong)
            moves = distance(wrong, expected)
            if result.status == "passed":
                against[name] += moves > 10 * (result.case.tolerance or TOLERANCE[dtype])
            elif matches(result.got, wrong, expected, dtype):
                explains.setdefault((name,), set()).add(result.case.id)
                decisive |= {name} if moves > DECISIVE * TOLERANCE[dtype] else set()
            else:
                differs.setdefault(name, []).append(result.case)
    explains = {(name,): ids for (name,), ids in explains.items() if name in decisive}
    alone = set().union(*explains.values())
    for (name,), ids in explains.items():
        mine = {terms[id] for id in ids}
        against[name] += sum(case.id not in alone and case.term in mine for case in differs.get(name, ()))
    for result in judged:
        if result.status != "passed" and result.case.id not in alone:
            for several in sums(result, dtype):
                explains.setdefault(several, set()).add(result.case.id)
    return explains, against


def names(failed: Sequence[Result], explains: Mapping[Mistakes, set[str]], against: Mapping[str, int]) -> list[str]:
    """The mistakes that explain the failures: the likeliest, then the likeliest for the rest, and so on.

    So mistakes in different terms are found side by side.
    """
    cases, found = {r.case.id: r.case for r in failed}, []
    rest = list(cases)
    while rest and (best := likeliest(rest, explains, against)):
        found += [name for name in best if name not in found]
        rest = [id for id in rest if id not in explains[best] and not untold(cases[id], best, cases, explains[best])]
    return found


def likeliest(
    rest: Sequence[str], explains: Mapping[Mistakes, set[str]], against: Mapping[str, int]
) -> Mistakes | None:
    """What explains the most of `rest` beyond its contradictions: its first difference, or two, at least."""
    scores = {}
    for several, ids in explains.items():
        mine = ids.intersection(rest)
        score = len(mine) - max(against.get(name, 0) for name in several)
        if score > 0 and (rest[0] in mine or len(mine) > 1):
            # On equal terms one before several, then what explains the most in all, then the first in the catalogue.
            scores[several] = score, -len(several), len(ids), -len(scores)
    return max(scores, key=scores.get, default=None)


def untold(case: Case, several: Mistakes, cases: Mapping[str, Case], explained: set[str]) -> bool:
    """Whether a branch case keeps no answer of these mistakes because a case of its term that they explain has one."""
    stored = any(name in case.mistakes for name in several)
    return bool(case.flags) and not stored and case.term in {cases[id].term for id in explained}


def first(result: Result) -> tuple[int, bool]:
    """The order in which differences are looked at: the lowest level first, smooth cases before branches."""
    return result.case.level, bool(result.case.flags)


def matches(got: Arrays, wrong: Arrays, expected: Arrays, dtype: str) -> bool:
    """Whether `got` is `wrong`, in every array as near as `NEAR` says, or the tolerance."""
    for name, right in expected.items():
        if right.dtype.kind != "f":
            if not np.array_equal(got[name], wrong[name]):
                return False
            continue
        way, off = np.linalg.norm(wrong[name] - right), np.linalg.norm(got[name] - wrong[name])
        if off > max(NEAR[dtype] * way, TOLERANCE[dtype] * (np.linalg.norm(right) + FLOOR)):
            return False
    return True


def sums(result: Result, dtype: str) -> list[tuple[str, ...]]:
    """The pairs, or else triples, of known mistakes whose differences add up: got − right = Σ (wrong − right).

    So it is where several routes of a gradient are cut at once.
    """
    expected = flatten(result.case.expected)
    if any(a.dtype.kind != "f" for a in expected.values()) or sum(a.size for a in expected.values()) < ENOUGH:
        return []

    def joined(arrays: Arrays) -> np.ndarray:
        return np.concatenate([np.asarray(arrays[name], float).ravel() for name in expected])

    right = joined(expected)
    off, allowed = joined(result.got) - right, TOLERANCE[dtype] * (np.linalg.norm(right) + FLOOR)
    moves = {name: joined(flatten(wrong)) - right for name, wrong in result.case.mistakes.items()}
    moves = {name: move for name, move in moves.items() if np.linalg.norm(move) > DECISIVE * allowed}
    for many in (2, 3):
        found = []
        for names in combinations(moves, many):
            parts = [moves[name] for name in names]
            near = max(allowed, NEAR[dtype] * min(map(np.linalg.norm, parts)))
            if np.linalg.norm(off - sum(parts)) <= near:
                found.append(names)
        if found:
            return found
    return []


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


def places(result: Result, dtype: str) -> list[str]:
    """Which outputs are wrong, of several, and in which examples, and for an attack from which iteration on."""
    expected, n, found = flatten(result.case.expected), result.case.sizes.get("n"), []
    allowed = result.case.tolerance or TOLERANCE[dtype]
    off = {name: distance({name: result.got[name]}, {name: right}) for name, right in expected.items()}
    wrong = [name for name, error in off.items() if error > allowed]
    if len(expected) > 1:
        found.append("wrong: " + ", ".join(f"{name} {off[name]:.1e}" for name in wrong[:8]))
    call = result.case.call
    if call.endswith(("_losses", "_gradients", "_step")) and call != "attack_step":
        return found  # these are of the whole batch
    for name in wrong:
        got, right = result.got[name], expected[name]
        axis = 1 if name in ("trace", "mask") else 0
        if right.ndim > axis and right.shape[axis] == n and n > 1:
            apart = np.abs(np.asarray(got, float) - right) > allowed * (np.abs(right) + FLOOR)
            rows = np.moveaxis(apart, axis, 0).reshape(n, -1).any(axis=1)
            if 0 < rows.sum() < n:
                found.append(f"{name}: examples {', '.join(map(str, np.flatnonzero(rows)))} of 0..{n - 1} differ")
            if axis == 1 and rows.any():
                begins = int(np.flatnonzero(apart.reshape(len(apart), -1).any(axis=1))[0]) + 1
                found.append(f"{name}: from iteration {begins} on, of {len(apart)}")
    return found


def scales(failed: Sequence[Result]) -> list[list[str]]:
    """Of each failure the constant factor in words, or nothing.

    Any number is some factor times another: of a single one it must have a name, or be the same in all failures.
    """
    constant = [factor(result) for result in failed]
    values = [found[0] for found in constant if found]
    same = len(values) == len(failed) > 1 and np.ptp(values) <= 1e-3 * np.abs(values).min()
    told = []
    for result, (c, name) in zip(failed, [found or (1, "") for found in constant]):
        sure = c != 1 and (name or same or sum(a.size for a in result.got.values()) > 1)
        told.append([f"got = {c:.6g} · expected" + (f", and {c:.6g} = {name}" if name else "")] if sure else [])
    return told


def factor(result: Result) -> tuple[float, str] | None:
    """A constant factor, and what it may be: sums, means and scales make some."""
    right = np.concatenate([a.ravel() for a in flatten(result.case.expected).values() if a.dtype.kind == "f"] or [[0]])
    got = np.concatenate([a.ravel() for a in result.got.values() if a.dtype.kind == "f"] or [[0]]).astype(float)
    if right.size != got.size or not np.any(right) or not np.any(got):
        return None
    c = float(got @ right / (right @ right))
    if abs(c - 1) < 1e-3 or not _close(got, c * right):
        return None
    return c, " = ".join(name for name, value in factors(result.case).items() if abs(c - value) <= 1e-3 * abs(value))


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
    return min((r for r in results if r.status == "failed"), key=first, default=None)


def _close(a, b) -> bool:
    return np.linalg.norm(a - b) <= 1e-4 * np.linalg.norm(b)


def _permuted(got, right) -> bool:
    def ordered(a):
        return a[np.lexsort(np.round(a, 6).T)]

    return bool(_close(ordered(got), ordered(right)))
