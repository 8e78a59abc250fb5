"""The cases as data: one JSON file for each problem (networks and a batch), read, checked and decoded here.

A case names a method of the adapter, its inputs, and what is expected of it; a term is what a case is about, and terms
depend on one another.  Files are written by `generate`, never by hand.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..plumbing.files import load_npz, read_json
from .adapter import CHOICES, Adapter

VERSION = "1.1"
"""Of the file format: another major version is refused."""
FOLDER = Path(__file__).parent / "cases"
ARRAYS = "arrays.npz"

_LOSSES = {
    "cross-entropy": ["logits"],
    "critic": ["attack", "scores"],
    "cycle": ["attack"],
    "real": ["scores"],
    "fake": ["attack", "scores"],
    "penalty": ["attack", "critic-gradient"],
    "pretraining": ["logits"],
    "adversarial": ["adversarial-perturbation"],
    "virtual": ["virtual-perturbation"],
    "margin": ["input-gradient"],
}
_STEP = ["confidence", "nearest-class", "adam"] + [
    f"gradient-{name}" for name in ("cross-entropy", "critic", "cycle", "real", "fake", "penalty")
]
TERMS: dict[str, tuple[int, list[str]]] = {
    "logits": (0, []),
    "scores": (0, []),
    "input-gradient": (1, ["logits"]),
    "critic-gradient": (1, ["scores"]),
    "nearest-class": (1, ["input-gradient"]),
    "confidence": (1, ["logits"]),
    "attack-step": (2, ["input-gradient"]),
    "attack": (2, ["attack-step"]),
    "adversarial-perturbation": (2, ["input-gradient"]),
    "virtual-perturbation": (2, ["logits"]),
    **{f"loss-{name}": (3, needs) for name, needs in _LOSSES.items()},
    **{f"gradient-{name}": (4, [f"loss-{name}"]) for name in _LOSSES},
    "gradient-critic": (4, ["loss-critic", "critic-gradient"]),  # by the chain rule
    "adam": (5, []),
    "training-step": (5, _STEP),
    "state": (5, ["training-step"]),
    "trajectory": (5, ["state"]),
    "deepfool": (6, ["nearest-class"]),
    "high-confidence": (6, ["nearest-class", "attack-step"]),
    "carlini-wagner": (6, ["logits"]),
    "robustness": (6, []),
}
"""term: (level, the terms it is made of).  Where one of those fails, the term is blocked."""
LEVELS = ("networks", "inputs", "attack", "losses", "gradients", "steps", "evaluation")


@dataclass(frozen=True)
class Case:
    """One question to an implementation, and its answer in float64."""

    id: str
    """A slug; never used again for another case."""
    problem: str
    term: str
    call: str
    """The adapter's method."""
    inputs: dict[str, Any]
    expected: dict[str, Any]
    """{output: value}; of a method that returns no dict, the output is named like the method."""
    basis: str
    """The equation, or the authors' file and line."""
    distinguishes: str
    must: bool = True
    flags: tuple[str, ...] = ()
    """What branch the case is about; smooth cases, away from every kink and tie, have none."""
    requires: dict[str, str] = field(default_factory=dict)
    """The choices under which the case applies."""
    mistakes: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The answers that known mistakes give."""
    smallest_distance: float | None = None
    """How far the nearest of them is from the expected answer, relative to it."""
    tolerance: float | None = None
    """In place of the dtype's, where the answer is an optimum that is found approximately."""
    superseded_by: str | None = None
    sizes: dict[str, int] = field(default_factory=dict)
    """n, d, k and |S| of the problem, to name constant factors with."""

    @property
    def level(self) -> int:
        return TERMS[self.term][0]


def flatten(value: Any, name: str = "") -> dict[str, np.ndarray]:
    """Nested dicts, lists of layers and lists of arrays as named arrays: "critic.W0", "critic.b0", "noise.0"."""
    if isinstance(value, Mapping):
        parts = [flatten(part, f"{name}.{key}".lstrip(".")) for key, part in value.items()]
    elif isinstance(value, list | tuple):
        parts = [
            flatten(a, f"{name}.{kind}{i}")
            for i, layer in enumerate(value)
            for kind, a in (zip("Wb", layer) if isinstance(layer, list | tuple) else [("", layer)])
        ]
    else:
        return {name: np.asarray(value)}
    return {key: array for part in parts for key, array in part.items()}


def tree_map(f, value: Any) -> Any:
    """`f` of every leaf of nested dicts, lists and tuples."""
    if isinstance(value, dict):
        return {key: tree_map(f, part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(tree_map(f, part) for part in value)
    return f(value)


def cast(value: Any, dtype) -> Any:
    """A deep copy with every float array in `dtype`."""

    def leaf(a):
        return a.astype(dtype if a.dtype.kind == "f" else a.dtype) if isinstance(a, np.ndarray) else a

    return tree_map(leaf, value)


def encode(value: Any, arrays: dict[str, np.ndarray] | None = None, key: str = "") -> Any:
    """JSON of a value: arrays as {dtype, shape, data}; with `arrays`, large ones go there and leave {array: key}."""
    if isinstance(value, dict):
        return {name: encode(part, arrays, f"{key}/{name}") for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [encode(part, arrays, f"{key}.{i}") for i, part in enumerate(value)]
    if isinstance(value, np.ndarray):
        if arrays is not None and value.size > 400:
            arrays[key] = value
            return {"array": key}
        return {"dtype": str(value.dtype), "shape": list(value.shape), "data": value.ravel().tolist()}
    return value.item() if isinstance(value, np.generic) else value


def decode(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The inverse of `encode`; a list is a list of layers (W, b) or of arrays."""
    if isinstance(value, dict):
        if "dtype" in value:
            return np.array(value["data"], value["dtype"]).reshape(value["shape"])
        if "array" in value:
            return arrays[value["array"]]
        return {name: decode(part, arrays) for name, part in value.items()}
    if isinstance(value, list):
        return [tuple(decode(a, arrays) for a in p) if isinstance(p, list) else decode(p, arrays) for p in value]
    return value


def read(path: Path, arrays: Mapping[str, np.ndarray] | None = None) -> list[Case]:
    """The cases of one file; InputError if it is damaged, of another major version, or has an unknown field."""
    try:
        text = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no case file ({error}): install the kit again, or generate the cases") from error
    version = text.get("version", "missing") if isinstance(text, dict) else "missing"
    if str(version).partition(".")[0] != VERSION.partition(".")[0]:
        raise InputError(
            f"{path} has version {version}, this kit reads {VERSION}: use the kit that the file was made for"
        )
    try:
        given = {name: decode(value, arrays or {}) for name, value in text["given"].items()}
        return [made(entry, text, given, arrays or {}) for entry in text["cases"]]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:  # nothing of the right form
        raise InputError(f"{path} is no case file of this kit ({error!r:.80}): install the kit again") from error


def made(entry: dict, text: dict, given: dict, arrays: Mapping[str, np.ndarray]) -> Case:
    """One case of the file `text`, on its `given` values; raises if it is not of the right form."""
    entry = dict(entry)
    if entry["term"] not in TERMS:
        raise ValueError(f"{entry['id']} has an unknown term {entry['term']!r}")
    for choice, value in entry["requires"].items():
        if value not in CHOICES.get(choice, ()):
            raise ValueError(f"{entry['id']} requires an unknown choice, {choice} = {value!r}")
    entry |= {name: decode(entry[name], arrays) for name in ("expected", "mistakes")}
    entry["inputs"] = {name: given[key] for name, key in entry["inputs"].items()}
    entry["flags"] = tuple(entry["flags"])
    del entry["level"]
    case = Case(problem=text["problem"], sizes=text["sizes"], **entry)
    check(case)
    return case


def check(case: Case) -> None:
    """Raise ValueError unless a case asks a method of the kit with its arguments, and can be judged."""
    method = None if case.call.startswith("_") else getattr(Adapter, case.call, None)
    if method is None or case.inputs.keys() != inspect.signature(method).parameters.keys() - {"self"}:
        raise ValueError(f"{case.id} asks {case.call}({', '.join(case.inputs)}), which the kit does not")
    for name in {"params", "critic", "gradient", "m", "v"} & case.inputs.keys():
        layers = case.inputs[name]
        if not isinstance(layers, list) or not all(isinstance(p, tuple) and len(p) == 2 for p in layers):
            raise ValueError(f"{case.id}: {name} is no list of layers (W, b)")
    for name in {"x", "y", "labels", "targets", "images"} & case.inputs.keys():
        if not isinstance(case.inputs[name], np.ndarray):
            raise ValueError(f"{case.id}: {name} is no array")
    expected = flatten(case.expected)
    if not expected or not all(a.dtype.kind in "biuf" and np.isfinite(a).all() for a in expected.values()):
        raise ValueError(f"{case.id} expects nothing, or what is not finite")
    for name, wrong in case.mistakes.items():
        shapes = {key: a.shape for key, a in flatten(wrong).items()}
        if name not in catalogue() or shapes != {key: a.shape for key, a in expected.items()}:
            raise ValueError(f"{case.id} knows no mistake {name!r} of this form")


@cache
def load(folder: Path = FOLDER) -> dict[str, Case]:
    """{id: case} of all files of the folder, by level, superseded ones left out."""
    arrays = load_npz(folder / ARRAYS) if (folder / ARRAYS).exists() else {}
    every = [case for path in sorted(folder.glob("*.json")) for case in read(path, arrays)]
    ids = [case.id for case in every]
    if twice := {i for i in ids if ids.count(i) > 1}:
        raise InputError(f"{folder}: {', '.join(sorted(twice))} occurs twice; every case has an id of its own")
    order = list(TERMS)
    every.sort(key=lambda case: (case.level, bool(case.flags), order.index(case.term)))
    return {case.id: case for case in every if case.superseded_by is None}


@cache
def catalogue() -> dict[str, dict]:
    """{id: {title, says, where, look}} of the known mistakes."""
    return json.loads((FOLDER.parent / "mistakes.json").read_text(encoding="utf-8"))
