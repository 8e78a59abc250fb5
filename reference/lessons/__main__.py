"""python -m reference.lessons: list, read, page, slides; exercise, check, plant."""

from __future__ import annotations

if __name__ == "__main__":
    from ..plumbing import process

    process.begin()  # before NumPy is imported

import argparse
import sys
from collections.abc import Sequence

from ..errors import InputError
from ..plumbing.command import Parser, answer
from . import desk, shelf


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="python -m reference.lessons", description="Learn the method, by writing it.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    shelf.add(commands)
    desk.add(commands)
    return parser.parse_args(argv)


def execute(args: argparse.Namespace) -> int | None:
    try:
        return (shelf if args.command in shelf.COMMANDS else desk).execute(args)
    except ImportError as error:
        raise InputError(f"no package {error.name}: pip install '.[teach]' brings what the lessons need") from error


def main(argv: Sequence[str] | None = None) -> int:
    """The command line -> the exit status."""
    return answer("reference.lessons", lambda: execute(arguments(argv)), "")


if __name__ == "__main__":
    sys.exit(main())
