"""Asks an implementation the cases and compares: passed, failed, blocked, skipped, error or known.

‖got − expected‖ ≤ tolerance·(‖expected‖ + 0.01), array by array; integers and truth values exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .adapter import CHOICES
from .cases import TERMS, Case, cast, flatten

TOLERANCE = {"float64": 1e-9, "float32": 1e-4}
FLOOR = 0.01
STATUSES = ("passed", "failed", "blocked", "skipped", "error", "known")


class AdapterError(Exception):
    """The implementation raised, hung, or returned what is no answer; the message says which."""


class Missing(Exception):
    """The implementation does not have what is asked for."""


Ask = Callable[[str, dict[str, Any]], Any]
"""(method, inputs) -> what the method returns; raises `Missing` or `AdapterError`."""
Source = Callable[[Case], Any]
"""case -> the answer; raises the same."""


@dataclass
class Result:
    """What came of one case."""

    case: Case
    status: str
    error: float = 0.0
    """The largest ‖got − expected‖/(‖expected‖ + 0.01) of its arrays; infinite if something discrete is wrong."""
    text: str = ""
    got: dict[str, np.ndarray] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    """In words, what the wrong answer looks like."""
    mistakes: list[str] = field(default_factory=list)
    """The known mistakes that give this answer, the likeliest first."""


def distance(got: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> float:
    """The largest error of the arrays; nan counts as infinite."""
    worst = 0.0
    for name, right in expected.items():
        answer = got[name]
        if right.dtype.kind != "f":
            error = 0.0 if np.array_equal(answer, right) else np.inf
        else:
            error = float(np.linalg.norm(answer.astype(float) - right) / (np.linalg.norm(right) + FLOOR))
        worst = max(worst, np.inf if np.isnan(error) else error)
    return worst


def answer(case: Case, raw: Any, dtype: str) -> dict[str, np.ndarray]:
    """What the adapter returned as flat named arrays like the expected ones, or `Missing`, or `AdapterError`."""
    outputs = dict(raw) if isinstance(raw, Mapping) else {case.call: raw}
    if "norms" in case.expected and "images" in outputs:
        outputs["norms"] = np.linalg.norm(np.asarray(outputs["images"]) - case.inputs["x"], axis=1).astype(dtype)
    flat = flatten(case.expected)
    names = flat if flat.keys() <= outputs.keys() else case.expected  # an answer sheet is flat already
    if absent := [name for name in names if name not in outputs]:
        raise Missing(f"{case.call} returns {', '.join(map(str, outputs)) or 'nothing'}, not {', '.join(absent)}")
    try:
        got = flatten({name: outputs[name] for name in names})
    except (TypeError, ValueError) as error:
        raise AdapterError(f"{case.call} returned what is neither arrays nor layers of them: {error}") from error
    for name, right in flat.items():
        if name not in got:
            raise AdapterError(f"{case.call} returned no {name}: expected a list of layers (W, b)")
        value = got[name]
        if value.shape != right.shape:
            hint = ": transposed? W is (in, out)" if value.shape == right.shape[::-1] else ""
            raise AdapterError(f"{case.call} returned {name} of shape {value.shape}, expected {right.shape}{hint}")
        kinds = {"f": "f", "i": "iu", "b": "biuf"}[right.dtype.kind]
        if value.dtype.kind not in kinds or (value.ndim and right.dtype.kind == "f" and value.dtype != dtype):
            wanted = {"f": dtype, "i": "integers", "b": "truth values"}[right.dtype.kind]
            raise AdapterError(f"{case.call} returned {name} of dtype {value.dtype}, expected {wanted}")
        if bad := int(np.count_nonzero(~np.isfinite(value))):
            empty = "; a mean over an empty S is 0" if "s-empty" in case.flags else ""
            raise AdapterError(f"{case.call} returned {name} with {bad} of {value.size} values nan or infinite{empty}")
    return {name: got[name] for name in flat}


def applies(case: Case, choices: Mapping[str, str]) -> str:
    """Why a case does not apply under the declared choices; "" if it does."""
    for choice, value in case.requires.items():
        declared = choices.get(choice, CHOICES[choice][0])
        if declared != value:
            return f"for {choice} = {value!r}, declared is {declared!r}"
    return ""


def judge(
    cases: Iterable[Case],
    source: Source,
    choices: Mapping[str, str],
    dtype: str = "float64",
    known: Mapping[str, str] = {},
) -> list[Result]:
    """One result for each case, in order.

    known: {id: reason} of failures that are expected.  A term whose parts have failed (a smooth case that must pass)
    is blocked, and so are the terms made of it, so that the first failure says where the error is.
    """
    results, broken = [], set()
    for case in cases:
        needs = [term for term in TERMS[case.term][1] if term in broken]
        if reason := applies(case, choices):
            result = Result(case, "skipped", text=reason)
        elif needs:
            result = Result(case, "blocked", text=f"{', '.join(needs)} failed")
        else:
            result = _result(case, source, dtype)
        if result.status in ("failed", "error") and case.id in known:
            result.status, result.text = "known", known[case.id]
        elif result.status == "passed" and case.id in known:
            result.status, result.text = "error", f"listed as a known failure ({known[case.id]}), but it passes"
        if needs or (result.status in ("failed", "error", "known") and case.must and not case.flags):
            broken.add(case.term)
        results.append(result)
    return results


def _result(case: Case, source: Source, dtype: str) -> Result:
    try:
        got = answer(case, source(case), dtype)
    except Missing as error:
        return Result(case, "skipped", text=str(error))
    except AdapterError as error:
        return Result(case, "error", text=str(error))
    error = distance(got, flatten(case.expected))
    good = error <= (case.tolerance or TOLERANCE[dtype])
    return Result(case, "passed" if good else "failed", error, got=got)


def question(case: Case) -> tuple:
    """What is asked, the same for all the cases (terms) that share a call."""
    return (case.call, *((name, id(value)) for name, value in sorted(case.inputs.items())))


def calls(ask: Ask, dtype: str) -> Source:
    """Answers by calling the method, once for each question."""
    asked: dict = {}

    def source(case):
        key = question(case)
        if key not in asked:
            try:
                asked[key] = ask(case.call, cast(case.inputs, dtype))
            except (AdapterError, Missing) as error:
                asked[key] = error
        if isinstance(asked[key], Exception):
            raise asked[key]
        return asked[key]

    return source


def local(adapter: Any) -> Ask:
    """Ask an adapter of this process."""

    def ask(method, inputs):
        if getattr(adapter, method, None) is None:
            raise Missing(f"no method: {method}")
        try:
            return getattr(adapter, method)(**inputs)
        except NotImplementedError as error:
            raise Missing(str(error) or f"{method} is not implemented") from error

    return ask
