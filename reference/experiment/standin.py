"""A stand-in for human annotators: two classifiers that no defence ever saw, of another kind than its network.

Whether an adversarial image looks like the class it is taken for is a question to people (`reference.studies survey`).
Where nobody is asked, nearest neighbours and a kernel machine, both on deskewed pixels, label the images instead.  They
are classifiers with errors of their own, which stand beside every table, and no claim about what a person would see.
"""

from __future__ import annotations

import numpy as onp

from ..errors import InputError, check_labels
from ..plumbing.checks import check_images

# The smallest validation errors at 14×14 among 1, 3, 5, 7 neighbours, and widths 1, 2, 4 with ridges 0.001, 0.01, 0.1.
NEIGHBOURS = 5
WIDTH = 1.0  # of the Gaussian kernel: exp(−width·‖a − b‖²/median ‖a − b‖²)
RIDGE = 0.01
LARGEST = 5000  # training images: the kernel matrix grows with their square
BATCH = 1000  # images labelled at a time, for the sake of memory

UNSURE = -1  # the answer "?"


def deskew(x: onp.ndarray) -> onp.ndarray:
    """Images `x` (n, side·side), each sheared until its strokes stand upright and moved to the middle: float64.

    The shear is the covariance of a pixel's column and row over the variance of its row, ink as weight.  Pixels are
    interpolated linearly, and 0 comes in from outside.
    """
    from scipy import ndimage  # slow to import, and the other commands do not need it

    n, side = len(x), round(x.shape[1] ** 0.5)
    images, at = x.reshape(n, side, side).astype(float), onp.arange(side)
    ink = onp.maximum(images.sum(axis=(1, 2)), 1e-9)  # a blank image stays as it is
    row, column = (images.sum(axis=2) @ at / ink)[:, None], (images.sum(axis=1) @ at / ink)[:, None]
    covariance = onp.einsum("nij,ni,nj->n", images, at - row, at - column) / ink
    variance = onp.einsum("nij,ni->n", images, (at - row) ** 2) / ink
    shear = (covariance / onp.maximum(variance, 1e-9))[:, None, None]
    upright = at - (side - 1) / 2
    rows = row[:, :, None] + upright[:, None] + 0 * upright
    columns = column[:, :, None] + upright + shear * upright[:, None]
    which = onp.broadcast_to(onp.arange(n)[:, None, None], rows.shape)
    return ndimage.map_coordinates(images, [which, rows, columns], order=1).reshape(x.shape)


class StandIn:
    """Both classifiers, trained on the first `LARGEST` of the images x (n, d) in [0, 1] with labels y (n,)."""

    def __init__(self, x: onp.ndarray, y: onp.ndarray):
        from scipy import linalg

        self.x, y = deskew(check_images(x)[:LARGEST]), check_labels(y, onp.inf, len(x))[:LARGEST]
        if len(self.x) < NEIGHBOURS:
            raise InputError(f"{len(self.x)} training images: give the stand-in at least {NEIGHBOURS}")
        self.one_hot = onp.eye(y.max() + 1)[y]
        squares = self._squares(self.x)
        self.scale = max(onp.median(squares), 1e-9)
        # Least squares, one class against the rest, with a ridge: (K + ridge·I) A = ±1.
        K = self._kernel(squares)
        K[onp.diag_indices_from(K)] += RIDGE
        self.weights = linalg.cho_solve(linalg.cho_factor(K, overwrite_a=True), 2 * self.one_hot - 1)

    def labels(self, x: onp.ndarray) -> dict[str, onp.ndarray]:
        """How each classifier labels the images `x` (n, d) in [0, 1]: {its name: (n,)}."""
        x, found = check_images(x), []
        for first in range(0, len(x), BATCH):
            squares = self._squares(deskew(x[first : first + BATCH]))
            found.append([self._neighbours(squares), (self._kernel(squares) @ self.weights).argmax(axis=1)])
        return dict(zip(("nearest neighbours", "kernel machine"), onp.concatenate(found, axis=1), strict=True))

    def errors(self, x: onp.ndarray, y: onp.ndarray) -> dict[str, float]:
        """The fraction of the images `x` (n, d) that each classifier does not label as `y` (n,)."""
        return {name: float(onp.mean(labels != y)) for name, labels in self.labels(x).items()}

    def shares(self, x: onp.ndarray, taken_for: onp.ndarray, labels: onp.ndarray) -> dict[str, dict[str, float]]:
        """What adversarial images `x` (n, d) look like to each classifier: {its name: {kind of answer: share}}.

        taken_for: (n,) the classes that the attacked network takes them for; labels: (n,) their original labels.  The
        two must differ: `InputError` if not.
        """
        if onp.any(onp.equal(taken_for, labels)):
            raise InputError("some images are taken for their original label: leave out the failed attacks")
        return {
            name: {kind: float(onp.mean(which)) for kind, which in kinds(answers, taken_for, labels).items()}
            for name, answers in self.labels(x).items()
        }

    def _squares(self, x):
        """‖a − b‖² between the deskewed images `x` and those of the training."""
        squares = onp.sum(x * x, axis=1)[:, None] + onp.sum(self.x * self.x, axis=1) - 2 * x @ self.x.T
        return onp.maximum(squares, 0)

    def _kernel(self, squares):
        return onp.exp(-WIDTH * squares / self.scale)

    def _neighbours(self, squares):
        """The vote of the nearest images, each with weight 1/‖a − b‖²."""
        nearest = onp.argpartition(squares, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]
        weights = 1 / (1e-9 + onp.take_along_axis(squares, nearest, axis=1))
        return onp.einsum("nk,nkc->nc", weights, self.one_hot[nearest]).argmax(axis=1)


def kinds(answers: onp.ndarray, taken_for: onp.ndarray, labels: onp.ndarray) -> dict[str, onp.ndarray]:
    """What `answers` (…, n), classes or `UNSURE`, say of adversarial images: {kind: (…, n) bool}, one kind each.

    "changed": the class `taken_for` (n,) by the attacked network; "unchanged": the original of `labels` (n,).
    """
    changed, unchanged = onp.equal(answers, taken_for), onp.equal(answers, labels)
    unsure = onp.equal(answers, UNSURE)
    other = ~(changed | unchanged | unsure)
    return {"changed": changed, "unchanged": unchanged, "other": other, "unsure": unsure}
