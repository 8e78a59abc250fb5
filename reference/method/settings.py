"""Every number of the method, one documented field each.

A default without a comment is the authors', from their published code.  The radii ε of the other defences are ours,
because the authors did not publish theirs.  `experiment/plans.py` has the demo's settings and the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import check_geometry, require, require_choice


@dataclass(frozen=True)
class Generator:
    """The attack that is unrolled in training."""

    iterations: int = 5
    """Newton steps, M."""
    overshoot: float = 0.05
    """o: the iterate is x + (1 + o) r."""
    eps: float = 1e-8
    """ε in the norm √(ε + ‖w‖²) and, as √ε, in the step."""
    gradient: str = "truncated"
    """"truncated" (iterates detached), "full", or "detached" (no gradient at all, for comparison)."""
    geometry: str = "l2"
    """"l2" or "linf": of the step and of the nearest class."""
    targets: str = "nearest"
    """"nearest" class, or a random one: "uniform" or "softmax"."""
    confidence: str | float = "running"
    """C: "running" class mean, the example's "own", or a number in (0, 1)."""

    def __post_init__(self):
        require("a whole number, 1 or more", iterations=self.iterations)
        require("a finite number, 0 or more", overshoot=self.overshoot, eps=self.eps)
        require_choice("gradient", self.gradient, ("truncated", "full", "detached"))
        check_geometry(self.geometry)
        require_choice("targets", self.targets, ("nearest", "uniform", "softmax"))
        require('"running", "own" or a number in (0, 1)', confidence=self.confidence)


@dataclass(frozen=True)
class Undefended:
    """Cross-entropy alone."""

    name = "undefended"


@dataclass(frozen=True)
class AdversarialTraining:
    """½ L(x) + ½ L(x + r), r one gradient step held constant.  Goodfellow et al. 2015."""

    name = "adversarial training"
    epsilon: float = 0.15
    """Length of the step in its geometry."""
    geometry: str = "linf"
    """"linf": ε·sign(∇L); "l2": ε·∇L/‖∇L‖."""

    def __post_init__(self):
        require("a finite number, 0 or more", epsilon=self.epsilon)
        check_geometry(self.geometry)


@dataclass(frozen=True)
class MultiStep:
    """L(x + r) alone, r from several projected gradient steps, held constant.  Madry et al. 2018; not in the paper."""

    name = "multi-step adversarial"
    epsilon: float = 1.5
    """Radius of the ball in its geometry."""
    steps: int = 7
    """Gradient steps, each 2.5·ε/steps long."""
    geometry: str = "l2"

    def __post_init__(self):
        require("a finite number, 0 or more", epsilon=self.epsilon)
        require("a whole number, 1 or more", steps=self.steps)
        check_geometry(self.geometry)


@dataclass(frozen=True)
class VirtualAdversarial:
    """L(x) + KL(sg[p(x)] ‖ p(x + ε d)), d held constant.  Miyato et al. 2015."""

    name = "virtual adversarial"
    epsilon: float = 1.5
    """Length of the perturbation, L2."""
    xi: float = 0.1
    """Length of the finite difference that finds d; 0.1 is fit for float32."""
    power_iterations: int = 1

    def __post_init__(self):
        require("a finite number, 0 or more", epsilon=self.epsilon)
        require("a positive finite number", xi=self.xi)
        require("a whole number, 1 or more", power_iterations=self.power_iterations)


@dataclass(frozen=True)
class Margin:
    """The hinge loss's worst case over an ε-ball, f linearised.  Matyasko & Chau 2017."""

    name = "margin"
    epsilon: float = 0.5
    """Radius of the ball in its geometry."""
    geometry: str = "l2"

    def __post_init__(self):
        require("a finite number, 0 or more", epsilon=self.epsilon)
        check_geometry(self.geometry)


@dataclass(frozen=True)
class AdversaryCritic:
    """L(x) + λ·(fool the critic) + β·(cycle), against a critic trained beside the classifier.  Matyasko & Chau 2018."""

    name = "adversary critic"
    critic_weight: float = 0.5
    """λ."""
    cycle_weight: float = 0.01
    """β."""
    generator: Generator = field(default_factory=Generator)
    """The settings of the attack: that which the critic judges, and the cycle's way back."""
    hidden: tuple[int, ...] = (1200, 1200)
    """The critic's hidden layers."""
    slope: float = 0.2
    """Of the critic's LeakyReLU, below 0."""
    input_noise: float = 0.1
    """Standard deviation of the Gaussian noise on the critic's input."""
    hidden_noise: float = 0.5
    """The same after each of its hidden activations."""
    penalty_weight: float = 10.0
    """Of the gradient penalty in the critic's loss."""
    critic_learning_rate: float = 1e-3
    critic_steps: int = 1
    """Critic steps per classifier step, on the same batch."""

    def __post_init__(self):
        require(
            "a finite number, 0 or more",
            critic_weight=self.critic_weight,
            cycle_weight=self.cycle_weight,
            input_noise=self.input_noise,
            hidden_noise=self.hidden_noise,
            penalty_weight=self.penalty_weight,
            slope=self.slope,
        )
        require("a positive finite number", critic_learning_rate=self.critic_learning_rate)
        require("a whole number, 0 or more", critic_steps=self.critic_steps)
        require("whole widths, 1 to 1000000", hidden=self.hidden)


Defence = Undefended | AdversarialTraining | VirtualAdversarial | Margin | AdversaryCritic | MultiStep


@dataclass(frozen=True)
class Training:
    """What all defences share."""

    hidden: tuple[int, ...] = (1200, 1200, 1200)
    """The classifier's hidden layers; () is a linear classifier."""
    batch: int = 100
    """Examples a step; the last batch of an epoch may be smaller."""
    pretrain_epochs: int = 1
    """Epochs on cross-entropy + weight_decay·½Σ‖W‖² beforehand."""
    epochs: int = 100
    learning_rate: float = 5e-4
    halve_every: float = 40
    """Epochs after which both learning rates are halved, again and again."""
    weight_decay: float = 5e-6
    """Of the hidden weight matrices, in pre-training only."""
    beta1: float = 0.5
    """Adam's β1.  Not 0.9."""
    beta2: float = 0.999

    def __post_init__(self):
        require("a whole number, 1 or more", batch=self.batch)
        require("a whole number, 0 or more", pretrain_epochs=self.pretrain_epochs, epochs=self.epochs)
        require("a positive finite number", learning_rate=self.learning_rate, halve_every=self.halve_every)
        require("a finite number, 0 or more", weight_decay=self.weight_decay)
        require("a number in [0, 1)", beta1=self.beta1, beta2=self.beta2)
        require("whole widths, 1 to 1000000", hidden=self.hidden)
