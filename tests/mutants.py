"""Deliberately wrong variants of the library, one for each mistake that the tests claim to notice.

A mutant is one or a few exact replacements in the source of `reference`, and the one test function that must turn red:
a property test, never a table of the authors' values.  A text to be replaced must occur exactly once, so a mutant that
no longer fits the source is an error, not a survivor.

Nothing is written to disk: an import hook compiles the changed text in place of the file, in a process of its own.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time
from importlib.abc import MetaPathFinder
from importlib.machinery import SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Mutant(NamedTuple):
    """In `file` (below reference/), `old` becomes `new`; `more` holds further (file, old, new)."""

    name: str
    killer: str  # the test that must fail
    file: str
    old: str
    new: str
    mistake: str
    more: tuple[tuple[str, str, str], ...] = ()


OBJECTIVE = "method/test_objectives.py::test_value_and_gradient"
CRITIC_TERMS = f"{OBJECTIVE}[adversary critic]"
ATTACK = "method/test_second_order.py::test_the_attack_by_parameters_confidence_and_image"
LOSS = "method/test_losses.py::test_value_is_the_mean_over_examples"
NOISE = "method/test_critic.py::test_noise_goes_in_before_each_layer_and_nowhere_else"
TWIN = "by_hand/test_adjoint.py::test_the_unrolled_attack_in_float64"
TWINS = "by_hand/test_adjoint.py::test_the_other_twins"
FUSED = "by_hand/test_adjoint.py::test_the_fused_steps"
BATCH = "experiment/test_train.py::test_a_batch_is_running_confidence_attack_critic_step_classifier_step"
LEVEL = "attacks/test_attacks.py::test_high_confidence_reaches_the_level_set_of_a_logistic_model"
SURVEY = "studies/test_survey.py"
UNLIKE, SHARED = "studies/test_studies_unlike.py", "studies/test_studies_critic.py"
RUNNING = "method/test_objectives.py::test_the_running_confidence_is_a_debiased_mean"

# fmt: off
MUTANTS = [
    # What is held fixed, and what flows
    Mutant(
        "attack-detached", CRITIC_TERMS, "method/objectives.py",
        "via.scores(fixed(critic_params), x_hat, noise)",
        "via.scores(fixed(critic_params), stop_gradient(x_hat), noise)",
        "The critic term's gradient by θ is 0: the method does nothing.",
    ),
    Mutant(
        "attack-detached-in-the-loop", FUSED, "method/steps.py",
        "zip(direct, indirect, strict=True)", "zip(direct, [(0 * V, 0 * c) for V, c in indirect], strict=True)",
        "The reverse of the attack is computed and left out.",
    ),
    Mutant(
        "iterates-attached", ATTACK, "attacks/high_confidence.py",
        'if gradient != "full":', 'if gradient == "detached":',
        "Truncated mode lets the gradient through the path.",
    ),
    Mutant(
        "full-mode-truncated", f"{ATTACK}[l2-full]", "attacks/high_confidence.py",
        'if gradient != "full":', "if True:",
        "Full mode detaches the iterates.",
    ),
    Mutant(
        "second-order-term-dropped", ATTACK, "attacks/high_confidence.py",
        "pull_back(one_hot(targets, z.shape[1], z.dtype) - p)\n\n\ndef unrolled",
        "stop_gradient(pull_back(one_hot(targets, z.shape[1], z.dtype) - p))\n\n\ndef unrolled",
        "w = ∇ log p_t is held constant.",
    ),
    Mutant(
        "critic-not-fixed", "method/test_objectives.py::test_the_critics_parameters_are_fixed_in_the_classifiers_objective",
        "method/objectives.py", "via.scores(fixed(critic_params)", "via.scores(critic_params",
        "The classifier's objective has a gradient by the critic's parameters.",
    ),
    Mutant(
        "theta-not-fixed", "method/test_objectives.py::test_the_classifiers_parameters_are_fixed_in_the_critics_objective",
        "method/objectives.py", "    x_hat = stop_gradient(x_hat)\n    return", "    return",
        "The critic's objective has a gradient by the classifier's parameters.",
    ),
    Mutant(
        "cycle-input-attached", CRITIC_TERMS, "method/objectives.py",
        "attack(params, stop_gradient(x_hat), predict(z), own,", "attack(params, x_hat, predict(z), own,",
        "The cycle term's gradient flows through the image it starts from.",
    ),
    Mutant(
        "own-confidence-detached-in-the-cycle", CRITIC_TERMS, "method/objectives.py",
        "predict(z), own, s.generator, via)", "predict(z), stop_gradient(own), s.generator, via)",
        "conf_i is a constant in the cycle term.",
    ),
    Mutant(
        "own-confidence-detached-in-the-attack", f"{OBJECTIVE}[adversary critic, own]", "method/objectives.py",
        '"own": own}', '"own": stop_gradient(own)}',
        "C is a constant where it is the example's own confidence.",
    ),
    Mutant(
        "fast-gradient-attached", f"{OBJECTIVE}[adversarial, l2]", "method/objectives.py",
        "r = gradient_step(lambda v: via.logits(fixed(params), v)", "r = gradient_step(lambda v: via.logits(params, v)",
        "Adversarial training differentiates through r.",
        (("method/perturbations.py", "import numpy as onp", "import autograd.numpy as onp"),),
    ),
    Mutant(
        "virtual-direction-attached", f"{OBJECTIVE}[virtual]", "method/objectives.py",
        "d = virtual_direction(lambda v: via.logits(fixed(params), v)",
        "d = virtual_direction(lambda v: via.logits(params, v)",
        "Virtual adversarial training differentiates through d.",
        (("method/perturbations.py", "import numpy as onp", "import autograd.numpy as onp"),),
    ),
    Mutant(
        "divergence-target-attached", f"{OBJECTIVE}[virtual]", "method/objectives.py",
        "losses.kl_divergence(stop_gradient(z),", "losses.kl_divergence(z,",
        "p(x), the target of the divergence, is differentiated too.",
    ),
    Mutant(
        "margin-gradient-norm-fixed", f"{OBJECTIVE}[margin, l2]", "method/losses.py",
        "epsilon * gradient_gaps)", "epsilon * stop_gradient(gradient_gaps))",
        "The norm of ∇f_j − ∇f_y is a constant: no second-order term.",
    ),
    # The terms of the objectives
    Mutant(
        "target-for-prediction",
        "method/test_objectives.py::test_a_moved_boundary_is_noticed", "method/objectives.py",
        "noise, s: AdversaryCritic, via: Routes = PLAIN) -> Terms:\n    \"\"\"The classifier's loss",
        "noise, s: AdversaryCritic, via: Routes = PLAIN, t=None) -> Terms:\n    \"\"\"The classifier's loss",
        "The critic is asked about the target t, not about the class ŷ that x̂ is taken for.",
        (
            ("method/objectives.py", "losses.fool_loss(D, y_hat, changed)", "losses.fool_loss(D, t, changed)"),
            ("method/objectives.py", "x, y, critic_params, noise, s, via)\n",
             "x, y, critic_params, noise, s, via, targets)\n"),
        ),
    ),
    Mutant(
        "target-for-prediction-in-the-critic-step", BATCH, "by_hand/steps.py",
        "self.taken_for = self.at_x_hat.z.argmax(axis=1)", "self.taken_for = targets",
        "The same in the critic's step.",
    ),
    Mutant(
        "true-label-for-prediction", CRITIC_TERMS, "method/objectives.py",
        "losses.fool_loss(D, y_hat, changed)", "losses.fool_loss(D, y, changed)",
        "The critic is asked whether x̂ looks like the true class.",
    ),
    Mutant(
        "mean-over-all", LOSS, "method/losses.py",
        "return masked_mean(softplus(-pick(scores, y_adv)), changed)",
        "return mean(softplus(-pick(scores, y_adv)) * changed)",
        "The critic term divides by the batch, not by |S|.",
    ),
    Mutant(
        "everything-in-S", CRITIC_TERMS, "method/objectives.py",
        "changed = y_hat != predict(z)", "changed = y_hat == y_hat",
        "Attacks that did not change the prediction count too.",
    ),
    Mutant(
        "S-by-the-true-label", CRITIC_TERMS, "method/objectives.py",
        "changed = y_hat != predict(z)", "changed = y_hat != y",
        "S is told by the label, not by the prediction.",
    ),
    Mutant(
        "empty-S-is-nan", "method/test_numerics.py::test_masked_mean_of_nothing_is_zero", "method/numerics.py",
        "/ max(int(onp.sum(mask)), 1)", "/ int(onp.sum(mask))",
        "0/0 where no attack succeeded.",
    ),
    Mutant(
        "saturating", "method/test_losses.py::test_the_generator_does_not_saturate", "method/losses.py",
        "softplus(-pick(scores, y_adv)), changed)", "-softplus(pick(scores, y_adv)), changed)",
        "log(1 − σ(D)) for −log σ(D).",
    ),
    Mutant(
        "real-loss-sign", "method/test_losses.py::test_the_two_sides_of_the_critics_game", "method/losses.py",
        "softplus(-pick(scores, y)))", "softplus(pick(scores, y)))",
        "The critic is taught that data are fake.",
    ),
    Mutant(
        "penalty-of-the-mean-gradient", "method/test_losses.py::test_the_penalty_takes_its_norm_inside_the_mean", "method/losses.py",
        "mean((norm(gradients) - 1) ** 2)", "mean((norm(np.sum(gradients, axis=0)[None] / len(gradients)) - 1) ** 2)",
        "The batch mean stands inside the norm.",
    ),
    Mutant(
        "penalty-of-the-mean-norm", LOSS, "method/losses.py",
        "mean((norm(gradients) - 1) ** 2)", "(mean(norm(gradients)) - 1) ** 2",
        "The batch mean stands inside the square.",
    ),
    Mutant(
        "penalty-at-interpolates", f"{OBJECTIVE}[critic]", "method/objectives.py",
        "via.critic_gradient(critic_params, x_hat, y_hat, noise_fake)",
        "via.critic_gradient(critic_params, (x + x_hat) / 2, y_hat, noise_fake)",
        "The penalty is taken between real and attacked images.",
    ),
    Mutant(
        "cycle-norm-not-squared", CRITIC_TERMS, "method/losses.py",
        "squared: bool = True", "squared: bool = False",
        "‖x − x_back‖ as printed for its square as coded.",
    ),
    Mutant(
        "cycle-towards-the-label", CRITIC_TERMS, "method/objectives.py",
        "stop_gradient(x_hat), predict(z), own,", "stop_gradient(x_hat), y, own,",
        "The cycle returns to the true class, not to the predicted one.",
    ),
    Mutant(
        "cycle-towards-what-it-is", CRITIC_TERMS, "method/objectives.py",
        "stop_gradient(x_hat), predict(z), own,", "stop_gradient(x_hat), y_hat, own,",
        "The cycle's target is the class of x̂: it goes nowhere.",
    ),
    Mutant(
        "divergence-reversed", LOSS, "method/losses.py",
        "softmax(z0) * (log_softmax(z0) - log_softmax(z))", "softmax(z) * (log_softmax(z) - log_softmax(z0))",
        "KL(q ‖ p) for KL(p ‖ q).",
    ),
    Mutant(
        "sum-for-mean", "method/test_numerics.py::test_values", "method/numerics.py",
        "return np.sum(values) / len(values)", "return np.sum(values)",
        "Terms grow with the batch.",
    ),
    Mutant(
        "adversarial-training-weights", "method/test_objectives.py::test_terms_are_named_and_weighted", "method/objectives.py",
        '"attacked": (0.5,', '"attacked": (1,',
        "½ L(x) + L(x + r).",
    ),
    Mutant(
        "virtual-step-of-the-probe", f"{OBJECTIVE}[virtual]", "method/objectives.py",
        "via.logits(params, x + s.epsilon * d)", "via.logits(params, x + s.xi * d)",
        "The perturbation has the length ξ of the finite difference, not ε.",
    ),
    Mutant(
        "margin-includes-the-label", "method/test_losses.py::test_the_hinge_of_a_satisfied_margin_is_flat", "method/losses.py",
        "others = stop_gradient(hinge) * (1 - one_hot(y, z.shape[1], z.dtype))", "others = stop_gradient(hinge)",
        "The maximum runs over j = y too: never below 1.",
    ),
    Mutant(
        "margin-summed", LOSS, "method/losses.py",
        "mean(pick(hinge, others.argmax(axis=1)) * (others.max(axis=1) > 0))",
        "mean(np.sum(hinge * (1 - one_hot(y, z.shape[1], z.dtype)), axis=1))",
        "Weston and Watkins' sum over the other classes for the maximum.",
    ),
    Mutant(
        "margin-norm-over-classes",
        "method/test_objectives.py::test_a_linear_critic_or_classifier_takes_the_gradients_of_its_weights",
        "method/objectives.py", "size = norm(differences) if",
        "size = np.sqrt(np.sum(np.reshape(differences, (n, k, d)) ** 2, axis=1)[:, onp.arange(k) % d]) if",
        "The norm over classes, not over pixels.",
    ),
    Mutant(
        "margin-gradient-of-one-class",
        "method/test_objectives.py::test_a_linear_critic_or_classifier_takes_the_gradients_of_its_weights", "method/objectives.py",
        "gradients - gradients[onp.arange(n), y][:, None]", "gradients",
        "‖∇f_j‖ for ‖∇f_j − ∇f_y‖.",
    ),
    Mutant(
        "margin-norm-not-dual",
        "method/test_objectives.py::test_a_linear_critic_or_classifier_takes_the_gradients_of_its_weights", "method/objectives.py",
        'norm(differences) if geometry == "l2"', 'norm(differences) if geometry == "linf"',
        "The norm of the ball, not its dual.",
    ),
    Mutant(
        "decay-of-the-last-layer", "method/test_losses.py::test_weight_decay_leaves_biases_and_the_last_layer_alone",
        "method/losses.py",
        "for W, _ in params[:-1]), 0.0)", "for W, _ in params), 0.0)",
        "Weight decay acts on the output layer too.",
    ),
    Mutant(
        "max-outside-the-sum", "method/test_risk.py::test_separable_sets_let_the_max_under_the_sum", "method/risk.py",
        "worst = stop_gradient(candidates).argmax(axis=0)",
        "worst = onp.full(candidates.shape[1], stop_gradient(candidates).sum(axis=1).argmax())",
        "One perturbation for all, as eq. 1 is printed.",
    ),
    # Kinks, zeros, logarithms
    Mutant(
        "relu-half-at-zero", "method/test_numerics.py::test_derivatives_at_zero", "method/numerics.py",
        "return x * (x > 0)", "return np.maximum(x, 0)",
        "autograd's own: relu'(0) = ½.",
    ),
    Mutant(
        "norm-nan-at-zero", "method/test_critic.py::test_a_flat_critic_has_penalty_one_and_no_nan", "method/numerics.py",
        "return np.sqrt(s + (s == 0)) * (s > 0)", "return np.sqrt(s)",
        "The norm's gradient at 0 is nan.",
    ),
    Mutant(
        "log-of-softmax", "method/test_numerics.py::test_log_softmax_keeps_what_softmax_loses", "method/numerics.py",
        "return z - np.log(np.sum(np.exp(z), axis=1, keepdims=True))",
        "return np.log(np.exp(z) / np.sum(np.exp(z), axis=1, keepdims=True))",
        "−inf where the probability underflows.",
    ),
    Mutant(
        "critic-slope", "method/test_critic.py::test_scores", "method/numerics.py",
        "slope: float = 0.2", "slope: float = 0.01",
        "Another LeakyReLU than the paper's.",
    ),
    # The high-confidence attack
    Mutant(
        "no-absolute-value", "method/test_second_order.py::test_one_newton_step_solves_the_linearised_equation",
        "attacks/high_confidence.py",
        "absolute(log_p - np.log(like(confidence, log_p)))", "(np.log(like(confidence, log_p)) - log_p)",
        "From above the step goes backwards.",
    ),
    Mutant(
        "overshoot-twice", "method/test_second_order.py::test_the_confidence_level_of_a_two_class_logistic_model",
        "attacks/high_confidence.py",
        "r = r + active[:, None] * newton_step(", "r = r + (1 + overshoot) * active[:, None] * newton_step(",
        "Overshoot in the loop and at its end.",
    ),
    Mutant(
        "linearised-without-overshoot", ATTACK, "attacks/high_confidence.py",
        "        x_hat = x + (1 + overshoot) * r\n        if", "        x_hat = x + r\n        if",
        "The attack linearises at x + r.",
    ),
    Mutant(
        "epsilon-outside-the-norm", ATTACK, "attacks/high_confidence.py",
        "n = np.sqrt(eps + np.sum(w * w, axis=1, keepdims=True))",
        "n = math.sqrt(eps) + np.sqrt(np.sum(w * w, axis=1, keepdims=True))",
        "√ε + ‖w‖ for √(ε + ‖w‖²).",
    ),
    Mutant(
        "indicator-missing", "method/test_second_order.py::test_an_example_that_has_arrived_stays_for_good",
        "attacks/high_confidence.py",
        "active = active * round_straight_through(sigmoid(confidence - p))", "active = np.ones_like(stop_gradient(p))",
        "Examples that have arrived go on.",
    ),
    Mutant(
        "indicator-not-cumulative", ATTACK, "attacks/high_confidence.py",
        "active = active * round_straight_through(", "active = round_straight_through(",
        "Each step has its own indicator only; earlier ones lose their share of the gradient.",
    ),
    Mutant(
        "indicator-without-gradient", ATTACK, "attacks/high_confidence.py",
        "round_straight_through(sigmoid(confidence - p))",
        "stop_gradient(round_straight_through(sigmoid(confidence - p)))",
        "The indicator is a constant.",
    ),
    Mutant(
        "rounding-without-gradient",
        "method/test_numerics.py::test_rounding_rounds_forwards_and_is_the_identity_backwards", "method/numerics.py",
        "lambda ans, x: lambda g: g)", "lambda ans, x: lambda g: 0 * g)",
        "The derivative of rounding is 0, as everywhere in mathematics.",
    ),
    Mutant(
        "a-tie-goes-on", "method/test_second_order.py::test_own_confidence_ties_exactly_and_a_tie_stops", "method/numerics.py",
        "return onp.round(x)", "return onp.floor(x + 0.5)",
        "½ is rounded up: an example at its own confidence moves.",
    ),
    Mutant(
        "own-confidence-of-the-target", "attacks/test_attacks.py::test_own_confidence_is_that_of_the_original_image",
        "attacks/high_confidence.py",
        "confidence = p.max(axis=1)", "confidence = p.min(axis=1)",
        "C is not the confidence of the original image.",
    ),
    Mutant(
        "boundary-is-enough", LEVEL, "attacks/high_confidence.py",
        "return (z.argmax(axis=1) == t) & (pick(softmax(z), t) >= C)", "return z.argmax(axis=1) == t",
        "The attack stops when its class flips.",
    ),
    Mutant(
        "confidence-is-enough", "attacks/test_attacks.py::test_no_norm_is_below_the_exact_distance",
        "attacks/high_confidence.py",
        "return (z.argmax(axis=1) == t) & (pick(softmax(z), t) >= C)", "return pick(softmax(z), t) >= C",
        "Below C = ½ the attack may stop before its class flips.",
    ),
    Mutant(
        "steps-not-limited", "attacks/test_attacks.py::test_steps_are_limited", "attacks/high_confidence.py",
        "step = step * (onp.minimum(length, step_limit) / onp.where(length > 0, length, 1))", "step = step * 1",
        "Steps of the evaluation are as long as they like.",
    ),
    # Which class, which confidence
    Mutant(
        "nearest-to-the-prediction", "attacks/test_attacks.py::test_success_is_success[high_confidence]",
        "attacks/high_confidence.py",
        "targets = nearest_class(model, x, labels)", "targets = nearest_class(model, x, p.argmax(axis=1))",
        "Evaluation: the class nearest to the prediction, not to the attacked label.",
    ),
    Mutant(
        "nearest-to-the-true-label", BATCH, "experiment/train.py",
        "    step.attack(state.running", "    step.predicted = y\n    step.attack(state.running",
        "Training: the class nearest to the true label, not to the predicted one.",
    ),
    Mutant(
        "nearest-with-sign", "method/test_targets.py::test_nearest_class_of_a_linear_model", "method/targets.py",
        "difference = onp.abs(z - z[rows, labels][:, None])", "difference = z[rows, labels][:, None] - z",
        "A class that already leads is nearest of all, at a negative distance.",
    ),
    Mutant(
        "nearest-norm-not-dual", "method/test_targets.py::test_the_two_geometries_differ", "method/targets.py",
        '{"l2": 2, "linf": 1}', '{"l2": 2, "linf": onp.inf}',
        "The norm of the ball, not its dual.",
    ),
    Mutant(
        "running-mean-biased", RUNNING, "method/targets.py",
        "RunningConfidence(biased / (1 - self.decay**steps), biased", "RunningConfidence(biased, biased",
        "The first value is half the batch mean.",
    ),
    Mutant(
        "running-mean-decay", RUNNING, "method/targets.py",
        "decay: float = 0.5", "decay: float = 0.9",
        "Another memory than the authors'.",
    ),
    Mutant(
        "running-mean-forgets-the-absent", RUNNING, "method/targets.py",
        "onp.maximum(count, 1), self.value)", "onp.maximum(count, 1), 1.0)",
        "A class absent from the batch contributes 1, not its stored value.",
    ),
    Mutant(
        "running-mean-by-true-label",
        "experiment/test_train.py::test_pretraining_is_replayed_with_weight_decay_and_running_confidence",
        "experiment/train.py", "def _update_confidence(state: State, x) -> None:",
        "def _update_confidence(state: State, x, y) -> None:",
        "The confidence is averaged by label, not by prediction.",
        (
            ("experiment/train.py", "update(pick(softmax(z), predict(z)), predict(z))", "update(pick(softmax(z), predict(z)), y)"),
            ("experiment/train.py", "_update_confidence(state, x)\n    return", "_update_confidence(state, x, y)\n    return"),
            ("experiment/train.py", "update(step.confidence, step.predicted)", "update(step.confidence, y)"),
        ),
    ),
    # Noise
    Mutant(
        "noise-on-the-input-only", NOISE, "method/critic.py",
        "if noise is not None:", "if noise is not None and i == 0:",
        "No noise after the hidden activations.",
    ),
    Mutant(
        "no-noise", NOISE, "method/critic.py", "x = x + noise[i]", "x = x + 0 * noise[i]", "Noise is drawn but not added."
    ),
    Mutant(
        "noise-before-the-activation", NOISE, "method/critic.py",
        "if i > 0:\n            x = leaky_relu(x)\n        if noise is not None:\n            x = x + noise[i]",
        "if noise is not None:\n            x = x + noise[i]\n        if i > 0:\n            x = leaky_relu(x)",
        "Noise goes through the activation.",
    ),
    Mutant(
        "noise-deviations-swapped", "method/test_critic.py::test_noise_has_its_deviations_its_shapes_and_its_dtype",
        "method/critic.py",
        "[input_std] + [hidden_std] * (len(params) - 1)", "[hidden_std] + [input_std] * (len(params) - 1)",
        "0.5 on the input, 0.1 on the hidden layers.",
    ),
    Mutant(
        "noise-of-the-other-pass", "method/test_objectives.py::test_each_forward_pass_shares_its_noise_with_its_penalty",
        "method/objectives.py", "via.critic_gradient(critic_params, x, y, noise_real)",
        "via.critic_gradient(critic_params, x, y, noise_fake)",
        "The penalty on data has the noise of the attacked images.",
    ),
    Mutant(
        "penalty-without-noise", f"{OBJECTIVE}[critic]", "method/objectives.py",
        "via.critic_gradient(critic_params, x, y, noise_real)", "via.critic_gradient(critic_params, x, y, None)",
        "The penalty is that of another critic than the loss.",
    ),
    Mutant(
        "noise-off-for-the-classifier", BATCH, "experiment/train.py",
        "step.gradient(y, state.critic, noise(), s)", "step.gradient(y, state.critic, [0 * e for e in noise()], s)",
        "The critic that judges in the classifier's step is noiseless.",
    ),
    # Adam, and the order of a batch
    Mutant(
        "beta1", "method/test_adam.py::test_the_defaults_are_the_authors", "method/adam.py",
        "beta1: float = 0.5", "beta1: float = 0.9",
        "The usual β1, not the authors'.",
    ),
    Mutant(
        "epsilon-inside-the-correction", "method/test_adam.py::test_epsilon_stands_outside_the_bias_correction",
        "method/adam.py",
        "(onp.sqrt(v) + eps)", "(onp.sqrt(v) + eps * (1 - beta2**t) ** 0.5)",
        "PyTorch's form of Adam.",
    ),
    Mutant(
        "first-moment-biased", "method/test_adam.py::test_three_steps_by_hand", "method/adam.py",
        "** 0.5 / (1 - beta1**t)", "** 0.5",
        "No bias correction of m.",
    ),
    Mutant(
        "smooth-decay", "method/test_adam.py::test_the_rate_is_halved_every_forty_epochs", "method/adam.py",
        "(epoch // halve_every)", "(epoch / halve_every)",
        "The rate falls every epoch.",
    ),
    Mutant(
        "confidence-updated-late", BATCH, "experiment/train.py",
        "    state.running = state.running.update(step.confidence, step.predicted)\n    step.attack(state.running,",
        "    before = state.running\n    state.running = before.update(step.confidence, step.predicted)\n"
        "    step.attack(before,",
        "The attack aims at the confidence of the batch before.",
    ),
    Mutant(
        "moments-forgotten", BATCH, "experiment/train.py",
        "    step.attack(", "    state.adam = Adam.start(state.params)\n    step.attack(",
        "Adam starts anew after pre-training.",
    ),
    Mutant(
        "last-batch-counts-in-full", "experiment/test_train.py::test_a_smaller_last_batch_counts_by_its_size", "experiment/train.py",
        "value * len(rows)", "value * training.batch",
        "Records average over batches of unequal size.",
    ),
    # The attacks of the evaluation
    Mutant(
        "deepfool-tested-without-overshoot", "attacks/test_attacks.py::test_deepfool_is_exact_on_a_linear_model",
        "attacks/deepfool.py", "arrived = model.logits(last[rows])",
        "arrived = model.logits(x[rows] + (last[rows] - x[rows]) / (1 + overshoot))",
        "The label is tested at x + r, not at x + (1+o) r.",
    ),
    Mutant(
        "deepfool-without-the-extra", "attacks/test_attacks.py::test_steps_are_limited", "attacks/deepfool.py",
        "onp.minimum(distance, step_limit) + extra", "onp.minimum(distance, step_limit)",
        "The 1e-4 that every step adds is left out.",
    ),
    Mutant(
        "judged-before-clipping", "attacks/test_attacks.py::test_images_stay_in_any_box[deepfool]", "attacks/deepfool.py",
        "last[rows] = clip(x[rows] + (1 + overshoot) * r, box)", "last[rows] = x[rows] + (1 + overshoot) * r",
        "Success is judged, then the image is clipped into the box.",
        (
            ("attacks/deepfool.py", "return finish(model, x, last, success,",
             "return finish(model, x, clip(last, box), success,"),
            ("attacks/deepfool.py", "labels, last, spent,", "labels, clip(last, box), spent,"),
            ("attacks/result.py", "success = confirmed(model, x, images, found, arrived)", "success = found"),
        ),
    ),
    Mutant(
        "not-confirmed", "attacks/test_attacks.py::test_confirmation_in_one_pass_over_the_batch", "attacks/result.py",
        "success = confirmed(model, x, images, found, arrived)", "success = found",
        "Nobody looks whether the returned image is adversarial.",
    ),
    Mutant(
        "failure-returned", "attacks/test_attacks.py::test_a_failure_gives_the_original_back", "attacks/result.py",
        "images = onp.where(success[:, None], images, x)", "images = images * 1",
        "A failed attack returns its last iterate as if it were adversarial.",
    ),
    Mutant(
        "failure-of-norm-zero", "attacks/test_attacks.py::test_a_failure_gives_the_original_back", "attacks/result.py",
        "onp.linalg.norm(images - x, axis=1), onp.nan)", "onp.linalg.norm(images - x, axis=1), 0)",
        "A failed attack has norm 0.",
    ),
    Mutant(
        "not-projected", "attacks/test_attacks.py::test_success_is_success[projected_gradient]",
        "attacks/projected_gradient.py",
        "r *= onp.minimum(size, inside[rows]) / onp.where(size > 0, size, 1)", "pass",
        "Projected gradient leaves its ball.",
    ),
    Mutant(
        "last-not-best", "attacks/test_attacks.py::test_a_longer_run_is_never_worse[carlini_wagner-search_steps-values2]",
        "attacks/carlini_wagner.py",
        "better = hit & (squared < squares[rows])", "better = hit",
        "Carlini-Wagner keeps the last adversarial image, not the nearest.",
    ),
    Mutant(
        "constant-not-bisected", "attacks/test_attacks.py::test_carlini_wagner_bisects_its_constant",
        "attacks/carlini_wagner.py",
        "upper = onp.where(works, onp.minimum(upper, c), upper)", "upper = upper * 1",
        "The constant only grows.",
    ),
    Mutant(
        "direction-of-the-batch", "attacks/test_attacks.py::test_rows_of_unit_length", "method/perturbations.py",
        "size = onp.linalg.norm(g, axis=1, keepdims=True)", "size = onp.linalg.norm(g)",
        "The gradient of the whole batch has length 1, not each example's.",
    ),
    # How robustness is measured
    Mutant(
        "failures-count-as-zero", "experiment/test_evaluate.py::test_failures_are_a_rate_and_never_in_the_mean", "experiment/evaluate.py",
        "onp.mean(self.ratios[self.success])", "onp.mean(onp.nan_to_num(self.ratios))",
        "An attack that failed counts as a perturbation of length 0.",
    ),
    Mutant(
        "mean-of-means", "experiment/test_evaluate.py::test_rho_of_a_known_perturbation", "experiment/evaluate.py",
        "onp.mean(self.ratios[self.success])", "onp.mean([part.mean() for part in onp.array_split(self.ratios, 5)])",
        "ρ averages over batches of unequal size.",
    ),
    Mutant(
        "conventions-mixed", "experiment/test_evaluate.py::test_the_two_conventions_differ_on_misclassified_images", "experiment/evaluate.py",
        'labels = y if start == "true" else predicted', "labels = predicted",
        "The table says that true labels were attacked, but predictions were.",
    ),
    Mutant(
        "ratio-of-means", "experiment/test_evaluate.py::test_rho_of_a_known_perturbation", "experiment/evaluate.py",
        "size = onp.linalg.norm(check_not_blank(x), axis=1)",
        "size = onp.full(len(x), onp.linalg.norm(x, axis=1).mean())",
        "mean ‖r‖ / mean ‖x‖ for the mean of ‖r‖/‖x‖.",
    ),
    # The second derivatives by hand
    Mutant(
        "twin-bias-signal", TWIN, "by_hand/generator.py",
        "            into.add(l, tau, self.delta[l][at])\n",
        "            into.add_signal(l, tau, self.delta[l][at])\n",
        "Biases are given the signal δ of the input gradient, in which they do not occur.",
    ),
    Mutant(
        "twin-without-softmax-curvature", TWIN, "by_hand/generator.py",
        "zeta = s.p * (onp.vecdot(s.p, Jv)[:, None] - Jv)", "zeta = 0 * Jv",
        "The J v term (2b of the derivation) is dropped.",
    ),
    Mutant(
        "twin-without-second-order", TWIN, "by_hand/generator.py",
        "into.add(l, tau, self.delta[l][at])", "into.add(l, 0 * tau, self.delta[l][at])",
        "The term τᵀδ (2a of the derivation) is dropped.",
    ),
    Mutant(
        "twin-indicator-sign", TWIN, "by_hand/generator.py",
        "p_bar = s.sign * phi_bar, -c_bar * s.slope", "p_bar = s.sign * phi_bar, c_bar * s.slope",
        "The indicator's gradient has the wrong sign.",
    ),
    Mutant(
        "twin-indicator-of-one-step", TWIN, "by_hand/generator.py",
        "            c_bar[part] += bars.i[rows]\n", "",
        "Earlier indicators lose their share.",
    ),
    Mutant(
        "twin-stopped-examples-move", TWIN, "by_hand/generator.py",
        "moving, length = step.goes > 0", "moving, length = step.goes > -1",
        "Examples that have arrived go on.",
    ),
    Mutant(
        "twin-norm-derivative", TWIN, "by_hand/generator.py",
        "(math.sqrt(self.eps) + 2 * s.phi / s.n)", "(math.sqrt(self.eps) + s.phi / s.n)",
        "One of the two places of n in the step is forgotten.",
    ),
    Mutant(
        "twin-path-without-overshoot", TWIN, "by_hand/generator.py",
        "by, rows = self.ahead * self.span.coordinates(rho)", "by, rows = self.span.coordinates(rho)",
        "Full mode forgets the overshoot on the path.",
    ),
    Mutant(
        "twin-first-layer-without-overshoot", TWIN, "by_hand/generator.py",
        "length * self.stacks.first[at]", "step.move[:, None] * self.stacks.first[at]",
        "The next pass is not at the next iterate.",
    ),
    Mutant(
        "twin-cotangent-unscaled", TWIN, "by_hand/generator.py",
        "        delta *= alpha\n", "",
        "r̄ enters W̄_1 without the step's length.",
    ),
    Mutant(
        "twin-coordinates-forgotten", TWIN, "by_hand/generator.py",
        "            signal[part] += gamma[part] * bars.a[rows]\n", "",
        "W̄_1 sees x where it should see the iterate.",
    ),
    Mutant(
        "twin-later-and-this", TWIN, "by_hand/generator.py",
        "            signal[part] += gamma[part] * bars.a[rows]\n"
        "            if part.start >= others:\n"
        "                bars.a[rows] += rho[part.start - others : part.stop - others]\n",
        "            if part.start >= others:\n"
        "                bars.a[rows] += rho[part.start - others : part.stop - others]\n"
        "            signal[part] += gamma[part] * bars.a[rows]\n",
        "A step's own signal is counted as a later one's.",
    ),
    Mutant(
        "fused-cycle-starts-at-x", FUSED, "by_hand/generator.py",
        "into.add(0, self.start, bars.a)", "into.add(0, 0 * self.start, bars.a)",
        "W̄_1 sees x where the cycle starts at x̂.",
    ),
    Mutant(
        "fused-first-step-by-order-of-classes", FUSED, "by_hand/passes.py",
        "onp.take_along_axis(s, self.others, axis=1)[:, None]", "s[:, None, 1:]",
        "The first step combines the classes' gradients with one another's weights.",
    ),
    Mutant(
        "fused-first-pass-lost", FUSED, "by_hand/steps.py",
        "z_bar += bars.z + ", "z_bar += ",
        "What the attack's first step leaves at x is not sent back.",
    ),
    Mutant(
        "fused-first-pass-twice", FUSED, "by_hand/generator.py",
        "bars.z, zeta = zeta[:others], zeta[others:]", "bars.z, others = zeta[:others], 0",
        "It is sent back by the attack and by the pass at x.",
    ),
    Mutant(
        "sum-of-whole-blocks", "by_hand/test_adjoint.py::test_a_sum_of_products_grows_block_by_block", "by_hand/generator.py",
        "for i in range(0, len(total), rows)", "for i in range(0, len(total) - rows + 1, rows)",
        "What is left of a matrix after its last whole block is not added to.",
    ),
    Mutant(
        "adam-decays-once", "by_hand/test_adjoint.py::test_adam_in_place_is_adam_to_the_last_bit", "by_hand/steps.py",
        "                v *= beta2\n", "",
        "In place, the second moment does not forget.",
    ),
    Mutant(
        "twin-critic-label", TWINS, "by_hand/twins.py",
        "every += [left.T @ right, onp.zeros_like(b)]",
        "every += [left.T @ right, right.sum(axis=0)]",
        "The critic's input gradient depends on its biases.",
    ),
    Mutant(
        "twin-gap-geometry", TWINS, "by_hand/twins.py",
        'if geometry == "l2" else onp.sign(w[i, j])', 'if geometry == "l2" else w[i, j]',
        "The derivative of the L1 norm is not a sign.",
    ),
    Mutant(
        "fused-cycle-halved", FUSED, "by_hand/steps.py",
        "(2 * s.cycle_weight * share)[:, None]", "(s.cycle_weight * share)[:, None]",
        "The derivative of the square lacks its 2.",
    ),
    Mutant(
        "fused-own-confidence-fixed", FUSED, "by_hand/steps.py",
        "own_bar * self.confidence", "0 * own_bar * self.confidence",
        "The cycle's confidence is a constant.",
    ),
    Mutant(
        "fused-all-examples", FUSED, "by_hand/steps.py",
        "share = (changed / max(changed.sum(), 1)).astype(dtype)",
        "share = onp.full(len(changed), 1 / len(changed), dtype)",
        "The means run over all examples, not over S.",
    ),
    Mutant(
        "fused-critic-losses-dropped", FUSED, "by_hand/steps.py",
        "(t + s_bar * a).T @ d", "t.T @ d",
        "The critic's weights see the penalty alone.",
    ),
    Mutant(
        "fused-penalty-gradient-unscaled", FUSED, "by_hand/steps.py",
        "* (size - 1) / onp.where(size > 0, size, onp.inf)", "* (size - 1)",
        "∇‖w‖ is taken for w.",
    ),
    Mutant(
        "fused-gaps-of-one-class", FUSED, "by_hand/passes.py",
        "classes[self.others] - classes[y][:, None]", "classes[self.others]",
        "The nearest class by ‖∇f_j‖, not by ‖∇f_j − ∇f_y‖.",
    ),
    Mutant(
        "bench-times-what-disagrees", "bench/test_bench.py::test_a_row_that_disagrees_is_refused", "bench/measure.py",
        "TOLERANCE = 1e-4", "TOLERANCE = 1e-2",
        "A row is timed that does not compute the same step.",
    ),
    Mutant(
        "bench-compares-weights", "bench/test_bench.py::test_a_row_that_disagrees_is_refused", "bench/measure.py",
        "moved = reference - onp.concatenate([a.ravel() for a in start])", "moved = reference",
        "Steps are compared against the weights' size, beside which any small step agrees.",
    ),
    Mutant(
        "bench-steady-by-one-rounding", "bench/test_bench.py::test_a_batch_at_a_kink_is_not_steady", "bench/problem.py",
        "for roundings in (0, *off)", "for roundings in (0,)",
        "A batch is taken for well-conditioned since NumPy's own rounding spared it.",
    ),
    Mutant(
        "bench-floor-of-all-rows", "bench/test_bench.py::test_rows_that_arrived_cost_nothing", "bench/products.py",
        "forward(upper, moving) + backward(upper, rows", "forward(upper, n) + backward(upper, rows",
        "The floor has tangents of examples that have arrived.",
    ),
    # The stand-in and the survey
    Mutant(
        "shear-the-wrong-way", "experiment/test_standin.py::test_deskewed_strokes_stand_upright_in_the_middle", "experiment/standin.py",
        "+ shear * upright", "- shear * upright",
        "Slanted strokes are slanted more.",
    ),
    Mutant(
        "ridge-forgotten", "experiment/test_standin.py::test_the_classifiers_solve_their_own_equations", "experiment/standin.py",
        "K[onp.diag_indices_from(K)] += RIDGE", "K[onp.diag_indices_from(K)] += 0.0",
        "The kernel machine interpolates its training labels.",
    ),
    Mutant(
        "changed-means-unchanged", "experiment/test_standin.py::test_every_answer_is_of_one_kind", "experiment/standin.py",
        "onp.equal(answers, taken_for), onp.equal(answers, labels)",
        "onp.equal(answers, labels), onp.equal(answers, taken_for)",
        "The original label counts as the target.",
    ),
    Mutant(
        "alpha-pairs-with-oneself", f"{SURVEY}::test_alpha_is_one_minus_observed_over_expected_disagreement",
        "studies/scoring.py", "/ (per_image - 1))", "/ per_image)",
        "An annotator is paired with themselves in the observed disagreement.",
    ),
    Mutant(
        "alpha-expected-with-replacement", f"{SURVEY}::test_alpha_is_one_minus_observed_over_expected_disagreement",
        "studies/scoring.py", "observed * (total - 1) / unequal", "observed * total / unequal",
        "An answer is paired with itself in the expected disagreement.",
    ),
    Mutant(
        "attention-above-the-bound", f"{SURVEY}::test_the_checks_may_be_missed_once_in_five", "studies/scoring.py",
        "right / checks.sum() < ATTENTION", "right / checks.sum() <= ATTENTION",
        "Four checks of five are too few.",
    ),
    Mutant(
        "exact-for-wilson", f"{SURVEY}::test_counts_and_intervals", "studies/scoring.py",
        'method="wilson"', 'method="exact"',
        "Another interval than the one that is named.",
    ),
    Mutant(
        "stand-in-among-people", f"{SURVEY}::test_score_from_the_command_line", "studies/scoring.py",
        'groups["stand_in" if sheet.annotator in key.about["stand_ins"] else "people"]', 'groups["people"]',
        "The stand-in's answers are counted as people's.",
    ),
    Mutant(
        "one-image-in-one-turn", f"{SURVEY}::test_the_order_is_random_and_balanced", "studies/survey.py",
        "order[(turn + d * images // defences) % images]", "order[turn]",
        "The same test image is shown for every defence side by side.",
    ),
    Mutant(
        "checks-at-the-end", f"{SURVEY}::test_the_order_is_random_and_balanced", "studies/survey.py",
        "rng.integers(low, high + 1)", "total",
        "All attention checks come when everything is done.",
    ),
    Mutant(
        "key-of-the-clean-image", f"{SURVEY}::test_the_images_are_adversarial_as_shown", "studies/survey.py",
        "attacked[name] = shown, taken_for", "attacked[name] = shown, predict(p)",
        "The key says that the network was not fooled.",
    ),
    # Studies
    Mutant(
        "cycle-detached-after-all", "studies/test_studies_cycle.py::test_value_and_gradient_with_the_input_attached",
        "studies/cycle.py", "objectives.attack(params, x_hat, predicted",
        "objectives.attack(params, objectives.stop_gradient(x_hat), predicted",
        "The cycle's input is held fixed where the study says that it is not.",
    ),
    Mutant(
        "like-the-original", f"{UNLIKE}::test_value_and_gradient_by_hand", "studies/unlike.py",
        "losses.fool_loss(-D, original, changed)", "losses.fool_loss(D, original, changed)",
        "The original's score is pushed up.",
    ),
    Mutant(
        "unlike-the-target", f"{UNLIKE}::test_value_and_gradient_by_hand", "studies/unlike.py",
        "original = predict(z)", "original = y",
        "The true label is meant, not the class that the attack left.",
    ),
    Mutant(
        "unlike-detached", f"{UNLIKE}::test_value_and_gradient_by_hand", "studies/unlike.py",
        "via.scores(fixed(critic_params), x_hat, noise)",
        "via.scores(fixed(critic_params), objectives.stop_gradient(x_hat), noise)",
        "The alternative term's gradient by θ is 0.",
    ),
    Mutant(
        "looks-among-the-wrong", f"{UNLIKE}::test_what_attacked_images_look_like", "experiment/run.py",
        "rows = found.success & (predict(model.logits(x)) == y)", "rows = found.success",
        "Images that were misclassified to begin with are counted as attacked.",
    ),
    Mutant(
        "one-head", f"{SHARED}::test_shared_layers_are_moved_by_both_steps", "studies/critic.py",
        "f[:-1] + D[-1:]", "f",
        "A trunk with two heads has one.",
    ),
    Mutant(
        "critic-adam-for-both", f"{SHARED}::test_networks_apart_are_trained_as_the_method_trains_them",
        "studies/critic.py", "adam = move(f, gradient, adam, rate)", "adam = move(f, gradient, adam, critic_rate)",
        "The classifier learns at the critic's rate.",
    ),
    Mutant(
        "leaky-shared-critic", f"{SHARED}::test_without_noise_the_critic_of_one_network_is_the_classifier",
        "studies/critic.py", "x = relu(x) if i else x", "x = critic.leaky_relu(x) if i else x",
        "One network as the critic is another function than as the classifier.",
    ),
    Mutant(
        "calibration-per-example", f"{SHARED}::test_calibration_error_by_its_definition", "studies/critic.py",
        "onp.abs(onp.bincount(which, right - confidence)).sum()", "onp.abs(right - confidence).sum()",
        "The absolute value is taken before the mean over a bin.",
    ),
    Mutant(
        "boundary-step-of-the-gap", "studies/test_studies_confidence.py::test_for_two_classes_it_is_the_attack_at_one_half",
        "studies/confidence.py", "(1 - q)[:, None] * w", "w",
        "The gradient is that of the gap, not of the log-probability.",
    ),
    Mutant(
        "boundaries-counted-twice", "studies/test_studies_confidence.py::test_a_disc", "studies/confidence.py",
        "for line in lines)) / 2", "for line in lines))",
        "A boundary is counted for both of its classes.",
    ),
    Mutant(
        "temperature-upside-down", "studies/test_studies_kinds.py::test_the_temperature_is_the_likeliest",
        "studies/measures.py", "onp.exp(-best.x)", "onp.exp(best.x)",
        "Logits are multiplied by the temperature.",
    ),
    Mutant(
        "one-each-for-a-shared-one",
        "studies/test_studies_maximum.py::test_training_takes_the_gradient_at_the_worst_perturbation",
        "studies/maximum.py",
        "s.epsilon, shared, STEPS)", "s.epsilon, False, STEPS)",
        "Training on a universal perturbation trains on one for each example.",
    ),
    Mutant(
        "no-sign-of-its-own", "studies/test_studies_maximum.py::test_on_a_linear_classifier_all_but_chance_reach_the_maximum",
        "studies/maximum.py",
        "pull_back(one_hot(j, k, x.dtype) - own)", "pull_back(own - one_hot(j, k, x.dtype))",
        "The margin's worst case moves away from the other class.",
    ),
    Mutant(
        "front-of-the-strictly-better", "studies/test_studies_pareto.py::test_known_fronts", "studies/pareto.py",
        "(error[:, None] < error) | (rho[:, None] > rho)", "(error[:, None] < error) & (rho[:, None] > rho)",
        "Only what is beaten in both counts as dominated.",
    ),
    Mutant(
        "decay-in-pretraining-only", "studies/test_studies_scarcity.py::test_weight_decay_is_in_every_step",
        "studies/scarcity.py",
        "fused.pretraining(params, x, y, decay)", "fused.undefended(params, x, y)",
        "The compared weight decay ends with pre-training.",
    ),
]
# fmt: on


# ---- running a mutant


class StaleMutant(Exception):
    """A text to be replaced does not occur exactly once."""


def sources(mutant: Mutant) -> dict[str, str]:
    """The changed files, path -> text; each compiles."""
    changed: dict[str, str] = {}
    for file, old, new in ((mutant.file, mutant.old, mutant.new), *mutant.more):
        path = str(ROOT / "reference" / file)
        text = changed.get(path) or Path(path).read_text(encoding="utf-8")
        if text.count(old) != 1 or old == new:
            raise StaleMutant(f"{mutant.name}: {text.count(old)} times in {file}: {old!r}")
        changed[path] = text.replace(old, new)
        compile(changed[path], path, "exec")
    return changed


class Changed(SourceFileLoader):
    """Loads a module from a text in place of its file's."""

    def __init__(self, name, path, text):
        super().__init__(name, path)
        self.text = text

    def get_code(self, fullname):
        return compile(self.text, self.path, "exec")


class Hook(MetaPathFinder):
    """Finds `reference` in this checkout, whatever is installed, with the changed files in place of theirs."""

    def __init__(self, changed: dict[str, str]):
        self.changed, self.used = changed, set()

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] != "reference":
            return None
        base = ROOT.joinpath(*name.split("."))
        package = (base / "__init__.py").exists()
        file = str(base / "__init__.py" if package else base.with_suffix(".py"))
        loader = None
        if file in self.changed:
            self.used.add(file)
            loader = Changed(name, file, self.changed[file])
        where = [str(base)] if package else None
        return spec_from_file_location(name, file, loader=loader, submodule_search_locations=where)


class Outcome(NamedTuple):
    code: int  # pytest's exit code
    passed: int
    failures: list[tuple[str, str, str]]  # (test, type of exception, message)
    errors: list[str]  # outside of tests: collection, fixtures
    seconds: float  # of processor time
    output: str


class Recorder:
    """A pytest plugin: counts, and keeps hypothesis from shrinking what it finds, which takes long and adds nothing."""

    def __init__(self):
        self.passed, self.failures, self.errors = 0, [], []

    def pytest_sessionstart(self):
        from hypothesis import Phase, settings

        # The examples are the same as in the tests' own profile.
        settings.register_profile(
            "mutants", settings.get_profile("ci"), phases=[Phase.explicit, Phase.generate], report_multiple_bugs=False
        )
        settings.load_profile("mutants")

    def pytest_collectreport(self, report):
        if report.failed:
            self.errors.append(str(report.longrepr))

    def pytest_runtest_makereport(self, item, call):
        if call.excinfo is not None:
            if call.excinfo.typename == "Skipped":
                pass
            elif call.when == "call":
                self.failures.append((item.nodeid, call.excinfo.typename, str(call.excinfo.value)[:500]))
            else:
                self.errors.append(f"{call.when} of {item.nodeid}: {call.excinfo.typename}")
        elif call.when == "call":
            self.passed += 1


def run(tests: tuple[str, ...], changed: dict[str, str]) -> Outcome:
    """`tests` on the library with the `changed` files.  Call it in a process that has not imported `reference`."""
    import pytest

    began, recorder, hook, output = time.process_time(), Recorder(), Hook(changed), io.StringIO()
    assert not any(name.split(".")[0] == "reference" for name in sys.modules), "the real library is already loaded"
    sys.meta_path.insert(0, hook)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # this process is ours alone; plugins take long to start
    arguments = ["-x", "-q", "-p", "no:cacheprovider", "--tb=no", f"--rootdir={ROOT}"]
    paths = [str(ROOT / "tests" / test) for test in tests]
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        code = int(pytest.main([*arguments, "-c", str(ROOT / "setup.cfg"), *paths], plugins=[recorder]))
    if hook.used != set(changed):
        recorder.errors.append(f"not imported: {set(changed) - hook.used}")
    spent = time.process_time() - began
    return Outcome(code, recorder.passed, recorder.failures, recorder.errors, spent, output.getvalue())


PRELOAD = ["pytest", "hypothesis", "hypothesis.strategies", "numpy", "scipy.special", "scipy.stats", "autograd.numpy"]
