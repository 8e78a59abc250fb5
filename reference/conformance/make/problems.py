"""The problems that the cases are about: small networks, a batch, and what must be true of them.

A problem is a seed and some sizes.  Its numbers are multiples of 1/256, exact in float32 and short in JSON; smooth
problems keep away from every kink and tie, and hold wrong and right, kept and failed examples side by side, or mistakes
would stay invisible.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...plumbing.files import load_npz
from ..cases import FOLDER, tree_map
from .closed_forms import logits, predicted

Given = dict[str, Any]
Spec = tuple[str, str, dict[str, str]]
"""(term, suffix of the id, {argument: name of the given value, where it differs from `ASKS`})"""

ASKS: dict[str, tuple[str, str, str, str]] = {
    "logits": ("logits", "", "params x", "section 3: f(x)"),
    "scores": ("scores", "", "critic x noise=noise_real", "section 3: D(x); authors: utils.gaussian_noise"),
    "input-gradient": ("input_gradient", "", "params x labels", "∇_x f_label"),
    "critic-gradient": ("critic_gradient", "", "critic x labels noise=noise_real", "authors: utils.norm_penalty"),
    "nearest-class": ("nearest_class", "", "params x labels geometry", "authors: attack.py 10-67"),
    "confidence": (
        "running_confidence",
        "value biased steps",
        "params x y value=value_before biased=biased_before steps",
        "authors: train_critic.py 147-165",
    ),
    "attack-step": ("attack_step", "", "params x targets C eps geometry", "authors: attack.py 251-263"),
    "attack": ("attack", "trace mask", "params x targets C iterations overshoot eps", "authors: attack.py 211-266"),
    "adversarial-perturbation": (
        "adversarial_perturbation",
        "",
        "params x y epsilon geometry",
        "Goodfellow et al. 2015",
    ),
    "virtual-perturbation": ("virtual_perturbation", "", "params x start xi epsilon", "Miyato et al. 2015"),
    "adam": ("adam_step", "params m v", "params gradient m v t rate", "authors: tf.train.AdamOptimizer(beta1=0.5)"),
    "training-step": (
        "training_step",
        "params critic value",
        "state x y noise_real noise_fake noise_judge u rate critic_rate critic_weight cycle_weight penalty_weight",
        "authors: train_critic.py, training loop",
    ),
    "deepfool": ("deepfool", "images success", "params x labels", "authors: attack.py 70-141"),
    "high-confidence": ("high_confidence", "images success", "params x labels C", "authors: attack.py 144-208"),
    "carlini-wagner": ("carlini_wagner", "norms success", "params x labels", "Carlini & Wagner 2017"),
    "robustness": ("robustness", "", "x images success", "section 4: ρ"),
}
"""{term: (method, its outputs, "" for one that is named like the method, arguments, basis)}"""
_STATE = "params params_m params_v params_t critic critic_m critic_v critic_t value biased steps"
for call, term in (("training_step", "state"), ("trajectory", "trajectory")):
    ASKS[term] = (call, _STATE, *ASKS["training-step"][2:])
_OBJECTIVES = {
    "classifier": (
        "params critic x y targets value noise=noise_fake",
        {
            "cross_entropy": "eq. 3",
            "critic": "eq. 5; authors: train_critic.py 214-227",
            "cycle": "eq. 7; authors: train_critic.py 179-181, 219",
        },
    ),
    "critic": (
        "params critic x y targets value noise_real noise_fake u",
        {
            "real": "eq. 4; authors: train_critic.py 232-245",
            "fake": "eq. 4; authors: train_critic.py 232-245",
            "penalty": "authors: utils.norm_penalty",
        },
    ),
    "baseline": (
        "params x y start epsilon xi weight_decay",
        {
            "pretraining": "authors: train_critic.py, pre-training",
            "adversarial": "Goodfellow et al. 2015",
            "virtual": "Miyato et al. 2015",
            "margin": "Matyasko & Chau 2017",
        },
    ),
}
for owner, (arguments, terms) in _OBJECTIVES.items():
    for term, basis in terms.items():
        for kind, method in (("loss", "losses"), ("gradient", "gradients")):
            ASKS[f"{kind}-{term.replace('_', '-')}"] = (f"{owner}_{method}", term, arguments, basis)

BOTH = [
    f"{kind}-{name}" for kind in ("loss", "gradient") for name in ("cross-entropy", "critic", "cycle", "real", "fake")
]
BOTH += ["loss-penalty", "gradient-penalty"]
BASELINES = [f"{kind}-{name}" for kind in ("loss", "gradient") for name in _OBJECTIVES["baseline"][1]]
CLASSIFIER = ["loss-critic", "loss-cycle", "gradient-critic", "gradient-cycle"]
CRITIC = ["loss-real", "loss-fake", "loss-penalty", "gradient-fake", "gradient-penalty"]


def terms(*names: str, **replaced: str) -> list[Spec]:
    taken = {name: [part.partition("=")[0] for part in ASKS[name][2].split()] for name in names}
    return [(name, "", {k: v for k, v in replaced.items() if k in taken[name]}) for name in names]


@dataclass(frozen=True)
class Problem:
    name: str
    about: str
    specs: list[Spec]
    seed: int = 0
    sizes: tuple[int, ...] = (6, 7, 4)
    critic_sizes: tuple[int, ...] = ()
    """By default 8 hidden units, or none beside a linear classifier."""
    rows: tuple[int, ...] = tuple(range(8))
    """Which of the 64 examples drawn are the batch."""
    flags: tuple[str, ...] = ()
    """None for a smooth problem."""
    change: Callable[[Given], None] = lambda given: None
    """Makes the branch that the problem is about."""
    fits: Callable[[Given, dict], bool] | None = None
    """Whether it does: of the values given, and of what the attack makes of them (`generate.facts`)."""
    tolerance: float | None = None


POOL = 64


def build(p: Problem) -> Given:
    """All values that a case of the problem may take, by name."""
    rng = np.random.default_rng(p.seed)

    def short(a):
        return np.round(np.asarray(a, float) * 256) / 256

    def network(sizes, scale=2.0):
        return [
            (short(rng.standard_normal((m, n)) * (scale / m) ** 0.5), short(rng.standard_normal(n) * 0.3))
            for m, n in zip(sizes, sizes[1:])
        ]

    def noise(critic):
        return [short(rng.standard_normal((POOL, len(W))) * (0.1, 0.5)[i > 0]) for i, (W, _) in enumerate(critic)]

    def like(params, low, high):
        return [tuple(short(rng.uniform(low, high, a.shape)) for a in layer) for layer in params]

    k, d = p.sizes[-1], p.sizes[0]
    params, critic = network(p.sizes, 6.0), network(p.critic_sizes or (d, *(8,) * (len(p.sizes) > 2), k))
    x = short(rng.random((POOL, d)))
    *hidden, (W, b) = params
    params = [*hidden, (W, b - short(logits(params, x).mean(axis=0)))]  # or one class would rule
    given = {
        "params": params,
        "critic": critic,
        "x": x,
        "y": np.where(rng.random(POOL) < 0.6, predicted(params, x), rng.integers(0, k, POOL)),
        "value": short(rng.uniform(0.5, 0.85, k)),
        "noise_real": noise(critic),
        "noise_fake": noise(critic),
        "noise_judge": noise(critic),
        "u": short(rng.uniform(0.2, 0.8, (POOL, 1))),
        "start": short(rng.standard_normal((POOL, d))),
        "gradient": like(params, -1, 1),
        "m": like(params, -0.5, 0.5),
        "v": like(params, 0.05, 1),
        "value_before": short(rng.uniform(0.4, 0.95, k)),
        "biased_before": short(rng.uniform(0.2, 0.45, k)),
        "targets": rng.integers(0, k, POOL),
        "labels": rng.integers(0, k, POOL),
        "images": short(rng.random((POOL, d))),
        "success": rng.random(POOL) < 0.7,
    }
    given["state"] = {
        "params": params,
        "params_m": given["m"],
        "params_v": given["v"],
        "params_t": 3,
        "critic": critic,
        "critic_m": like(critic, -0.5, 0.5),
        "critic_v": like(critic, 0.05, 1),
        "critic_t": 2,
        "value": given["value_before"],
        "biased": given["biased_before"],
        "steps": 1,
    }
    given |= dict(none=None, l2="l2", linf="linf", steps=1, t=3, iterations=5, overshoot=0.05, eps=1e-8, epsilon=0.25)
    given |= dict(xi=0.125, weight_decay=0.0625, rate=0.0625, critic_rate=0.125, critic_weight=0.5, cycle_weight=0.25)
    given |= dict(penalty_weight=2.0, geometry="l2", large_eps=0.0625)
    for name in PER_EXAMPLE:
        given[name] = tree_map(lambda a: a[list(p.rows)], given[name])
    p.change(given)
    return {"C": given["value"][given["targets"]]} | given


PER_EXAMPLE = "x y noise_real noise_fake noise_judge u start targets labels images success".split()


# What makes a branch -----------------------------------------------------------------------------------------


def away(given):
    """The targets are the predicted class's successors, so that no example starts in its target."""
    given["targets"] = (predicted(given["params"], given["x"]) + 1) % len(given["value"])


def nearest_targets(given):
    """Targets as in training: another class than the predicted one."""
    classes, k = predicted(given["params"], given["x"]), len(given["value"])
    given["targets"] = (classes + 1 + given["targets"] % (k - 1)) % k


def with_value(level):
    def change(given):
        away(given)
        given["value"] = np.full_like(given["value"], level)

    return change


def at_once(given):
    """C is below every class's chance level."""
    given["targets"] = predicted(given["params"], given["x"])
    given["value"] = np.full_like(given["value"], 1 / 8)


def tie(given):
    """p_t = C = ½ exactly, where a step would move: f = (0, w·x) with w·x = 0."""
    w = np.array([1, -1, 2, -2, 0.5, -0.5])
    given["params"] = [(np.stack([0 * w, w], axis=1), np.zeros(2))]
    given["x"] = np.repeat(given["x"][:, :1], 6, axis=1)
    given["targets"], given["C"] = np.arange(len(given["x"])) % 2, np.full(len(given["x"]), 0.5)


def kink(given):
    """The first pre-activation of every example is exactly 0."""
    W, b = given["params"][0]
    first = np.arange(len(b)) == 0
    given["params"] = [(W * ~first, b * ~first), *given["params"][1:]]
    given["labels"] = predicted(given["params"], given["x"])


def absent(given):
    """One class is predicted for no example of the batch, by a bias that no logit makes up for."""
    W, b = given["params"][-1]
    given["params"][-1] = (W, b - 16 * (np.arange(len(b)) == 1))
    given |= dict(steps=0, value_before=np.ones_like(b), biased_before=np.zeros_like(b))


def saturated(given):
    """Logits so far apart that probabilities underflow."""
    given["params"] = [*given["params"][:-1], tuple(512 * a for a in given["params"][-1])]


def unrounded(given):
    """Values whose binary digits do not end: all others are short, and whoever rounds those rounds nothing away."""
    for name in ("x", "value", "value_before", "biased_before", "start"):
        given[name] = 0.99 * given[name]
    for name in ("params", "critic"):
        given[name] = [(0.99 * W, 0.99 * b) for W, b in given[name]]
    for name in ("noise_real", "noise_fake"):
        given[name] = [0.99 * a for a in given[name]]
    nearest_targets(given)


def misclassified(given):
    """No image is what its label says; DeepFool has nothing to do."""
    given["labels"] = (predicted(given["params"], given["x"]) + 1) % len(given["value"])


def labelled(given):
    """Labels that f gives to all but the last two images."""
    given["labels"] = predicted(given["params"], given["x"])
    given["labels"][-2:] = (given["labels"][-2:] + 1) % len(given["value"])


def centred(width):
    """Images around the centre of the box, labelled as f takes them, where all boundaries of a linear f meet."""

    def change(given):
        W, _ = given["params"][0]
        given["x"] = 0.5 + (given["x"] - 0.5) * width
        given["params"] = [(W, -0.5 * W.sum(axis=0))]
        given["labels"] = predicted(given["params"], given["x"])

    return change


def taken(given):
    """Labels as f takes the images."""
    given["labels"] = predicted(given["params"], given["x"])


def steep(given):
    """Logits so steep that Carlini and Wagner's constant must be far below the first that works."""
    ((W, b),) = given["params"]
    given["params"] = [(4096 * W, 4096 * b)]
    taken(given)


def modest(given):
    """Labels as for `labelled`, and a C that a class may have before it is the highest."""
    labelled(given)
    given["C"] = np.full(len(given["labels"]), 0.25)


def tiny(given):
    """Gradients so small that Adam's ε counts."""
    scale = 2.0**-26
    given["gradient"] = [tuple(a * scale for a in layer) for layer in given["gradient"]]
    given["m"] = [tuple(a * scale for a in layer) for layer in given["m"]]
    given["v"] = [tuple(a * scale**2 for a in layer) for layer in given["v"]]
    given["rate"] = 1.0


def set_otherwise(given):
    """Every number that is a setting is another one than elsewhere."""
    given |= dict(iterations=3, overshoot=0.25, eps=0.0625, epsilon=0.5, xi=0.25, weight_decay=0.25)


def flat(given):
    """No gradient at all where the image is dark: every hidden unit is off there, and the logits are far apart."""
    (W, b), (V, c) = given["params"]
    given["params"] = [(np.abs(W), np.full_like(b, -1)), (V, c)]
    given["x"][: len(given["x"]) // 2] /= 16
    given["y"] = given["labels"] = predicted(given["params"], given["x"])
    given["labels"][0] = (given["labels"][0] + 1) % len(c)
    given["params"][-1] = (V, 2 * c)
    away(given)


def no_critic(given):
    """The critic's last layer is 0, as some networks start: its gradient is 0 everywhere."""
    given["critic"] = [*given["critic"][:-1], tuple(0 * a for a in given["critic"][-1])]


def first(given):
    """The first batch: zero moments, t = 0, and a running confidence that has seen nothing."""
    state = given["state"]
    for name in ("params", "critic"):
        state |= {f"{name}_{moment}": [(0 * W, 0 * b) for W, b in state[name]] for moment in "mv"} | {f"{name}_t": 0}
    k = len(state["value"])
    state |= dict(value=np.ones(k), biased=np.zeros(k), steps=0)
    W, b = given["gradient"][0]
    given["gradient"][0] = (W * (np.arange(len(b)) > 0), b)  # a weight that has no gradient yet
    given |= dict(t=0, m=state["params_m"], v=state["params_v"], rate=0.03125, critic_rate=0.0625)
    given |= dict(critic_weight=1.0, cycle_weight=0.5, penalty_weight=4.0)


def batches(given):
    """Five batches, a row each, from the first."""
    first(given)
    for name in PER_EXAMPLE:
        given[name] = tree_map(lambda a: a.reshape(5, len(a) // 5, *a.shape[1:]), given[name])


def unmoved(given):
    """A success that has not moved: an image that was misclassified from the start."""
    given["images"][0], given["success"][0] = given["x"][0], True


def trained(given):
    """A network trained on digits, and digits of the test split."""
    arrays = load_npz(FOLDER / "checkpoint.npz")
    depth = sum(name.startswith("W") for name in arrays)
    given["params"] = [(arrays[f"W{i}"].astype(float), arrays[f"b{i}"].astype(float)) for i in range(depth)]
    given["x"], given["labels"] = arrays["x"].astype(float), arrays["labels"]


def mixed(given, facts):
    """All that hides a mistake when it is missing."""
    kept, right = facts["kept"], facts["predicted"] == given["y"]
    started = ~facts["mask"][0]
    return (
        2 <= kept.sum() <= len(kept) - 2
        and (kept & right).any()
        and (kept & ~right).any()
        and (~kept & right).any()
        and (kept & (facts["y_hat"] != given["targets"])).any()
        and started.any()
        and (facts["mask"][0] & ~facts["mask"][-1]).any()
        and facts["mask"][-1].any()
        and facts["length"].max() > 0.3
        and (facts["x_hat"] < 0).any()
        and facts["cycle"] < 4
        and facts["longest_step"] < 2
    )


def branch(name: str, about: str, specs: list[Spec], **more) -> Problem:
    """A problem about a branch, which is its flag."""
    return Problem(name, about, specs, flags=(name,), **more)


ATTACKED = ["attack", *CLASSIFIER, *CRITIC]
LINF = [(term, "linf", {"geometry": "linf"}) for term in ("nearest-class", "attack-step", "adversarial-perturbation")]
PROBLEMS = [
    Problem(
        "mixed",
        "The main one: networks, attack and critic on kept and failed, right and wrong, early and late examples.",
        terms("logits", "scores", "input-gradient", "critic-gradient", "nearest-class", "confidence")
        + terms("attack-step", "attack", *BOTH)
        + [
            ("nearest-class", "linf", {"geometry": "linf"}),
            ("attack-step", "linf", {"geometry": "linf"}),
            ("attack-step", "large-eps", {"eps": "large_eps"}),
            ("scores", "without-noise", {"noise": "none"}),
        ],
        seed=4,
        rows=(8, 7, 23, 42, 57, 48, 29, 54),
        fits=mixed,
    ),
    Problem(
        "own",
        "A deeper network, attacked to every example's own confidence, to which the gradient flows.",
        terms(*CLASSIFIER, value="none"),
        seed=5,
        rows=(51, 26, 62, 35, 50, 39, 49, 53),
        sizes=(5, 7, 6, 6, 4),
        fits=lambda given, facts: 2 <= facts["kept"].sum() <= 6 and facts["cycle"] < 4,
        change=away,
    ),
    Problem(
        "defences",
        "The other defences, on a network with two hidden layers.",
        terms("adversarial-perturbation", "virtual-perturbation", *BASELINES)
        + [("adversarial-perturbation", "linf", {"geometry": "linf"})],
        rows=(19, 30, 23, 9, 45, 37, 54, 5),
        sizes=(6, 7, 5, 4),
    ),
    Problem(
        "steps",
        "Adam, and a whole batch of training.",
        terms("adam", "training-step"),
        seed=5,
        rows=(9, 6, 51, 30, 46, 13, 48, 8),
        fits=lambda given, facts: facts["longest_step"] < 2 and facts["cycle"] < 4,
    ),
    Problem(
        "dual-norms",
        "The nearest class depends on the norm: L2, L1 and the maximum each choose another.",
        [("nearest-class", "", {}), ("nearest-class", "linf", {"geometry": "linf"})],
        seed=4,
        rows=(1, 2, 4, 59),
    ),
    Problem("tiny", "Gradients of 1e-8, where Adam's ε counts.", terms("adam"), change=tiny),
    Problem(
        "evaluation",
        "Attacks and ρ on a small network; some labels are wrong.",
        terms("deepfool", "high-confidence", "robustness", C="none"),
        change=labelled,
    ),
    Problem(
        "digits",
        "A network trained on 14×14 digits; the last images are misclassified.",
        terms("deepfool", "high-confidence", C="none"),
        change=trained,
    ),
    Problem(
        "linear-distance",
        "A linear network: the distance to the boundary in closed form.",
        terms("deepfool"),
        sizes=(5, 3),
        change=centred(1 / 16),
        flags=("linear",),
    ),
    Problem(
        "linear-optimum",
        "A linear network: the attack must find the distance within 2 %.",
        terms("carlini-wagner"),
        rows=(0, 1),
        sizes=(5, 2),
        change=centred(1),
        flags=("linear",),
        tolerance=0.02,
    ),
    Problem(
        "rivals",
        "A linear network with four classes: the attack's margin is to the highest of the others.",
        terms("carlini-wagner"),
        rows=(1, 5, 6, 15, 20, 21),
        sizes=(5, 4),
        change=taken,
        flags=("linear",),
        tolerance=0.02,
    ),
    Problem(
        "steep",
        "A linear network whose logits are thousands apart: the attack must bisect its constant to find the distance.",
        terms("carlini-wagner"),
        seed=1,
        rows=(12, 21, 23, 37, 50, 53),
        sizes=(5, 2),
        change=steep,
        flags=("linear", "steep"),
        tolerance=0.02,
    ),
    Problem(
        "close",
        "Images close to a steep boundary, which the attack crosses more than once: it must keep the nearest image.",
        terms("carlini-wagner"),
        seed=1,
        rows=(22, 45),
        sizes=(5, 2),
        change=steep,
        flags=("linear", "steep"),
        tolerance=0.02,
    ),
    Problem(
        "stops-at-once",
        "Every p_t ≥ C from the start: nothing moves, and S is empty.",
        terms(*ATTACKED),
        rows=(16, 36, 27, 8, 44, 23, 53, 4),
        change=at_once,
        flags=("stops-at-once", "s-empty"),
        fits=lambda given, facts: not facts["mask"].any(),
    ),
    branch(
        "exact-tie",
        "p_t = C exactly: the attack stops.",
        terms("attack"),
        change=tie,
        sizes=(6, 2),
    ),
    Problem(
        "confidence-one",
        "C = 1, which no step reaches.",
        terms(*ATTACKED),
        rows=(16, 36, 27, 8, 44, 23, 53, 4),
        change=with_value(1.0),
        flags=("target-confidence-one",),
        fits=lambda given, facts: facts["mask"].all() and facts["cycle"] < 20,
    ),
    branch(
        "all-kept",
        "Every attack changes the prediction.",
        terms(*ATTACKED),
        rows=(16, 36, 27, 8, 44, 23, 53, 4),
        change=with_value(0.75),
        fits=lambda given, facts: facts["kept"].all() and facts["cycle"] < 20,
    ),
    branch(
        "third-class",
        "Every attack lands in a class that is neither the original nor the target.",
        terms(*ATTACKED),
        seed=10,
        rows=(19, 59, 44),
        change=away,
        fits=lambda given, facts: (facts["kept"] & (facts["y_hat"] != given["targets"])).all(),
    ),
    branch(
        "absent-class",
        "The first batch; one class is predicted for no example.",
        terms("confidence"),
        change=absent,
    ),
    branch(
        "two-classes",
        "k = 2.",
        terms("nearest-class", *ATTACKED),
        sizes=(6, 7, 2),
        rows=(16, 36, 27, 8, 44, 23, 53, 4),
        change=away,
        fits=lambda given, facts: 1 < sum(facts["kept"]) and facts["cycle"] < 9,
    ),
    branch(
        "depth-zero",
        "A linear classifier and a linear critic.",
        terms("logits", "scores", "loss-margin", "gradient-margin", "gradient-pretraining", *ATTACKED),
        sizes=(6, 4),
        rows=(16, 36, 27, 8, 44, 23, 53, 4),
        change=away,
        fits=lambda given, facts: 1 < sum(facts["kept"]) and facts["cycle"] < 9,
    ),
    branch(
        "batch-of-one",
        "n = 1.",
        terms("confidence", *ATTACKED),
        rows=(16,),
        change=away,
        fits=lambda given, facts: facts["kept"].all() and facts["cycle"] < 9,
    ),
    branch(
        "other-settings",
        "Other numbers of iterations, overshoot, ε, ξ and weight decay than elsewhere.",
        terms("attack", "adversarial-perturbation", "virtual-perturbation", *BASELINES),
        rows=(18, 29, 22, 10, 45, 37, 54, 6),
        change=set_otherwise,
    ),
    branch(
        "all-digits",
        "Numbers whose digits do not end: a noise, an image or a confidence that is rounded on the way is seen.",
        terms("logits", "scores", "confidence", "attack", "virtual-perturbation", "loss-critic", "loss-cycle")
        + terms("loss-real", "loss-fake", "loss-penalty"),
        rows=(16, 36, 27, 8, 44, 23, 53, 4),
        change=unrounded,
    ),
    branch(
        "low-confidence",
        "C < ½: an attack may stop before the image leaves its class.",
        terms(*ATTACKED),
        seed=5,
        rows=(38, 48, 18, 24, 52, 13, 26, 8),
        change=with_value(3 / 8),
        fits=lambda given, facts: (
            (facts["mask"].any(axis=0) & ~facts["mask"][-1] & ~facts["kept"]).any()
            and 1 < sum(facts["kept"])
            and facts["cycle"] < 9
        ),
    ),
    branch(
        "no-gradient",
        "Half of the images are so dark that no hidden unit is on: every input gradient is 0 there.",
        terms("nearest-class", "attack-step", "attack", "adversarial-perturbation", "virtual-perturbation")
        + terms("loss-margin", "gradient-margin", "deepfool", "high-confidence", *CLASSIFIER)
        + LINF,
        change=flat,
    ),
    branch(
        "zero-critic",
        "The critic's last layer is 0, and so is its gradient.",
        terms("critic-gradient", *CRITIC),
        rows=(17, 41, 24, 47, 7, 44, 28, 54),
        change=no_critic,
    ),
    branch(
        "quiet",
        "No noise: null in its place.",
        terms(
            "critic-gradient",
            "loss-critic",
            "gradient-critic",
            *CRITIC,
            noise="none",
            noise_real="none",
            noise_fake="none",
        ),
        seed=4,
        rows=(15, 8, 50, 18, 59, 54, 47, 39),
        change=away,
    ),
    branch(
        "first-batch",
        "Adam at t = 0 and the first batch of training, with other rates and weights; all of the state is compared.",
        terms("adam", "state"),
        seed=3,
        rows=(0, 2, 3, 4, 31, 35, 44, 57),
        change=first,
    ),
    branch(
        "trajectory",
        "Five batches from the first on; all of the state is compared.",
        terms("trajectory"),
        rows=tuple(range(40)),
        change=batches,
    ),
    branch(
        "given-confidence",
        "The evaluation's attack with C given, for each image.",
        terms("high-confidence"),
        change=labelled,
    ),
    branch(
        "modest-confidence",
        "The evaluation's attack with C = ¼: a class may have C and not be the highest, and the attack goes on.",
        terms("high-confidence"),
        change=modest,
    ),
    branch(
        "turning",
        "Images that change class on DeepFool's way: the nearest class at first is not the one that is reached.",
        terms("deepfool"),
        seed=5,
        rows=(6, 19, 25, 28, 29, 32, 49, 56),
        change=labelled,
    ),
    branch(
        "anew",
        "On the way of three images another class becomes the nearest: DeepFool chooses anew in each iteration.",
        terms("deepfool"),
        seed=11,
        rows=(0, 24, 1, 48, 2, 58, 3, 4),
        change=taken,
    ),
    branch(
        "unmoved",
        "One success has not moved: ρ counts it as 0.",
        terms("robustness"),
        change=unmoved,
    ),
    branch(
        "relu-at-zero",
        "A pre-activation is exactly 0 in every example.",
        terms("input-gradient", "gradient-cross-entropy"),
        change=kink,
    ),
    branch(
        "saturated",
        "Logits hundreds apart: probabilities underflow, their logarithms do not.",
        terms("loss-cross-entropy", "gradient-cross-entropy"),
        change=saturated,
    ),
    branch(
        "misclassified",
        "No image is what its label says: DeepFool does not move it.",
        terms("deepfool"),
        change=misclassified,
    ),
]
