"""Plants every known mistake in the PyTorch adapter, and counts what is found.

    python -m reference.conformance.make.measure [--only MISTAKE]

A planted mistake must be failed, and should be named first.  A call that runs none of the functions that a mistake
changes is not made again.  Exit status 0 if all fail and 95 % are named first, 1 if not, 2 if nothing could be planted.
"""

from __future__ import annotations

import ast
import sys
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...plumbing.command import Parser, answer
from ..cases import load
from ..diagnose import diagnose
from ..judge import AdapterError, Missing, calls, judge, local, question
from .mistakes import BY_ID, MISTAKES
from .variants import ROOT, Edit, variant

PYTORCH = {m.id: m.pytorch for m in MISTAKES}
"""The planted edits of each mistake."""

ADAPTER = "conformance.adapters.pytorch_adapter"
Location = tuple[str, int]
"""(file below reference/, first line of a function)"""


def planted(mistake: str) -> tuple[bool, list[str]]:
    """-> (whether the adapter with the mistake is failed, the mistakes named, the first first)"""
    before, edits = unchanged(), PYTORCH[mistake]
    changed = {place for edit in edits for place in functions(edit)}
    with variant(edits) as load_module:
        asked = calls(guarded(load_module(ADAPTER).adapter), "float64")

        def source(case):
            got, ran = before[question(case)]
            if ran & changed:
                return asked(case)
            if isinstance(got, Exception):
                raise got
            return got

        results = judge(load().values(), source, {}, "float64")
    return any(r.status in ("failed", "error") for r in results), diagnose(results, "float64")


@cache
def unchanged() -> dict[tuple, tuple[Any, set[Location]]]:
    """{question: (what the adapter answers as it is, the functions of this package that ran)}"""
    ran: set[Location] = set()

    def notice(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(str(ROOT)):
            ran.add((Path(frame.f_code.co_filename).relative_to(ROOT).as_posix(), frame.f_code.co_firstlineno))

    found = {}
    with variant() as load_module:
        module = load_module(ADAPTER)
        for case in load().values():
            if question(case) not in found:
                source = calls(guarded(module.adapter), "float64")
                ran.clear()
                sys.setprofile(notice)
                try:
                    got = source(case)
                except (AdapterError, Missing) as error:
                    got = error
                finally:
                    sys.setprofile(None)
                found[question(case)] = got, set(ran)
    return found


def functions(edit: Edit) -> set[Location]:
    """The innermost functions that an edit changes lines of."""
    file, old, _ = edit
    source = (ROOT / file).read_text(encoding="utf-8")
    start = source.count("\n", 0, source.index(old)) + 1
    found = {}
    for node in ast.walk(ast.parse(source)):  # the outer ones first
        if isinstance(node, ast.FunctionDef):
            first = min(part.lineno for part in (node, *node.decorator_list))
            found |= dict.fromkeys(range(first, node.end_lineno + 1), first)
    return {(file, found[line]) for line in range(start, start + old.count("\n") + 1) if line in found}


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
        found, named = planted(name)
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


def execute(argv: Sequence[str] | None) -> int:
    """Plant, count -> the exit status."""
    parser = Parser(prog="python -m reference.conformance.make.measure", description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="MISTAKE", help="plant one")
    args = parser.parse_args(argv)
    if args.only and args.only not in BY_ID:
        raise InputError(f"--only {args.only}: no such mistake; reference/conformance/mistakes.json lists them")
    try:
        return 0 if measure(args.only) else 1
    except ImportError as error:
        raise InputError(f"{error}: install PyTorch") from error


def main(argv: Sequence[str] | None = None) -> int:
    """The command line -> the exit status."""
    return answer("reference.conformance.make.measure", lambda: execute(argv), "")


if __name__ == "__main__":
    sys.exit(main())
