"""What the kit asks of an implementation: one small class of functions on NumPy arrays, every one of them optional.

Stateless: everything comes in as arguments, everything random too; NumPy arrays come in, and NumPy arrays of the same
dtype (float64 or float32), Python numbers, or lists of layers of them go out.  A method that is missing, or an entry
missing from a dict that a method returns, is skipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from numpy import ndarray

Layers = list[tuple[ndarray, ndarray]]

CHOICES: dict[str, tuple[str, ...]] = {
    "unrolling": ("truncated", "full"),
    "indicator": ("straight-through", "constant"),
    "cycle confidence": ("attached", "detached"),
    "cycle norm": ("squared", "plain"),
    "running confidence": ("debiased", "plain"),
    "penalty points": ("real and attacked", "interpolates"),
    "Adam epsilon": ("outside", "inside"),
}
"""Where the paper and the authors' code differ or are silent; the first is the authors' code, and the default."""


class Adapter(Protocol):
    """An implementation under test.

    params  classifier, list of layers (W (in, out), b (out,)): x @ W + b, ReLU between
    critic  the same with LeakyReLU 0.2; noise: None, or a list with one (n, in) array for the input of each layer
    x       (n, d) flat images; y, labels, targets: (n,) integers 0..k-1
    C       target confidence (n,), a constant; with `value` (k,), the running confidence, it is value[targets]; where
            that is None it is the example's own, max_j p_j(x), and gradient flows through it
    S       the examples whose attack changed the prediction; sg[·] a constant; t a target; ŷ = argmax f(x̂);
            conf = max_j p_j(x); L the cross-entropy

    The loss terms are means over examples, without their weights λ, β, 10.  The choices, the default first:

    unrolling           the iterates of the attack are constants; or gradient flows through the whole path
    indicator           backwards, its rounding is the identity; or the whole indicator is a constant
    cycle confidence    gradient flows through conf, the target confidence of the cycle's attack; or not
    cycle norm          ‖x − x_back‖²; or ‖x − x_back‖
    running confidence  debiased, from 0: see `running_confidence`; or value ← ½·value + ½·batch, from 1; the rest alike
    penalty points      sum of the means over x with label y and x̂ with ŷ; or one mean, over u·x + (1 − u)·x̂ with y
    Adam epsilon        rate·√(1−β2ᵗ)/(1−β1ᵗ)·m/(√v + ε); or rate·(m/(1−β1ᵗ))/(√(v/(1−β2ᵗ)) + ε)
    """

    name: str
    choices: Mapping[str, str]
    """A choice that is not named here is the default."""

    # Level 0 ------------------------------------------------------------------------------------------- the networks
    def logits(self, params: Layers, x: ndarray) -> ndarray:
        """f(x), (n, k)."""

    def scores(self, critic: Layers, x: ndarray, noise: list[ndarray] | None) -> ndarray:
        """D(x), (n, k): noise[0] is added to x, noise[l] after the l-th activation."""

    # Level 1 -------------------------------------------------------------------- input gradients, targets, confidence
    def input_gradient(self, params: Layers, x: ndarray, labels: ndarray) -> ndarray:
        """∇_x f_label(x), (n, d)."""

    def critic_gradient(self, critic: Layers, x: ndarray, labels: ndarray, noise: list[ndarray] | None) -> ndarray:
        """∇_x D_label(x), (n, d)."""

    def nearest_class(self, params: Layers, x: ndarray, labels: ndarray, geometry: str) -> ndarray:
        """argmin_{j≠label} |f_j − f_label| / ‖∇f_j − ∇f_label‖, (n,) integers; the norm is L2 ("l2") or L1 ("linf").
        Where a gradient difference is 0 that class is infinitely far; where all are, the highest other logit."""

    def running_confidence(
        self, params: Layers, x: ndarray, y: ndarray, value: ndarray, biased: ndarray, steps: int
    ) -> dict[str, Any]:
        """State in, state out: {"value" (k,), "biased" (k,), "steps"}, before the first batch 1, 0 and 0.

        batch_j: mean of max_j p_j over the examples predicted as j, `value_j` if there are none;
        biased ← ½ biased + ½ batch; steps ← steps + 1; value ← biased / (1 − ½^steps)."""

    # Level 2 ---------------------------------------------------------------------------------- the attack of training
    def attack_step(
        self, params: Layers, x: ndarray, targets: ndarray, C: ndarray, eps: float, geometry: str
    ) -> ndarray:
        """One step taken at x, without the indicator, (n, d): (√ε + φ/n)·w/n ("l2") or (√ε + φ)·sign(w)/‖w‖₁ ("linf"),
        φ = |log p_t − log C|, w = ∇_x log p_t, n = √(ε + ‖w‖²).  Where w is 0, the step is 0."""

    def attack(
        self, params: Layers, x: ndarray, targets: ndarray, C: ndarray, iterations: int, overshoot: float, eps: float
    ) -> dict[str, ndarray]:
        """{"trace" (M, n, d), "mask" (M, n)}: x + (1 + o) r after each of the M iterations (the last is x̂), and whether
        each example changed in it (where the step is 0, it did not).  Each adds the step taken at x + (1 + o) r to r,
        times the indicator: the product of round(σ(C − p_t)) so far, 1 until p_t first reaches C.  Geometry "l2";
        neither box nor step limit."""

    # Levels 3 and 4 ------------------------------------------------- the terms, and the gradient of each, both by name
    def classifier_losses(
        self, params: Layers, critic: Layers, x: ndarray, y: ndarray, targets: ndarray, value: ndarray | None,
        noise: list[ndarray] | None,
    ) -> dict[str, Any]:  # fmt: skip
        """{"cross_entropy", "critic", "cycle"}: mean L(f(x), y); mean over S of softplus(−D_ŷ(x̂)); mean over S of
        ‖x − A_f(sg[x̂], argmax f(x); conf)‖².  Attack: M = 5, o = 0.05, ε = 1e-8, L2.  S empty: 0."""

    def classifier_gradients(
        self, params: Layers, critic: Layers, x: ndarray, y: ndarray, targets: ndarray, value: ndarray | None,
        noise: list[ndarray] | None,
    ) -> dict[str, Layers]:  # fmt: skip
        """The gradient of each of these terms by `params`."""

    def critic_losses(
        self, params: Layers, critic: Layers, x: ndarray, y: ndarray, targets: ndarray, value: ndarray,
        noise_real: list[ndarray] | None, noise_fake: list[ndarray] | None, u: ndarray,
    ) -> dict[str, Any]:  # fmt: skip
        """{"real", "fake", "penalty"}: mean softplus(−D_y(x)); mean over all examples of softplus(D_ŷ(x̂));
        mean (‖∇D_y(x)‖ − 1)² + mean (‖∇D_ŷ(x̂)‖ − 1)².  The noise of a forward pass is shared by loss and penalty.
        u (n, 1) in [0, 1]: only for the choice "interpolates", whose critic passes take noise_real."""

    def critic_gradients(
        self, params: Layers, critic: Layers, x: ndarray, y: ndarray, targets: ndarray, value: ndarray,
        noise_real: list[ndarray] | None, noise_fake: list[ndarray] | None, u: ndarray,
    ) -> dict[str, Layers]:  # fmt: skip
        """The gradient of each of these terms by `critic`."""

    def adversarial_perturbation(
        self, params: Layers, x: ndarray, y: ndarray, epsilon: float, geometry: str
    ) -> ndarray:
        """r of adversarial training, (n, d): ε·sign(∇_x L) ("linf") or ε·∇_x L/‖∇_x L‖ ("l2").  Where ∇_x L is 0,
        r is 0."""

    def virtual_perturbation(self, params: Layers, x: ndarray, start: ndarray, xi: float, epsilon: float) -> ndarray:
        """r of virtual adversarial training, (n, d): ε·g/‖g‖, g the gradient of KL(p(x) ‖ p(x + r)) by r at
        ξ·start/‖start‖: one power iteration.  Where g is 0, r is 0."""

    def baseline_losses(
        self, params: Layers, x: ndarray, y: ndarray, start: ndarray, epsilon: float, xi: float, weight_decay: float
    ) -> dict[str, Any]:
        """{"pretraining", "adversarial", "virtual", "margin"}: L + weight_decay·½Σ‖W‖² over hidden layers;
        ½ L(x) + ½ L(x + r), L2; L(x) + KL(sg[p(x)] ‖ p(x + r)); mean max_{j≠y} [1 + f_j − f_y + ε‖∇f_j − ∇f_y‖]₊."""

    def baseline_gradients(
        self, params: Layers, x: ndarray, y: ndarray, start: ndarray, epsilon: float, xi: float, weight_decay: float
    ) -> dict[str, Layers]:
        """The gradient of each of these losses by `params`; r is held constant."""

    # Level 5 --------------------------------------------------------------------------------------------------- steps
    def adam_step(
        self, params: Layers, gradient: Layers, m: Layers, v: Layers, t: int, rate: float
    ) -> dict[str, Layers]:
        """{"params", "m", "v"} after step t + 1, β1 = 0.5, β2 = 0.999, ε = 1e-8."""

    def training_step(
        self, state: dict[str, Any], x: ndarray, y: ndarray, noise_real: list[ndarray], noise_fake: list[ndarray],
        noise_judge: list[ndarray], u: ndarray, rate: float, critic_rate: float, critic_weight: float,
        cycle_weight: float, penalty_weight: float,
    ) -> dict[str, Any]:  # fmt: skip
        """One batch, state in, state out: running confidence with this batch; nearest class to the predicted one and C,
        the new running confidence of that class; a critic step; a classifier step at the same θ and C with the updated
        critic and `noise_judge`.

        state: {"params", "params_m", "params_v", "params_t", "critic", "critic_m", "critic_v", "critic_t", "value",
        "biased", "steps"}, Adam's moments and steps of either network, and the running confidence."""

    def trajectory(
        self, state: dict[str, Any], x: ndarray, y: ndarray, noise_real: list[ndarray], noise_fake: list[ndarray],
        noise_judge: list[ndarray], u: ndarray, rate: float, critic_rate: float, critic_weight: float,
        cycle_weight: float, penalty_weight: float,
    ) -> dict[str, Any]:  # fmt: skip
        """The state after several batches: x (b, n, d), y (b, n), and so on, are a batch a row.  You may leave it out:
        the kit then calls `training_step` for each batch, with the state that it returned before."""

    # Level 6 ---------------------------------------------------------------------------------------------- evaluation
    # An attack whose `success` is False is judged by that alone: its image may be any, the original for example.
    def deepfool(self, params: Layers, x: ndarray, labels: ndarray) -> dict[str, ndarray]:
        """{"images" (n, d), "success" (n,)}: up to 500 iterations; test at x + (1 + o) r, o = 0.02; linearise at x + r;
        nearest class anew each time; step (min(|Δf|/‖Δ∇f‖, 0.1) + 1e-4)·Δ∇f/‖Δ∇f‖; box [0, 1].
        Where Δ∇f is 0 for every class it fails."""

    def high_confidence(self, params: Layers, x: ndarray, labels: ndarray, C: ndarray | None) -> dict[str, ndarray]:
        """{"images", "success"}: the step of training, up to 500 times, until argmax f = t and p_t ≥ C, tested at
        x + (1 + o) r, o = 0.02; t the class nearest to the label at x; step norm at most 0.1; box [0, 1].
        Where w is 0 it fails."""

    def carlini_wagner(self, params: Layers, x: ndarray, labels: ndarray) -> dict[str, ndarray]:
        """{"images", "success"}: untargeted, L2, 9 search steps of 1000 iterations, confidence 0, box [0, 1]; the
        constant is 0.01 at first, 10 times as much until it works, then bisected; Adam's rate is 0.01.
        Judged by norms (n,), ‖images − x‖: on an answer sheet they stand in place of the images."""

    def robustness(self, x: ndarray, images: ndarray, success: ndarray) -> float:
        """ρ: the mean of ‖images − x‖/‖x‖ over the successes."""
