"""The embedded digits: 5,000 of MNIST, always split the same way, no download.

The file holds the images in the order of the split, the classes cycling 0, 1, .. 9, 0, 1, ..
so that the first 10 k rows of any split hold k of each class. ORIGIN.md tells where they are from.
"""

from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as onp

from reference.errors import InputError
from reference.plumbing.files import load_npz

FILE = Path(__file__).with_name("mnist_5k.npz")
FILE_SHA256 = "9ae93717f62c026796d53b8db8e8e00f4310ed6fe85d8aaf363725b2893873e2"
# Of the decoded pixels followed by the labels: holds whichever zlib packed the file.
ARRAYS_SHA256 = "818ad088e750e37afdbd8378c97d9a18ae6f4c0b6aba2c8eca23a1938cae2c23"

TRAIN, VALIDATION, TEST = 3500, 500, 1000


class Split(NamedTuple):
    """Images x (n, side * side) in [0, 1], flat row by row, and their labels y (n,) int64."""

    x: onp.ndarray
    y: onp.ndarray


class Digits(NamedTuple):
    """Three disjoint splits of images of side by side pixels; `source` names them in tables."""

    train: Split
    validation: Split
    test: Split
    side: int
    source: str


def load(side: int = 14, dtype: Any = onp.float32) -> Digits:
    """Return the embedded digits: 3,500 / 500 / 1,000 images, classes balanced, `side` 14 or 28.

    Raises `InputError` for another side or dtype, and if the embedded file is missing or damaged.
    """
    try:
        found = sha256(FILE.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {FILE} ({error.strerror}); reinstall the package") from error
    if found != FILE_SHA256:
        raise InputError(f"{FILE} is damaged (SHA-256 {found[:8]}..); reinstall the package")
    arrays = load_npz(FILE)
    everything = to_split(arrays["images"], arrays["labels"], side, dtype)
    train, validation, test, _ = cut(everything, TRAIN, VALIDATION, TEST)
    return Digits(train, validation, test, side, "MNIST 5k sample (500 per class)")


def cut(split: Split, *sizes: int) -> list[Split]:
    """Cut a split into consecutive ones of the given sizes, and what is left."""
    ends = onp.cumsum(sizes)
    return [Split(*part) for part in zip(*(onp.split(a, ends) for a in split), strict=True)]


def to_split(images: onp.ndarray, labels: onp.ndarray, side: int, dtype: Any) -> Split:
    """Make a split of images (n, 28, 28) uint8; side 14 is the mean of each block of 2 by 2.

    Sums are taken in integers and divided once, so every value is the float nearest to the exact
    one: sum / 255 for side 28, sum / 1020 for side 14.
    """
    if not isinstance(side, int | onp.integer) or side not in (14, 28):
        raise InputError(f"side must be 14 or 28, got {side!r}; MNIST's images are 28 by 28")
    try:
        dtype = onp.dtype(dtype)
    except TypeError:
        pass  # not a dtype at all, so neither of the two below
    if dtype not in (onp.float32, onp.float64):
        raise InputError(f"dtype must be float32 or float64, got {dtype}; use np.float32")
    block = 28 // side
    sums = images.reshape(-1, side, block, side, block).sum(axis=(2, 4), dtype=onp.uint16)
    x = sums.reshape(len(images), side * side).astype(dtype)
    x /= 255 * block**2
    return Split(x, labels.astype(onp.int64))
