"""The figures of the lessons: each a function that returns a matplotlib `Figure`.

A figure computes what it shows from the arguments it is given; nothing is drawn from memory.  Colours are Okabe &
Ito's, as in `experiment/figures.py`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as onp
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure

from ..attacks import high_confidence
from ..by_hand.model import from_params
from ..data import toy
from ..experiment.figures import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILLION
from ..experiment.tables import NAMES
from ..method import critic as critics
from ..method import network
from ..method.generator import linearise_log_prob, newton_step
from ..method.numerics import log_softmax, softmax
from ..method.settings import AdversaryCritic

CLASS_COLOURS = (SKY, ORANGE, GREEN)
CHANGE = LinearSegmentedColormap.from_list("change", [BLUE, "white", VERMILLION])
SLOPE = AdversaryCritic().slope


def _image(axes, x, title="", **how):
    side = math.isqrt(x.size)
    axes.imshow(x.reshape(side, side), **({"cmap": "gray_r", "vmin": 0, "vmax": 1} | how))
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, fontsize=9)


def attacked_digits(networks, x, label: int, target: int, confidence: float) -> Figure:
    """One digit `x` (d,), attacked in every network up to the same confidence; below, what was changed."""
    figure = Figure(figsize=(1.1 * (len(networks) + 1), 2.9), layout="constrained")
    axes = figure.subplots(2, len(networks) + 1)
    _image(axes[0, 0], x, f"the image: {label}")
    axes[1, 0].axis("off")
    for column, (name, params) in zip(axes.T[1:], networks.items(), strict=True):
        found = high_confidence(
            from_params(params), x[None], ("true", onp.array([label])), confidence, onp.array([target])
        )
        r = found.last[0] - x
        share = onp.linalg.norm(r) / onp.linalg.norm(x)
        _image(column[0], found.last[0], NAMES.get(name, name).replace(" ", "\n"))
        _image(column[1], r, f"{share:.2f} ‖x‖" if found.success[0] else "failed", cmap=CHANGE, vmin=-1, vmax=1)
    return figure


def shared_and_own(w, x, epsilon: float) -> Figure:
    """A linear classifier w in 2-D: one r for all examples beside one r for each.  x: (n, 2), labels ±1 by w.

    The loss of an example grows as the example moves towards the other side.
    """
    unit = w / onp.linalg.norm(w)
    side = onp.sign(x @ w)
    shared = -unit * epsilon * onp.sign(side.sum() or 1)
    own = -epsilon * side[:, None] * unit
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    for axes, r, title in zip(
        figure.subplots(1, 2), (onp.tile(shared, (len(x), 1)), own), ("one r for all", "one r each")
    ):
        for sign, colour, marker in ((1, BLUE, "o"), (-1, VERMILLION, "s")):
            rows = side == sign
            axes.scatter(*x[rows].T, color=colour, marker=marker, s=30, zorder=3)
        axes.quiver(*x.T, *r.T, angles="xy", scale_units="xy", scale=1, width=0.006, color="0.3")
        line = onp.array([[-unit[1], unit[0]], [unit[1], -unit[0]]]) * 3
        axes.plot(*line.T, color=BLACK, lw=1.2)
        axes.set(xlim=(-2, 2), ylim=(-2, 2), aspect="equal", xticks=[], yticks=[])
        loss = onp.log1p(onp.exp(-side * ((x + r) @ w))).mean()
        axes.set_title(f"{title}: mean loss {loss:.2f}", fontsize=10)
    return figure


def tangent_step(params, x, target: int, confidence: float) -> Figure:
    """log p_t along its gradient w, the tangent at x, and where the tangent reaches log C: one Newton step."""
    t = onp.array([target])
    log_p, _, w = linearise_log_prob(lambda v: network.logits(params, v), x[None], t)
    n = float(onp.linalg.norm(w))
    step = float(onp.linalg.norm(newton_step(log_p, w, onp.array([confidence]))))
    along = onp.linspace(0, 1.6 * step, 200)
    z = network.logits(params, x + along[:, None] * w / n)
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.plot(along, log_softmax(z)[:, target], color=GREEN, lw=2, label="log p$_t$ along w")
    axes.plot(along, log_p[0] + n * along, color=BLACK, ls="--", label="tangent, slope ‖w‖")
    axes.axhline(math.log(confidence), color="0.5", lw=1, ls=":", label=f"log C, C = {confidence:g}")
    axes.plot([step], [math.log(confidence)], "o", color=VERMILLION, label=f"the step, length {step:.2f}")
    axes.set(xlabel="distance moved along w", ylabel="log p$_t$", ylim=(log_p[0] - 0.5, 1.2), xlim=(0, 1.6 * step))
    axes.legend(fontsize=8, loc="lower right")
    return figure


def linearised_boundaries(params, x) -> Figure:
    """The classes of a network on the toy square, and its boundaries with the class at x (2,), linearised there."""
    figure = Figure(figsize=(4.2, 4.2), layout="constrained")
    axes = figure.subplots()
    side = 150
    classes = network.logits(params, toy.midpoints(side)).argmax(axis=1).reshape(side, side)
    colours = {"cmap": ListedColormap(CLASS_COLOURS), "vmin": 0, "vmax": 2, "alpha": 0.25}
    axes.imshow(classes, origin="lower", extent=(0, 1, 0, 1), **colours)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=[], yticks=[])
    z = network.logits(params, x[None])[0]
    gradients = onp.asarray(network.class_gradients(lambda v: network.logits(params, v), x[None]))[0]
    here = int(z.argmax())
    for j in range(len(z)):
        if j == here:
            continue
        gap = gradients[j] - gradients[here]
        size = onp.linalg.norm(gap)
        foot = x + abs(z[j] - z[here]) * gap / size**2
        along = onp.array([-gap[1], gap[0]]) / size
        axes.plot(*onp.array([foot - 2 * along, foot + 2 * along]).T, color=CLASS_COLOURS[j], lw=2)
        distance = onp.linalg.norm(foot - x)
        axes.annotate("", foot, x, arrowprops={"arrowstyle": "->", "color": BLACK})
        ha, where = ("right", -6) if foot[0] < x[0] else ("left", 6)
        axes.annotate(f"{toy.CLASS_NAMES[j]}: {distance:.3f}", foot, (where, 8), textcoords="offset points", ha=ha)
    axes.plot(*x, "o", color=BLACK)
    axes.set_title(f"predicted {toy.CLASS_NAMES[here]}; lines: boundaries, linearised at the point", fontsize=9)
    return figure


def attack_frames(params, critic, path, target: int) -> Figure:
    """The images of an attack's `path` (m, d) in order, each with p_t and, above the bars, the critic's D_t."""
    figure = Figure(figsize=(1.2 * len(path), 2), layout="constrained")
    axes = figure.subplots(1, len(path))
    p = softmax(network.logits(params, path))[:, target]
    D = critics.scores(critic, path, SLOPE)[:, target]
    for i, a in enumerate(axes):
        _image(a, path[i], f"step {i}")
        a.set_xlabel(f"p$_{target}$ = {p[i]:.2f}\nD$_{target}$ = {D[i]:+.2f}", fontsize=9)
    return figure


def gradient_modes(cosines: list[float], iterations: list[int]) -> Figure:
    """Cosine between truncated and full gradients of the critic term, against the number of the attack's steps."""
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot(iterations, cosines, color=GREEN, marker="o")
    axes.set(xlabel="steps M of the attack", ylabel="cosine with the full gradient", ylim=(0, 1.05), xticks=iterations)
    return figure


def critic_levels(params, critic, data, found, kinds) -> Figure:
    """D_k of a critic on the toy square, class by class, with its level 0, real points, and attacked points by kind.

    data: a Split; found: attacked points (m, 2) with their classes, as a pair; kinds: (m,) "I" or "II".
    """
    points, taken_for = found
    side = 120
    grid = toy.midpoints(side)
    a, b = (grid[:, i].reshape(side, side) for i in (0, 1))
    D = critics.scores(critic, grid, SLOPE).reshape(side, side, -1)
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    reach = float(onp.abs(D).max())
    for k, axes in enumerate(figure.subplots(1, 3)):
        axes.contourf(a, b, D[..., k], 20, cmap="PuOr_r", vmin=-reach, vmax=reach)
        axes.contour(a, b, D[..., k], [0], colors=BLACK, linewidths=1.2)
        axes.plot(*data.x[data.y == k][:80].T, ".", color=BLACK, ms=3)
        for kind, marker, colour, edge in (("II", "o", "white", BLACK), ("I", "X", BLACK, "white")):
            rows = (taken_for == k) & (kinds == kind)
            axes.scatter(*points[rows].T, marker=marker, color=colour, edgecolor=edge, s=50, lw=0.7, zorder=3)
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=[], yticks=[])
        axes.set_title(f"D for class {toy.CLASS_NAMES[k]}", fontsize=10)
    return figure


class Edge(NamedTuple):
    """An arrow of the data flow: what passes, and whether a gradient comes back along it to θ."""

    source: str
    target: str
    flows: bool
    why: str


FLOW = (
    Edge("θ", "p(x)", True, "the cross-entropy is an ordinary loss"),
    Edge("θ", "attack", True, "every step is made of log p_t and its gradient by x: second order"),
    Edge("targets", "attack", False, "a class is a whole number: it has no derivative"),
    Edge("running C", "attack", False, "C is the attack's goal, and moving the goal would be a way out"),
    Edge(
        "iterates",
        "attack",
        False,
        "θ acts through every step, and the sum of the steps is x̂; the path between is left out",
    ),
    Edge("attack", "critic term", True, "θ can fool the critic only by changing x̂; cut here, the method does nothing"),
    Edge("ω", "critic term", False, "here the critic is the judge, and not the pupil"),
    Edge("attack", "cycle", False, "the cycle asks whether the way back leads home, and must not shorten the way out"),
    Edge("own confidence", "cycle", True, "the confidence that the way back must reach depends on θ at x"),
    Edge("θ", "cycle", True, "the way back is an attack too"),
)
PLACES = {
    "θ": (0, 2), "targets": (1.2, 3.3), "running C": (2.8, 3.3), "iterates": (4.4, 3.3), "p(x)": (1.5, 0.5),
    "own confidence": (3.9, 0.3), "attack": (2.8, 2), "critic term": (5.8, 2.7), "cycle": (5.8, 1.0), "ω": (5.8, 4.1),
}  # fmt: skip


def table() -> str:
    """The data flow as a Markdown table."""
    rows = [f"| {e.source} → {e.target} | {'**flows**' if e.flows else 'cut'} | {e.why} |" for e in FLOW]
    return "\n".join(["| arrow | gradient | why |", "|---|---|---|", *rows]) + "\n"


def in_words() -> str:
    """The data flow as text: an arrow a line."""
    return "\n".join(f"{e.source} → {e.target} {'flows' if e.flows else 'is cut'}: {e.why}" for e in FLOW)


def data_flow() -> Figure:
    """What the classifier's loss is made of: solid arrows carry a gradient back to θ, ✂ marks where it is cut."""
    figure = Figure(figsize=(8, 4.4))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-0.4, 6.8), ylim=(-0.1, 4.7))
    axes.axis("off")
    labels, boxes = {"attack": "attack: x̂", "p(x)": "p(x), L"}, {}
    for name, place in PLACES.items():
        green = name in ("attack", "critic term", "cycle", "θ")
        look = {"boxstyle": "round,pad=0.4", "fc": "#e6f3ee" if green else "white", "ec": GREEN if green else "0.5"}
        text = axes.text(*place, labels.get(name, name), ha="center", va="center", fontsize=12, bbox=look, zorder=2)
        boxes[name] = text.get_bbox_patch()
    figure.draw_without_rendering()  # the boxes are as large as their text, and arrows end at them
    for edge in FLOW:
        start, end = onp.array(PLACES[edge.source]), onp.array(PLACES[edge.target])
        look = {"color": GREEN, "lw": 2} if edge.flows else {"color": "0.45", "lw": 1.3, "ls": (0, (4, 3))}
        ends = {"patchA": boxes[edge.source], "patchB": boxes[edge.target]}
        axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0} | ends | look)
        if not edge.flows:
            scissors = {"fontsize": 17, "color": VERMILLION, "family": "DejaVu Sans", "zorder": 4}
            axes.text(*(0.5 * start + 0.5 * end), "✂", ha="center", va="center", **scissors)
    axes.text(-0.3, 4.4, "—  a gradient comes back to θ", color=GREEN, fontsize=11)
    axes.text(-0.3, 4.05, "✂  cut: a constant for θ", color=VERMILLION, fontsize=11, family="DejaVu Sans")
    return figure


def four_passes(numbers: dict[str, onp.ndarray]) -> Figure:
    """The four passes of a 2-2-2 network: `numbers` holds the vectors h0, h1, z; d2, d1, w; v, t1, Jv; zeta, rho1."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    rows = [
        ("1 forward", ("h0", "h1", "z"), "→", BLACK),
        ("2 backward: w", ("w", "d1", "d2"), "←", BLUE),
        ("3 tangent: J v", ("v", "t1", "Jv"), "→", PURPLE),
        ("4 backward: weights", ("", "rho1", "zeta"), "←", VERMILLION),
    ]
    axes = figure.subplots()
    axes.set(xlim=(-0.7, 3.4), ylim=(-0.6, 4.2))
    axes.axis("off")
    for place, title in enumerate(("image", "hidden", "logits")):
        axes.text(0.6 + place, 3.95, title, ha="center", fontsize=11, weight="bold")
    for i, (title, names, arrow, colour) in enumerate(rows):
        y = 3.3 - i
        axes.text(-0.65, y, title, va="center", fontsize=10, color=colour)
        for place, name in enumerate(names):
            if name:
                text = f"{name}\n({', '.join(f'{v:.3f}' for v in numbers[name])})"
                axes.text(0.6 + place, y, text, ha="center", va="center", fontsize=9.5, color=colour)
            if place and names[place - 1]:
                axes.text(0.1 + place, y, arrow, ha="center", va="center", fontsize=16, color=colour)
    return figure


def losses_of_D() -> Figure:
    """The three softplus terms as functions of the critic's score."""
    D = onp.linspace(-4, 4, 200)
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot(D, onp.logaddexp(0, -D), color=GREEN, label="real, and fool: softplus(−D)")
    axes.plot(D, onp.logaddexp(0, D), color=VERMILLION, ls="--", label="fake: softplus(D)")
    axes.plot(D, -onp.logaddexp(0, D), color="0.5", ls=":", label="saturating: −softplus(D)")
    axes.set(xlabel="D", ylim=(-4, 4))
    axes.legend(fontsize=8)
    return figure
