"""The way without Python: inputs and a blank answer sheet go out, a filled one comes back."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from textwrap import indent
from typing import Any

import numpy as np

from ..errors import InputError
from ..plumbing.files import load_npz, read_json, save_npz, write_text
from .adapter import CHOICES, Adapter
from .cases import VERSION, Case, cast, encode, flatten
from .judge import AdapterError, Missing, Plain

SHEET = "answers.json"
CASES = "cases"
"""The folder of a sheet that has cases of its own, random ones: what `check` expects."""
PAGE = """A conformance test on paper
===========================
Arrays go out flat and come back nested.  In inputs.json a 2 × 3 array is {"dtype": "float64", "shape": [2, 3],
"data": [1, 2, 3, 4, 5, 6]}, row by row; its like in answers.json is [[1, 2, 3], [4, 5, 6]].

inputs.npz   every input as an array: PROBLEM/NAME; layers are NAME.W0 (in, out), NAME.b0, NAME.W1, ...; the arrays of
             a list NAME.0, NAME.1, ...
inputs.json  the same, as {dtype, shape, data}
tasks.json   for each case the method, its arguments (a name in inputs, or a number or word), and its outputs
answers.json the sheet: put a nested list of numbers in place of each null, and leave null what you do not have;
             or write answers.npz with arrays CASE/OUTPUT.  Under "choices" say where yours differ from the first:
CHOICES
Then: python -m reference.conformance check DIR

In tasks.json
  a string   is the name of an array in inputs, except for "l2" and "linf", the values of `geometry`;
  a list     of strings holds the names of the arrays of one argument: layers, noise, or the `state` of training_step,
             whose entries are state.params.W0, state.params_m.W0, ..., state.value, state.biased, state.steps;
  null       as C or value: the confidence is each example's own, max_j p_j(x); as noise: there is none.
An attack that fails is judged by `success` alone; give any image for it, the original for example.  A question may be
asked twice, and must have the same answer.  A case whose "requires" names another choice than yours can stay blank.

The arguments and the choices
=============================
ARGUMENTS

The methods
===========
METHODS"""


def export(folder: Path, cases: Iterable[Case], dtype: str) -> None:
    """Write the inputs of all cases, what to do with them, and a blank answer sheet."""
    check_unanswered(folder)
    inputs, tasks, sheet = {}, {}, {}
    for case in cases:
        arguments = {}
        for name, value in cast(case.inputs, dtype).items():
            leaves = flatten(value, f"{case.problem}/{name}" if case.problem else name)
            if isinstance(value, np.ndarray | list | dict):
                # The same value in two cases is stored once; another one of that name gets a name of its own.
                if any(key in inputs and not np.array_equal(inputs[key], a) for key, a in leaves.items()):
                    leaves = flatten(value, f"{case.id}/{name}")
                inputs |= leaves
                arguments[name] = next(iter(leaves)) if isinstance(value, np.ndarray) else sorted(leaves)
            else:
                arguments[name] = value
        outputs = {
            name: {"shape": list(a.shape), "dtype": dtype if a.dtype.kind == "f" else str(a.dtype)}
            for name, a in flatten(case.expected).items()
        }
        tasks[case.id] = {"method": case.call, "arguments": arguments, "outputs": outputs, "requires": case.requires}
        sheet[case.id] = dict.fromkeys(outputs)
    save_npz(folder / "inputs.npz", inputs)
    _json(folder / "inputs.json", {name: encode(a) for name, a in inputs.items()})
    _json(folder / "tasks.json", tasks)
    _json(folder / SHEET, {"version": VERSION, "dtype": dtype, "choices": {}, "answers": sheet})
    choices = "\n".join(f"             {name}: {' or '.join(values)}" for name, values in CHOICES.items())
    methods = "\n".join(
        f"{name}\n{indent(inspect.getdoc(method), '    ')}\n"
        for name, method in vars(Adapter).items()
        if inspect.isfunction(method) and not name.startswith("_")
    )
    arguments = inspect.getdoc(Adapter).partition("\n\n")[2]
    page = PAGE.replace("CHOICES", choices).replace("ARGUMENTS", arguments).replace("METHODS", methods)
    write_text(folder / "README.txt", page)


def check_unanswered(folder: Path) -> None:
    """InputError where an export would overwrite answers."""
    if answered := _answers(folder):
        raise InputError(f"{folder} holds {answered} answers, which stay as they are: export to another folder")


def _answers(folder: Path) -> int:
    """How many answers a folder holds; 1 where that cannot be told."""
    if (folder / "answers.npz").exists():
        return max(1, len(load_npz(folder / "answers.npz")))
    if not (folder / SHEET).exists():
        return 0
    try:
        given = read_json(folder / SHEET)["answers"]
        return sum(value is not None for answer in given.values() for value in answer.values())
    except (AttributeError, KeyError, TypeError, ValueError):
        return 1


def _json(path: Path, value: dict) -> None:
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(part)}" for key, part in value.items())
    write_text(path, "{\n" + lines + "\n}\n")


class Sheet:
    """A filled answer sheet: `answers` for a case, instead of a call."""

    def __init__(self, folder: Path, cases: Mapping[str, Case]):
        about, self.given = {}, {}
        if (folder / SHEET).exists():
            about = _read(folder / SHEET)
            for id, answer in about.get("answers", {}).items():
                self.given[id] = {name: value for name, value in answer.items() if value is not None}
        if (folder / "answers.npz").exists():
            for key, array in load_npz(folder / "answers.npz").items():
                id, _, output = key.partition("/")
                self.given.setdefault(id, {})[output] = array
        if not about and not self.given:
            raise InputError(f"{folder} holds no {SHEET} and no answers.npz: make one with the command export")
        self.dtype, self.choices = about.get("dtype", "float64"), about.get("choices", {})
        if unknown := sorted(self.given.keys() - cases.keys()):
            raise InputError(f"{folder} answers unknown cases: {', '.join(unknown[:5])}; export the sheet again")
        for id, answer in self.given.items():
            if unknown := sorted(answer.keys() - flatten(cases[id].expected).keys()):
                raise InputError(f"{folder} answers {id} with an unknown output {unknown[0]!r}; tasks.json names them")
        for choice, value in self.choices.items():
            if value not in CHOICES.get(choice, ()):
                raise InputError(f"{folder / SHEET} declares {choice!r}: {value!r}, which is no choice")

    def answer(self, case: Case) -> dict[str, Any]:
        found = self.given.get(case.id, {})
        wanted = flatten(case.expected)
        if absent := [name for name in wanted if name not in found]:
            raise Missing(f"no answer: {', '.join(absent) if found else case.call}")
        try:
            arrays = {name: np.asarray(found[name]) for name in wanted}
        except ValueError as error:
            raise AdapterError(f"an answer is no array: its rows differ in length ({error})") from error
        if self.dtype == "float64" and (short := [n for n, a in arrays.items() if a.dtype == np.float32]):
            raise AdapterError(f"{short[0]} is float32: export the sheet with --dtype float32, or answer in float64")
        return Plain(arrays)


def _read(path: Path) -> dict:
    try:
        about = read_json(path)
        if not isinstance(about, dict):
            raise ValueError("not an object")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no answer sheet ({error}): export it again") from error
    if str(about.get("version")).partition(".")[0] != VERSION.partition(".")[0]:
        raise InputError(f"{path} has version {about.get('version')}, this kit reads {VERSION}: export it again")
    if unknown := about.keys() - {"version", "dtype", "choices", "answers"}:
        raise InputError(f"{path} has unknown fields: {', '.join(sorted(unknown))}")
    answers, choices, dtype = about.get("answers", {}), about.get("choices", {}), about.get("dtype", "float64")
    if not isinstance(answers, dict) or not all(isinstance(answer, dict) for answer in answers.values()):
        raise InputError(f"{path}: answers must be an object of objects, {{case: {{output: value}}}}")
    if not isinstance(choices, dict) or not all(isinstance(value, str) for value in choices.values()):
        raise InputError(f"{path}: choices must be an object of strings, {{choice: value}}")
    if dtype not in ("float64", "float32"):
        raise InputError(f"{path}: dtype is {dtype!r}, must be float64 or float32")
    return about
