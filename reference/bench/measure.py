"""Measuring: rows must agree before they are timed, and are timed in turn; memory; where the time goes."""

from __future__ import annotations

import gc
import os
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.util import find_spec

import numpy as onp
from autograd.extend import VSpace
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.numpy.numpy_vspaces import ArrayVSpace
from autograd.tracer import isbox

from ..by_hand import steps
from ..method import steps as definitions
from . import products, rivals, rows
from .problem import Problem, active, cast, prepare

PLAIN, OURS, TORCH, JAX, FLOOR = "plain autograd", "ours", "PyTorch eager", "JAX jit", "floor"
ROWS = {
    PLAIN: (rows.plain, "autograd"),
    OURS: (rows.ours, "numpy"),
    TORCH: (rivals.pytorch, "torch"),
    JAX: (rivals.jax, "jax"),
}
TOLERANCE = 1e-4
"""So far a row's step may differ from the plain one; the other defences' also by `ROUNDINGS` times what float32 does to
the plain step itself.  Virtual adversarial training needs that: the direction that it finds for an image of which the
network is sure is mostly rounding."""
ROUNDINGS = 3


def measure(scale: str, epochs: int, seconds: float) -> dict:
    """Everything at one scale, in this process with the threads that it has."""
    note(f"{scale}: training for {epochs} epochs")
    p = prepare(scale, epochs)
    made = {name: row(p) for name, (row, library) in ROWS.items() if find_spec(library)}
    found: dict = {"rows": list(made)}
    work, sizes, critic = active(p), layer_sizes(p.state.params), layer_sizes(p.state.critic)
    parts = products.classifier_step(sizes, critic, work)
    floors = {rows.CLASSIFIER: sum(parts.values(), []), rows.CRITIC: products.critic_step(critic, len(p.x))}
    found["active"] = {
        "attack": [len(r) for r in work.there],
        "cycle": [len(r) for r in work.back],
        "S": len(work.changed),
    }
    found |= {"sizes": sizes, "critic": critic, "batch": len(p.x), "first": p.first, "epochs": epochs}
    found["floor flops"] = {column: products.flops(list_) for column, list_ in floors.items()}
    found["differences"], found["refused"], found["seconds"] = {}, [], {}
    for column in rows.COLUMNS if scale != "paper" else rows.COLUMNS[: -len(rows.LONG)]:
        note(f"{scale}: {column}")
        jobs = {name: row[column] for name, row in made.items() if column in row}
        allowed = max(TOLERANCE, ROUNDINGS * rounding(p, column)) if column in rows.OTHERS else TOLERANCE
        jobs, found["differences"][column] = agreeing(jobs, old(p, column), allowed)
        found["refused"] += [
            [column, name, allowed] for name, row in made.items() if column in row and name not in jobs
        ]
        if column in floors:
            jobs[FLOOR] = rows.Job(products.multiplier(floors[column], p.x.dtype))
        found["seconds"][column] = interleave(jobs, seconds)
    found["peak bytes"] = {name: peak_memory(made[name][rows.CLASSIFIER]) for name in (PLAIN, OURS)}
    found["numpy calls"], found["call seconds"] = numpy_calls(p), call_seconds()
    found["profile"] = profile(made[OURS][rows.CLASSIFIER], parts, p, seconds)
    found["critic profile"] = profile(made[OURS][rows.CRITIC], {products.REST: floors[rows.CRITIC]}, p, seconds)
    return found


def note(text: str) -> None:
    """Progress, beside the results."""
    print(text, file=sys.stderr, flush=True)


def pin(threads: int) -> None:
    """Keep this process to as many cores as it may use threads, where the system can: some pools ask nobody."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def layer_sizes(params) -> list[int]:
    """[d, s_1, …, k]."""
    return [len(params[0][0])] + [len(b) for _, b in params]


def old(p: Problem, column: str) -> list[onp.ndarray] | None:
    """What a step starts from."""
    start = {rows.CRITIC: p.state.critic, rows.NEAREST: None}.get(column, p.state.params)
    return None if start is None else rows.flat(start)


def differences(jobs: dict[str, rows.Job], start: list[onp.ndarray] | None) -> dict[str, float]:
    """‖new − new of the first row‖ / ‖new of the first row − old‖: of the step itself, not of the weights.

    Without an old value, as for classes, the share of entries that differ; rows without `arrays` are not compared.
    """
    found: dict[str, float] = {}
    reference = None
    for name, job in jobs.items():
        if job.arrays is None:
            continue
        job.before()
        new = onp.concatenate([a.ravel() for a in job.arrays(job.run())])
        if reference is None:
            reference = new
        if start is None:
            found[name] = float(onp.mean(new != reference))
        else:
            moved = reference - onp.concatenate([a.ravel() for a in start])
            found[name] = float(onp.linalg.norm(new - reference) / onp.linalg.norm(moved))
    return found


def rounding(p: Problem, column: str) -> float:
    """How far float32 moves the plain step of another defence, as `differences` measures it."""
    state = replace(p.state, params=cast(p.state.params, float), adam=cast(p.state.adam, float))
    exact = p._replace(x=p.x.astype(float), state=state)
    jobs = {name: rows.numpy_row(q, definitions, None)[column] for name, q in (("double", exact), ("single", p))}
    return differences(jobs, old(p, column))["single"]


def agreeing(
    jobs: dict[str, rows.Job], start: list[onp.ndarray] | None, allowed: float = TOLERANCE
) -> tuple[dict[str, rows.Job], dict[str, float]]:
    """-> the jobs that may be timed, and all `differences`."""
    found = differences(jobs, start)
    return {name: job for name, job in jobs.items() if found.get(name, 0) <= allowed}, found


def interleave(jobs: dict[str, rows.Job], seconds: float, least: int = 5) -> dict[str, list[float]]:
    """Seconds of every repetition, the rows in turn, each round beginning with another.

    Every timed run follows an untimed one of the same row, as a step of training follows a step: else the row before
    it decides what is in the caches.
    """
    times: dict[str, list[float]] = {name: [] for name in jobs}
    order, start = list(jobs), time.perf_counter()
    with quiet_memory():
        while len(times[order[0]]) < least or time.perf_counter() - start < seconds:
            for name in order:
                for _ in "12":
                    jobs[name].before()
                    seconds_taken = timed(jobs[name].run)
                times[name].append(seconds_taken)
            order.append(order.pop(0))
    return times


@contextmanager
def quiet_memory() -> Iterator[None]:
    """Neither the allocator nor the garbage collector makes a step pay for what others left behind.

    glibc hands freed memory back to the system, and every step pays for its pages anew, until a block as large has been
    freed once (mallopt(3), M_MMAP_THRESHOLD); training has done so by then, when it loaded the digits.  The collector,
    which a step of many objects sets off, would look through all that the imported libraries keep.
    """
    onp.empty(31 * 2**20, onp.uint8)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def peak_memory(job: rows.Job) -> int:
    """Bytes at the highest point of one run, above where it began; NumPy reports its arrays to `tracemalloc`."""
    job.before()
    tracemalloc.start()
    job.run()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


class Counted(onp.ndarray):
    """An array that counts what it, or what is made from it, goes into: operations of NumPy, and multiply-adds of
    matrix products."""

    calls = products = 0

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        def bare(a):
            return a.view(onp.ndarray) if isinstance(a, Counted) else a

        Counted.calls += 1
        if out is not None:
            kwargs["out"] = tuple(map(bare, out))
        inputs, kwargs = [bare(a) for a in inputs], {name: bare(value) for name, value in kwargs.items()}
        boxed = any(map(isbox, inputs))  # autograd's comes back here with what is in it
        if ufunc is onp.matmul and not boxed and min(map(onp.ndim, inputs)) == 2:
            Counted.products += inputs[0].size * inputs[1].shape[-1]
        result = getattr(ufunc, method)(*inputs, **kwargs)
        return result.view(Counted) if isinstance(result, onp.ndarray) else result

    def __array_function__(self, *args):
        Counted.calls += 1
        result = super().__array_function__(*args)  # `concatenate` and the like, which forget the class
        return result.view(Counted) if isinstance(result, onp.ndarray) else result


ArrayBox.register(Counted)
VSpace.register(Counted, ArrayVSpace)


def counted(tree):
    """Lists and tuples with their arrays as `Counted`."""
    return tree.view(Counted) if isinstance(tree, onp.ndarray) else type(tree)(map(counted, tree))


def numpy_calls(p: Problem) -> int:
    """How many operations of NumPy our classifier step calls; slices and casts are not counted."""
    state = p.state
    adam = replace(state.adam, m=counted(state.adam.m), v=counted(state.adam.v))
    state = replace(state, params=counted(state.params), critic=counted(state.critic), adam=adam)
    job = rows.ours(p._replace(state=state))[rows.CLASSIFIER]
    job.before()
    Counted.calls = 0
    job.run()
    return Counted.calls


def call_seconds() -> float:
    """What an operation of NumPy costs where there is nothing to compute: the median of many on one number."""
    one = onp.ones((1, 1), onp.float32)
    calls = (lambda: one + one, lambda: onp.multiply(one, one, out=one), lambda: one @ one, lambda: one.sum(axis=1))
    return float(onp.median([timed(call) for _ in range(1000) for call in calls]))


ADAM = "Adam"
PARTS = (
    (steps, "ClassGaps", products.NEAREST),
    (steps.Unrolled, "__init__", products.FORWARD),
    (steps.Unrolled, "reverse", products.REVERSE),
    (steps.Sums, "add", products.WEIGHTS),
    (steps.Sums, "gradient", products.WEIGHTS),
    (steps, "adam_step", ADAM),
)
"""Functions of our steps and the part that each is, without what it calls of the others; the rest is left."""


@contextmanager
def replaced(owner, attribute: str, value) -> Iterator[None]:
    """`owner.attribute` is `value` within the block."""
    before = getattr(owner, attribute)
    setattr(owner, attribute, value)
    try:
        yield
    finally:
        setattr(owner, attribute, before)


def profile(
    job: rows.Job, parts: dict[str, list[products.Product]], p: Problem, seconds: float
) -> dict[str, list[float]]:
    """Part -> median seconds of a step spent in it, and of its products alone, measured in turn.

    parts: {part: its products}.  The functions in `PARTS` are timed; `products.REST` gets the time that they leave.
    """
    spent: dict[str, list[float]] = {name: [] for name in (*parts, ADAM)}
    alone = {name: rows.Job(products.multiplier(list_, p.x.dtype)) for name, list_ in parts.items()}

    within = [0.0]  # for every function that is running, the time in clocked functions that it called

    def clocked(function, name):
        def run(*args, **kwargs):
            within.append(0.0)
            start = time.perf_counter()
            result = function(*args, **kwargs)
            taken = time.perf_counter() - start
            spent[name][-1] += taken - within.pop()
            within[-1] += taken
            return result

        return run

    def step():
        job.before()
        for all_ in spent.values():
            all_.append(0.0)
        with ExitStack() as stack:
            for owner, attribute, name in PARTS:
                stack.enter_context(replaced(owner, attribute, clocked(getattr(owner, attribute), name)))
            total = timed(job.run)
        spent[products.REST][-1] = total - sum(times[-1] for times in spent.values())

    floor = interleave(alone | {"step": rows.Job(step)}, seconds)
    return {
        name: [float(onp.median(times)), float(onp.median(floor[name])) if name in floor else 0.0]
        for name, times in spent.items()
    }
