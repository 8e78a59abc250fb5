"""What every attack returns, and the checks with which every attack begins and ends."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps

import numpy as onp

from ..errors import InputError, check_labels
from ..method.numerics import one_hot, predict
from ..plumbing.checks import check_images
from .model import AttackWarning, Model, as_model, warn_if_untrustworthy


@dataclass(frozen=True)
class AttackResult:
    """The outcome for n images.  A failure gives the original back, and nan for its norm: no average hides it.

    images:     (n, d), the adversarial image where `success`, the original elsewhere.
    success:    (n,) bool, judged on `images`, after clipping, in the attack's own dtype, in one forward pass of the
                whole batch: the same pass repeats it exactly, while a batch of another size may round differently.
    norms:      (n,) ‖images − x‖ where `success`, nan elsewhere.
    iterations: (n,) steps spent on each image.
    reason:     (n,) why it ended: "success", "iteration limit", "vanishing gradient", "not finite" (a gradient was nan
                or infinite), or "rounding" (a success that the forward pass of the whole batch did not confirm).
    last:       (n, d) the last iterate, successful or not.
    labels:     (n,) the labels attacked.
    convention: labels attacked, box, overshoot, iterations, in words; every table prints it.
    """

    images: onp.ndarray
    success: onp.ndarray
    norms: onp.ndarray
    iterations: onp.ndarray
    reason: onp.ndarray
    last: onp.ndarray
    labels: onp.ndarray
    convention: str


def check_box(box) -> tuple[float, float] | None:
    """`box` as a pair of Python floats, low < high; None stays None."""
    if box is None:
        return None
    try:
        low, high = map(float, box)
    except (TypeError, ValueError):
        low, high = 1.0, 0.0  # not a pair of numbers
    if not -onp.inf < low < high < onp.inf:
        raise InputError(f"box = {box}: give finite (low, high), low < high, or None for no clipping")
    return low, high


def begin(model, x, labels, box):
    """Check the input of an attack -> (model, x, labels (n,), the labels' name, box).

    labels: None for the model's own prediction, an array of n classes, or a pair (name, array), whose name enters
    the convention ("true", say).
    """
    model, box = as_model(model), check_box(box)
    if isinstance(x, onp.ma.MaskedArray):
        raise InputError("x is a masked array, whose mask would be lost: use x.filled(0)")
    x = check_images(x) if box == (0, 1) else onp.asarray(x)
    if x.dtype not in (onp.float32, onp.float64) or x.ndim != 2 or not x.size or not onp.isfinite(x).all():
        raise InputError(
            f"x must be a finite float32 or float64 matrix (n, d) with n ≥ 1, got {x.dtype} {x.shape}; "
            "use x.reshape(n, -1).astype(np.float32)"
        )
    if box is not None and (x.min() < box[0] or x.max() > box[1]):
        raise InputError(
            f"x must lie in the box, got {x.min():g} to {x.max():g} for box = {box}; give the images' own box"
        )
    z, gradient = probe(model, x)
    if labels is None:
        name, labels = "predicted", predict(z)
    else:
        named = isinstance(labels, tuple) and len(labels) == 2 and isinstance(labels[0], str)
        name, labels = labels if named else ("given", labels)
        labels = check_labels(labels, z.shape[1], len(x))
    warn_if_untrustworthy(model, x, z, gradient)
    return model, x, labels, name, box


def probe(model: Model, x) -> tuple[onp.ndarray, onp.ndarray]:
    """-> (logits z (n, k), ∇_x of the highest minus the second highest (n, d)), once they are known to be sound."""
    try:
        z = model.logits(x)
    except Exception as error:  # whatever the model may raise: shapes that do not fit, mostly
        raise InputError(f"the model fails on x of shape {x.shape}: {_one_line(error)}") from error
    if not isinstance(z, onp.ndarray) or isinstance(z, onp.ma.MaskedArray):
        raise InputError(f"logits(x) is a {type(z).__name__}: return a NumPy array (n, k)")
    if z.ndim != 2 or len(z) != len(x) or z.shape[1] < 2:
        turned = "; it looks transposed" if z.ndim == 2 and z.shape[1] == len(x) and len(z) > 1 else ""
        raise InputError(f"logits(x) has shape {z.shape}: expected (n, k) with n = {len(x)} and k ≥ 2{turned}")
    n, k = z.shape
    try:
        z, pull_back = model.linearise(x)
        followed = z.shape == (n, k) and z.dtype != object
        cause = ""
    except Exception as error:
        followed, cause = False, f" ({_one_line(error)})"
    if not followed:
        raise InputError(
            f"the model works on arrays, but autograd cannot follow it{cause}: write it with autograd.numpy"
        )
    if z.dtype != x.dtype:
        raise InputError(f"x is {x.dtype} but logits(x) is {z.dtype}: cast x to the dtype of the parameters")
    if not onp.isfinite(z).all():
        raise InputError("logits(x) has nan or infinite entries: check the model's parameters")
    top, second = onp.argsort(-z, axis=1)[:, :2].T
    try:
        gradient = pull_back(one_hot(top, k, z.dtype) - one_hot(second, k, z.dtype))
    except Exception as error:
        raise InputError(f"the input gradient fails: {_one_line(error)}") from error
    if getattr(gradient, "shape", None) != x.shape or gradient.dtype != x.dtype:
        raise InputError(
            f"the input gradient must be an array like x, {x.dtype} {x.shape}; write logits with autograd.numpy, "
            "or pass a pair (logits, input_gradient)"
        )
    if not onp.isfinite(gradient).all():
        raise InputError("the input gradient has nan or infinite entries: check the model's parameters")
    return z, gradient


def _one_line(error: Exception) -> str:
    """What went wrong in someone else's code, short enough for one line."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words}"[:160]


def check_targets(targets, labels, k: int) -> onp.ndarray:
    """`targets` (n,): classes in 0..k-1, none of them the label that is attacked."""
    targets = check_labels(targets, k, len(labels), "targets")
    same = onp.count_nonzero(targets == labels)
    if same:
        raise InputError(f"{same} of {len(labels)} targets equal the attacked label: choose other classes")
    return targets


class Hunt:
    """The bookkeeping of one attack on a batch of images.  An attack adds only a step rule and a stop rule.

    model, x, labels, box: as `begin` checked them.  arrives(logits (m, k), rows (m,)) -> (m,) bool: the goal.
    Of each image it keeps the last iterate, the nearest one that arrived, the steps spent, and whether the attack got
    `stuck` on a vanishing gradient.
    """

    def __init__(self, model: Model, x, labels, box, arrives: Callable):
        self.model, self.x, self.labels, self.box = model, x, labels, box
        self.arrives = lambda z, rows: arrives(z, rows) & onp.isfinite(z).all(axis=1)
        self.every = onp.arange(len(x))
        self.last, self.best = x.copy(), x.copy()
        self.squares = onp.full(len(x), onp.inf, x.dtype)
        self.spent, self.stuck, self.lost = onp.zeros(len(x), int), onp.zeros(len(x), bool), onp.zeros(len(x), bool)

    def see(self, rows, images, hit) -> None:
        """The iterates `images` (m, d) of `rows` (m,), and which of them arrived."""
        self.last[rows] = images
        r = images - self.x[rows]
        squares = onp.vecdot(r, r)
        better = hit & (squares < self.squares[rows])
        self.best[rows[better]], self.squares[rows[better]] = images[better], squares[better]

    def walk(self, images, rows, iterations: int, look: Callable, step: Callable) -> None:
        """From `images` (m, d) of `rows` (m,): look, leave those that arrived, step with the others, and look again.

        look(images, rows) -> (arrived (m,), whatever it saw that the step needs).
        step(images, rows, saw, go) -> (the next images of rows[go], which of these could move at all).
        """
        for iteration in range(iterations + 1):
            arrived, saw = look(images, rows)
            self.see(rows, images, arrived)
            if iteration == iterations or arrived.all():
                return
            images, moved = step(images, rows, saw, ~arrived)
            rows = rows[~arrived]
            self.stuck[rows] = ~moved
            rows, images = rows[moved], images[moved]
            self.spent[rows] += 1
            sound = self.sound(rows, images)
            rows, images = rows[sound], images[sound]
            if not len(rows):
                return

    def sound(self, rows, images):
        """Which of the next `images` (m, d) of `rows` are numbers; the others end here, lost."""
        finite = onp.isfinite(images).all(axis=1)
        self.lost[rows] = ~finite
        return finite

    @property
    def found(self):
        """(n,) whether some iterate of the image arrived."""
        return onp.isfinite(self.squares)

    def confirmed(self, images, found):
        """Which of the `images` `found` (n,) arrive in one forward pass of the whole batch, too."""
        z = self.model.logits(onp.where(found[:, None], images, self.x))
        return found & self.arrives(z, self.every)

    def result(self, convention: str) -> AttackResult:
        """What the attack returns."""
        found, success = self.found, self.confirmed(self.best, self.found)
        reason = onp.select(
            [success, found, self.lost, self.stuck],
            ["success", "rounding", "not finite", "vanishing gradient"],
            "iteration limit",
        )
        images = onp.where(success[:, None], self.best, self.x)
        norms = onp.where(success, onp.linalg.norm(images - self.x, axis=1), onp.nan).astype(self.x.dtype)
        return AttackResult(images, success, norms, self.spent, reason, self.last, self.labels, convention)


def leaves(labels) -> Callable:
    """The goal of most attacks, as `Hunt` asks it: the image is no longer classified as its label."""
    return lambda z, rows: z.argmax(axis=1) != labels[rows]


def margins(z, labels, targets=None):
    """-> (f_l − f_j (n,), e_l − e_j (n, k)): how far the label leads, and its derivative by the logits.

    j is the label's highest rival, or `targets` (n,).
    """
    rows, v = onp.arange(len(z)), onp.zeros_like(z)
    if targets is None:
        others = z.copy()
        others[rows, labels] = -onp.inf
        targets = others.argmax(axis=1)
    v[rows, labels], v[rows, targets] = 1, -1
    return z[rows, labels] - z[rows, targets], v


def check_all(targets: str) -> None:
    """The one word that `targets` may be."""
    if targets != "all":
        raise InputError(f'targets = {targets!r}: give classes (n,), "all" for every other class, or None')


def all_targets(attack: Callable[..., AttackResult]) -> Callable[..., AttackResult]:
    """The attack with one more choice, targets="all": every other class in turn, and the nearest success is kept."""

    @wraps(attack)
    def chosen(model, x, labels=None, *args, targets=None, **settings):
        if not isinstance(targets, str):
            return attack(model, x, labels, *args, targets=targets, **settings)
        check_all(targets)
        model, x, labels, name, _ = begin(model, x, labels, settings.get("box", (0, 1)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AttackWarning)  # `begin` has said it once
            k = model.logits(x[:1]).shape[1]
            parts = [attack(model, x, (name, labels), *args, targets=t, **settings) for t in others(labels, k)]
        words = parts[0].convention.replace("targets given", "all targets, the nearest success of each image")
        return nearest_of(parts, words)

    return chosen


def others(labels: onp.ndarray, k: int) -> onp.ndarray:
    """Every class but each image's label: (k − 1, n), one class a row."""
    return (labels + onp.arange(1, k)[:, None]) % k


def nearest_of(parts: Sequence[AttackResult], convention: str = "nearest of several attacks") -> AttackResult:
    """Image by image the success of the smallest norm, of several results on the same images; iterations add up."""
    norms = onp.stack([onp.where(part.success, part.norms, onp.inf) for part in parts])
    best, rows = norms.argmin(axis=0), onp.arange(norms.shape[1])

    def choose(name):
        return onp.stack([getattr(part, name) for part in parts])[best, rows]

    images, success, norms, reason, last = map(choose, ("images", "success", "norms", "reason", "last"))
    spent = sum(part.iterations for part in parts)
    return AttackResult(images, success, norms, spent, reason, last, parts[0].labels, convention)


def clip(x, box):
    """`x` inside `box` = (low, high); `box` None leaves it alone."""
    return x if box is None else onp.clip(x, *box)


def describe(name: str, labels: str, box, **settings) -> str:
    """The convention in words, for tables: "DeepFool, from the true label, box [0, 1], …"."""
    limits = "no box" if box is None else f"box [{box[0]:g}, {box[1]:g}]"
    words = {key.replace("_", " "): value for key, value in settings.items()}
    rest = [f"{key} {value if isinstance(value, str) else format(value, 'g')}" for key, value in words.items()]
    return ", ".join([name, f"from the {labels} label", limits, *rest])
