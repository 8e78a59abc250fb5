"""python -m reference.conformance: run, export, check, template, explain, list, coverage.

Exit status: 0 all that must pass passed; 1 a failure; 2 usage, adapter or file error; 3 nothing was checked.
"""

from __future__ import annotations

if __name__ == "__main__":
    from ..plumbing import process

    process.begin()  # before NumPy is imported

import argparse
import fnmatch
import inspect
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import InputError
from ..plumbing.command import Parser, answer, count, seconds
from ..plumbing.files import check_writable, read_json, write_json
from . import offline, report
from .adapter import CHOICES, Adapter
from .cases import LEVELS, Case, load, read
from .diagnose import diagnose
from .judge import Result, Source, calls, judge
from .live import PROTOCOL, Command, Live


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="python -m reference.conformance", description=__doc__.partition("\n\n")[2])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name, about, *, judged=False):
        sub = commands.add_parser(name, help=about, description=about)
        sub.add_argument("--only", action="append", metavar="PATTERN", help="ids, terms or levels: 'gradient-*', 4")
        sub.set_defaults(cases=None)
        if judged:
            for kind, what in (("json", "JSON"), ("junit", "JUnit XML"), ("html", "one web page")):
                sub.add_argument(f"--{kind}", type=Path, metavar="FILE", help=f"write the report as {what} too")
            sub.add_argument("--known-failures", type=Path, metavar="FILE", help='JSON {"id": "reason"}')
        return sub

    run = command("run", "Check an adapter.", judged=True)
    run.add_argument("adapter", metavar="MODULE[:OBJECT]", nargs="?", help="a module or a file; or give --command")
    run.add_argument("--command", dest="program", metavar="LINE", help='a program that speaks JSON lines: "node a.mjs"')
    run.add_argument("--list", action="store_true", help="print the cases that would be asked, and stop")
    run.add_argument("--timeout", type=seconds, default=60, metavar="SECONDS", help="of one call (default: 60)")
    run.add_argument("--save", type=Path, metavar="FILE", help="write the smallest failure of --random as a case file")
    run.add_argument("--cases", type=Path, metavar="FILE", help="ask the cases of a file that --save wrote instead")
    command("list", "Print the cases.")
    export = command("export", "Write inputs and a blank answer sheet.")
    export.add_argument("folder", type=Path, metavar="DIR")
    for sub, needs in ((run, "autograd and hypothesis"), (export, "autograd")):
        sub.add_argument("--dtype", choices=["float64", "float32"], default="float64")
        sub.add_argument("--random", type=count, metavar="N", help=f"N new networks instead (needs {needs})")
        sub.add_argument("--seed", type=int, default=0, help="of --random (default: 0)")
    command("check", "Judge a filled answer sheet.", judged=True).add_argument("folder", type=Path, metavar="DIR")
    skeleton = commands.add_parser("template", help="Print a commented skeleton of an adapter.")
    skeleton.add_argument("--json-lines", action="store_true", help="print how a program in another language is asked")
    about = "Say what of the mathematics the cases ask, and what they leave out."
    commands.add_parser("coverage", help=about, description=about)
    commands.add_parser("explain", help="Say what a case is about, and how to ask it by hand.").add_argument("id")
    return parser.parse_args(argv)


def posed(args: argparse.Namespace) -> dict[str, Case]:
    """{id: case} of the kit, of the file --cases, or of a sheet that holds its own."""
    if args.cases and args.cases.is_dir():
        if not (found := load(args.cases)):
            raise InputError(f"{args.cases} holds no cases: give a file that --save wrote, or a folder of cases")
        return found
    return {case.id: case for case in read(args.cases)} if args.cases else load()


def selected(args: argparse.Namespace) -> list[Case]:
    """The cases whose id, term or level matches one of the patterns; InputError on a pattern that matches none."""
    cases, only = list(posed(args).values()), args.only
    if only is None:
        return cases
    chosen = {p: [c for c in cases if any(fnmatch.fnmatch(s, p) for s in (c.id, c.term, str(c.level)))] for p in only}
    if empty := [pattern for pattern, matching in chosen.items() if not matching]:
        raise InputError(f"--only {empty[0]}: no case has such an id, term or level; the command list prints them")
    return [c for c in cases if any(c in matching for matching in chosen.values())]


def listing(cases: Sequence[Case]) -> str:
    return "\n".join(f"{c.level} {c.term:25s} {c.id}" + ("" if c.must else " (may)") for c in cases) + "\n"


def known_failures(args: argparse.Namespace) -> dict[str, str]:
    path = args.known_failures
    if path is None:
        return {}
    try:
        known = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"--known-failures {path}: {error}; give a JSON object of ids and reasons") from error
    if not isinstance(known, dict) or not all(isinstance(reason, str) and reason for reason in known.values()):
        raise InputError(f"--known-failures {path}: give a JSON object with a reason for each id")
    if unknown := sorted(known.keys() - posed(args).keys()):
        raise InputError(f"--known-failures {path}: there is no case {', '.join(unknown)}")
    return known


def conclude(args: argparse.Namespace, source: Source, choices: Mapping[str, str], name: str, dtype: str) -> int:
    """Judge, report -> the exit status."""
    for path in filter(None, (args.json, args.junit)):
        check_writable(path)
    results = judge(selected(args), source, choices, dtype, known_failures(args))
    named = diagnose(results, dtype)
    print(report.terminal(results, named, name, dtype), end="")
    if args.json:
        write_json(args.json, report.as_json(results, named, name, dtype))
    if args.html:
        report.write_html(args.html, results, named, name, dtype)
    if args.junit:
        report.write_junit(args.junit, results, name)
    return status(results)


def status(results: Sequence[Result]) -> int:
    must = {r.status for r in results if r.case.must}
    if "error" in must:
        return 2
    if "failed" in must:
        return 1
    return 0 if "passed" in must or "known" in must else 3


def run(args: argparse.Namespace) -> int:
    if args.list:
        print(listing(selected(args)), end="")
        return 0
    if args.random is None and args.save:
        raise InputError("--save keeps a failure of --random: give --random N too")
    if args.random is not None:
        for option in ("only", "cases", "json", "junit", "html", "known_failures"):
            if getattr(args, option):
                raise InputError(f"--random asks new networks: leave out --{option.replace('_', '-')}")
    if bool(args.adapter) == bool(args.program):
        raise InputError("run: give a Python adapter, MODULE[:OBJECT], or --command LINE")
    with Command(args.program, args.timeout) if args.program else Live(args.adapter, args.timeout) as adapter:
        if args.random is not None:
            from .make.random_cases import search

            return search(adapter, args.random, args.seed, args.dtype, args.save)
        return conclude(args, calls(adapter.ask, args.dtype), adapter.choices, adapter.name, args.dtype)


def export(args: argparse.Namespace) -> None:
    offline.check_unanswered(args.folder)
    own = args.folder / offline.CASES
    if own.exists():
        raise InputError(f"{args.folder} holds random problems: export to another folder")
    if args.random is not None:
        if args.only:
            raise InputError("--random asks new networks: leave out --only")
        try:
            from .make.random_cases import write_random
        except ImportError as error:
            raise InputError(f"--random needs our definitions: install autograd ({error})") from error
        write_random(own, args.random, args.seed)
        args.cases = own
    offline.export(args.folder, selected(args), args.dtype)
    print(f"fill {args.folder / offline.SHEET}; {args.folder / 'README.txt'} says how")


def check(args: argparse.Namespace) -> int:
    if (own := args.folder / offline.CASES).exists():
        args.cases = own
    sheet = offline.Sheet(args.folder, posed(args))
    return conclude(args, sheet.answer, sheet.choices, str(args.folder), sheet.dtype)


def template() -> str:
    """The protocol as a skeleton: every method commented out, to be filled in one by one."""
    source = inspect.getsource(Adapter).splitlines()
    start = next(i for i, line in enumerate(source) if "# Level 0" in line)
    choices = "\n".join(
        f'        # "{name}": "{values[0]}",  # or {", ".join(values[1:])}' for name, values in CHOICES.items()
    )
    body = "\n".join(f"    # {line[4:]}".rstrip() if "# Level" not in line else line for line in source[start:])
    return f'''"""An adapter: uncomment what you have, in the order of the levels, and run

    python -m reference.conformance run THIS_FILE.py

{inspect.getdoc(Adapter)}
"""

from __future__ import annotations


class Adapter:
    name = "my implementation"
    choices = {{
{choices}
    }}

{body}
'''


def execute(args: argparse.Namespace) -> int | None:
    """Do what the command line asks -> the exit status."""
    if getattr(args, "seed", 0) < 0:
        raise InputError(f"--seed {args.seed}: give a whole number, 0 or more")
    match args.command:
        case "run":
            return run(args)
        case "check":
            return check(args)
        case "export":
            export(args)
        case "list":
            print(listing(selected(args)), end="")
            print("levels: " + ", ".join(f"{i} {title}" for i, title in enumerate(LEVELS)))
        case "template":
            print(PROTOCOL if args.json_lines else template(), end="")
        case "coverage":
            try:
                from .make.coverage import report as covered
            except ImportError as error:
                raise InputError(f"coverage needs our definitions: install autograd ({error})") from error
            text, complete = covered(load().values())
            print(text, end="")
            return 0 if complete else 1
        case "explain":
            if args.id not in load():
                raise InputError(f"explain {args.id}: there is no such case; the command list prints them")
            print(report.explain(load()[args.id]), end="")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line -> the exit status."""
    return answer("reference.conformance", lambda: execute(arguments(argv)), "")


if __name__ == "__main__":
    sys.exit(main())
