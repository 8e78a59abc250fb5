"""What there is to read and to show: the commands list, read, page and slides."""

from __future__ import annotations

import argparse
import webbrowser
from pathlib import Path

from ..plumbing.files import write_text

COMMANDS = ("page",)


def add(commands) -> None:
    """The command line of these commands."""
    add = commands.add_parser("page", help="attack.html: watch five networks under the same attack").add_argument
    add("--results", type=Path, metavar="DIR", help="the networks of your own demo.py (default: the shipped ones)")
    add("--data", type=Path, metavar="DIR", help="full MNIST, if the demo was given it: the same folder")
    add("--out", type=Path, default=Path("results/lessons"), metavar="DIR", help="default: results/lessons")
    add("--open", action="store_true", help="open it in the browser")


def execute(args: argparse.Namespace) -> None:
    """Do what the command line asks."""
    from . import page  # slow to import, and `check` must not wait for it

    content = page.shipped() if args.results is None else page.from_results(args.results, args.data)
    finish([(args.out / "attack.html", page.page(content))], args.open)


def finish(files: list[tuple[Path, str]], show: bool) -> None:
    """Write the files, name them, and open the first if asked."""
    for path, text in files:
        write_text(path, text)
        print(path)
    if show:
        webbrowser.open(files[0][0].absolute().as_uri())
