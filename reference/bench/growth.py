"""How a classifier step's time and peak memory grow with batch, width, depth, attack iterations and classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec

import numpy as onp
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from ..experiment import figures
from ..experiment.plans import DEMO, STUDIED
from ..experiment.state import State
from ..method import network
from ..method.adam import Adam
from ..method.settings import Generator
from ..method.targets import RunningConfidence
from . import products, rows
from .measure import FLOOR, OURS, PLAIN, ROWS, TORCH, interleave, layer_sizes, note, peak_memory
from .problem import Problem, active, batch

BASE = {"batch": 100, "width": 256, "depth": 2, "iterations": 5, "classes": 10}
AXES = {
    "batch": (25, 50, 100, 200, 400),
    "width": (64, 128, 256, 512, 1024),
    "depth": (1, 2, 3, 4, 6),
    "iterations": (1, 2, 5, 10, 20),
    "classes": (2, 5, 10, 20, 40),
}
QUICK = {name: values[:1] for name, values in AXES.items()}
PIXELS = 196


def problem(seed: int = 0, **size: int) -> Problem:
    """Random images at random weights, and a confidence of 0.9999, so that hardly an example stops early."""
    at = BASE | size
    n, k, rng = at["batch"], at["classes"], onp.random.default_rng(seed)
    hidden = (at["width"],) * at["depth"]
    defence = replace(STUDIED["critic"], generator=Generator(iterations=at["iterations"]))
    plan = replace(DEMO, training=replace(DEMO.training, hidden=hidden, batch=n), defences={"critic": defence})
    params, critic = (network.init(rng, (PIXELS, *widths, k)) for widths in (hidden, defence.hidden))
    running = RunningConfidence(onp.full(k, 0.9999, onp.float32), onp.full(k, 0.9999, onp.float32))
    state = State(params, Adam.start(params), running, rng, critic, Adam.start(critic))
    return batch(plan, None, state, rng.random((n, PIXELS), dtype=onp.float32), rng.integers(k, size=n))


def measure(seconds: float, axes: dict[str, Sequence[int]] = AXES) -> Iterator[dict]:
    """One record per axis, value and row; memory of the NumPy rows only; of the floor, the count of its products."""
    for axis, values in axes.items():
        for value in values:
            note(f"growth: {axis} {value}")
            p = problem(**{axis: value})
            names = [name for name in (PLAIN, OURS, TORCH) if find_spec(ROWS[name][1])]
            sizes = layer_sizes(p.state.params), layer_sizes(p.state.critic)
            parts = products.classifier_step(*sizes, active(p))
            yield {"axis": axis, "value": value, "row": FLOOR, "flops": sum(map(products.flops, parts.values()))}
            jobs = {name: ROWS[name][0](p)[rows.CLASSIFIER] for name in names}
            for name, times in interleave(jobs, seconds, least=3).items():
                record = {"axis": axis, "value": value, "row": name, "seconds": float(onp.median(times))}
                yield record if name == TORCH else record | {"peak bytes": peak_memory(jobs[name])}


def exponents(records: Sequence[dict]) -> list[list]:
    """[axis, e of our time, e of the products' count, e of our memory] for each axis.

    e is fitted to quantity ∝ valueᵉ by least squares on logarithms, over the three largest values: the overhead that
    does not grow counts least there.
    """

    def fitted(axis, row, key):
        own = sorted((r["value"], r[key]) for r in records if (r["axis"], r["row"]) == (axis, row))[-3:]
        return float(onp.polyfit(*onp.log(onp.array(own, float)).T, 1)[0]) if len(own) > 1 else onp.nan

    asked = (OURS, "seconds"), (FLOOR, "flops"), (OURS, "peak bytes")
    return [[axis, *(fitted(axis, *of) for of in asked)] for axis in AXES]


def figure(records: Sequence[dict]) -> Figure:
    """Small multiples, time over memory, both axes logarithmic."""
    drawn = Figure(figsize=(14, 6), layout="constrained")
    panels = drawn.subplots(2, len(AXES), sharex="col", sharey="row")
    for column, axis in enumerate(AXES):
        for row, (key, scale, label) in enumerate((("seconds", 1e3, "ms per step"), ("peak bytes", 1e-6, "peak MB"))):
            axes = panels[row, column]
            for name, colour, marker in zip((PLAIN, OURS, TORCH), figures.COLOURS[:1] + figures.COLOURS[4:], "os^"):
                own = [r for r in records if (r["axis"], r["row"]) == (axis, name) and key in r]
                if own:
                    points = zip(*[(r["value"], r[key] * scale) for r in own])
                    axes.plot(*points, color=colour, marker=marker, label=name)
            axes.set(xscale="log", yscale="log")
            axes.set_xticks(sorted({r["value"] for r in records if r["axis"] == axis}))
            axes.xaxis.set_major_formatter(ScalarFormatter())
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.grid(alpha=0.3)
            if column == 0:
                axes.set_ylabel(label)
        panels[1, column].set_xlabel({"iterations": "attack iterations", "depth": "hidden layers"}.get(axis, axis))
    panels[0, 0].legend(frameon=False)
    base = ", ".join(f"{name} {value}" for name, value in BASE.items())
    drawn.suptitle(f"One classifier step, one thing varied at a time around: {base}", fontsize=figures.FONT + 1)
    return drawn
