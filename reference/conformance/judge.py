"""Asks an implementation the cases and compares: passed, failed, blocked, skipped, error or known.

‖got − expected‖ ≤ tolerance·(‖expected‖ + 0.01), array by array; integers and truth values exactly.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from typing import Any

import numpy as np

from .adapter import CHOICES
from .cases import TERMS, Case, cast, flatten, load

TOLERANCE = {"float64": 1e-9, "float32": 1e-4}
FLOOR = 0.01
STATUSES = ("passed", "failed", "blocked", "skipped", "error", "known")


class AdapterError(Exception):
    """The implementation raised, hung, or returned what is no answer; the message says which."""


class Missing(Exception):
    """The implementation does not have what is asked for."""


class Plain(dict):
    """{output: value} of an answer that came as text: its numbers have no dtype, and layers may have flat names."""


def clean(text: object, limit: int = 2000) -> str:
    """One line that any terminal and any file can hold, of whatever an adapter says, at most `limit` characters."""
    try:
        text = str(text)
    except Exception as error:  # a __str__ that raises
        text = f"(its text raised {type(error).__name__})"
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text).encode("utf-8", "backslashreplace").decode()
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= limit else text[:limit] + " …"


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
    success, images = (_array(outputs.get(name)) for name in ("success", "images"))
    x, norms = case.inputs.get("x"), "norms" in case.expected and "images" in outputs
    if images is not None and images.shape == x.shape:
        if success is not None and success.shape == np.shape(case.expected.get("success")):
            failed = ~success.astype(bool)  # any image will do
            outputs["images"] = images = images.copy()
            images[failed] = x[failed]
        if norms:
            outputs["norms"] = np.linalg.norm(images - x, axis=1).astype(dtype)
    elif norms:
        shape = "" if images is None else f" of shape {images.shape}"
        raise AdapterError(f"{case.call} returned images{shape}, expected an array of numbers {x.shape}")
    flat = flatten(case.expected)
    names = flat if flat.keys() <= outputs.keys() else case.expected  # an answer of text is flat already
    if absent := [name for name in names if name not in outputs]:
        raise _absent(case, outputs, absent)
    try:
        got = flatten({name: outputs[name] for name in names})
    except (TypeError, ValueError) as error:
        raise AdapterError(f"{case.call} returned what is neither arrays nor layers of them: {error}") from error
    for name, right in flat.items():
        if name not in got and any(other.startswith(f"{name}.") for other in got):
            raise AdapterError(f"{case.call} returned {name} as a list, expected an array {right.shape}")
    if more := [name for name in got if name not in flat]:
        raise AdapterError(f"{case.call} returned {more[0]} too: expected {', '.join(flat)}")
    for name, right in flat.items():
        if name not in got:
            raise AdapterError(f"{case.call} returned no {name}: expected a list of layers (W, b)")
        value = got[name]
        loose = "iuf" if isinstance(raw, Plain) else "iu" if right.ndim == 0 else ""  # a mean over nobody may be 0
        if right.dtype.kind == "f" and value.dtype.kind in loose:
            value = got[name] = value.astype(dtype)
        wanted = {"f": dtype, "i": "integers", "b": "truth values"}[right.dtype.kind]
        if value.dtype.kind not in "biuf":
            raise AdapterError(f"{case.call} returned {name} {_what(value)}, expected {wanted} {right.shape}")
        if value.shape != right.shape:
            hint = ": transposed? W is (in, out)" if value.shape == right.shape[::-1] else ""
            raise AdapterError(f"{case.call} returned {name} of shape {value.shape}, expected {right.shape}{hint}")
        kinds = {"f": "f", "i": "iu", "b": "biuf"}[right.dtype.kind]
        number = value.ndim == 0 and value.dtype == np.float64  # a Python number, whatever the dtype asked
        if value.dtype.kind not in kinds or (right.dtype.kind == "f" and value.dtype != dtype and not number):
            raise AdapterError(f"{case.call} returned {name} {_what(value)}, expected {wanted}")
        if bad := int(np.count_nonzero(~np.isfinite(value))):
            empty = "; a mean over an empty S is 0" if "s-empty" in case.flags else ""
            what = "" if name == case.call else f"{name} with "
            raise AdapterError(f"{case.call} returned {what}{bad} of {value.size} values nan or infinite{empty}")
    return {name: got[name] for name in flat}


def _array(value: Any) -> np.ndarray | None:
    """A value as an array of numbers; None if it is none."""
    try:
        array = np.asarray(value)
    except ValueError:  # rows of several lengths
        return None
    return array if array.dtype.kind in "biuf" else None


def _what(value: np.ndarray) -> str:
    """A value of the wrong kind in words."""
    if value.dtype.kind in "OUS" and value.ndim == 0:
        return f"= {clean(repr(value.item()), 60)}"
    return f"of dtype {value.dtype}"


def _absent(case: Case, outputs: dict, absent: list[str]) -> Exception:
    """`Missing` for what is left out, `AdapterError` for what has a name that the kit does not know."""
    text = f"{case.call} returns {', '.join(map(str, outputs)) or 'nothing'}, not {', '.join(absent)}"
    strange = [str(name) for name in outputs if str(name).partition(".")[0] not in _known_outputs(case.call)]
    if not strange:
        return Missing(text)
    near = get_close_matches(strange[0], absent, 1, 0) or absent
    return AdapterError(f"{text}: is {strange[0]} meant to be {near[0]}? Leave out what you do not have")


@cache
def _known_outputs(call: str) -> set[str]:
    """The names of all outputs that some case asks of a method."""
    return {"images"} | {name for case in load().values() if case.call == call for name in case.expected}


def misnamed(methods: Iterable[str], known: Iterable[str]) -> str:
    """The first of `methods` that is nearly a known one, which is not there: in words, or ""."""
    methods, known = set(methods), set(known)
    for name in sorted(methods - known):
        if near := [n for n in get_close_matches(name, sorted(known), 1, 0.85) if n not in methods]:
            return f"it has {name}, which is no method of the kit: rename it to {near[0]}"
    return ""


def applies(case: Case, choices: Mapping[str, str]) -> str:
    """Why a case does not apply under the declared choices; "" if it does."""
    for choice, value in case.requires.items():
        declared = choices.get(choice, CHOICES[choice][0])
        if declared != value:
            return f"for {choice} = {value!r}, declared is {declared!r}"
    return ""


class Judge:
    """Judges cases one by one, in the order of their levels.

    known: {id: reason} of failures that are expected.  A term whose parts have failed (a smooth case that must pass)
    is blocked, and so are the terms made of it, so that the first failure says where the error is.
    """

    def __init__(
        self, source: Source, choices: Mapping[str, str], dtype: str = "float64", known: Mapping[str, str] = {}
    ):
        self.source, self.choices, self.dtype, self.known = source, choices, dtype, known
        self.broken: set[str] = set()

    def result(self, case: Case) -> Result:
        needs = [term for term in TERMS[case.term][1] if term in self.broken]
        if reason := applies(case, self.choices):
            result = Result(case, "skipped", text=reason)
        elif needs:
            result = Result(case, "blocked", text=f"{', '.join(needs)} failed")
        else:
            result = _result(case, self.source, self.dtype)
        if reason := self.known.get(case.id):
            if result.status in ("failed", "error"):
                result.status, result.text = "known", reason
            elif result.status == "passed":
                result.status, result.text = "error", f"listed as a known failure ({reason}), but it passes"
        if needs or (result.status in ("failed", "error", "known") and case.must and not case.flags):
            self.broken.add(case.term)
        return result


def judge(
    cases: Iterable[Case],
    source: Source,
    choices: Mapping[str, str],
    dtype: str = "float64",
    known: Mapping[str, str] = {},
) -> list[Result]:
    """One result for each case, in order: see `Judge`."""
    return list(map(Judge(source, choices, dtype, known).result, cases))


def _result(case: Case, source: Source, dtype: str) -> Result:
    try:
        got = answer(case, source(case), dtype)
    except Missing as error:
        return Result(case, "skipped", text=clean(error, 200))
    except AdapterError as error:
        return Result(case, "error", text=clean(error))
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
                asked[key] = asked_for(ask, case.call, cast(case.inputs, dtype))
            except (AdapterError, Missing) as error:
                asked[key] = error
        if isinstance(asked[key], Exception):
            raise asked[key]
        return asked[key]

    return source


def asked_for(ask: Ask, call: str, inputs: dict[str, Any]) -> Any:
    """What is asked; a trajectory step by step, where the implementation has none itself."""
    try:
        return ask(call, inputs)
    except Missing:
        if call != "trajectory":
            raise
    return trajectory(lambda **given: ask("training_step", given), **inputs)


def trajectory(step: Callable[..., Mapping], state, x, y, noise_real, noise_fake, noise_judge, u, **rates) -> Mapping:
    """The state after `step` on every batch of x (b, n, d)."""
    for i in range(len(x)):
        noise = dict(noise_real=noise_real, noise_fake=noise_fake, noise_judge=noise_judge)
        noise = {name: [a[i] for a in layers] for name, layers in noise.items()}
        after = step(state=state, x=x[i], y=y[i], **noise, u=u[i], **rates)
        if not isinstance(after, Mapping):
            raise AdapterError("training_step returned no dict: the state after it is expected, by name")
        try:
            state = {name: _like(part, name, after) for name, part in state.items()}
        except KeyError as error:
            raise Missing(f"training_step returns no {error.args[0]}, and there is no trajectory") from error
    return state


def _like(part: Any, name: str, after: Mapping) -> Any:
    """The entry `name` of a state, in the form of `part`: a number, or layers, by flat names in text."""
    if name in after or not isinstance(part, list):
        return np.asarray(after[name]).item() if isinstance(part, int) and np.ndim(after[name]) == 0 else after[name]
    return [(after[f"{name}.W{i}"], after[f"{name}.b{i}"]) for i in range(len(part))]


def local(adapter: Any) -> Ask:
    """Ask an adapter of this process."""

    def ask(method, inputs):
        if getattr(adapter, method, None) is None:
            raise Missing(f"no method: {method}")
        before = deepcopy(inputs)
        try:
            found = getattr(adapter, method)(**inputs)
        except NotImplementedError as error:
            raise Missing(str(error) or f"{method} is not implemented") from error
        try:
            found = deepcopy(found)  # it may hold its own arguments
        except Exception as error:  # a generator, a list that holds itself
            raise AdapterError(f"{method} returned a {type(found).__name__} that holds more than arrays") from error
        if changed := [name for name in inputs if not _same(inputs[name], before[name])]:
            raise AdapterError(f"{method} changed its argument {changed[0]} in place: work on a copy")
        return found

    return ask


def _same(a: Any, b: Any) -> bool:
    a, b = flatten(a), flatten(b)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in b)
