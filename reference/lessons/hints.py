"""What a student reads about a graded exercise: three rungs of hints, a table for a class, JUnit for a marking service.

The rungs: where to look; what is wrong, in words; the line, and why.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent, fill, indent
from xml.etree import ElementTree

import numpy as np

from ..conformance.cases import flatten
from ..conformance.judge import Result
from ..conformance.make.mistakes import Mistake
from ..plumbing.files import write_text
from .exercises import Exercise, find, hole_of
from .grading import Report
from .sheets import solution


def told(report: Report, rung: int = 1) -> str:
    """The report for the terminal; rung 1, 2 or 3."""
    name = report.path.name if report.exercise is None else report.exercise.name
    lines = [f"{name:10s} {verdict(report)}"]
    details = [f"{report.path.name}: {note}" for note in report.notes]
    if report.problem:
        details.append(report.problem)
    if report.count("failed", "error", "skipped"):
        details += where(report)
        if rung >= 2:
            details += words(report)
    if rung >= 3 and report.exercise and not report.passed:
        details += answers(report)
    lines += [indent(text if "\n" in text else fill(text, 116), "  ") for text in details]
    if report.count("failed") and rung < 3:
        more = "--hint: what is wrong, in words     " if rung < 2 else ""
        lines.append(f"  {more}--solution: the line, and why")
    return "\n".join(lines) + "\n"


def verdict(report: Report) -> str:
    """How many cases pass, and what is not done."""
    if report.problem:
        return "cannot be checked"
    counts = []
    if report.results:
        words = {"pass": ("passed",), "fail": ("failed", "error"), "wait": ("blocked", "skipped")}
        counts = [f"{report.count(*statuses)} {word}" for word, statuses in words.items() if report.count(*statuses)]
        many = "1 case" if len(report.results) == 1 else f"{len(report.results)} cases"
        counts = [f"{many}: {', '.join(counts)}"]
    if report.undone:
        counts.append(f"not done: {', '.join(report.undone)}")
    return "     ".join(counts) + (".  Done!" if report.passed else "")


def where(report: Report) -> list[str]:
    """Rung 1: where to look."""
    bad = [r for r in report.results if r.status in ("failed", "error") or r.status == "skipped" and not report.undone]
    lines = list(dict.fromkeys(f"{r.text}{f'.  {special([r])}' if r.case.flags else ''}" for r in bad if r.text))[:3]
    failed = [r for r in bad if r.status == "failed"]
    if not failed:
        return lines
    terms = list(dict.fromkeys(r.case.term for r in failed))
    lines.append(f"wrong: {', '.join(term.replace('-', ' ') + norms(term, failed) for term in terms)}")
    right = {r.case.term for r in report.results if r.status == "passed"} - set(terms)
    gradients = [term.removeprefix("gradient-") for term in terms if term.startswith("gradient-")]
    places = list(dict.fromkeys(hole.name for m in report.mistakes if (hole := hole_of(report.exercise, m.edits[0]))))
    look = f"Look at {' and '.join(places)}.  " if places and len(report.exercise.holes) > 1 else ""
    flags = [r.case.flags for r in failed]
    if gradients and len(gradients) == len(terms) and all(f"loss-{name}" in right for name in gradients):
        lines.append(f"{look}Values are right, gradients are not: look for something attached or detached.")
    elif all(flags):
        lines.append(
            f"{look}Only special cases are wrong.  {special(failed)}  What should happen there, and what does?"
        )
    elif any(term.startswith("loss-") for term in terms):
        lines.append(f"{look}A value is wrong already, so leave the gradients for later.")
    else:
        lines.append(f"{look}Read the task and the docstring once more, word for word: what does your code not do?")
    if report.example:
        if any(flags) and not all(flags):
            lines.append(f"Special cases are among the wrong ones.  {special(failed)}")
        lines.append(
            f"No known mistake gives these numbers.  Compute the smallest case that differs, {report.example.case.id}, "
            "by hand: --hint prints its numbers."
        )
    return lines


def special(results: Sequence[Result]) -> str:
    """What is special about some cases, in the kit's words."""
    return "  ".join(dict.fromkeys(r.case.distinguishes for r in results if r.case.flags))


def norms(term: str, failed: Sequence[Result]) -> str:
    """In which geometry a term's cases are wrong."""
    names = {"l2": "L2", "linf": "L∞"}
    found = {names.get(r.case.inputs.get("geometry"), "") for r in failed if r.case.term == term} - {""}
    return f" in {' and '.join(sorted(found))}" if found else ""


def words(report: Report) -> list[str]:
    """Rung 2: what is wrong."""
    # Of a mistake that the kit cannot see, the catalogue says what is wrong, and of the others what is right.
    lines = [f"{'Right' if m.look else 'Wrong'} is: {m.says}{looked(m)}" for m in report.mistakes]
    failed = [r for r in report.results if r.status == "failed"]
    if failed and not report.mistakes:
        lines += dict.fromkeys(f"{r.case.term.replace('-', ' ')}: {finding}" for r in failed for finding in r.findings)
        lines.append(by_hand(report.example))
    return lines


def looked(mistake: Mistake) -> str:
    """What the catalogue says to look at, without what it says about declared choices."""
    text = re.sub(r'[;:]? ?[Dd]eclare "[^"]*": "[^"]*" if it is meant[^.;]*', "", mistake.look).strip(" .")
    return f"  Look at: {text}." if text else ""


def answers(report: Report) -> list[str]:
    """Rung 3: the library's lines, and why."""
    lines = []
    for mistake in report.mistakes:
        for edit in mistake.edits:
            if hole := hole_of(report.exercise, edit):
                right = indent(line(report.exercise, edit), "    ")
                lines.append(f"{hole.name} in reference/{hole.file} has\n\n{right}\n")
        lines.append(f"{'because' if mistake.look else 'in place of this mistake'}: {mistake.says}")
    whole = not lines or any(m.id in report.exercise.also for m in report.mistakes)
    return [*lines, solution(report.exercise) if whole else f"Why: {report.exercise.why}"]


def line(exercise: Exercise, edit) -> str:
    """The library's whole lines where an edit applies."""
    text = find(hole_of(exercise, edit)).text
    first = text.index(edit[1]) + len(edit[1]) - len(edit[1].lstrip())
    last = text.index(edit[1]) + len(edit[1].rstrip())
    start, end = text.rfind("\n", 0, first) + 1, text.find("\n", last)
    return dedent(text[start:end])


def by_hand(result: Result) -> str:
    """A case with its numbers."""
    lines = [f"{result.case.id}: {result.case.call}({', '.join(result.case.inputs)})"]
    shown = {"given": flatten(result.case.inputs), "right": flatten(result.case.expected), "yours": result.got}
    for what, arrays in shown.items():
        for name, a in arrays.items():
            if a.dtype != object:  # None, where there is no noise
                start = f"  {what}  {name} = "
                numbers = np.array2string(a, precision=5, threshold=60, separator=", ", max_line_width=100)
                lines.append(start + numbers.replace("\n", "\n" + " " * len(start)))
    return "\n".join(lines)


def table(reports: Sequence[Report]) -> str:
    """One row for each file and exercise, as CSV."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(
        ["file", "exercise", "status", "cases", "passed", "failed", "waiting", "not_done", "mistakes", "note"]
    )
    for r in reports:
        errors = dict.fromkeys([r.problem, *r.notes, *(x.text for x in r.results if x.status == "error")])
        rows.writerow([
            r.path.name, r.exercise.name if r.exercise else "", r.status, len(r.results), r.count("passed"),
            r.count("failed", "error"), r.count("blocked", "skipped"), " ".join(r.undone),
            " ".join(m.id for m in r.mistakes), "; ".join(filter(None, errors)),
        ])  # fmt: skip
    return out.getvalue()


def write_junit(path: Path, reports: Sequence[Report]) -> None:
    """One test for each case, and one for each exercise as a whole, which fails unless everything passes."""
    root = ElementTree.Element("testsuites")
    for report in reports:
        name = report.exercise.name if report.exercise else "unreadable"
        suite = ElementTree.SubElement(root, "testsuite", name=f"{report.path.name} {name}")
        for r in report.results:
            test = ElementTree.SubElement(suite, "testcase", classname=name, name=r.case.id)
            if r.status != "passed":
                kind = {"failed": "failure", "error": "error"}.get(r.status, "skipped")
                ElementTree.SubElement(test, kind, message=r.text or f"error {r.error:.2g}")
        whole = ElementTree.SubElement(suite, "testcase", classname=name, name="done")
        if not report.passed:
            ElementTree.SubElement(whole, "failure", message=told(report))
        for tag, kind in (("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            suite.set(tag, str(len(list(suite.iter(kind)))))
    write_text(path, ElementTree.tostring(root, encoding="unicode") + "\n")
