"""Are second-order gradients involved, and what do they cost?

The network comes from the middle of training.  First the gradient of the critic term by θ is taken in three modes: with
x̂ detached, with its iterates detached (truncated, the method), and with the whole path (full).  Then a classifier step
is timed in each mode, by autograd and by hand, beside a step of cross-entropy and one of adversarial training, and so
is its growth.  Times and memory are of one step without Adam, in float32, interleaved in one process.

At test time there is neither critic nor attack: an image costs N multiply-adds in every mode.

Matrix products on paper.  A pass of an example through layers of sizes s_0 = d, s_1, …, s_L = k, forward, backward or
tangent, costs N = Σ s_{l−1} s_l multiply-adds, of which F = s_0 s_1 in the first layer.  One of the critic costs N_D.

    cross-entropy          forward, backward (not to the image), weights         3N − F
    adversarial training   r: forward, backward; then twice the above            8N − 2F
    critic, whatever mode  predictions: at x three times, at x̂ twice             5N
                           nearest class: forward, k times backward              (1 + k) N
                           2M attack steps, M of the cycle: forward, backward    4M N
                           the critic: forward, backward to x̂                    2N_D
                           cross-entropy's backward, weights                     2N − F
    truncated or full      2M steps reversed: tangent, backward, twice weights   2M (4N − F)
    full                   backward to each iterate but the two first ones       2 (M − 1) F

So a detached step costs (8 + k + 4M) N − F + 2N_D, a truncated one 2M (4N − F) more, and a full one another 2 (M − 1)
F. The plain definitions multiply so much in any framework that does not share passes, and each run counts it.  By hand
it is less (`by_hand/README.md`, sections 6 and 7), and it depends on how many examples are still under attack."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as onp
from matplotlib.figure import Figure

from ..bench import growth
from ..bench.measure import Counted, counted, interleave, layer_sizes, peak_memory
from ..bench.problem import Problem, prepare
from ..bench.rows import Job
from ..by_hand import steps as by_hand
from ..experiment.figures import COLOURS, FONT, MARKERS, STYLES, caption, plain
from ..experiment.tables import grid
from ..method import objectives, steps
from ..method.settings import AdversarialTraining
from .study import Records, over_seeds

MODES = ("detached", "truncated", "full")
ENTROPY, ADVERSARIAL = "cross-entropy", "adversarial training"
STEPS = (ENTROPY, ADVERSARIAL, *(f"critic, {mode}" for mode in MODES))
JOBS = 1  # side by side they would slow each other
ROUTES = {"autograd": steps, "by hand": by_hand}
AXES = {"iterations": (1, 2, 5, 10), "width": (64, 128, 256, 512), "batch": (25, 50, 100, 200, 400)}
SIZES = {  # scale, epochs of training beforehand, seconds for each set of timings, seeds, axes of the growth
    "quick": ("quick", 1, 0.02, 1, {"iterations": (1, 2)}),
    "preview": ("demo", 10, 4, 1, AXES),
    "full": ("demo", 20, 15, 3, AXES),
}


def tasks(size):
    scale, epochs, seconds, seeds, axes = size
    parts = {"steps": (scale, epochs, seconds), "growth": (axes, seconds)}
    return [task for name, settings in parts.items() for task in over_seeds(seeds, {name: (settings, settings)})]


def measure(*arguments) -> dict:
    return measure_steps(*arguments) if len(arguments) == 4 else measure_growth(*arguments)


def measure_steps(scale: str, epochs: int, seconds: float, seed: int) -> dict:
    """At one trained network: the critic term's gradients; {step: products on paper, counted, and route: s, bytes}."""
    p = prepare(scale, epochs, seed)
    gradients = [critic_gradient(p, mode) for mode in MODES]
    size = [float(onp.linalg.norm(g)) for g in gradients]
    jobs = jobs_of(p)
    times = interleave(jobs, seconds)
    found = {"norms": dict(zip(MODES, size)), "cosine": float(gradients[1] @ gradients[2]) / (size[1] * size[2])}
    for step in STEPS:
        found[step] = {
            "on paper": on_paper(p)[step],
            "counted": {route: count(p, step, steps) for route, steps in ROUTES.items()},
            "seconds": {route: float(onp.median(times[f"{step}, {route}"])) for route in ROUTES},
            "bytes": {route: peak_memory(jobs[f"{step}, {route}"]) for route in ROUTES},
        }
    return found


def measure_growth(axes, seconds: float, seed: int) -> dict:
    """{axis: {step: [median seconds by hand, per value]}}, random images and weights, hardly any example arriving."""
    found: dict = {axis: {"values": values, **{step: [] for step in STEPS}} for axis, values in axes.items()}
    for axis, sizes in axes.items():
        for value in sizes:
            jobs = jobs_of(growth.problem(seed, **{axis: value}), ["by hand"])
            for name, taken in interleave(jobs, seconds / 10, least=3).items():
                found[axis][name.removesuffix(", by hand")].append(float(onp.median(taken)))
    return found


def critic_gradient(p: Problem, mode: str) -> onp.ndarray:
    """∇_θ of the critic term alone, by the plain definitions, as one vector."""
    s = in_mode(p, mode)

    def term(params):
        made = objectives.generate(params, p.x, p.targets, p.state.running, s.generator)
        return {"critic": objectives.judge(params, made, p.x, p.y, p.state.critic, p.noise[2], s)["critic"]}

    with warnings.catch_warnings():  # where the attack is detached, the term is independent of θ: autograd warns of it
        warnings.filterwarnings("ignore", "Output seems independent of input")
        _, gradient = objectives.differentiate(term, p.state.params)
    return onp.concatenate([a.ravel() for layer in gradient for a in layer]).astype(float)


def in_mode(p: Problem, mode: str):
    return replace(p.defence, generator=replace(p.defence.generator, gradient=mode))


def take(p: Problem, step: str, steps) -> None:
    """One classifier step, from the batch to the gradient."""
    params = p.state.params
    if step == ENTROPY:
        steps.undefended(params, p.x, p.y)
    elif step == ADVERSARIAL:
        steps.adversarial_training(params, p.x, p.y, AdversarialTraining())
    else:
        s = in_mode(p, step.removeprefix("critic, "))
        taken = steps.ClassifierStep(params, p.x)
        taken.attack(p.state.running, s.generator)
        taken.gradient(p.y, p.state.critic, p.noise[2], s)


def jobs_of(p: Problem, routes=tuple(ROUTES)) -> dict[str, Job]:
    """{"step, route": job}."""
    return {
        f"{step}, {route}": Job(lambda step=step, steps=ROUTES[route]: take(p, step, steps))
        for step in STEPS
        for route in routes
    }


def on_paper(p: Problem) -> dict[str, int]:
    """The docstring's count of multiply-adds for each step of a batch."""
    sizes, critic = layer_sizes(p.state.params), layer_sizes(p.state.critic)
    N, N_D = (sum(m * n for m, n in zip(s, s[1:])) for s in (sizes, critic))
    F, k, M, n = sizes[0] * sizes[1], sizes[-1], p.defence.generator.iterations, len(p.x)
    detached = (8 + k + 4 * M) * N - F + 2 * N_D
    truncated = detached + 2 * M * (4 * N - F)
    each = (3 * N - F, 8 * N - 2 * F, detached, truncated, truncated + 2 * (M - 1) * F)
    return {step: n * products for step, products in zip(STEPS, each, strict=True)}


def count(p: Problem, step: str, steps) -> int:
    """The multiply-adds of one step, counted while it runs."""
    state = replace(p.state, params=counted(p.state.params), critic=counted(p.state.critic))
    watched, before = p._replace(state=state, x=counted(p.x), noise=counted(p.noise)), Counted.products
    take(watched, step, steps)
    return Counted.products - before


def mean(records: Records, *path) -> onp.ndarray:
    """The number at `path` of every record of steps."""
    found = [record for record in records if record["name"] == "steps"]
    for key in path:
        found = [record[key] for record in found]
    return onp.array(found, float)


def table(records: Records) -> str:
    def entry(found, digits):
        spread = f" ±{found.std(ddof=1):.{digits}f}" if len(found) > 1 else ""
        return f"{found.mean():.{digits}f}{spread}"

    rows = []
    for step in STEPS:
        row = [step, f"{mean(records, step, 'on paper').mean() / 1e6:.1f}"]
        row += [f"{mean(records, step, 'counted', route).mean() / 1e6:.1f}" for route in ROUTES]
        for route in ROUTES:
            row.append(entry(mean(records, step, "seconds", route) / mean(records, ENTROPY, "seconds", route), 1))
        row += [entry(mean(records, step, "bytes", route) / 1e6, 1) for route in ROUTES]
        mode = step.removeprefix("critic, ")
        row.append(f"{mean(records, 'norms', mode).mean():.3g}" if mode in MODES else "–")
        rows.append(row)
    header = ["step", "10⁶ multiply-adds, on paper", "counted, autograd", "counted, by hand", "time, autograd"]
    header += ["time, by hand", "peak MB, autograd", "peak MB, by hand", "‖∇θ critic term‖"]
    milliseconds = " and ".join(f"{1e3 * mean(records, ENTROPY, 'seconds', r).mean():.2f} ms {r}" for r in ROUTES)
    return f"{grid(header, rows)}\n\nTimes are multiples of the cross-entropy step's: {milliseconds}."


FINDING = (
    "Yes: with the attack detached the critic term's gradient is [exactly zero], so that term does nothing; a "
    "step of the method costs [37] times a cross-entropy step by autograd and [23] times by hand (adversarial "
    "training: [2.9] and [2.3] times). By hand a detached step takes [0.54] of the truncated one's time and a "
    "full one [1.25], and the gradients of these two have a cosine of [0.90]. The products that autograd computes "
    "are [exactly] those derived on paper, and at test time there is only the plain network's one pass."
)


def found(records: Records) -> list[str]:
    largest = mean(records, "norms", "detached").max()
    ratio = {
        step: [mean(records, step, "seconds", route) / mean(records, ENTROPY, "seconds", route) for route in ROUTES]
        for step in STEPS
    }
    by_hand = ratio["critic, truncated"][1].mean()
    exact = all((mean(records, s, "on paper") == mean(records, s, "counted", "autograd")).all() for s in STEPS)
    return [
        "exactly zero" if largest == 0 else f"up to {largest:.1e}",
        *(f"{times.mean():.0f}" for times in ratio["critic, truncated"]),
        *(f"{times.mean():.1f}" for times in ratio[ADVERSARIAL]),
        *(f"{ratio[f'critic, {mode}'][1].mean() / by_hand:.2f}" for mode in ("detached", "full")),
        f"{mean(records, 'cosine').mean():.2f}",
        "exactly" if exact else "not",
    ]


def draw(records: Records) -> Figure:
    found = [record for record in records if record["name"] == "growth"]
    axes_found = [axis for axis in AXES if axis in found[0]]
    figure = Figure(figsize=(4.3 * len(axes_found) + 1, 4.9), layout="constrained")
    panels = figure.subplots(1, len(axes_found), sharey=True, squeeze=False)[0]
    for ax, axis in zip(panels, axes_found):
        at = found[0][axis]["values"]
        for i, step in enumerate(STEPS):
            ms = 1e3 * onp.array([record[axis][step] for record in found])
            look = {"color": COLOURS[i], "ls": STYLES[i], "marker": MARKERS[i], "lw": 1.8, "label": step}
            ax.errorbar(at, ms.mean(axis=0), ms.std(axis=0, ddof=min(1, len(ms) - 1)), **look)
        ax.set(xscale="log", yscale="log", xlabel={"iterations": "attack iterations M"}.get(axis, axis))
        ax.set_xticks(at, at)
        ax.minorticks_off()
        plain(ax)
    panels[0].set_ylabel("ms per step, by hand", fontsize=FONT)
    panels[0].legend(fontsize=FONT - 1, frameon=False)
    base = ", ".join(f"{name} {value}" for name, value in growth.BASE.items())
    text = f"One thing varied at a time around {base}; bars: standard deviation over seeds. Both axes logarithmic."
    return caption(figure, "What a classifier step costs in each mode, and how it grows", text)
