"""What the library refuses, and the checks of single arguments that every room shares.

A check returns what it was given in the form that the code works with, or raises `InputError` with one line: what was
wrong and what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as onp


class InputError(ValueError):
    """The caller gave something unfit; the message says what was wrong and what to do."""


class DivergenceError(ArithmeticError):
    """A loss, gradient or weight became nan or infinite; the message names the term and the epoch."""


RULES: dict[str, Callable[[Any], bool]] = {
    "a whole number, 0 or more": lambda v: v >= 0 and v % 1 == 0,
    "a whole number, 1 or more": lambda v: v >= 1 and v % 1 == 0,
    "a finite number, 0 or more": lambda v: 0 <= v < onp.inf,
    "a positive finite number": lambda v: 0 < v < onp.inf,
    "a positive number, or inf for no limit": lambda v: v > 0,
    "a number in [0, 1)": lambda v: 0 <= v < 1,
    "whole widths, 1 to 1000000": lambda v: all(1 <= w <= 1e6 and w % 1 == 0 for w in v),
    '"running", "own" or a number in (0, 1)': lambda v: v in ("running", "own") or not isinstance(v, str) and 0 < v < 1,
}
"""What an argument may be, in the words of the message, and the test of it."""


def require(rule: str, **values) -> list:
    """The `values`, each of which obeys the rule; InputError names the first that does not.

    rule: a key of `RULES`.  Numbers come back as Python numbers, because a NumPy scalar would promote float32 arrays.
    True and False are no numbers.
    """
    kind = int if rule.startswith("a whole") else float if rule.startswith("a ") else lambda value: value
    for name, value in values.items():
        try:
            numbers = value if isinstance(value, tuple | list) else [value]
            good = not any(isinstance(number, bool | onp.bool_) for number in numbers)
            good = good and bool(RULES[rule](value)) and kind(value) is not None
        except (TypeError, ValueError, OverflowError):  # not of a kind that can be compared
            good = False
        if not good:
            raise InputError(f"{name} = {value!r}: give {rule}")
    return [kind(value) for value in values.values()]


def require_choice(name: str, value: Any, choices: tuple[str, ...]) -> Any:
    """`value`, which is one of `choices`; InputError otherwise."""
    if not isinstance(value, str) or value not in choices:
        raise InputError(f"{name} = {value!r}: give one of {', '.join(choices)}")
    return value


GEOMETRIES = ("l2", "linf")
"""The norms in which perturbations are measured."""


def check_geometry(geometry: str) -> str:
    """`geometry`, which is "l2" or "linf"; InputError otherwise."""
    return require_choice("geometry", geometry, GEOMETRIES)


def check_labels(y: Any, classes: float, n: int | None = None, name: str = "labels") -> onp.ndarray:
    """`y` (n,) as an array: integers in 0..classes-1, at least one; of any length if `n` is None.

    `name` is what messages call them.
    """
    try:
        y = onp.asarray(y)
    except (ValueError, TypeError) as error:  # rows of unequal length
        raise InputError(f"{name} is not an array ({error}); make all rows equally long") from error
    if y.ndim != 1 or y.size == 0:
        cure = "use y.ravel()" if y.ndim == 2 and y.shape[1] == 1 else "use y.argmax(axis=1) if they are one-hot rows"
        raise InputError(f"{name} must be a vector (n,) with n >= 1, got shape {y.shape}; {cure}")
    if y.dtype.kind not in "iu":
        raise InputError(f"{name} must be integers, got dtype {y.dtype}; use y.astype(np.int64)")
    if n is not None and len(y) != n:
        raise InputError(f"expected {n} {name}, one an image, got {len(y)}; select the same rows of images and {name}")
    if y.min() < 0 or y.max() >= classes:
        raise InputError(
            f"{name} must be in 0..{classes - 1}, got {y.min()}..{y.max()}; "
            f"number the classes from 0, or use a network with {int(y.max()) + 1} outputs"
        )
    return y
