"""What is asked: the kit's cases, new draws of their numbers, and a case small enough to compute by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..conformance.adapters import ours
from ..conformance.cases import Case, cast, load
from ..conformance.judge import Source, applies, calls
from .exercises import EXERCISES, Exercise, known


def cases(exercise: Exercise) -> list[Case]:
    """The exercise's cases, under the default choices; of the known mistakes only those that can be made in it."""
    mine = known(exercise)
    return [
        replace(case, mistakes={name: wrong for name, wrong in case.mistakes.items() if name in mine})
        for case in load().values()
        if case.term in exercise.terms and case.must and not applies(case, {})
    ]


def drawn(count: int, seed: int) -> list[Case]:
    """The smooth cases with `count` new draws of their numbers each, answered by the library itself."""
    rng, found = np.random.default_rng(seed), []
    every = [case for case in load().values() if case.must and not case.flags and not applies(case, {})]
    asked = [case for case in every if any(case.term in exercise.terms for exercise in EXERCISES)]
    for i in range(count):
        shaken: dict[int, Any] = {}
        answers = calls(lambda method, inputs: getattr(ours.method, method)(**inputs), "float64")
        for case in asked:
            inputs = {}
            for name, value in case.inputs.items():
                if id(value) not in shaken:
                    shaken[id(value)] = cast(shake(value, name, rng), "float64")
                inputs[name] = shaken[id(value)]
            found.append(answered(replace(case, id=f"{case.id}-{seed}-{i}", inputs=inputs), answers))
    return found


def shake(value: Any, name: str, rng: np.random.Generator) -> Any:
    """A value with every float in it multiplied by a random factor; probabilities stay below 1."""
    if isinstance(value, dict):
        return {key: shake(part, key, rng) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(shake(part, name, rng) for part in value)
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        low, high = (0.7, 1.0) if name in ("C", "value", "x") else (0.7, 1.4)
        return value * rng.uniform(low, high, value.shape)
    return value


NETWORK = [(np.array([[1.0, -1.0], [1.0, 1.0]]), np.zeros(2)), (np.array([[1.0, 0.0], [0.0, 2.0]]), np.zeros(2))]
SMALL = {
    "params": NETWORK,
    "critic": NETWORK,
    "x": np.array([[0.5, 1.0]]),
    "images": np.array([[1.0, 0.5]]),
    "start": np.array([[1.0, 0.0]]),
    "success": np.array([True]),
    "C": np.array([0.9]),
    "value": np.array([0.9, 0.9]),
    "u": np.array([[0.5]]),
    "targets": np.array([1]),
    "labels": np.array([0]),
    "y": np.array([0]),
    "biased": np.array([0.4, 0.5]),
    **dict.fromkeys(("noise", "noise_real", "noise_fake")),
}
"""The network of by_hand/README.md's worked example, and one image."""


def tiny(case: Case) -> Case:
    """The same question about two inputs, two hidden units, two classes and one image."""
    own = {name: None if case.inputs[name] is None else SMALL[name] for name in case.inputs if name in SMALL}
    return answered(replace(case, id=f"by-hand-{case.term}", inputs=case.inputs | own, sizes={}, flags=()))


def answered(case: Case, answers: Source | None = None) -> Case:
    """The case with the library's own answers, and none of mistakes."""
    raw = answers(case) if answers else getattr(ours.method, case.call)(**case.inputs)
    raw = raw if isinstance(raw, dict) else {case.call: raw}
    arrays = {name: v if isinstance(v := raw[name], list | tuple) else np.asarray(v) for name in case.expected}
    return replace(case, expected=arrays, mistakes={})
