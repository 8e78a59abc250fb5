"""The problems that the cases are about: small networks, a batch, and what must be true of them.

A problem is a seed and some sizes.  Its numbers are multiples of 1/256, exact in float32 and short in JSON; smooth
problems keep away from every kink and tie, and hold wrong and right, kept and failed examples side by side, or mistakes
would stay invisible.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Given = dict[str, Any]
Spec = tuple[str, str, dict[str, str]]
"""(term, suffix of the id, {argument: name of the given value, where it differs from `ASKS`})"""

ASKS: dict[str, tuple[str, str, str, str]] = {
    "logits": ("logits", "logits", "params x", "section 3: f(x)"),
    "scores": ("scores", "scores", "critic x noise=noise_real", "section 3: D(x); authors: utils.gaussian_noise"),
    "input-gradient": ("input_gradient", "input_gradient", "params x labels", "∇_x f_label"),
    "critic-gradient": (
        "critic_gradient",
        "critic_gradient",
        "critic x labels noise=noise_real",
        "authors: utils.norm_penalty",
    ),
    "nearest-class": ("nearest_class", "nearest_class", "params x labels geometry", "authors: attack.py 10-67"),
    "confidence": (
        "running_confidence",
        "value biased steps",
        "params x y value=value_before biased=biased_before steps",
        "authors: train_critic.py 147-165",
    ),
    "attack-step": ("attack_step", "attack_step", "params x targets C eps geometry", "authors: attack.py 251-263"),
    "attack": ("attack", "trace mask", "params x targets C iterations overshoot eps", "authors: attack.py 211-266"),
    "adversarial-perturbation": (
        "adversarial_perturbation",
        "adversarial_perturbation",
        "params x y epsilon geometry",
        "Goodfellow et al. 2015",
    ),
    "virtual-perturbation": (
        "virtual_perturbation",
        "virtual_perturbation",
        "params x start xi epsilon",
        "Miyato et al. 2015",
    ),
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
    "robustness": ("robustness", "robustness", "x images success", "section 4: ρ"),
}
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

EVERYTHING: list[Spec] = [(term, "", {}) for term in ASKS if ASKS[term][0] not in ("deepfool", "carlini_wagner")]
CLASSIFIER = ["loss-cross-entropy", "loss-critic", "loss-cycle", "gradient-critic", "gradient-cycle"]
CRITIC = ["loss-real", "loss-fake", "loss-penalty", "gradient-fake", "gradient-penalty"]


def terms(*names: str, **replaced: str) -> list[Spec]:
    return [(name, "", {k: v for k, v in replaced.items() if k in ASKS[name][2].replace("=", " ").split()}) for name in names]


@dataclass(frozen=True)
class Problem:
    name: str
    about: str
    seed: int
    specs: list[Spec]
    sizes: tuple[int, ...] = (6, 7, 5, 4)
    critic_sizes: tuple[int, ...] = (6, 8, 7, 4)
    n: int = 8
    flags: tuple[str, ...] = ()
    """None for a smooth problem."""
    change: Callable[[Given], None] = lambda given: None
    """Makes the branch that the problem is about."""
    fits: Callable[[Given, dict], bool] = lambda given, facts: True
    """Whether it does: of the values given, and of what the attack makes of them (`generate.facts`)."""
    tolerance: float | None = None
    must: bool = True


def build(p: Problem, seed: int | None = None) -> Given:
    """All values that a case of the problem may take, by name."""
    rng = np.random.default_rng(p.seed if seed is None else seed)

    def short(a):
        return np.round(np.asarray(a, float) * 256) / 256

    def network(sizes, scale=2.0):
        return [
            (short(rng.standard_normal((m, n)) * (scale / m) ** 0.5), short(rng.standard_normal(n) * 0.3))
            for m, n in zip(sizes, sizes[1:])
        ]

    def noise(critic):
        return [short(rng.standard_normal((p.n, len(W))) * (0.1, 0.5)[i > 0]) for i, (W, _) in enumerate(critic)]

    def like(params, low, high):
        return [tuple(short(rng.uniform(low, high, a.shape)) for a in layer) for layer in params]

    k, d = p.sizes[-1], p.sizes[0]
    params, critic = network(p.sizes, 3.0), network(p.critic_sizes)
    given = {
        "params": params,
        "critic": critic,
        "x": short(rng.random((p.n, d))),
        "y": rng.integers(0, k, p.n),
        "value": short(rng.uniform(0.5, 0.85, k)),
        "noise_real": noise(critic),
        "noise_fake": noise(critic),
        "noise_judge": noise(critic),
        "u": short(rng.uniform(0.2, 0.8, (p.n, 1))),
        "start": short(rng.standard_normal((p.n, d))),
        "gradient": like(params, -1, 1),
        "m": like(params, -0.5, 0.5),
        "v": like(params, 0.05, 1),
        "value_before": short(rng.uniform(0.4, 0.95, k)),
        "biased_before": short(rng.uniform(0.2, 0.45, k)),
        "targets": rng.integers(0, k, p.n),
        "labels": rng.integers(0, k, p.n),
        "images": short(rng.random((p.n, d))),
        "success": rng.random(p.n) < 0.7,
    }
    given["C"] = given["value"][given["targets"]]
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
    p.change(given)
    return given
