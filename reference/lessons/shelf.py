"""What there is to read and to show: the commands list, read, page and slides."""

from __future__ import annotations

import argparse
import webbrowser
from pathlib import Path

from ..errors import InputError
from ..plumbing.files import write_text

COMMANDS = ("list", "read", "page", "slides")


def add(commands) -> None:
    """The command line of these commands."""
    commands.add_parser("list", help="the lessons' titles")
    sub = commands.add_parser("read", help="run lessons and make their pages and notebooks")
    sub.add_argument("number", nargs="?", type=int, help="of one lesson (default: all)")
    _places(sub)
    sub = commands.add_parser("page", help="attack.html: watch the networks under the same attack")
    sub.add_argument("--results", type=Path, metavar="DIR", help="the networks of your own demo.py (default: shipped)")
    sub.add_argument("--data", type=Path, metavar="DIR", help="full MNIST, if the demo was given it: the same folder")
    _places(sub)
    _places(commands.add_parser("slides", help="slides of a class of 90 minutes, with notes; the browser prints them"))


def _places(sub) -> None:
    sub.add_argument(
        "--out", type=Path, default=Path("results/lessons"), metavar="DIR", help="default: results/lessons"
    )
    sub.add_argument("--open", action="store_true", help="open the first in the browser")


def execute(args: argparse.Namespace) -> None:
    """Do what the command line asks."""
    from . import build, page, slides  # slow to import, and `check` must not wait for them

    lessons, files = build.lessons(), []

    def keep(name: str, text: str) -> None:
        files.append(args.out / name)
        write_text(files[-1], text)
        print(files[-1], flush=True)

    if args.command == "list":
        for path in lessons.values():
            print(build.title(path))
        return
    if args.command == "page":
        content = page.shipped() if args.results is None else page.from_results(args.results, args.data)
        keep("attack.html", page.page(content, own=args.results is not None))
    elif args.command == "slides":
        keep("slides.html", slides.to_html())
    else:
        if args.number not in (None, *lessons):
            raise InputError(f"no lesson {args.number}: there are {min(lessons)} to {max(lessons)}")
        for number, path in lessons.items():
            if args.number in (None, number):
                keep(f"lesson_{number}.html", build.to_html(path))
                keep(f"lesson_{number}.ipynb", build.to_notebook(path))
    if args.open:
        webbrowser.open(files[0].absolute().as_uri())
