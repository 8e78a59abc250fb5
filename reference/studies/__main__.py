"""The command line of the studies: `python -m reference.studies` lists them, `… NAME --help` explains one."""

if __name__ == "__main__":
    from ..plumbing import process

    process.begin()  # before NumPy is imported

import sys
from collections.abc import Sequence

from ..plumbing.command import Parser, answer
from . import choices, confidence, cost, critic, cycle, kinds, masking, maximum, scale, scarcity, study, survey, unlike

STUDIES = {
    "cost": cost,
    "confidence": confidence,
    "cycle": cycle,
    "critic": critic,
    "scarcity": scarcity,
    "unlike": unlike,
    "max": maximum,
    "kinds": kinds,
    "masking": masking,
    "choices": choices,
    "scale": scale,
}
"""By name: a module as `study` describes it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the study that the command line names, or list them all -> the exit status."""
    parser = Parser(
        prog="python -m reference.studies",
        description="Questions about the method, each answered by a command.",
        epilog="Exit status: 0 done, 1 training diverged or was killed, 2 unfit input, 130 interrupted.",
    )
    commands = parser.add_subparsers(metavar="NAME")
    for name, module in STUDIES.items():
        command = commands.add_parser(name, help=study.question(module))
        study.add_arguments(command, module)
        command.set_defaults(name=name, run=run_study)
    command = commands.add_parser("survey", help=study.question(survey))
    survey.add_arguments(command)
    command.set_defaults(run=survey.run)
    parser.set_defaults(run=overview)

    def work():
        args = parser.parse_args(argv)
        args.run(args)

    return answer("reference.studies", work, "what was measured is kept; the same command goes on")


def run_study(args) -> None:
    """The study that the command line names."""
    study.run(args.name, STUDIES[args.name], args.size, args.out, args.jobs, args.cluster)


def overview(_) -> None:
    """Every study: its question, and what was found."""
    for name, module in STUDIES.items():
        print(f"{name:12} {study.question(module)}\n{'':12} {study.headline(name)}\n")
    print(f"{'survey':12} {study.question(survey)}")


if __name__ == "__main__":
    sys.exit(main())
