"""The commands of the exercises: exercise, check and plant."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..errors import InputError
from ..plumbing.command import seconds
from ..plumbing.files import write_text
from . import hints
from .exercises import BY_NAME, EXERCISES
from .grading import grade
from .questions import drawn
from .sheets import plant, sheet, solution

COMMANDS = ("exercise", "check", "plant")


def add(commands) -> None:
    """The three commands, added to a parser's subcommands."""
    about = "Write an exercise as a file to fill in; without a name, list the exercises."
    sub = commands.add_parser("exercise", help=about, description=about)
    sub.add_argument("name", nargs="?", help="of the exercise, or the number of a lesson for all of its exercises")
    _places(sub)
    sub.add_argument("--solution", action="store_true", help="print the library's own functions, and why, instead")

    about = "Check exercise files; exit status 0 only if everything is done and passes, 1 if not, 2 on wrong usage."
    sub = commands.add_parser("check", help=about, description=about)
    sub.add_argument("files", nargs="+", type=Path, metavar="FILE.py")
    sub.add_argument("--hint", action="store_true", help="the second rung: what is wrong, in words")
    sub.add_argument("--solution", action="store_true", help="the third rung: the library's line, and why")
    sub.add_argument("--random", type=int, metavar="N", help="ask N new draws of the networks' numbers instead")
    sub.add_argument("--seed", type=int, default=0, help="of --random (default: 0)")
    sub.add_argument("--csv", action="store_true", help="a table of the class, as CSV, in place of the hints")
    sub.add_argument("--junit", type=Path, metavar="FILE", help="write the results as JUnit XML too")
    sub.add_argument("--timeout", type=seconds, default=10, metavar="SECONDS", help="of one call (default: 10)")
    sub.add_argument("--jobs", type=int, default=2, metavar="N", help="files checked at a time (default: 2)")

    about = "Write working code with one known mistake in it: to be found, named and mended."
    sub = commands.add_parser("plant", help=about, description=about)
    sub.add_argument("--seed", type=int, required=True, metavar="N", help="which mistake: a number for each student")
    _places(sub)


def _places(sub) -> None:
    sub.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="where to write (default: here)")
    sub.add_argument("--force", action="store_true", help="write over a file that is there")


def execute(args: argparse.Namespace) -> int:
    """Do what the command line asks -> the exit status."""
    return {"exercise": exercise, "check": check, "plant": planted}[args.command](args)


def exercise(args: argparse.Namespace) -> int:
    if args.name is None:
        for e in EXERCISES:
            functions = ", ".join(hole.name for hole in e.holes)
            print(f"lesson {e.lesson}   {e.name:11s} {functions}")
        return 0
    found = [e for e in EXERCISES if args.name in (e.name, str(e.lesson))]
    if not found:
        raise InputError(f"exercise {args.name}: there is none; choose a lesson from 0 to 7, or {', '.join(BY_NAME)}")
    for e in found:
        if args.solution:
            print(f"{e.name}\n\n{solution(e)}\n")
        else:
            keep(args.out / f"{e.name}.py", sheet(e), args.force)
    return 0


def planted(args: argparse.Namespace) -> int:
    keep(args.out / f"plant_{args.seed}.py", plant(args.seed), args.force)
    return 0


def keep(path: Path, text: str, force: bool) -> None:
    """Write a student's file, but never over work that is there."""
    if path.exists() and not force:
        raise InputError(f"{path} is there already: move it, or write over it with --force")
    write_text(path, text)
    print(f"wrote {path}; next: python -m reference.lessons check {path}")


def check(args: argparse.Namespace) -> int:
    for name in ("random", "jobs"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise InputError(f"--{name} {getattr(args, name)}: give a whole number, 1 or more")
    if args.seed < 0:
        raise InputError(f"--seed {args.seed}: give a whole number, 0 or more")
    if missing := [str(path) for path in args.files if not path.is_file()]:
        raise InputError(f"{', '.join(missing)}: there is no such file")
    new = drawn(args.random, args.seed) if args.random else []
    rung = 3 if args.solution else 2 if args.hint else 1
    reports = []
    with ThreadPoolExecutor(args.jobs) as pool:
        for found in pool.map(lambda path: grade(path, args.timeout, new), args.files):
            reports += found
            if not args.csv:
                several = len(args.files) > 1 and any(r.exercise for r in found)
                print((f"{found[0].path}\n" if several else "") + "".join(hints.told(r, rung) for r in found), end="")
    if args.csv:
        print(hints.table(reports), end="")
    if args.junit:
        hints.write_junit(args.junit, reports)
    sys.stdout.flush()
    return 0 if all(r.passed for r in reports) else 1
