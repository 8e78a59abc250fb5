"""The four pictures, each a pure function from arrays to a matplotlib `Figure`; `save` writes it.

No model, attack or training in here, and no pyplot: importing and drawing change nothing global.  Colours are Okabe &
Ito's, which colour-blind readers can tell apart; markers and line styles say the same once more.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as onp
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from ..plumbing.files import write_atomically

BLACK, ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
COLOURS = (BLACK, SKY, ORANGE, PURPLE, GREEN, BLUE, VERMILLION)  # these three: of lines, in order
STYLES = ("-", "--", "-.", ":", "-", (0, (8, 2)), (0, (2, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
KNOWN = (
    "undefended",
    "adversarial training",
    "virtual adversarial",
    "margin",
    "adversary critic",
    "multi-step adversarial",
)
FONT = 11
KINDS = {"I": (VERMILLION, "X", 1.2), "II": (BLACK, "o", 0.8)}  # kind of error: colour, marker, width of the path


def save(figure: Figure, path: str | Path, dpi: int = 120) -> None:
    """Write `figure` as a PNG, whole or not at all; the same figure gives the same bytes.

    Raises `InputError` if the file cannot be written.
    """
    FigureCanvasAgg(figure)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=dpi, metadata={"Software": None}))


def digit_sheet(
    originals, adversarials, labels_from, labels_to, success, defences: Sequence[str], side: int, note: str = ""
) -> Figure:
    """What each defence's attacked digits look like: per defence a row of images over a row of perturbations.

    originals: (n, d) in [0, 1], d = side·side; adversarials: (m, n, d), one (n, d) per defence; labels_from: (n,) the
    labels attacked; labels_to: (m, n) the classes the images are taken for after the attack; success: (m, n) bool;
    defences: m names.  A failed attack is marked "failed", shown unchanged, and has no perturbation.
    """
    originals, success = onp.asarray(originals, float), onp.asarray(success, bool)
    m, n = len(defences), len(originals)
    images = onp.reshape(onp.asarray(adversarials, float), (m, n, side * side))
    differences = onp.where(success[..., None], images - originals, onp.nan)
    images = onp.where(success[..., None], images, originals)
    finite = onp.abs(differences[onp.isfinite(differences)])
    limit = max(float(onp.quantile(finite, 0.999)), 1e-3) if finite.size else 1.0

    tops = [0.4] + [1.75 + 2.45 * i for i in range(m)]  # of each row of images, in widths of a cell
    bottom = tops[-1] + (1.9 if m else 0.95)
    w, h = n + 3.4, bottom + 1.5  # inches, as a cell is one inch wide
    figure = Figure(figsize=(w, h))
    axes = figure.add_axes((2.1 / w, 0.75 / h, n / w, bottom / h))
    axes.set(xlim=(0, n), ylim=(bottom, 0))

    def row(pictures, top, **style):
        for i, picture in enumerate(onp.reshape(pictures, (n, side, side))):
            drawn = axes.imshow(picture, extent=(i + 0.06, i + 0.94, top + 0.88, top), **style)
            axes.add_patch(Rectangle((i + 0.06, top), 0.88, 0.88, fill=False, ec="0.75", lw=0.7))
        return drawn

    ink = {"cmap": "gray_r", "vmin": 0, "vmax": 1, "interpolation": "nearest"}
    signed = {"cmap": "PuOr_r", "vmin": -limit, "vmax": limit, "interpolation": "nearest"}
    row(originals, tops[0], **ink)
    ticks, names = [tops[0] + 0.44], ["original"]
    for i, label in enumerate(labels_from):
        axes.text(i + 0.5, tops[0] - 0.07, f"{label}", ha="center", fontsize=FONT + 1)
    for j, (defence, top) in enumerate(zip(defences, tops[1:], strict=True)):
        row(images[j], top, **ink)
        drawn = row(differences[j], top + 0.93, **signed)
        ticks += [top + 0.44, top + 1.37]
        names += [_wrap(defence, 20), "perturbation"]
        for i, label in enumerate(labels_from):
            text, colour = (f"{label} → {labels_to[j][i]}", BLACK) if success[j, i] else ("failed", VERMILLION)
            axes.text(i + 0.5, top - 0.07, text, ha="center", fontsize=FONT + 1, color=colour)
    axes.set_yticks(ticks, names, fontsize=FONT)
    for label in axes.get_yticklabels()[1::2]:
        label.set_fontweight("bold")
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("one attacked test image per column", fontsize=FONT)
    if m:
        bar = figure.colorbar(drawn, cax=figure.add_axes(((n + 2.4) / w, 0.8 / h, 0.16 / w, 1.8 / h)), extend="both")
        bar.set_label("change of a pixel", fontsize=FONT)
    title = "Did the attack only add noise, or did it draw the new digit?"
    text = "Above each image: the label attacked → the class it is taken for. Perturbations share one colour scale."
    return caption(figure, title, f"{text} {note}")


def robust_accuracy(
    curves: Mapping[str, Mapping[str, tuple]], fixed_radii: Sequence[str] = (), note: str = ""
) -> Figure:
    """Accuracy against the size of the perturbation, one panel per attack, every defence in each.

    curves[attack][defence] = (radii (m,), accuracy (m,) in [0, 1]); radii ascending.  Drawn as a step curve: the
    accuracy holds from its radius to the next.  Attacks named in `fixed_radii` were run once per radius: markers.
    """
    columns = min(max(len(curves), 1), 3)
    rows = -(-max(len(curves), 1) // columns)
    figure = Figure(figsize=(max(4.3 * columns, 7.5) + 2.2, 4.1 * rows + 0.8), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    names = list(dict.fromkeys(name for panel in curves.values() for name in panel))
    for axes, (attack, panel) in zip(panels[: len(curves)], curves.items(), strict=True):
        for name, (radii, accuracy) in panel.items():
            colour, style, marker = look(name, names)
            radii, percent = onp.asarray(radii, float), 100 * onp.asarray(accuracy, float)
            if attack in fixed_radii:
                axes.plot(radii, percent, color=colour, ls=style, lw=1, marker=marker, ms=7, mfc="white", mew=1.8)
            else:
                axes.step(radii, percent, where="post", color=colour, ls=style, lw=2.2)
        axes.set_title(attack, fontsize=FONT + 2)
        axes.set_xlabel("perturbation norm ‖r‖", fontsize=FONT)
        axes.set_ylim(-2, 102)
        axes.set_xlim(left=0)
        plain(axes)
    for axes in panels[len(curves) :]:
        axes.set_axis_off()
    for axes in panels[::columns]:
        axes.set_ylabel("accuracy (%)", fontsize=FONT)
    looks = [look(name, names) for name in names]
    handles = [Line2D([], [], color=c, ls=s, lw=2.2, marker=m if fixed_radii else "", mfc="white") for c, s, m in looks]
    figure.legend(handles, [_wrap(name, 16) for name in names], loc="outside right upper", fontsize=FONT, frameon=False)
    title = "How far must an image be moved before it is misclassified?"
    text = "Higher and further right is more robust; at ‖r‖ = 0 the curve is the accuracy on clean images."
    return caption(figure, title, f"{text} {note}")


class Panel(NamedTuple):
    """One panel of `two_kinds`: a classifier and the attacks on it.

    predicted: (g, g) the class at the midpoints of a grid on [0, 1]², rows along x₂; starts, ends: (n, 2) points before
    and after; kinds: (n,) "I", "II", or "" for a failed attack.
    """

    predicted: onp.ndarray
    starts: onp.ndarray
    ends: onp.ndarray
    kinds: onp.ndarray


def two_kinds(
    panels: Mapping[str, Panel], x, y, bayes, typical, class_names: Sequence[str], arrows: int = 60, note: str = ""
) -> Figure:
    """The two kinds of error on the toy problem, one panel per classifier, by title.

    x (n, 2), y (n,): training points; bayes: (g, g) the Bayes classifier's class on the grid; typical: (g, g, k), where
    ≥ 1 lies the region that holds 99 % of class k.  Titles count all attacks; the first `arrows` paths are drawn.
    """
    x, y, typical = onp.asarray(x, float), onp.asarray(y), onp.asarray(typical, float)
    colours = (SKY, ORANGE, GREEN, PURPLE, BLUE)[: len(class_names)]
    tints = ListedColormap([_tint(colour, 0.72) for colour in colours])
    figure = Figure(figsize=(5.2 * max(len(panels), 1) + 2.8, 6.8), layout="constrained")
    grid = figure.subplots(1, max(len(panels), 1), sharey=True, squeeze=False)[0]
    t = (onp.arange(typical.shape[0]) + 0.5) / typical.shape[0]
    for axes, (title, panel) in zip(grid[: len(panels)], panels.items(), strict=True):
        area = {"origin": "lower", "extent": (0, 1, 0, 1), "interpolation": "nearest", "aspect": "equal"}
        axes.imshow(panel.predicted, cmap=tints, vmin=-0.5, vmax=len(class_names) - 0.5, **area)
        for k, colour in enumerate(colours):
            axes.scatter(*x[y == k].T, s=12, marker=MARKERS[k], color=_tint(colour, -0.2), lw=0, alpha=0.5)
            axes.contour(t, t, typical[..., k], [1], colors=[_tint(colour, -0.35)], linewidths=1.6, linestyles="dashed")
            axes.contour(t, t, onp.equal(bayes, k), [0.5], colors=[BLACK], linewidths=1.3, linestyles="dotted")
        starts, ends, kinds = (onp.asarray(a) for a in panel[1:])
        for kind, (colour, marker, width) in KINDS.items():
            rows = onp.flatnonzero(kinds[:arrows] == kind)
            paths = onp.stack([starts[rows], ends[rows]], axis=1)
            axes.add_collection(LineCollection(paths, colors=colour, linewidths=width, zorder=3))
            face = colour if kind == "I" else "white"
            axes.scatter(*ends[rows].T, s=52, marker=marker, facecolor=face, edgecolor=colour, lw=1.3, zorder=4)
        counts = [f"kind {kind}: {onp.sum(kinds == kind)}" for kind in KINDS]
        failed = int(onp.sum(kinds == ""))
        axes.set_title(f"{title}\n" + ",  ".join(counts + [f"failed: {failed}"] * (failed > 0)), fontsize=FONT + 2)
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.set_xlabel("$x_1$", fontsize=FONT)
        axes.set_ylabel("$x_2$", fontsize=FONT)
        axes.label_outer()
    handles = []
    for name, colour, marker in zip(class_names, colours, MARKERS[: len(colours)], strict=True):
        point = {"color": _tint(colour, -0.2), "marker": marker, "ls": ""}
        handles += [Line2D([], [], label=f"training point of {name}", **point)]
        handles += [Patch(color=_tint(colour, 0.72), label=f"taken for {name}")]
    handles += [Line2D([], [], color="0.35", lw=1.6, ls="--", label="holds 99 % of a class")]
    handles += [Line2D([], [], color=BLACK, lw=1.3, ls=":", label="Bayes boundary")]
    for kind, (colour, marker, width) in KINDS.items():
        end = {"color": colour, "marker": marker, "ms": 8, "mfc": colour if kind == "I" else "white"}
        handles += [Line2D([], [], lw=width, label=f"attack: error of kind {kind}", **end)]
    figure.legend(handles=handles, loc="outside right upper", fontsize=FONT, frameon=False)
    title = "Kind I: taken for a class that it does not look like.  Kind II: it really looks like that class."
    text = f"Lines run from a test point to where the attack leaves it (the first {arrows}; the counts are of all)."
    return caption(figure, title, f"{text} {note}")


def training_curves(histories: Mapping[str, Sequence[Mapping[str, float]]], note: str = "") -> Figure:
    """How training went: a column per defence with its loss terms and errors, and below what only critics have.

    histories[defence]: one record per epoch, {"epoch": .., "cross_entropy": .., "validation_error": .., ..}; keys that
    are missing, here or there, are not drawn.  Errors are fractions.
    """
    columns, critics = max(len(histories), 1), [name for name, h in histories.items() if _drawn(h, CRITIC_GROUPS)]
    figure = Figure(figsize=(max(3.5 * columns, 11.5), 2.8 * (2 + len(critics)) + 1.3), layout="constrained")
    cells = figure.add_gridspec(2 + len(critics), 3 * columns)
    first: dict[str, Axes] = {}
    for i, (defence, records) in enumerate(histories.items()):
        for row, group in enumerate(GROUPS):
            axes = figure.add_subplot(cells[row, 3 * i : 3 * i + 3], sharey=first.get(group))
            first.setdefault(group, axes)
            _curves(axes, records, group, GROUPS[group])
            axes.set_title(defence if row == 0 else "", fontsize=FONT + 2)
    for row, defence in enumerate(critics, start=2):
        for i, (group, keys) in enumerate(CRITIC_GROUPS.items()):
            axes = figure.add_subplot(cells[row, columns * i : columns * (i + 1)])
            _curves(axes, histories[defence], group, keys)
            axes.set_title(defence, fontsize=FONT + 2)
    for axes in figure.axes:
        axes.set_ylim(bottom=0)
    text = "Loss terms are means over an epoch, unweighted; errors are taken at its end."
    text += " Bottom: the critic and the attack that it judges." if critics else ""
    return caption(figure, "How training went", f"{text} {note}")


GROUPS = {  # panel -> keys of the records
    "loss terms": ("cross_entropy", "attacked", "smoothness", "margin", "critic", "cycle"),
    "error (%)": ("train_error", "validation_error"),
}
CRITIC_GROUPS = {
    "loss terms of the critic": ("real", "fake", "penalty_real", "penalty_fake"),
    "attack: fraction or probability": ("attack_success", "target_confidence"),
    "attack: mean norm ‖r‖": ("mean_r",),
}


def _drawn(records, groups) -> bool:
    return any(key in record for record in records for keys in groups.values() for key in keys)


def _curves(axes, records, group: str, keys: Sequence[str]) -> None:
    """The records' values of each key that occurs, by epoch; fractions become percent where the group says so."""
    epochs = [record.get("epoch", i + 1) for i, record in enumerate(records)]
    for i, key in enumerate(keys):
        if any(key in record for record in records):
            values = onp.array([record.get(key, onp.nan) for record in records], float) * (100 if "%" in group else 1)
            mark = {"marker": MARKERS[i], "ms": 5, "markevery": max(len(records) // 8, 1)}
            axes.plot(epochs, values, color=COLOURS[i], ls=STYLES[i], lw=1.8, label=key.replace("_", " "), **mark)
    axes.set_xlabel("epoch", fontsize=FONT)
    axes.set_ylabel(group, fontsize=FONT)
    if len(axes.lines) > 0:
        axes.legend(fontsize=FONT - 1, frameon=False)
    plain(axes)


def look(name: str, names: Sequence[str]):
    """A defence's colour, line style and marker: the same in every picture if it is one of the five."""
    i = [*KNOWN, *(other for other in names if other not in KNOWN)].index(name) % len(COLOURS)
    return COLOURS[i], STYLES[i], MARKERS[i]


def plain(axes) -> None:
    """A light grid, no frame above and to the right, and text of one size."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_size(FONT)
    axes.grid(color="0.9", lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=FONT - 1)
    axes.spines[["top", "right"]].set_visible(False)


def _tint(colour: str, white: float):
    """`colour` mixed with white (0..1) or, negative, with black."""
    rgb = onp.array(to_rgb(colour))
    return tuple(rgb + (1 - rgb) * white if white > 0 else rgb * (1 + white))


def _wrap(text: str, width: float) -> str:
    return textwrap.fill(text, int(width))


def caption(figure: Figure, title: str, text: str) -> Figure:
    """The claim above the picture and what to look at below it, both wrapped to the figure's width."""
    characters = figure.get_figwidth() * 72 / (0.52 * FONT)
    figure.suptitle(_wrap(title, characters / 1.35), x=0.01, ha="left", fontsize=FONT + 3, weight="bold")
    figure.supxlabel(_wrap(text.strip(), characters), x=0.01, ha="left", fontsize=FONT)
    return figure
