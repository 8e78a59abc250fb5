"""`python -m reference.bench`: times of a training step and of the evaluation beside other ways to compute the same.

Rows: the plain definitions by autograd; ours, the steps written out by hand; PyTorch, eager, and JAX, compiled
(compilation not timed), where installed; and the floor, the matrix products alone.  Rows are timed in turn on the same
float32 weights; a row whose step differs by more than 1e-4 from the plain one's is not timed.  Every number of threads
gets a process of its own, kept to as many cores.
"""

from __future__ import annotations

if __name__ == "__main__":
    from ..plumbing import process

    process.begin()  # before NumPy is imported

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as onp

from ..errors import InputError
from ..experiment.figures import save
from ..experiment.tables import grid
from ..plumbing import process
from ..plumbing.command import Parser, answer
from ..plumbing.files import check_writable, write_json
from . import growth
from .machine import in_words, machine
from .measure import FLOOR, JAX, OURS, PLAIN, TORCH, measure, pin
from .problem import EPOCHS
from .rows import CLASSIFIER, CRITIC, EPOCH, NEAREST

GOALS = {
    ("demo", CLASSIFIER, TORCH): 0.28, ("demo", CLASSIFIER, JAX): 0.85, ("demo", CLASSIFIER, FLOOR): 1.6,
    ("demo", NEAREST, JAX): 0.95, ("demo", CRITIC, JAX): 0.85, ("demo", EPOCH, TORCH): 0.33, ("demo", EPOCH, JAX): 0.85,
    ("paper", CLASSIFIER, FLOOR): 1.1, ("paper", CRITIC, FLOOR): 1.15,
}  # fmt: skip
"""Of the ratio ours / another row, by scale, column and row; set on a machine with AVX-512."""
MEMORY_GOAL = 0.48
"""Of the peak memory of a classifier step, ours / plain."""
LIMITS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code: 0, 1 if a row disagreed, 2 for a wrong request, 130 on Ctrl-C."""
    parser = Parser(prog="python -m reference.bench", description=__doc__.split("\n\n")[0])
    parser.add_argument("--scale", choices=("demo", "paper", "both"), default="both", help="default: both")
    parser.add_argument(
        "--threads", type=int, nargs="+", default=[1, 2][: os.cpu_count()], metavar="N", help="default: 1 2"
    )
    parser.add_argument("--seconds", type=float, default=20, help="for each column (default: 20; at least 5 rounds)")
    parser.add_argument("--epochs", type=int, help="trained beforehand (default: demo 20, paper 2)")
    parser.add_argument("--growth", action="store_true", help="also: time and memory against batch, width, depth, …")
    parser.add_argument("--quick", action="store_true", help="tiny networks, one thread: to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("results/bench.json"), help="default: results/bench.json")
    parser.add_argument("--worker", help=argparse.SUPPRESS)

    def request() -> int:
        args = parser.parse_args(argv)
        if args.worker:
            task = json.loads(args.worker)
            process.end_with_parent(task.pop("parent"))
            pin(task.pop("threads"))
            print(json.dumps(work(**task)))
            return 0
        results = run(args)
        print(f"written to {args.out}")
        return int(any(result["refused"] for result in results["scales"]))

    return answer("reference.bench", request, "what was measured before is kept")


def run(args: argparse.Namespace) -> dict:
    """Measure, print and write what was asked for."""
    cores = os.cpu_count() or 1
    if not (0 < args.seconds <= 3600 and (args.epochs is None or args.epochs >= 0)):
        raise InputError("give positive --seconds, 3600 at most, and --epochs of at least 0")
    if not all(1 <= count <= cores for count in args.threads):
        raise InputError(f"--threads {' '.join(map(str, args.threads))}: give 1 to {cores}, the cores of this machine")
    scales = ["quick"] if args.quick else [s for s in ("demo", "paper") if args.scale in (s, "both")]
    threads, seconds = ([1], 0.01) if args.quick else (args.threads, args.seconds)
    results: dict = {"machine": machine(), "scales": [], "growth": []}
    check_writable(args.out)
    print(in_words(results["machine"]) + "\n", flush=True)
    for scale in scales:
        for count in threads:
            epochs = EPOCHS[scale] if args.epochs is None else args.epochs
            found = child(count, scale=scale, epochs=epochs, seconds=seconds)
            results["scales"].append({"scale": scale, "threads": count} | found)
            write_json(args.out, results)
            print(report(results["scales"][-1]) + "\n", flush=True)
    if args.growth:
        results["growth"] = child(1, scale="growth quick" if args.quick else "growth", epochs=0, seconds=seconds / 10)
        write_json(args.out, results)
        save(growth.figure(results["growth"]), args.out.with_suffix(".png"))
        table = [[axis, *(f"{e:.2f}" for e in found)] for axis, *found in growth.exponents(results["growth"])]
        print(grid(["exponent of", "our time", "products counted", "our peak memory"], table))
        print(f"growth drawn in {args.out.with_suffix('.png')}")
    return results


def child(threads: int, **task):
    """The task's result from a process in which every library was told, before it started, how many threads."""
    env = os.environ | dict.fromkeys(LIMITS, str(threads))
    if threads == 1:
        env["XLA_FLAGS"] = f"{env.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
    about = {"threads": threads, "parent": os.getpid()}
    command = [sys.executable, "-m", "reference.bench", "--worker", json.dumps(task | about)]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise InputError(
            f"the process that measures with {threads} thread(s) ended early, with exit status {done.returncode}"
        )
    return json.loads(done.stdout.splitlines()[-1])


def work(scale: str, epochs: int, seconds: float) -> dict | list[dict]:
    """In the child: one scale, or the growth."""
    if scale.startswith("growth"):
        return list(growth.measure(seconds, growth.QUICK if scale.endswith("quick") else growth.AXES))
    return measure(scale, epochs, seconds)


def ratio(times: dict[str, list[float]], other: str) -> float | None:
    """Median over the rounds of ours / other: neighbours in time share the machine's mood."""
    if OURS not in times or other not in times:
        return None
    return float(onp.median(onp.array(times[OURS]) / onp.array(times[other])))


def report(found: dict) -> str:
    """The tables of one scale and number of threads."""
    scale, seconds = found["scale"], found["seconds"]
    names = [*found["rows"], FLOOR]
    sizes = "-".join(map(str, found["sizes"]))
    lines = [
        f"## {scale}: {sizes}, critic {'-'.join(map(str, found['critic']))}, batch {found['batch']}, "
        f"{found['threads']} thread{'s' * (found['threads'] > 1)}",
        f"after {found['epochs']} epochs with the critic, training images {found['first']} to "
        f"{found['first'] + found['batch'] - 1}; under attack before each iteration and at the end: "
        f"{found['active']['attack']}, on the way back {found['active']['cycle']}; S: {found['active']['S']}",
    ]
    lines += [
        f"NOT TIMED, its result differs by more than {allowed:.0e}: {row} in {column}"
        for column, row, allowed in found["refused"]
    ]

    def cell(times):
        if not times:
            return "–"
        low, middle, high = 1e3 * onp.quantile(times, (0.25, 0.5, 0.75))
        digits = 1 if middle < 1000 else 0
        return f"{middle:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"

    table = [
        [f"{column} ({len(next(iter(times.values())))}×)", *(cell(times.get(name)) for name in names)]
        for column, times in seconds.items()
    ]
    lines += ["", grid(["ms: median (quartiles)", *names], table), ""]
    table = [
        [f"ours / {other}"]
        + [against(ratio(times, other), GOALS.get((scale, column, other))) for column, times in seconds.items()]
        for other in names
        if other != OURS
    ]
    peak = against(found["peak bytes"][OURS] / found["peak bytes"][PLAIN], MEMORY_GOAL)
    table.append(["peak memory, ours / plain", peak, *["–"] * (len(seconds) - 1)])
    lines += [grid(["ratio: median of pairs (goal)", *seconds], table), ""]
    total = sum(time for time, _ in found["profile"].values())
    table = [
        [part, f"{1e3 * time:.2f}", f"{100 * time / total:.0f}", f"{1e3 * floor:.2f}"]
        for part, (time, floor) in found["profile"].items()
    ]
    lines.append(grid(["our classifier step", "ms", "%", "its products alone, ms"], table))
    calls, each = found["numpy calls"], 1e6 * found["call seconds"]
    lines.append(
        f"It calls {calls} operations of NumPy.  One with nothing to compute takes {each:.2f} µs here, all of them "
        f"{calls * each / 1e3:.2f} ms: so much comes on top of the floor before any of them computes."
    )
    (gradient, floor), (adam, _) = found["critic profile"].values()
    lines.append(
        f"Our critic step: {1e3 * gradient:.2f} ms for the gradient, whose products alone take {1e3 * floor:.2f}, and "
        f"{1e3 * adam:.2f} for Adam, which the floor leaves out."
    )
    return "\n".join(lines)


def against(value: float | None, goal: float | None) -> str:
    """As in "0.39 (0.28)": a ratio, and what it should not exceed."""
    return "–" if value is None else f"{value:.2f}" + ("" if goal is None else f" ({goal:g})")


if __name__ == "__main__":
    sys.exit(main())
