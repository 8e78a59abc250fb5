"""Rebuild mnist.npz from the four published files (a script; ORIGIN.md says where they are from).

python -m reference.data.build_mnist FOLDER_OF_IDX_FILES mnist.npz
"""

import sys
from hashlib import sha256
from pathlib import Path

import numpy as onp

from reference.data.digits import FIRST
from reference.data.idx import read_idx
from reference.plumbing.files import save_npz

SEED = 2018  # the paper's year; any would do
PER_CLASS = 500


def build(folder: Path) -> dict[str, onp.ndarray]:
    """The members of mnist.npz, all uint8 but `rows` (uint16); see ORIGIN.md."""
    images, labels, test_images, test_labels = read_idx(folder)
    # Row k is a permutation of the first 500 images of class k, so reading down the columns deals one image of each
    # class in turn, and every cut at a multiple of ten is stratified.
    random = onp.random.Generator(onp.random.PCG64(SEED))
    rows = onp.stack([random.permutation(onp.flatnonzero(labels == k)[:PER_CLASS]) for k in range(10)])
    return {
        "rows": rows.T.ravel().astype(onp.uint16),
        "labels": labels,
        "first_images": images[:FIRST],
        "other_images": images[FIRST:],
        "test_labels": test_labels,
        "test_images": test_images,
    }


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m reference.data.build_mnist FOLDER_OF_IDX_FILES OUTPUT.npz")
    save_npz(sys.argv[2], build(Path(sys.argv[1])))
    found = sha256(Path(sys.argv[2]).read_bytes()).hexdigest()
    print(f"{sys.argv[2]}: SHA-256 {found}; `load` compares the digits with the published checksums")
