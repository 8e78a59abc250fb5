"""python -m reference.lessons: exercise, check, plant."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ..plumbing.command import Parser, answer
from . import desk


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="python -m reference.lessons", description="Learn the method, by writing it.")
    desk.add(parser.add_subparsers(dest="command", required=True, metavar="COMMAND"))
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line -> the exit status."""
    return answer("reference.lessons", lambda: desk.execute(arguments(argv)), "")


if __name__ == "__main__":
    sys.exit(main())
