"""Any set in MNIST's format (Fashion-MNIST, KMNIST, your own) from a folder of IDX files.

An IDX file is a big-endian header, then bytes: 0, 0, 8 (= unsigned byte), the number of axes, the
length of each axis in 4 bytes, and the values in row-major order.
"""

import gzip
import struct
import zlib
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any

import numpy as onp

from reference.data.digits import Digits, cut, to_split
from reference.errors import InputError
from reference.plumbing.files import UNPACKED

AGAIN = "download it again"


def load_idx(folder: str | Path, side: int = 14, dtype: Any = onp.float32) -> Digits:
    """Return the data set in `folder`: t10k-* is the test split, the last sixth of train-* the
    validation split (MNIST: 50,000 / 10,000 / 10,000), in the order of the files.

    The four files are named as published (train-images-idx3-ubyte, or train-images.idx3-ubyte),
    gzipped or not.  They lie in `folder` itself or, as torchvision puts them, in its MNIST/raw (or
    FashionMNIST/raw, …). Raises `InputError`, which names the file, if one is missing or damaged.
    """
    images, labels, *test = read_idx(folder)
    n = len(labels)
    if n < 6:
        raise InputError(f"{folder} has only {n} training images, too few to split; use at least 6")
    train, validation = cut(to_split(images, labels, side, dtype), n - n // 6)
    place = find_folder(folder).resolve()
    name = place.parent.name if place.name == "raw" else place.name
    return Digits(train, validation, to_split(*test, side, dtype), side, f"{name} ({n - n // 6:,} training images)")


def read_idx(folder: str | Path) -> tuple[onp.ndarray, onp.ndarray, onp.ndarray, onp.ndarray]:
    """The bytes of the four files: training images (n, 28, 28) and labels (n,), test images and labels."""
    folder = find_folder(folder)
    return (*_read_pair(folder, "train"), *_read_pair(folder, "t10k"))


def find_folder(folder: str | Path) -> Path:
    """Where the four files lie: `folder`, or below it as torchvision unpacks a set, SET/raw."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the one that holds the four MNIST files")
    below = [path for path in (folder / "raw", *sorted(folder.glob("*/raw"))) if path.is_dir()]
    if len(below) > 1 and not any(folder.glob("*ubyte*")):
        raise InputError(f"{folder} holds several sets ({', '.join(map(str, below))}); give one of these folders")
    return below[0] if below and not any(folder.glob("*ubyte*")) else folder


def _read_pair(folder: Path, which: str) -> tuple[onp.ndarray, onp.ndarray]:
    images_path, labels_path = _find(folder, which, "images", 3), _find(folder, which, "labels", 1)
    images, labels = _read(images_path, 3), _read(labels_path, 1)
    if images.shape[1:] != (28, 28):
        raise InputError(
            f"{images_path} holds images of {images.shape[1]} by {images.shape[2]} pixels; use a data set of 28 by 28"
        )
    if len(images) != len(labels):
        raise InputError(
            f"{images_path} holds {len(images)} images, but {labels_path} {len(labels)} labels; "
            "take both from the same data set"
        )
    if len(labels) == 0:
        raise InputError(f"{images_path} holds no images; {AGAIN}")
    if labels.max() > 9:
        raise InputError(f"{labels_path} holds the label {labels.max()}; use a data set of ten classes, 0..9")
    blank = onp.flatnonzero(~images.any(axis=(1, 2)))
    if len(blank) and which == "t10k":
        raise InputError(
            f"image {blank[0]} of {images_path} is blank (all zero): ‖r‖/‖x‖ is not defined for it; leave it out"
        )
    return images, labels


def _find(folder: Path, which: str, what: str, axes: int) -> Path:
    names = [f"{which}-{what}{mark}idx{axes}-ubyte" for mark in "-."]
    for name in names:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():  # some archives unpack to a folder of this name
                return path
    raise InputError(
        f"{folder} has no file {names[0]} (nor {names[1]}, nor either with .gz); download it or correct its name"
    )


def _read(path: Path, axes: int) -> onp.ndarray:
    """Return the bytes of an IDX file as an array with the given number of axes, unpacking no more than it promises."""
    try:
        packed = path.read_bytes()
        # The content decides, not the name: browsers unpack .gz files and may keep the suffix.
        file = gzip.open(BytesIO(packed)) if packed.startswith(b"\x1f\x8b") else BytesIO(packed)
        magic = bytes([0, 0, 8, axes])
        if (begins := file.read(4)) != magic:
            raise InputError(
                f"{path} begins with {begins.hex(' ') or 'nothing'}, not with {magic.hex(' ')}, so "
                f"it is not an IDX file of {'images' if axes == 3 else 'labels'}; {AGAIN}"
            )
        header = file.read(4 * axes)
        if len(header) < 4 * axes:
            raise InputError(f"{path} ends within its header; {AGAIN}")
        shape = struct.unpack(f">{axes}I", header)
        promised = f"its header promises {prod(shape)} bytes of data"
        least, ratio = UNPACKED
        if isinstance(file, gzip.GzipFile) and prod(shape) > max(least, ratio * len(packed)):
            raise InputError(f"{path} is damaged: {promised}, far more than {len(packed)} can hold; {AGAIN}")
        data = file.read(min(prod(shape), max(least, ratio * len(packed))) + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is a broken gzip file ({error}); {AGAIN}") from error
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}); check its rights") from error
    if len(data) < prod(shape):
        raise InputError(f"{path} is truncated: {promised}, it has {len(data)}; {AGAIN}")
    if len(data) > prod(shape):
        raise InputError(f"{path} is followed by trailing bytes: {promised}, it has more; {AGAIN}")
    return onp.frombuffer(data, onp.uint8).reshape(shape)
