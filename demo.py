"""Train six defences on real digits, attack each, and show how robust they became.

python demo.py                      14×14 digits, one seed: a table and pictures under results/
python demo.py --long               more epochs, three seeds
python demo.py --quick              seconds, to see that everything works
"""

from reference.plumbing import process

process.begin()  # before NumPy is imported

import argparse
import os
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from reference.errors import InputError
from reference.experiment import pictures, plans, tables
from reference.experiment import run as experiment
from reference.plumbing.command import Parser, add_places, answer, count
from reference.plumbing.files import locked, save_npz, write_json, write_text

CHECKPOINTS = "One file per defence and seed, rewritten after every epoch; `demo.py --resume` goes on from them.\n"


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line; InputError if it is wrong."""
    parser = Parser(
        description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Writes table.md, its numbers (table.json, and image by image table.npz), training.json, four pictures\n"
        "and checkpoints to the output folder.\n"
        "Ctrl-C keeps what was trained: add --resume to the same command to go on, with the same result.\n"
        "Exit status: 0 done, 1 training diverged or a process died, 2 unfit input,\n"
        "130, 143 or 129 ended by Ctrl-C, SIGTERM or SIGHUP.",
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="tiny networks, few images: seconds, to see that it works")
    size.add_argument("--long", action="store_true", help="more epochs, three seeds: about 20 minutes")
    size.add_argument(
        "--full", action="store_true", help="all of MNIST at 28×28, 256-256; first says how long it takes"
    )
    size.add_argument("--paper", action="store_true", help="the same in the paper's sizes, 1200-1200-1200")
    add = parser.add_argument
    every = ",".join(plans.DEMO.defences)
    add("--defences", metavar="A,B,…", help=f"which ones, of {every} (default: all)")
    add(
        "--select",
        choices=("error", "robustness"),
        default="error",
        help="settings chosen on the validation split by smallest error (default), or by largest ρ near it",
    )
    add("--seeds", type=count, metavar="N", help="independent runs of each defence")
    add("--epochs", type=int, metavar="N", help="epochs of training; the learning rate decays in step")
    add("--side", type=int, choices=(14, 28), help="images of side×side pixels")
    add("--hidden", metavar="256-256", help="the classifier's hidden layers; 'linear' for none")
    add("--data", type=Path, metavar="DIR", help="another set in MNIST's format: the folder of its four IDX files")
    add("--out", type=Path, default=Path("results"), metavar="DIR", help="output folder (default: results)")
    add_places(parser)
    add(
        "--plain",
        action="store_true",
        help="train by the definitions themselves, reference/method; first says how long",
    )
    add("--timings", action="store_true", help="say where the time went: training, each attack, pictures")
    add("--resume", action="store_true", help="go on from the checkpoints in the output folder")
    return parser.parse_args(argv)


def plan_from(args: argparse.Namespace) -> plans.Experiment:
    """The settings that the command line asks for; InputError if they make no sense."""
    name = next((name for name in ("quick", "long", "full", "paper") if getattr(args, name)), "demo")
    plan = getattr(plans, name.upper())
    if args.select == "robustness":
        if plan.full:
            raise InputError(f"--{name} is selected for robustness already: leave out --select robustness")
        plan = replace(plan, defences=plans.ROBUST)
    if args.defences is not None:
        names = [name.strip() for name in args.defences.split(",")]
        unknown = sorted(set(names) - set(plan.defences))
        if unknown:
            raise InputError(f"unknown defence {', '.join(map(repr, unknown))}: choose from {', '.join(plan.defences)}")
        plan = replace(plan, defences={name: plan.defences[name] for name in names})
    if args.hidden is not None:
        try:
            hidden = () if args.hidden == "linear" else tuple(map(int, args.hidden.split("-")))
        except ValueError:
            raise InputError(f"--hidden {args.hidden}: give widths joined by hyphens, like 256-256") from None
        plan = replace(plan, training=replace(plan.training, hidden=hidden))
    if args.epochs is not None:
        plan = plans.at_epochs(plan, args.epochs)
    plan = replace(plan, plain=args.plain)
    return plans.at_side(replace(plan, seeds=args.seeds or plan.seeds), args.side or plan.side)


class Bars:
    """A progress bar per run on a terminal; elsewhere, or where tqdm is missing, a line at the end of each run."""

    FORMAT = "{desc}|{bar:8}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"

    def __init__(self):
        try:
            from tqdm import tqdm
        except ImportError:
            tqdm = None
        if tqdm is not None:
            tqdm.monitor_interval = 0  # no thread of its own: Ctrl-C must come to this one
        self.tqdm, self.bars = tqdm if sys.stderr.isatty() else None, {}

    def __call__(self, defence: str, seed: int, epoch: int, epochs: int, record: dict) -> None:
        text = f"error {100 * record['validation_error']:.1f} %"
        shown = {"cross_entropy": "loss", "margin": "loss", "critic": "critic", "attack_success": "fooled"}
        text += "".join(f", {name} {record[key]:.2f}" for key, name in shown.items() if key in record)
        if self.tqdm is None:
            if epoch == epochs:
                print(f"{defence}, seed {seed}: {epochs} epochs with pre-training, validation {text}", flush=True)
            return
        if (defence, seed) not in self.bars:
            name = f"{defence} {seed}".ljust(14)
            self.bars[defence, seed] = self.tqdm(total=epochs, initial=epoch - 1, desc=name, bar_format=self.FORMAT)
        bar = self.bars[defence, seed]
        bar.set_postfix_str(text, refresh=False)
        bar.update(epoch - bar.n)
        if epoch == epochs:
            bar.close()

    def close(self) -> None:
        for bar in self.bars.values():
            bar.close()


def run(args: argparse.Namespace) -> None:
    """Train, attack, print, draw."""
    began, plan = time.time(), plan_from(args)
    data = experiment.digits(plan.side, args.data, plan.full)
    if plan.full or plan.plain:
        print(experiment.estimate(plan, data, args.jobs or process.cores()), flush=True)
    with locked(args.out):
        if not args.resume and (aside := moved_aside(args.out)):
            print(f"What an earlier run left in {args.out} is now in {aside}.", file=sys.stderr, flush=True)
        write_text(args.out / "checkpoints" / "README.md", CHECKPOINTS)  # fails now, not after training
        with closing(Bars()) as bars:
            outcomes = experiment.run_all(plan, args.out, args.jobs, args.resume, args.data, bars, args.cluster)
        record = tables.as_json(outcomes, plan, data.source)
        text = tables.full_report(outcomes, plan, record)
        write_text(args.out / "table.md", text + "\n")
        write_json(args.out / "table.json", record)
        write_json(args.out / "training.json", {f"{run.defence} {run.seed}": run.history for run in outcomes})
        save_npz(args.out / "table.npz", tables.per_image(outcomes))
        print("\n" + text + "\n", flush=True)
        for path, caption in pictures.draw_all(outcomes, plan, args.out):
            print(f"{path}: {caption}")
        if args.timings:
            first, last = (
                min(run.ended - sum(run.seconds.values()) for run in outcomes),
                max(run.ended for run in outcomes),
            )
            print("\n" + tables.timings(outcomes, first - began, time.time() - last))


WRITTEN = "checkpoints table.md table.json table.npz training.json digits.png robust_accuracy.png two_kinds.png".split()


def moved_aside(out: Path) -> Path | None:
    """Move what an earlier run wrote to `out` into a new folder there -> the folder; None if there was nothing."""
    there = [out / name for name in (*WRITTEN, "training.png") if os.path.lexists(out / name)]
    if not any((out / "checkpoints").glob("*.npz")):
        return None
    aside = next(path for i in range(1, 10**6) if not os.path.lexists(path := out / f"earlier-{i}"))
    aside.mkdir()
    for path in there:
        path.rename(aside / path.name)
    return aside


def main(argv: list[str] | None = None) -> int:
    """Do what the command line asks -> the exit status."""
    kept = "the epochs done are kept; add --resume to the same command to go on"
    return answer("demo.py", lambda: run(arguments(argv)), kept)


if __name__ == "__main__":
    sys.exit(main())
