"""The embedded digits, no download: 5,000 of MNIST for the demo, or all 70,000 with `load(full=True)`.

mnist.npz holds the published images in their published order.  The 5,000 are a list of rows of its training images, in
the order of the split: the classes cycle 0, 1, .. 9, 0, 1, .. so that the first 10 k of any split hold k of each class.
ORIGIN.md tells where the digits are from and how the file was made.
"""

import struct
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as onp

from reference.errors import InputError

FILE = Path(__file__).with_name("mnist.npz")
FIRST = 6000
"""Training images in a member of their own: all that the 5,000 come from, so that they unpack quickly."""
SAMPLE_SHA256 = "818ad088e750e37afdbd8378c97d9a18ae6f4c0b6aba2c8eca23a1938cae2c23"
"""Of the 5,000: their pixels, followed by their labels."""
PUBLISHED_SHA256 = {
    "train-images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""Of the four published files, unpacked, from which ours was made: loading compares them."""

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


def load(side: int = 14, dtype: Any = onp.float32, full: bool = False) -> Digits:
    """Return the embedded digits, `side` 14 or 28.

    The default are 3,500 / 500 / 1,000 images with balanced classes.  full: all of MNIST, split as the authors' code
    does, 50,000 / 10,000 / 10,000, the validation images being the last of the published training images.
    Raises `InputError` for another side or dtype, and if the embedded file is missing or damaged.
    """
    if full:
        first, others, labels, *test = _read("first_images", "other_images", "labels", "test_images", "test_labels")
        images = onp.concatenate([first, others])
        found = map(idx_sha256, (images, labels, *test))
        _check(list(found) == list(PUBLISHED_SHA256.values()))
        train, validation = cut(to_split(images, labels, side, dtype), 50_000)
        return Digits(train, validation, to_split(*test, side, dtype), side, "MNIST (50,000 training images)")
    images, labels = sample()
    everything = to_split(images, labels, side, dtype)
    train, validation, test, _ = cut(everything, TRAIN, VALIDATION, TEST)
    return Digits(train, validation, test, side, "MNIST 5k sample (500 per class)")


def sample() -> tuple[onp.ndarray, onp.ndarray]:
    """The 5,000 as they were published: images (5000, 28, 28) and labels (5000,), both uint8."""
    rows, images, labels = _read("rows", "first_images", "labels")
    images, labels = images[rows], labels[rows]
    _check(sha256(images.tobytes() + labels.tobytes()).hexdigest() == SAMPLE_SHA256)
    return images, labels


def idx_sha256(values: onp.ndarray) -> str:
    """The checksum that an array of uint8 has as an IDX file (see `reference.data.idx`)."""
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return sha256(header + values.tobytes()).hexdigest()


def _read(*members: str) -> list[onp.ndarray]:
    try:
        with onp.load(FILE) as archive:
            return [archive[name] for name in members]
    except OSError as error:
        raise InputError(f"cannot read {FILE} ({error.strerror or error}); reinstall the package") from error
    # On damaged bytes zipfile, zlib and NumPy's header parser raise a dozen kinds of error.
    except Exception as error:
        raise InputError(f"{FILE} is damaged ({error}); reinstall the package") from error


def _check(right: bool) -> None:
    if not right:
        raise InputError(f"{FILE} is damaged (its digits are not the published ones); reinstall the package")


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
    x = onp.zeros((len(images), side, side), dtype)
    for i in range(block):
        for j in range(block):
            x += images[:, i::block, j::block]  # whole numbers up to 1020, which floats hold exactly
    x /= 255 * block**2
    return Split(x.reshape(len(images), side * side), labels.astype(onp.int64))
