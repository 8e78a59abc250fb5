"""Train five defences on real digits, attack each, and show how robust they became.

    python demo.py                      14×14 digits, one seed: a table and pictures under results/
    python demo.py --long               more epochs, three seeds: the table of the README
    python demo.py --quick              seconds, to see that everything works
"""

import os

# Before NumPy is imported: one BLAS thread in each of the processes, which run side by side.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse  # noqa: E402
import sys  # noqa: E402
from dataclasses import replace  # noqa: E402
from pathlib import Path  # noqa: E402

from reference import experiment, pictures, report, settings  # noqa: E402
from reference.errors import DivergenceError, InputError  # noqa: E402
from reference.files import write_json, write_text  # noqa: E402


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Writes table.md, table.json, four pictures and checkpoints to the output folder. Ctrl-C keeps what was\n"
        "trained: add --resume to the same command to go on, with the same result as without the interrupt.\n"
        "Exit status: 0 done, 1 training diverged, 2 unfit input, 130 interrupted.",
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="tiny networks and few images: seconds, to see that it works")
    size.add_argument("--long", action="store_true", help="more epochs and three seeds: the README's table, ≤ 30 minutes")
    size.add_argument(
        "--paper", action="store_true", help="the paper's sizes (28×28, 1200-1200-1200); first says how long it takes"
    )
    parser.add_argument(
        "--defences",
        metavar="A,B,…",
        help=f"which ones, of {','.join(settings.DEMO.defences)} (default: all)",
    )
    parser.add_argument("--seeds", type=int, metavar="N", help="independent runs of each defence")
    parser.add_argument("--epochs", type=int, metavar="N", help="epochs of training; the learning rate decays in step")
    parser.add_argument("--side", type=int, choices=(14, 28), help="images of side×side pixels")
    parser.add_argument("--hidden", metavar="256-256", help="the classifier's hidden layers; 'linear' for none")
    parser.add_argument("--data", type=Path, metavar="DIR", help="full MNIST: a folder with the four IDX files, .gz or not")
    parser.add_argument("--out", type=Path, default=Path("results"), metavar="DIR", help="output folder (default: results)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes (default: all cores)")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoints in the output folder")
    return parser.parse_args(argv)


def plan_from(args: argparse.Namespace) -> settings.Experiment:
    """The settings that the command line asks for."""
    name = next((name for name in ("quick", "long", "paper") if getattr(args, name)), "demo")
    plan = getattr(settings, name.upper())
    if args.defences is not None:
        names = args.defences.split(",")
        unknown = sorted(set(names) - set(plan.defences))
        if unknown:
            raise InputError(f"unknown defence {', '.join(unknown)}: choose from {', '.join(plan.defences)}")
        plan = replace(plan, defences={name: plan.defences[name] for name in names})
    if args.hidden is not None:
        try:
            hidden = () if args.hidden == "linear" else tuple(map(int, args.hidden.split("-")))
        except ValueError:
            raise InputError(f"--hidden {args.hidden}: give widths joined by hyphens, like 256-256") from None
        plan = replace(plan, training=replace(plan.training, hidden=hidden))
    if args.epochs is not None:
        plan = replace(plan, training=experiment.with_epochs(plan.training, args.epochs))
    for option in ("seeds", "jobs"):
        if getattr(args, option) is not None and getattr(args, option) < 1:
            raise InputError(f"--{option} {getattr(args, option)}: give at least 1")
    plan = replace(plan, seeds=args.seeds or plan.seeds, side=args.side or plan.side)
    return plan


class Bars:
    """A progress bar per run, with the losses that matter; a line at the end of each run where tqdm is missing."""

    def __init__(self):
        try:
            from tqdm import tqdm
        except ImportError:
            tqdm = None
        self.tqdm, self.bars = tqdm, {}

    def __call__(self, defence: str, seed: int, epoch: int, epochs: int, record: dict) -> None:
        shown = {key: record[key] for key in ("cross_entropy", "critic", "attack_success") if key in record}
        text = ", ".join(f"{key.replace('_', ' ')} {value:.3f}" for key, value in shown.items())
        text += f", validation error {100 * record['validation_error']:.1f} %"
        if self.tqdm is None:
            if epoch == epochs:
                print(f"{defence}, seed {seed}: {epochs} epochs, {text}", flush=True)
            return
        if (defence, seed) not in self.bars:
            self.bars[defence, seed] = self.tqdm(total=epochs, desc=f"{defence} {seed}".ljust(14), unit="epoch")
        bar = self.bars[defence, seed]
        bar.set_postfix_str(text, refresh=False)
        bar.update(epoch - bar.n)

    def close(self) -> None:
        for bar in self.bars.values():
            bar.close()


def main(argv: list[str] | None = None) -> int:
    """Train, attack, print, draw -> the exit status."""
    args = arguments(argv)
    bars = Bars()
    try:
        plan = plan_from(args)
        data = experiment.digits(plan.side, args.data)
        if args.paper:
            print(experiment.estimate(plan, data, args.jobs), flush=True)
        write_text(args.out / "README.md", pictures.WHAT_IS_HERE)  # fails now, not after training
        outcomes = experiment.run_all(plan, args.out, args.jobs, args.resume, args.data, bars)
        bars.close()
        text = report.full_report(outcomes, plan, data.source)
        write_text(args.out / "table.md", text + "\n")
        write_json(args.out / "table.json", report.as_json(outcomes, plan, data.source))
        print("\n" + text + "\n")
        for path, caption in pictures.draw_all(outcomes, plan, data, args.out):
            print(f"{path}: {caption}")
    except InputError as error:
        bars.close()
        print(f"demo.py: {error}", file=sys.stderr)
        return 2
    except DivergenceError as error:
        bars.close()
        print(f"demo.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        bars.close()
        print("\ninterrupted: the epochs done are kept; add --resume to the same command to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
