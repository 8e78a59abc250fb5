"""What all command lines share: one clear line for what went wrong, and exit codes that mean something."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..errors import DivergenceError, InputError
from . import process


class Parser(argparse.ArgumentParser):
    """Reports a wrong command line as any other unfit input, in one line; a `Path` has a name."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.register("type", Path, _path)

    def error(self, message: str):
        raise InputError(f"{message}; see --help")


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError("give the name of a file or folder")
    return Path(text)


def seconds(text: str) -> float:
    """A command line's limit of time."""
    with suppress(ValueError):
        if 0 < (number := float(text)) <= 86400:
            return number
    raise argparse.ArgumentTypeError(f"{text:.40}: give a positive number of seconds, at most 86400")


def count(text: str) -> int:
    """A command line's number of runs or seeds."""
    with suppress(ValueError):
        if 1 <= (number := int(text)) <= 1000:
            return number
    raise argparse.ArgumentTypeError(f"{text:.40}: give 1 to 1000")


def add_places(parser: argparse.ArgumentParser) -> None:
    """--jobs and --cluster: how many runs at once, and where; both None by default."""
    parser.add_argument(
        "--jobs", type=count, metavar="N", help="runs at once (default: one per core, or per worker of the cluster)"
    )
    parser.add_argument(
        "--cluster", metavar="ADDRESS", help="run on a Dask scheduler, tcp://host:8786; local:N starts one of N workers"
    )


def answer(program: str, work: Callable[[], int | None], interrupted: str) -> int:
    """work() -> the exit status: what it returns, 0 for None.

    2 unfit input; 1 training diverged, a process died, memory is short, or the output cannot be written; 130 on
    Ctrl-C, 143 on SIGTERM, 129 on SIGHUP, when the text `interrupted` says what is kept.  Any other exception is a
    bug, and shows itself.
    """
    process.begin()
    try:
        os.chdir(os.getcwd())  # which every process that is started here will do
    except OSError as error:
        return _say(f"{program}: cannot work in this folder ({error.strerror}): change to another", 2)
    try:
        status = work() or 0
        sys.stdout.flush()
        return status
    except InputError as error:
        return _say(f"{program}: {error}", 2)
    except (DivergenceError, ChildProcessError) as error:
        return _say(f"{program}: {error}", 1)
    except MemoryError as error:
        return _say(f"{program}: not enough memory ({error}): use smaller networks, or fewer processes at once", 1)
    except BrokenPipeError:  # nobody reads on: say nothing more
        return _silent()
    except OSError as error:
        if error.errno == errno.EMFILE:
            cure = "use fewer processes at once, or allow more with ulimit -n"
            return _say(f"{program}: too many open files: {cure}", 1)
        where = f" {error.filename!r}" if error.filename is not None else ""
        return _say(
            f"{program}: cannot read or write{where}: {error.strerror or error}", 2 if error.filename is not None else 1
        )
    except KeyboardInterrupt as error:
        print(file=sys.stderr)
        return _say(f"interrupted{interrupted and ': '}{interrupted}", getattr(error, "status", 130))


def one_line(text: str, limit: int = 2000) -> str:
    """`text` fit for any terminal: nothing that controls it, in one line, of `limit` characters from its two ends."""
    text = text if len(text) <= limit else f"{text[: limit // 2]} … {text[-limit // 2 :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def _say(text: str, status: int) -> int:
    try:
        print(one_line(text), file=sys.stderr, flush=True)
    except OSError:  # nobody hears it: the status remains
        pass
    try:
        sys.stdout.flush()
    except OSError:
        _silent()
    return status


def _silent() -> int:
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # a stream of the caller's own, without a file
        pass
    return 1
