"""What callers may pass in, checked once at the door, so that the mathematics need not.

Each check takes raw NumPy arrays (never autograd boxes), returns what it was given as arrays of
unchanged dtype, and raises `InputError` with one line: what was expected, what came, the cure.
"""

from typing import Any

import numpy as onp

from ..errors import InputError

Params = list[tuple[onp.ndarray, onp.ndarray]]


def check_images(x: Any, name: str = "x") -> onp.ndarray:
    """Return `x` (n, d), n >= 1, d >= 1: finite floats in [0, 1], one flat image a row."""
    x = _array(x, name)
    if x.ndim != 2 or x.size == 0:
        raise InputError(
            f"{name} must be a matrix (n, d) of flat images with n >= 1, got shape {x.shape}; "
            f"use {name}.reshape(n, -1), also for a single image (n = 1)"
        )
    if x.dtype.kind != "f":
        raise InputError(
            f"{name} must hold floats in [0, 1], got dtype {x.dtype}; "
            f"divide by 255 if these are 8-bit pixels, else use {name}.astype(np.float32)"
        )
    _finite(x, name, "look for what made them (a diverged attack, a damaged file)")
    outside = onp.count_nonzero((x < 0) | (x > 1))
    if outside:
        raise InputError(
            f"{name} must lie in [0, 1], but {outside} of {x.size} pixels are outside "
            f"(from {x.min():.17g} to {x.max():.17g}); divide by 255 if these are 8-bit pixels, "
            f"undo any mean and scale normalisation, or use np.clip({name}, 0, 1)"
        )
    return x


def check_confidence(c: Any, n: int | None = None) -> float | onp.ndarray:
    """Return the target confidence `c`, strictly between 0 and 1: one for all, or (n,).

    One for all comes back as a Python float, because a 0-d float64 array would promote float32
    images to float64; a vector keeps its dtype.
    """
    c = _array(c, "confidence")
    if c.dtype.kind not in "fiu":
        raise InputError(f"confidence must be a float, got dtype {c.dtype}; use e.g. 0.8")
    if c.ndim > 1 or c.size == 0 or (c.ndim == 1 and n is not None and len(c) != n):
        raise InputError(
            f"confidence must be one number or a vector ({'n' if n is None else n},), "
            f"got shape {c.shape}; give one confidence an image"
        )
    bad = ~((c > 0) & (c < 1))  # written so that nan counts as bad
    if bad.any():
        raise InputError(
            f"confidence must lie strictly between 0 and 1, got {c[bad].flat[0]:g} "
            f"({onp.count_nonzero(bad)} of {c.size} are wrong); use e.g. 0.8, not 80, 0 or 1"
        )
    return float(c) if c.ndim == 0 else c


def check_params(params: Any, inputs: int | None = None) -> Params:
    """Return `params` as a list of layers (W (in, out), b (out,)) that fit one another.

    All arrays are finite and of one float dtype; the first layer takes `inputs` numbers, if given.
    """
    if not isinstance(params, list | tuple) or not params:
        raise InputError(
            f"params must be a non-empty list of layers (W, b), got {_brief(params)}; wrap a single layer as [(W, b)]"
        )
    layers: Params = []
    for i, layer in enumerate(params):
        if not isinstance(layer, list | tuple) or len(layer) != 2:
            raise InputError(
                f"layer {i} must be a pair (W, b), got {_brief(layer)}; "
                "give each layer its own bias, np.zeros(out) if it has none"
            )
        W, b = _array(layer[0], f"W{i}"), _array(layer[1], f"b{i}")
        if W.ndim != 2 or W.size == 0 or b.shape != W.shape[1:]:
            raise InputError(
                f"layer {i} must have W (in, out) and b (out,), got {W.shape} and {b.shape}; "
                "transpose W if it is (out, in), the layer computes x @ W + b"
            )
        width = layers[-1][0].shape[1] if layers else inputs
        if width is not None and len(W) != width:
            raise InputError(
                f"layer {i} takes {len(W)} inputs, but {width} come from the "
                f"{'layer before' if layers else 'images'}; make W{i} ({width}, {W.shape[1]})"
            )
        dtype = layers[0][0].dtype if layers else W.dtype
        if dtype.kind != "f" or W.dtype != dtype or b.dtype != dtype:
            raise InputError(
                f"all weights must share one float dtype, got W{i} {W.dtype}, b{i} {b.dtype} "
                f"(W0 {dtype}); use .astype(np.float32) on all of them"
            )
        for array, name in ((W, f"W{i}"), (b, f"b{i}")):
            _finite(array, name, "the training diverged or the file is damaged: use other weights")
        layers.append((W, b))
    return layers


def _array(value: Any, name: str) -> onp.ndarray:
    try:
        return onp.asarray(value)
    except (ValueError, TypeError) as error:  # rows of unequal length
        raise InputError(f"{name} is not an array ({error}); make all rows equally long") from error


def _finite(x: onp.ndarray, name: str, cure: str) -> None:
    bad = x.size - onp.count_nonzero(onp.isfinite(x))
    if bad:
        raise InputError(f"{name}: {bad} of {x.size} values are nan or infinite; {cure}")


def _brief(value: Any) -> str:
    size = f" of length {len(value)}" if hasattr(value, "__len__") else ""
    return f"a {type(value).__name__}{size}"
