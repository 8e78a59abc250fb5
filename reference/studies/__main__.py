"""The command line of the studies: `python -m reference.studies` lists them, `… NAME --help` explains one."""

import os

# Before NumPy is imported: sums come out the same on every run.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse  # noqa: E402
import sys  # noqa: E402
from collections.abc import Sequence  # noqa: E402

from ..errors import DivergenceError, InputError  # noqa: E402
from . import survey  # noqa: E402

# A study is a module: its docstring's first line is its entry in the list, add_arguments(parser) states its command
# line, and run(arguments) does the work.
STUDIES = {"survey": survey}


def summary(study) -> str:
    """A study's entry in the list."""
    return study.__doc__.partition("\n")[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the study that the command line names, or list them all -> the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m reference.studies",
        description="Questions about the method, each answered by a command.",
        epilog="Exit status: 0 done, 1 training diverged, 2 unfit input, 130 interrupted.",
    )
    commands = parser.add_subparsers(metavar="NAME")
    for name, study in STUDIES.items():
        command = commands.add_parser(name, help=summary(study), description=summary(study))
        command.set_defaults(run=study.run)
        study.add_arguments(command)
    args = parser.parse_args(argv)
    try:
        if "run" in args:
            args.run(args)
        else:
            for name, study in STUDIES.items():
                print(f"{name:12} {summary(study)}")
    except InputError as error:
        print(f"reference.studies: {error}", file=sys.stderr)
        return 2
    except DivergenceError as error:
        print(f"reference.studies: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
