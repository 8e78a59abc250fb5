"""What all command lines share: one clear line for what went wrong, and exit codes that mean something."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from ..errors import DivergenceError, InputError


class Parser(argparse.ArgumentParser):
    """Reports a wrong command line as any other unfit input: in one line."""

    def error(self, message: str):
        raise InputError(f"{message}; see --help")


def answer(program: str, work: Callable[[], int | None], interrupted: str) -> int:
    """work() -> the exit status: what it returns, 0 for None.

    2 unfit input; 1 training diverged, a process died, memory is short, or nobody reads on; 130 on Ctrl-C, when the
    text `interrupted` says what is kept.  Any other exception is a bug, and shows itself.
    """
    try:
        return work() or 0
    except InputError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except (DivergenceError, ChildProcessError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    except MemoryError as error:
        print(f"{program}: not enough memory ({error}): use smaller networks, or fewer --jobs", file=sys.stderr)
        return 1
    except BrokenPipeError:
        sys.stdout = None  # nobody reads on: say nothing more, not even at exit
        return 1
    except KeyboardInterrupt:
        print(f"\ninterrupted{interrupted and ': '}{interrupted}", file=sys.stderr)
        return 130
