"""What is the difference between classifier and critic, can the critic classify or detect, and can the two be one?

The classifier f is asked which class an image is of, and the critic D_j whether the image is real data of class j.  The
critic's loss asks D_j of images of class j and of attacked ones that f takes for j.  It asks no other, and it never
compares two classes.  Read as a classifier, and without its noise, D says argmax_j D_j(x).

Networks that share parameters are trained by the method's own steps.  θ is then one list of layers, and f and D are two
choices from it (`layouts`).  Each batch takes two steps, each with an Adam of its own:

    critic step       D's layers move by the critic's loss; x̂ and ŷ, made by f before the step, are constants
    classifier step   f's layers move by the classifier's loss, through the attack too; D, as the critic step left it,
                      is a copy held fixed: no gradient reaches θ through D's layers, shared or not

As in the method, the classifier's gradient is taken at the θ that made x̂.  It is applied to the θ that the critic step
left, which is another θ only where layers are shared.  A critic that shares layers has f's ReLU and its own noise.
"Two networks, ReLU" has that activation too and shares nothing, so that it can be compared with both.  In "f alone"
λ and β are 0: f is undefended, and D is trained on its attacked images.  All else is the demo's recipe, 60 of its 115
epochs at full size.

Columns, on test images:

    error, ρ     of f, and of D as a classifier; an image that is misclassified to begin with counts as ρ = 0 for D
    success      of the high-confidence attack
    late sd      the standard deviation of the validation error over the last third of the epochs, in points
    ECE          of the softmax of f, of the softmax of D, and of σ(max_j D_j); see `calibration_error`
    attacked     f's right images after the high-confidence attack to C = 0.8, where it succeeds: how many of them D
                 takes for the original class, and how many for the class that f takes them for
    detection    AUC: the chance that D_ŷ is larger on a clean image than on an attacked one, where ŷ is what f takes
                 each for; guessing gives 0.5.  The same by f's own confidence, which is low by construction at C = 0.8
                 where clean images have more; so the attack to the clean image's own confidence stands beside it
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as onp
from matplotlib.figure import Figure

from ..attacks import deepfool, high_confidence
from ..by_hand import steps as by_hand
from ..by_hand.model import from_params
from ..data import Digits
from ..errors import DivergenceError
from ..experiment.evaluate import calibration_error, evaluate
from ..experiment.figures import COLOURS, FONT, MARKERS, STYLES, caption, plain
from ..experiment.plans import STUDIED
from ..experiment.run import SHEET_CONFIDENCE
from ..experiment.train import error
from ..method import critic, network
from ..method.adam import Adam, adam_step, decayed
from ..method.network import Params
from ..method.numerics import pick, predict, sigmoid, softmax
from ..method.settings import AdversaryCritic, Training
from ..method.targets import RunningConfidence
from .measures import robustness
from .study import DIGIT_SIZES, ROBUST, Records, Size, by_name, digits, mean, over_seeds, tabulate, told, values

SIZES = DIGIT_SIZES


def layouts(depth: int) -> dict[str, tuple[list[int], list[int]]]:
    """{name: (the layers of θ that are f, those that are D)}, of `depth` layers of θ for each, alike in size."""
    f, D = list(range(depth)), list(range(depth, 2 * depth))
    return {"apart": (f, D), "trunk": (f, f[:-1] + D[-1:]), "one": (f, f)}


CASES = {
    "f alone": ("apart", True),
    "two networks": ("apart", True),
    "two networks, ReLU": ("apart", False),
    "one trunk, two heads": ("trunk", False),
    "one network, D = f": ("one", False),
}
"""{name: (which of `layouts`, whether D is LeakyReLU)}."""

FALSE = onp.linspace(0, 1, 41)
"""Shares of clean images reported, where a detector is measured."""


# ---- a critic with f's activations: both steps by autograd


def train(data: Digits, s: AdversaryCritic, training: Training, seed: int, layout: str):
    """`train.train` for networks that may share layers -> (f, D, the running confidence, a record per epoch)."""
    (x, y), rng = data.train, onp.random.default_rng(seed)
    d, k = x.shape[1], int(y.max()) + 1
    f, D = layouts(len(training.hidden) + 1)[layout]
    theta = network.init(rng, (d, *training.hidden, k), x.dtype) + network.init(rng, (d, *s.hidden, k), x.dtype)

    def part(layers):
        return [theta[l] for l in layers]

    def move(layers, gradient, adam, rate):
        moved, adam = adam_step(part(layers), gradient, adam, rate, training.beta1, training.beta2)
        for l, layer in zip(layers, moved, strict=True):
            theta[l] = layer
        return adam

    def noise():
        return critic.draw_noise(rng, part(D), len(rows), s.input_noise, s.hidden_noise)

    adam, critic_adam, running, history = Adam.start(part(f)), Adam.start(part(D)), RunningConfidence.start(k), []
    for epoch in range(-training.pretrain_epochs, training.epochs):
        rate, critic_rate = (
            decayed(r, max(epoch, 0), training.halve_every) for r in (training.learning_rate, s.critic_learning_rate)
        )
        order, sums = rng.permutation(len(x)), {}
        for first in range(0, len(x), training.batch):
            rows = order[first : first + training.batch]
            step = by_hand.ClassifierStep(part(f), x[rows])
            running = running.update(step.confidence, step.predicted)
            if epoch < 0:
                terms, gradient = by_hand.pretraining(part(f), x[rows], y[rows], training.weight_decay)
            else:
                step.attack(running, s.generator)
                attacked = x[rows], y[rows], step.images, step.taken_for
                judged, gradient = by_hand.critic_step(part(D), *attacked, noise(), noise(), s)
                critic_adam = move(D, gradient, critic_adam, critic_rate)
                terms, gradient = step.gradient(y[rows], part(D), noise(), s)
                terms = terms | judged
            adam = move(f, gradient, adam, rate)
            for name, (_, value) in terms.items():
                sums[name] = sums.get(name, 0.0) + value * len(rows) / len(x)
        if not onp.isfinite(sum(sums.values())):
            raise DivergenceError(f"{layout}: a loss is not finite in epoch {epoch + 1}: lower the learning rate")
        if epoch >= 0:
            history.append(sums | {"validation_error": error(part(f), *data.validation)})
    return part(f), part(D), running, history


def auc(clean, attacked) -> float:
    """The chance that a number of `clean` (n,) is larger than one of `attacked` (m,), a tie counting half."""
    from scipy import stats

    return float(stats.mannwhitneyu(clean, attacked, method="asymptotic").statistic / (len(clean) * len(attacked)))


def tasks(size: Size):
    settings = replace(STUDIED["critic"], hidden=size.training.hidden)
    return over_seeds(size.seeds, {name: ((settings, CASES[name], size), (name, settings, size)) for name in CASES})


def measure(name: str, s: AdversaryCritic, size: Size, seed: int) -> dict:
    data, (layout, leaky) = digits(), CASES[name]
    s = replace(s, critic_weight=0.0, cycle_weight=0.0) if name == "f alone" else s
    s = s if leaky else replace(s, slope=0.0)
    f, D, _, history = train(data, s, size.training, seed, layout)
    late = [record["validation_error"] for record in history[-max(len(history) // 3, 2) :]]
    return (
        robustness(f, data, size.images)
        | as_classifier(f, D, data, size.images, partial(critic.scores, slope=s.slope))
        | as_detector(f, D, data, size.images, partial(critic.scores, slope=s.slope))
        | {"sd": float(onp.std(late)), "validation_error": [record["validation_error"] for record in history]}
    )


def as_classifier(f: Params, D: Params, data: Digits, images: int, of) -> dict:
    """D, with outputs of(D, x), as a classifier: error on all test images, ρ on the first, calibration beside f's."""
    (x, y), found = data.test, {"confidence": float(softmax(network.logits(f, data.test.x)).max(axis=1).mean())}
    for name, z in {"f": network.logits(f, x), "critic": of(D, x)}.items():
        found[f"ece_{name}"] = calibration_error(softmax(z).max(axis=1), predict(z) == y)
    found["ece_sigmoid"] = calibration_error(sigmoid(z.max(axis=1)), predict(z) == y)
    attacked = evaluate(lambda v: of(D, v), x[:images], y[:images], {"deepfool": deepfool}).attacks["deepfool"]
    return found | {"critic_error": float(onp.mean(predict(z) != y)), "critic_deepfool": attacked.rho}


def as_detector(f: Params, D: Params, data: Digits, images: int, of) -> dict:
    """What D makes of images attacked on f: to C = 0.8, and ("own") to the confidence of the clean image."""
    model, found = from_params(f), {}
    x, y = data.test.x[:images], data.test.y[:images]
    for C, suffix in ((SHEET_CONFIDENCE, ""), (None, "_own")):
        attacked = high_confidence(model, x, ("true", y), C)
        rows = attacked.success & (predict(model.logits(x)) == y)
        both = x[rows], attacked.images[rows]
        z, scored = [model.logits(v) for v in both], [of(D, v) for v in both]
        judged = [pick(D_x, predict(z_x)) for D_x, z_x in zip(scored, z)]
        found[f"auc_critic{suffix}"] = auc(*judged)
        found[f"auc_f{suffix}"] = auc(*(softmax(z_x).max(axis=1) for z_x in z))
        found[f"says_original{suffix}"] = float(onp.mean(predict(scored[1]) == y[rows]))
        found[f"says_target{suffix}"] = float(onp.mean(predict(scored[1]) == predict(z[1])))
    # of the attack at the image's own confidence
    found["roc"] = [round(float(onp.mean(judged[1] < t)), 3) for t in onp.quantile(judged[0], FALSE)]
    return found


def table(records: Records) -> str:
    trained = [("f: error %", "error", 1, 100), *ROBUST[1:], ("success %", "success", 0, 100)]
    trained += [("late sd", "sd", 2, 100), ("D: error %", "critic_error", 1, 100), ("ρ DeepFool", "critic_deepfool")]
    read = [("ECE f", "ece_f"), ("ECE D", "ece_critic"), ("ECE σ(D)", "ece_sigmoid")]
    read += [("attacked: D says original %", "says_original", 0, 100), ("as f %", "says_target", 0, 100)]
    read += [("AUC C = 0.8: D", "auc_critic", 2), ("f", "auc_f", 2)]
    read += [("AUC own C: D", "auc_critic_own", 2), ("f", "auc_f_own", 2)]
    return "\n\n".join(tabulate("networks", by_name(records), columns) for columns in (trained, read))


FINDING = (
    "As a classifier the critic errs on [29.6] % of test images, f on [4.9] %; it detects images attacked to "
    "their own confidence with AUC [0.71] (0.5 is guessing); and one network for both errs on [7.7] % at ρ "
    "[0.216] by DeepFool, two on [4.9] % at [0.196]. Where f is not trained against the critic, the AUC is "
    "[0.95]; of images attacked on f to C = 0.8 the critic names the original class of [44] %; its calibration "
    "error is [0.41] by softmax and [0.14] by sigmoid (f: [0.07]). Compared with two networks with ReLU, one "
    "network for both has a [larger] error and a [larger] ρ by DeepFool, while one trunk with two heads has an "
    "error that is [not told apart]."
)


def found(records: Records) -> list[str]:
    alone, two, control, trunk, one = by_name(records).values()
    return [
        *(mean(two, key, 1, 100) for key in ("critic_error", "error")),
        mean(two, "auc_critic_own", 2),
        *(text for group in (one, two) for text in (mean(group, "error", 1, 100), mean(group, "deepfool", 3))),
        mean(alone, "auc_critic_own", 2),
        mean(two, "says_original", 0, 100),
        *(mean(two, key, 2) for key in ("ece_critic", "ece_sigmoid", "ece_f")),
        *(told(control, one, key) for key in ("error", "deepfool")),
        told(control, trunk, "error"),
    ]


def draw(records: Records) -> Figure:
    figure = Figure(figsize=(13, 5), layout="constrained")
    training, robust, detection = figure.subplots(1, 3)
    for i, (name, group) in enumerate(by_name(records).items()):
        curve = 100 * onp.mean([record["validation_error"] for record in group], axis=0)
        look = {"color": COLOURS[i], "ls": STYLES[i], "lw": 1.8}
        training.plot(range(1, len(curve) + 1), curve, label=name, **look)
        detection.plot(FALSE, onp.mean([record["roc"] for record in group], axis=0), label=name, **look)
        mark = {"ls": "", "marker": MARKERS[i], "ms": 9, "color": COLOURS[i], "mew": 1.8}
        robust.plot(100 * values(group, "critic_error"), values(group, "critic_deepfool"), mfc="white", **mark)
        robust.plot(100 * values(group, "error"), values(group, "deepfool"), alpha=0.8, label=name, **mark)
    detection.plot((0, 1), (0, 1), color="0.6", lw=1)
    training.set(xlabel="epoch", ylabel="validation error of f, % (mean over seeds)", yscale="log")
    training.yaxis.set_major_formatter("{x:g}")
    training.yaxis.set_minor_formatter("{x:g}")
    robust.set(xlabel="test error, %", ylabel="ρ, DeepFool")
    detection.set(xlabel="clean images reported, share", ylabel="attacked images detected, share", aspect="equal")
    for ax in (training, robust, detection):
        plain(ax)
    training.legend(fontsize=FONT - 2, frameon=False)
    robust.legend(fontsize=FONT - 2, frameon=False)
    return caption(
        figure,
        "Classifier f and critic D, apart and as one",
        "Middle: one mark per seed, filled: f, hollow: D as a classifier (in one network the same). Right: an image is "
        "reported if D is below a threshold; attacks at the clean image's confidence; the diagonal is guessing.",
    )
