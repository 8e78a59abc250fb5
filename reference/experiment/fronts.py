"""More of a defence costs error: every candidate of a search, its error against what it gains for it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as onp
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from ..errors import InputError
from .figures import FONT, caption, look, plain

GAINS = {
    "ρ by the strongest attack": lambda result: result["rho"]["strongest"],
    "looks like its target, by nearest neighbours (%)": lambda result: 100 * result["looks"][0],
    "looks like its target, by a kernel machine (%)": lambda result: 100 * result["looks"][1],
}
"""What is drawn against error: a number of each of `search.means`' results."""
FILLS = ("full", "none", "top", "left")
"""How the marks of a defence's families are filled."""


def on_front(error, gain) -> onp.ndarray:
    """(n,) bool: not dominated, i.e. no other of the n points has error ≤, gain ≥ and one of them strictly.

    A gain of nan, which was not measured, is on no front and dominates nothing.  `InputError` if there are not as many
    gains as errors.
    """
    try:
        error, gain = onp.asarray(error, float), onp.asarray(gain, float)
    except (TypeError, ValueError) as reason:
        raise InputError(f"errors and gains must be numbers ({reason}): give two lists of the same length") from None
    if error.shape != gain.shape or error.ndim != 1:
        raise InputError(f"errors {error.shape} and gains {gain.shape}: give two lists of the same length")
    no_worse = (error[:, None] <= error) & (gain[:, None] >= gain)  # [i, j]: of i against j
    better = (error[:, None] < error) | (gain[:, None] > gain)
    return ~(no_worse & better).any(axis=0) & ~onp.isnan(gain)


def front(results: Sequence[dict], gain: str) -> list[str]:
    """The labels of the results on the front of error and `gain`, a key of `GAINS`, by error."""
    on = on_front([result["error"] for result in results], [GAINS[gain](result) for result in results])
    here = [result for result, is_on in zip(results, on, strict=True) if is_on]
    return [result["label"] for result in sorted(here, key=lambda result: result["error"])]


def draw(results: Mapping[str, Sequence[dict]], widest: float, gains: Sequence[str] = tuple(GAINS)) -> Figure:
    """A panel for each gain, a curve for each family of candidates that differ in one number.

    results: {full name of a defence: its `search.means`}; widest: the largest error shown; gains: keys of `GAINS`.
    """
    figure = Figure(figsize=(2.5 + 4 * len(gains), 5.6), layout="constrained")
    everything = [result for several in results.values() for result in several]
    for ax, gain in zip(onp.ravel(figure.subplots(1, len(gains))), gains, strict=True):
        best, of, colours = front(everything, gain), GAINS[gain], {}
        for defence, several in results.items():
            colour, style, marker = look(defence, list(results))
            families: dict[str, list[dict]] = {}
            for result in several:
                families.setdefault(re.sub(r" [ελ] [\d.]+", "", result["label"]), []).append(result)
            for i, (family, members) in enumerate(families.items()):
                members = [result for result in members if result["error"] <= widest]
                x, y = [100 * result["error"] for result in members], [of(result) for result in members]
                kind = {"fillstyle": FILLS[i % len(FILLS)], "ls": ":" if i else style, "mfcalt": "white"}
                ax.plot(x, y, color=colour, marker=marker, ms=6, lw=1.3, label=family, **kind)
                for result, *at in zip(members, x, y, strict=True):
                    if result["label"] in best:
                        ax.plot(*at, "o", ms=15, mfc="none", mec="0.35", mew=1.4)
                        colours[result["label"]] = colour
        listed = ["on the front, by error:", *(label for label in best if label in colours)]
        text = {"fontsize": FONT - 2, "path_effects": [withStroke(linewidth=3, foreground="white")], "ha": "right"}
        for line, label in enumerate(reversed(listed)):
            place = {"xy": (1, 0.12), "xycoords": "axes fraction", "xytext": (-4, 13 * line), "zorder": 1.5}
            ax.annotate(label, **place, textcoords="offset points", color=colours.get(label, "0.35"), **text)
        ax.margins(x=0.1, y=0.07)
        ax.set_xlabel("validation error (%)")
        ax.set_ylabel(gain)
        plain(ax)
    ax.plot([], [], "o", ms=11, mfc="none", mec="0.35", mew=1.4, label="on the front")
    figure.legend(*ax.get_legend_handles_labels(), fontsize=FONT - 1, frameon=False, loc="outside right center")
    return caption(
        figure,
        "What each defence gains for its error",
        "Better is up and left. On the front is a candidate that no other beats in one of the two without losing in "
        f"the other. Means over seeds, on the validation split; candidates of an error above {100 * widest:g} % are "
        "not shown.",
    )
