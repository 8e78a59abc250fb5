"""Slides of a class of 90 minutes: course/slides.md, with the lessons' figures and numbers, as one HTML page.

A slide begins with `# `.  Its quoted lines are the lecturer's notes: the minutes, and a question to the room.  What
stands between double braces is Python, so that no number is typed: `lesson(4)` has the names and `figures` of lesson 4
after it ran, and the functions below read the shipped records.
"""

from __future__ import annotations

import html
import json
import re
from types import SimpleNamespace

import numpy as onp

from ..experiment.tables import NAMES, in_short
from ..studies import study
from .build import HERE, lessons, markdown, run

SOURCE = HERE / "course/slides.md"
TABLE = HERE.parent / "gallery/table-paper.json"


def lesson(number: int) -> SimpleNamespace:
    """A lesson's names after it ran, and its figures as HTML."""
    ran = run(lessons()[number])
    return SimpleNamespace(**ran.names | {"figures": ran.figures})


def finding(name: str, sentences: int = 1) -> str:
    """The first sentences of what a study found."""
    told = study.read(study.SHIPPED / f"{name}.json")["finding"].rstrip(".").split(". ")
    return ". ".join(told[:sentences]) + "."


def record() -> dict:
    """The record behind the README's table."""
    return json.loads(TABLE.read_text(encoding="utf-8"))


def short_table() -> str:
    """The README's table, measured beside published."""
    return in_short(record())


def rival(attack: str = "strongest") -> str:
    """The paired difference of the critic's and multi-step training's ρ, with its interval."""
    found = record()["over_seeds"]["multi-step"][attack]["critic_less_this"]
    return "{mean:.4f}, with a 95 % interval from {low:.4f} to {high:.4f}".format(**found).replace("-", "−")


def size() -> str:
    """What the table was measured on."""
    found = record()
    epochs, seeds = max(run["epochs"] for run in found["runs"]), len(found["runs"]) // len(found["over_seeds"])
    return f"{found['side']}×{found['side']} pixels, at most {epochs} epochs, {seeds} seed{'s' * (seeds > 1)}"


def filled(text: str) -> str:
    """The text with every `{{expression}}` replaced by its value."""
    names = {"lesson": lesson, "finding": finding, "short_table": short_table, "rival": rival, "size": size}
    names |= {"np": onp, "NAMES": NAMES}
    return re.sub(r"\{\{(.+?)\}\}", lambda found: str(eval(found[1], names)), text, flags=re.DOTALL)


def sources() -> list[tuple[str, str]]:
    """Each slide's Markdown and its notes' Markdown."""
    parts = re.split(r"^(?=# )", SOURCE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [
        (re.sub(r"^>.*\n?", "", part, flags=re.MULTILINE), "\n".join(re.findall(r"^> ?(.*)$", part, re.MULTILINE)))
        for part in parts
        if part.strip()
    ]


def to_html() -> str:
    """The slides as one page; it runs the lessons."""
    made, passed = [], 0
    every = sources()
    for number, (text, notes) in enumerate(every, 1):
        body = markdown(filled(text))
        passed += int(notes.split()[0])
        kind = "below" if 'class="drawn wide"' in body else "beside" if 'class="drawn"' in body else "words"
        head, _, rest = body.partition("</h1>")
        made.append(
            f'<section class="slide {kind}" id="s{number}" tabindex="-1" aria-label="slide {number} of {len(every)}">\n'
            f'{head}</h1>\n<div class="body">{rest}</div>\n'
            f'<aside class="notes">{markdown(filled(notes))}<p class="clock">until here {passed} min</p></aside>'
            "\n</section>"
        )
    title = html.escape(every[0][0].partition("\n")[0].lstrip("# "))
    parts = {"TITLE": title, "BODY": "\n".join(made)}
    page = (HERE / "slides.html").read_text(encoding="utf-8")
    return re.sub(r"\b(TITLE|BODY)\b", lambda found: parts[found[1]], page)
