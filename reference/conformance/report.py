"""What came out, for people (the terminal), for programs (JSON), and for CI (JUnit)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path
from textwrap import wrap
from xml.etree import ElementTree

from ..plumbing.files import write_text
from .cases import LEVELS, Case, catalogue, flatten, load
from .diagnose import first_difference
from .judge import STATUSES, TOLERANCE, Result, clean

SHOWN = 12


def terminal(results: Sequence[Result], named: Sequence[str], name: str, dtype: str) -> str:
    """By level: counts, the worst error; then what failed and what it looks like."""
    special = dict.fromkeys(f", of {r.case.term} {r.case.tolerance:g}" for r in results if r.case.tolerance and r.got)
    lines = [f"{name}, {dtype}, tolerance {TOLERANCE[dtype]:g}{''.join(special)}", ""]
    lines.append(f"{'level':14s}" + "".join(f"{status:>9s}" for status in STATUSES) + "   worst error")
    for level, title in enumerate(LEVELS):
        mine = [r for r in results if r.case.level == level]
        count = Counter(r.status for r in mine)
        worst = max((r.error for r in mine if r.status in ("passed", "failed")), default=None)
        row = f"{level} {title:12s}" + "".join(f"{count[status] or '-':>9}" for status in STATUSES)
        lines.append(row + ("" if worst is None else f"   {worst:.1e}" if worst < float("inf") else "   discrete"))
    lines += ["", *explained(named), *_problems(results)]
    reasons: dict[str, Counter] = {}
    for r in results:
        if r.status == "skipped":
            reason, _, what = r.text.partition(": ")
            reasons.setdefault(reason, Counter())[what] += 1
    for reason, count in sorted(reasons.items(), key=lambda item: -item[1].total()):
        line = f"skipped {count.total()}: {reason}"
        if whats := ", ".join(f"{what} ({n})" for what, n in count.most_common() if what):
            line += f": {whats}"
        lines += wrap(line, 120, subsequent_indent="  ")
    return "\n".join(lines).rstrip() + "\n"


def explained(named: Sequence[str]) -> list[str]:
    """The known mistakes that explain the failures."""
    lines = []
    for i, name in enumerate(named, 1):
        about = catalogue()[name]
        lines += [f"DIAGNOSIS {i}: {about['title']}  [{name}]", f"  right:      {about['says']}"]
        lines += [f"  in our code {about['where']}", f"  look at:    {about['look']}", ""]
    return lines


def _problems(results: Sequence[Result]) -> list[str]:
    lines, told = [], set()
    shown = [r for r in results if r.status in ("error", "failed", "known")]
    for r in shown[:SHOWN]:
        lines.append(f"{r.status.upper()} {r.case.id}" + ("" if r.case.must else " (may)"))
        for text in described(r):
            lines.append("  the same" if len(text) > 200 and text in told else f"  {text}")
            told.add(text)
    if len(shown) > SHOWN:
        lines.append(f"… and {len(shown) - SHOWN} more: --json FILE has them all")
    first = first_difference(results)
    if first is not None and not first.mistakes:
        lines.append(f"No known mistake gives the answer to {first.case.id}, the first difference: {first.case.basis}")
    if first is not None and first.case.id in load():
        lines.append(f"python -m reference.conformance explain {first.case.id}")
    return [*lines, ""] if lines else []


def described(r: Result) -> list[str]:
    """What is wrong with one answer, in words."""
    size = "a discrete output differs" if r.error == float("inf") else f"error {r.error:.2g}"
    texts = ([r.text] if r.text else []) + ([size] if r.status != "error" else []) + r.findings
    if r.mistakes:
        texts.append(f"the answer of: {', '.join(r.mistakes[:3])}" + (" …" if len(r.mistakes) > 3 else ""))
    return texts


def as_json(results: Sequence[Result], named: Sequence[str], name: str, dtype: str) -> dict:
    """Everything, with plain values."""
    rows = [
        {
            "id": r.case.id,
            "level": r.case.level,
            "term": r.case.term,
            "must": r.case.must,
            "status": r.status,
            "error": None if r.error == float("inf") else r.error,
            "text": r.text,
            "findings": r.findings,
            "mistakes": r.mistakes,
        }
        for r in results
    ]
    counts = dict(Counter(r.status for r in results))
    return {"adapter": name, "dtype": dtype, "counts": counts, "diagnosis": list(named), "cases": rows}


def write_html(path: Path, results: Sequence[Result], named: Sequence[str], name: str, dtype: str) -> None:
    """One page that needs nothing else: the terminal's report, then a row for each case."""
    rows = "\n".join(
        f'<tr class="{r.status}"><td>{r.case.level}<td>{r.case.id}<td>{r.status}'
        f"<td>{escape('; '.join([r.text] * bool(r.text) + r.findings + r.mistakes))}"
        for r in results
    )
    page = f"""<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Conformance of {escape(name)}</title>
<style>body{{font:15px sans-serif;margin:2em;max-width:70em}}
td,th{{padding:.2em .8em;text-align:left;vertical-align:top}}
pre{{overflow:auto}}.failed,.error{{background:#fdd}}.passed{{background:#efe}}</style>
<h1>Conformance of {escape(name)}</h1><pre>{escape(terminal(results, named, name, dtype))}</pre>
<table><tr><th>level<th>case<th>status<th>what was found</tr>
{rows}
</table></html>
"""
    write_text(path, page)


def write_junit(path: Path, results: Sequence[Result], name: str) -> None:
    """One test case each; blocked ones are skipped."""
    kinds = {"failed": "failure", "error": "error", "blocked": "skipped", "skipped": "skipped", "known": "skipped"}
    count = Counter(kinds.get(r.status) for r in results)
    counts = {"failures": count["failure"], "errors": count["error"], "skipped": count["skipped"]}
    about = {"tests": len(results)} | counts
    suite = ElementTree.Element("testsuite", name=clean(name), **{key: str(n) for key, n in about.items()})
    for r in results:
        test = ElementTree.SubElement(suite, "testcase", classname=f"level{r.case.level}.{r.case.term}", name=r.case.id)
        if kind := kinds.get(r.status):
            message = clean("; ".join(filter(None, [r.text, *r.findings, *r.mistakes][:6])))
            ElementTree.SubElement(test, kind, message=message)
    write_text(path, ElementTree.tostring(suite, encoding="unicode") + "\n")


def explain(case: Case) -> str:
    """A case in words, and how to ask it by hand."""
    lines = [
        f"{case.id}: level {case.level} ({LEVELS[case.level]}), {case.term}, {'must' if case.must else 'may'}",
        f"  problem   {case.problem}" + (f", branch: {', '.join(case.flags)}" if case.flags else ", smooth"),
        f"  basis     {case.basis}",
        f"  tells     {case.distinguishes}",
        *[f"  requires  {choice} = {value}" for choice, value in case.requires.items()],
        "  expected  " + ", ".join(f"{name} {a.dtype}{list(a.shape)}" for name, a in flatten(case.expected).items()),
    ]
    if case.mistakes:
        lines.append(f"  mistakes  {', '.join(case.mistakes)}")
        lines.append(f"            the nearest is {case.smallest_distance:g} away, relative")
    return "\n".join([*lines, "", "By hand, with your adapter in place of ADAPTER:", "", reproduction(case)])


def reproduction(case: Case) -> str:
    """Python that asks one case."""
    return f"""    from reference.conformance.cases import flatten, load
    case = load()[{json.dumps(case.id)}]
    got = ADAPTER.{case.call}(**case.inputs)  # {", ".join(case.inputs)}
    got = got if isinstance(got, dict) else {{{json.dumps(case.call)}: got}}
    for name, right in flatten(case.expected).items():
        print(name, abs(flatten(got)[name] - right).max())
"""
