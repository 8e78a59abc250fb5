"""The survey's answers: what fits, what is rejected, and what the rest say of each defence.

Two kinds of JSON file, told apart by their "kind": the key that `make` writes, and one annotator's answers.  The key
names the stand-ins, whose answers are never mixed with people's.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as onp
from scipy import stats

from ..errors import InputError
from ..experiment.standin import UNSURE, kinds
from ..experiment.tables import NAMES, PEOPLE, grid
from ..plumbing.command import one_line
from ..plumbing.files import content_of, read_json

KEY, ANSWERS = "survey key", "survey answers"
STAND_IN = "stand-in: "  # an annotator's name that begins so is in the key
ATTENTION = 0.8
"""An annotator's answers count if at least this share of the attention checks is right."""


@dataclass(frozen=True)
class Key:
    """What the page does not say, image by image in its order.

    defence: (n,) names, "" for an attention check; original: (n,) true classes; taken_for: (n,) the attacked network's
    classes, of a check the original.  about: the key file's whole content.
    """

    fingerprint: str
    defence: onp.ndarray
    original: onp.ndarray
    taken_for: onp.ndarray
    about: dict


@dataclass(frozen=True)
class Sheet:
    """One annotator's answers (n,): classes, or `UNSURE`."""

    file: str
    annotator: str
    answers: onp.ndarray
    checks_right: int


def fingerprint(about: dict) -> str:
    """What links page, key and answers: a checksum of the key's content, which holds one of the page's pixels."""
    content = {name: value for name, value in about.items() if name != "fingerprint"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def read(path: str | Path) -> dict:
    """The JSON object in a file; `InputError` if there is none."""
    value = read_json(path, "make the survey again, or ask for the answers again")
    if not isinstance(value, dict) or value.get("kind") not in (KEY, ANSWERS):
        raise InputError(f"{path} is neither a survey's answers nor its key")
    return value


def read_key(about: dict, path: str | Path = "key") -> Key:
    """The key from its file's content; `InputError` if it was changed."""
    if about.get("fingerprint") != fingerprint(about):
        raise InputError(f"{path} was changed or damaged (its fingerprint is not its content's): make the survey again")
    with content_of(path, "a survey's key", "make the survey again"):
        items = [(item["defence"] + "", item["original"] + 0, item["taken_for"] + 0) for item in about["items"]]
        texts = about["data"] + about["images"] + about["attack"] + "".join(about["defences"])
        errors = [100 * error for error in about["stand_ins"].values()]
        "".join(about["stand_in_answers"][name] for name in about["stand_ins"])
        columns = [onp.array(column) for column in zip(*items, strict=True)]
        if not texts or not {"", *about["defences"]} == set(columns[0]) or not onp.isfinite(errors).all():
            raise ValueError("its images are not those of its defences and some checks")
    return Key(about["fingerprint"], *columns, about)


def read_answers(value: dict, key: Key, path: str | Path = "answers") -> Sheet:
    """One annotator's answers from their file's content; `InputError` if they don't fit or fail the checks."""
    if value.get("fingerprint") != key.fingerprint:
        raise InputError(
            f"{path} belongs to another survey ({str(value.get('fingerprint'))[:40]!r}, not {key.fingerprint})"
        )
    n, text = len(key.original), value.get("answers")
    if not isinstance(text, str) or not re.fullmatch(f"[0-9?]{{{n}}}", text):
        raise InputError(f"{path} does not hold {n} answers, each a digit or ?")
    if not isinstance(value.get("annotator"), str):
        raise InputError(f"{path} does not say who answered")
    if value["annotator"].startswith(STAND_IN) and key.about["stand_in_answers"].get(value["annotator"]) != text:
        raise InputError(f"{path} claims to be a stand-in, and holds other answers")
    answers = onp.array([UNSURE if answer == "?" else int(answer) for answer in text])
    checks = key.defence == ""
    right = int(onp.sum(answers[checks] == key.original[checks]))
    if right / checks.sum() < ATTENTION:
        raise InputError(
            f"{path} fails the attention checks: {right} of {checks.sum()} right, at least {ATTENTION:.0%} needed"
        )
    return Sheet(str(path), value["annotator"], answers, right)


def collect(paths: Sequence[str | Path]) -> tuple[Key, list[Sheet], dict[str, str]]:
    """The key and the answers among the files -> (key, what counts, {rejected file: why}).

    Raises `InputError` if there is not exactly one key.
    """
    values, rejected = {}, {}
    for path in dict.fromkeys(map(str, paths)):
        try:
            values[path] = read(path)
        except InputError as error:
            rejected[path] = str(error)
    keys = [path for path, value in values.items() if value["kind"] == KEY]
    if len(keys) != 1:
        found = " and ".join(keys) or "none"
        damaged = "".join(f"; {why}" for path, why in rejected.items() if "key" in Path(path).name)
        raise InputError(
            f"give exactly one key among the files (found: {found}), the key.json that `make` wrote{damaged}"
        )
    key = read_key(values.pop(keys[0]), keys[0])
    sheets: dict[str, Sheet] = {}
    for path, value in values.items():
        try:
            sheet = read_answers(value, key, path)
            if sheet.annotator in sheets:
                raise InputError(f"{path} is by the annotator of {sheets[sheet.annotator].file}, and counts once")
            sheets[sheet.annotator] = sheet
        except InputError as error:
            rejected[path] = str(error)
    return key, list(sheets.values()), rejected


def alpha(answers: onp.ndarray) -> float:
    """Krippendorff's α, nominal, of `answers` (annotators, n): 1 is full agreement, 0 what chance would give.

    α = 1 − observed / expected disagreement.  Observed: the pairs of unequal answers to the same image, each image's
    divided by its annotators − 1; expected: the same if all answers were dealt out anew.  A nan answer is missing; an
    image with fewer than two answers says nothing.  nan if no image has two, or all answers are equal.
    Source: Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011.
    """
    values = onp.unique(answers[~onp.isnan(answers)])
    counts = onp.sum(answers[..., None] == values, axis=0).astype(float)  # (n, values)
    counts = counts[counts.sum(axis=1) >= 2]
    per_image, per_value, total = counts.sum(axis=1), counts.sum(axis=0), counts.sum()
    observed = onp.sum((per_image**2 - onp.sum(counts**2, axis=1)) / (per_image - 1))
    unequal = total**2 - onp.sum(per_value**2)
    return float(1 - observed * (total - 1) / unequal) if unequal else float("nan")


def tally(sheets: Sequence[Sheet], key: Key) -> dict:
    """What the annotators say of each defence's images: counts, shares and Wilson's 95 % intervals; and their α.

    The intervals take the answers as independent, which several answers to one image are not: then they are too narrow.
    """
    answers = onp.stack([sheet.answers for sheet in sheets])
    shown = key.defence != ""
    agreement = alpha(answers[:, shown].astype(float))
    defences = {}
    for name in key.about["defences"]:
        mine = key.defence == name
        found = kinds(answers[:, mine], key.taken_for[mine], key.original[mine])
        entry: dict = {"images": int(mine.sum()), "answers": int(answers[:, mine].size)}
        for kind, which in found.items():
            test = stats.binomtest(int(which.sum()), which.size)
            low, high = test.proportion_ci(method="wilson")
            entry[kind] = {"count": test.k, "share": test.k / test.n, "low": low, "high": high}
        defences[name] = entry
    annotators = [{"file": s.file, "annotator": s.annotator, "checks_right": s.checks_right} for s in sheets]
    return {
        "annotators": annotators,
        "checks": int(onp.sum(~shown)),
        "alpha": None if onp.isnan(agreement) else agreement,
        "defences": defences,
    }


def score(paths: Sequence[str | Path]) -> dict:
    """Everything that the files say, fit for JSON; people and stand-ins apart, each None where nobody's count."""
    key, sheets, rejected = collect(paths)
    groups: dict[str, list[Sheet]] = {"people": [], "stand_in": []}
    for sheet in sheets:
        groups["stand_in" if sheet.annotator in key.about["stand_ins"] else "people"].append(sheet)
    return {
        "fingerprint": key.fingerprint,
        "survey": {
            name: value
            for name, value in key.about.items()
            if name not in ("items", "fingerprint", "kind", "stand_in_answers")
        },
        **{name: tally(group, key) if group else None for name, group in groups.items()},
        "rejected": rejected,
        "published": {"what": "Matyasko & Chau 2018, MTurk: % changed, % unchanged", "values": PEOPLE},
    }


def as_text(result: dict) -> str:
    """The tables, as Markdown that reads as text."""
    survey = result["survey"]
    blocks = [f"Survey {result['fingerprint']}: {survey['data']}; {survey['images']}; {survey['attack']}."]
    if result["people"]:
        blocks += [_described(result["people"], "People"), _table(result["people"])]
    else:
        blocks.append("People: no answers that count.")
    if result["stand_in"]:
        errors = [(a["annotator"], survey["stand_ins"][a["annotator"]]) for a in result["stand_in"]["annotators"]]
        names = ", ".join(
            f"{name.removeprefix(STAND_IN)} (clean test error {100 * error:.1f} %)" for name, error in errors
        )
        blocks += [
            _described(result["stand_in"], f"Automatic stand-in, no people: {names}"),
            _table(result["stand_in"]),
        ]
    blocks += [
        "% changed: labelled as the class that the attacked network takes the image for; % unchanged: as the original "
        "label. In brackets Wilson's 95 % interval, answers taken as independent: with several per image too narrow. "
        "Published: Matyasko & Chau 2018, annotators on MTurk, full-scale MNIST.",
    ]
    blocks += [f"Rejected: {one_line(why, 300)}." for why in result["rejected"].values()]
    return "\n\n".join(blocks)


def _described(group: dict, who: str) -> str:
    agreement = "not defined" if group["alpha"] is None else f"{group['alpha']:.3f}"
    right = [a["checks_right"] for a in group["annotators"]]
    return (
        f"{who}. Annotators: {len(right)}; attention checks right: {min(right)} to {max(right)} of {group['checks']}; "
        f"agreement (Krippendorff's α, nominal): {agreement}."
    )


def _table(group: dict) -> str:
    rows = []
    for name, entry in group["defences"].items():
        found = (entry[kind] for kind in ("changed", "unchanged", "other", "unsure"))
        cells = [f"{100 * k['share']:.1f} [{100 * k['low']:.1f}, {100 * k['high']:.1f}]" for k in found]
        published = [f"{value:.2f}" for value in PEOPLE.get(name, ())] or ["–", "–"]
        rows.append([NAMES.get(name, name), str(entry["images"]), str(entry["answers"]), *cells, *published])
    header = ["defence", "images", "answers", "% changed", "% unchanged", "% other", "% unsure"]
    return grid([*header, "published % changed", "published % unchanged"], rows)
