"""Plants mistakes in an adapter, and counts what is found.

    python -m reference.conformance.make.measure [--only MISTAKE]   each known mistake, in the PyTorch adapter
    python -m reference.conformance.make.measure --outside          what the catalogue does not hold, in our adapters

A planted mistake must be failed, and should be named first.  Outside the catalogue are the mistakes marked `unseen`
there, which must be failed if they change anything and must not get a wrong name, and pairs of known ones, of which
both should be named.  What changes no answer, neither to a case nor to a new random problem, is counted apart.  A call
that runs none of the functions that a mistake changes is not made again.

Exit status 0 if all known ones fail and 95 % are named first, or outside if 98 % of those that change anything fail, at
most 1 % of the first names are wrong, and both are named in 10 of 16 pairs; 1 if not; 2 if nothing could be planted.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np

from ...errors import InputError
from ...plumbing.command import Parser, answer
from ..cases import Case, flatten, load
from ..diagnose import diagnose
from ..judge import AdapterError, Missing, Result, Source, calls, distance, judge, local, question
from . import random_cases
from .generate import SEEN
from .mistakes import BY_ID, MISTAKES, UNSEEN, Mistake
from .variants import Edit, Location, edited, running, touches, variant

PYTORCH = {m.id: m.pytorch for m in MISTAKES}
"""The planted edits of each mistake."""

PYTORCH_ADAPTER = ("conformance.adapters.pytorch_adapter", "adapter")
OURS, BY_HAND = (("conformance.adapters.ours", name) for name in ("method", "by_hand"))
PAIRS = 32
NEW = 20
"""So many random problems show whether an unseen mistake changes anything."""
MADE = {("unrolling", "full"): ("method/settings.py", 'gradient: str = "truncated"', 'gradient: str = "full"')}
"""{choice: the edit with which our adapters make it}"""


def planted(
    edits: Sequence[Edit],
    adapter: tuple[str, str] = PYTORCH_ADAPTER,
    dtype: str = "float64",
    choices: Mapping[str, str] = {},
):
    """-> (whether the adapter (module, name) with the edits is failed, the mistakes named, the first first)

    choices: what the adapter declares.
    """
    before = unchanged(adapter, dtype)
    with variant(edits) as load_module:
        asked = calls(guarded(getattr(load_module(adapter[0]), adapter[1])), dtype)

        def source(case):
            got, ran = before[question(case)]
            if not touches(edits, ran):
                if isinstance(got, Exception):
                    raise got
                return got
            return asked(case)

        results: list[Result] = []
        with np.errstate(all="ignore"):
            # An approximate answer is slow and names no mistake: it is asked where nothing else is wrong.
            for slow in (False, True):
                if not any(map(fails, results)):
                    cases = [case for case in load().values() if bool(case.tolerance) == slow]
                    results += judge(cases, source, choices, dtype)
    return any(map(fails, results)), diagnose(results, dtype)


def fails(result: Result) -> bool:
    """Whether a case is failed."""
    return result.status in ("failed", "error")


def changes(edits: Sequence[Edit], adapter: tuple[str, str], dtype: str) -> bool:
    """Whether the edits change any answer of the adapter, to a case or to a new random problem, by more than `SEEN`."""
    before = unchanged(adapter, dtype, NEW)
    with variant(edits) as load_module, np.errstate(all="ignore"):
        asked = guarded(getattr(load_module(adapter[0]), adapter[1]))
        for case in [*load().values(), *drawn(NEW)]:
            got, ran = before[question(case)]
            if touches(edits, ran) and differ(got, attempt(calls(asked, dtype), case)):
                return True
    return False


def differ(a: Any, b: Any) -> bool:
    """Whether two answers, or what was raised, are not the same; nan is the same as nan."""
    if isinstance(a, Exception) or isinstance(b, Exception):
        return repr(a) != repr(b)
    a, b = ({name: np.nan_to_num(part) for name, part in flatten(answer, "v").items()} for answer in (a, b))
    return a.keys() != b.keys() or any(a[name].shape != b[name].shape for name in a) or distance(a, b) > SEEN


@cache
def drawn(number: int) -> list[Case]:
    """The cases of new random problems."""
    return [case for posed in random_cases.draw(number, 0) for case in random_cases.cases(posed)]


@cache
def unchanged(adapter: tuple[str, str], dtype: str, new: int = 0) -> dict[tuple, tuple[Any, set[Location]]]:
    """{question: (what the adapter answers as it is, the functions of this package that ran)}, of cases and new ones"""
    found = dict(unchanged(adapter, dtype)) if new else {}
    with variant() as load_module:
        asked = guarded(getattr(load_module(adapter[0]), adapter[1]))
        for case in drawn(new) if new else load().values():
            if question(case) not in found:
                with running() as ran:
                    got = attempt(calls(asked, dtype), case)
                found[question(case)] = got, ran
    return found


def attempt(source: Source, case: Case) -> Any:
    """The answer to a case, or what was raised."""
    try:
        return source(case)
    except (AdapterError, Missing) as error:
        return error


def guarded(adapter):
    """Ask an adapter of this process; what it raises is an error of its own."""
    ask = local(adapter)

    def asked(method, inputs):
        try:
            return ask(method, inputs)
        except Missing:
            raise
        except Exception as error:
            raise AdapterError(f"{method} raised {error!r}") from error

    return asked


def measure(only: str | None = None) -> bool:
    """Plant all mistakes, or one, and print what came of it -> whether all fail and 95 % are named first."""
    names = [only] if only else list(PYTORCH)
    failed, first, start = 0, 0, time.perf_counter()
    for name in names:
        found, named = planted(PYTORCH[name])
        failed, first = failed + found, first + (named[:1] == [name])
        if not found or named[:1] != [name]:
            verdict = "failed" if found else "NOT FAILED"
            print(f"{name} is {verdict}, named {', '.join(named[:3]) or '-'}", flush=True)
    print(
        f"Of {len(MISTAKES)} known mistakes {len(names)} planted, {failed} failed ({failed / len(names):.1%}), "
        f"{first} named first ({first / len(names):.1%}), {time.perf_counter() - start:.0f} s",
        flush=True,
    )
    return failed == len(names) and first >= 0.95 * len(names)


def pairs(count: int) -> list[tuple[Mistake, Mistake]]:
    """Known mistakes, drawn two and two, that can be made at once in the definitions."""
    rng, found = np.random.default_rng(0), []
    able = [m for m in MISTAKES if not any(file.startswith("conformance/") for file, _, _ in m.edits)]
    while len(found) < count:
        pair = tuple(able[i] for i in rng.choice(len(able), 2, replace=False))
        with suppress(InputError):  # both change the same line
            edited([edit for m in pair for edit in m.edits])
            found.append(pair)
    return found


def outside() -> bool:
    """Plant what the catalogue does not hold, in both precisions -> whether all is as good as promised."""
    good = True
    for dtype in ("float64", "float32"):
        failed, wrong, both, nothing, start = 0, 0, 0, [], time.perf_counter()
        for m in UNSEEN:
            adapter = BY_HAND if any(file.startswith("by_hand/") for file, _, _ in m.edits) else OURS
            choices = dict([m.choice]) if m.choice else {}
            edits = [*m.edits, *(MADE[choice] for choice in choices.items())]
            found, named = planted(edits, adapter, dtype, choices)
            failed, bad = failed + found, bool(named) and named[0] not in m.names
            wrong += bad
            if bad:
                print(f"{dtype}: {m.id} is named {named[0]}", flush=True)
            if not found and not changes(m.edits, adapter, dtype):
                nothing.append(m.id)
            elif not found:
                print(f"{dtype}: {m.id} is NOT FAILED", flush=True)
        for pair in pairs(PAIRS):
            _, named = planted([edit for m in pair for edit in m.edits], OURS, dtype)
            both += {m.id for m in pair} <= set(named)
            if strange := set(named) - {m.id for m in pair}:
                print(f"{dtype}: {' and '.join(m.id for m in pair)} are named {', '.join(strange)}", flush=True)
        many = len(UNSEEN) - len(nothing)
        print(
            f"{dtype}: {len(nothing)} of {len(UNSEEN)} unseen mistakes change no answer: {', '.join(nothing)}\n"
            f"{dtype}: of the other {many} unseen mistakes {failed} failed, {wrong} first names wrong; "
            f"of {PAIRS} pairs both named in {both}; {time.perf_counter() - start:.0f} s",
            flush=True,
        )
        good &= failed >= 0.98 * many and wrong <= 0.01 * failed and both >= 10 / 16 * PAIRS
    return good


def execute(argv: Sequence[str] | None) -> int:
    """Plant, count -> the exit status."""
    parser = Parser(prog="python -m reference.conformance.make.measure", description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="MISTAKE", help="plant one")
    parser.add_argument("--outside", action="store_true", help="plant what the catalogue does not hold")
    args = parser.parse_args(argv)
    if args.only and args.only not in BY_ID:
        raise InputError(f"--only {args.only}: no such mistake; reference/conformance/mistakes.json lists them")
    try:
        return 0 if (outside() if args.outside else measure(args.only)) else 1
    except ImportError as error:
        raise InputError(f"{error}: install PyTorch") from error


def main(argv: Sequence[str] | None = None) -> int:
    """The command line -> the exit status."""
    return answer("reference.conformance.make.measure", lambda: execute(argv), "")


if __name__ == "__main__":
    sys.exit(main())
