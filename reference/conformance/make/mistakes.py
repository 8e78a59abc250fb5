"""The catalogue of mistakes, each written once, as a change to our own lines.

`MISTAKES` are seen by the kit: their answers to the cases are computed, stored in `mistakes.json`, and looked up when an
implementation gives them.  `UNSEEN` are made where the kit does not ask.  Every mistake names its `killer`, the property
test that must turn red when the change is made; `tests/test_mutants.py` makes them all.  A text to be replaced must occur
exactly once in its file, so a mistake that no longer fits the source is an error.

`CHOICES_AS_CHANGES` are the other readings that an adapter may declare; undeclared they are mistakes like the others.
`REWRITES` change the text and not the mathematics: every case must let them pass.
"""

from __future__ import annotations

from typing import NamedTuple

from .variants import Edit


class Mistake(NamedTuple):
    id: str
    says: str
    """What is right; of a mistake that the kit cannot see, what is wrong."""
    look: str
    """What to look at next."""
    edits: tuple[Edit, ...]
    """The first is where it stands in our code."""
    choice: tuple[str, str] | None = None
    """The choice that would make it right."""
    killer: str = ""
    """The property test that must turn red, below tests/; "" where the mistake is made in our adapter alone."""

    @property
    def title(self) -> str:
        return self.id.replace("-", " ")


OBJECTIVES, LOSSES, NUMERICS = "method/objectives.py", "method/losses.py", "method/numerics.py"
CRITIC, NETWORK, SETTINGS = "method/critic.py", "method/network.py", "method/settings.py"
ATTACK, TARGETS, ADAM = "method/generator.py", "method/targets.py", "method/adam.py"
PERTURBATIONS, BATCH = "method/perturbations.py", "conformance/adapters/ours.py"
DEEPFOOL, HIGH, SHARED = "attacks/deepfool.py", "attacks/high_confidence.py", "attacks/result.py"
REVERSE, PASSES, BY_HAND = "by_hand/generator.py", "by_hand/passes.py", "by_hand/steps.py"
TRAIN, EVALUATE, CARLINI = "experiment/train.py", "experiment/evaluate.py", "attacks/carlini_wagner.py"
STANDIN = "experiment/standin.py"

# Tests that notice many of them.
OBJECTIVE = "method/test_objectives.py::test_value_and_gradient"
ATTACKED = "method/test_second_order.py::test_the_attack_by_parameters_confidence_and_image"
LOSS = "method/test_losses.py::test_value_is_the_mean_over_examples"
NOISED = "method/test_critic.py::test_noise_goes_in_before_each_layer_and_nowhere_else"
UNROLLED = "by_hand/test_steps.py::test_the_unrolled_attack_in_float64"
STEPS = "by_hand/test_steps.py::test_the_adversary_critics_steps"
OTHERS = "by_hand/test_steps.py::test_the_other_defences_steps"
LOOP = "experiment/test_train.py::test_a_batch_is_running_confidence_attack_critic_step_classifier_step"
LEVEL = "attacks/test_attacks.py::test_high_confidence_reaches_the_level_set_of_a_logistic_model"
RUNNING = "method/test_objectives.py::test_the_running_confidence_is_a_debiased_mean"
LINEAR = "method/test_objectives.py::test_a_linear_critic_or_classifier_takes_the_gradients_of_its_weights"

INDICATOR = "active = active * round_straight_through(sigmoid(confidence - p))"
STEP = "r = r + active[:, None] * newton_step(log_p, w, confidence, eps, geometry)"
FINAL = "    x_hat = x + (1 + overshoot) * r\n    return"
ITERATE = "        x_hat = x + (1 + overshoot) * r\n        if"
JUDGED = "losses.fool_loss(D, y_hat, changed)"
CYCLE = "x_back = attack(params, stop_gradient(x_hat), predict(z), own, s.generator)"
CHANGED = "changed = y_hat != predict(z)"
PENALTY = "return mean((norm(gradients) - 1) ** 2)"
KEEP_TARGETS = (
    OBJECTIVES,
    "    return Attacked(z, own,",
    "    generate.targets = targets\n    return Attacked(z, own,",
)
SCALE = "scale = rate * (1 - beta2**t) ** 0.5 / (1 - beta1**t)"
NOISE = """        if i > 0:
            x = leaky_relu(x, slope)
        if noise is not None:
            x = x + noise[i]
"""


def mistake(id, says, look, *edits, choice=None, killer=""):
    return Mistake(id, says, look, edits, choice, killer)


def unseen(id, wrong, *edits, killer):
    return Mistake(id, wrong, "", edits, None, killer)


# fmt: off
MISTAKES = [
    # The networks
    mistake(
        "relu-gradient-half-at-zero", "relu'(0) = 0.", "The maximum function used for ReLU: use the framework's relu.",
        (NUMERICS, "return x * (x > 0)", "return np.maximum(x, 0)"),
        killer="method/test_numerics.py::test_derivatives_at_zero",
    ),
    mistake(
        "relu-gradient-one-at-zero", "relu'(0) = 0.", "A comparison >= 0 where > 0 is meant.",
        (NUMERICS, "return x * (x > 0)", "return x * (x >= 0)"),
        killer="method/test_numerics.py::test_derivatives_at_zero[0.0-relu-0-0]",
    ),
    mistake(
        "relu-on-the-logits", "The last layer of the classifier is linear.", "The loop over layers: no activation after the last.",
        (NETWORK, "return x @ W + b", "return relu(x @ W + b)"),
        killer="method/test_network.py::test_values",
    ),
    mistake(
        "critic-slope-0.01", "The critic's LeakyReLU has slope 0.2.", "The framework's default slope.",
        (SETTINGS, "slope: float = 0.2", "slope: float = 0.01"),
        killer=f"{OBJECTIVE}[adversary critic]",
    ),
    mistake(
        "critic-with-relu", "The critic's activation is LeakyReLU 0.2.", "The critic's activation.",
        (SETTINGS, "slope: float = 0.2", "slope: float = 0"),
        killer=f"{OBJECTIVE}[adversary critic]",
    ),
    mistake(
        "noise-off", "The critic's noise is on in training.", "Whether the noise reaches the critic; an evaluation mode.",
        (CRITIC, "x = x + noise[i]", "x = x + 0 * noise[i]"),
        killer=NOISED,
    ),
    mistake(
        "noise-before-activation", "Noise is added to the input and after every hidden activation.", "The order of noise and activation.",
        (CRITIC, NOISE, """        if noise is not None:
            x = x + noise[i]
        if i > 0:
            x = leaky_relu(x, slope)
"""),
        killer=NOISED,
    ),
    mistake(
        "critic-gradient-of-all-classes", "The penalty takes ∇_x D_y, of one output.", "What is summed before the critic is differentiated by x.",
        (CRITIC, "np.sum(pick(scores(params, v, slope, noise), labels))", "np.sum(scores(params, v, slope, noise))"),
        killer="method/test_critic.py::test_the_gradient_penalty_is_differentiated_twice",
    ),
    # Targets and confidence
    mistake(
        "nearest-by-logit", "The nearest class has the smallest |Δf|/‖Δ∇f‖, not the largest logit.", "The division by the gradients' difference.",
        (TARGETS, "away.argmin(axis=1), others.argmax(axis=1))", "others.argmax(axis=1), others.argmax(axis=1))"),
        killer="method/test_targets.py::test_nearest_class_of_a_linear_model",
    ),
    mistake(
        "nearest-without-absolute-value", "The distance is |f_j − f_label|: the label need not be the highest.", "The sign of f_j − f_label where the label is wrong.",
        (TARGETS, "difference = onp.abs(z - z[rows, labels][:, None])", "difference = z[rows, labels][:, None] - z"),
        killer="method/test_targets.py::test_nearest_class_of_a_linear_model",
    ),
    mistake(
        "nearest-linf-by-maximum", "For L∞ steps the dual norm is L1.", "The norm of the gradients' difference for geometry linf.",
        (OBJECTIVES, "np.sum(absolute(differences), axis=1)", "np.max(absolute(differences), axis=1)"),
        killer=f"{OBJECTIVE}[margin, linf]",
    ),
    mistake(
        "gradient-of-one-class", "Distances take ∇f_j − ∇f_label, not ∇f_j alone.", "What the norm is taken of.",
        (OBJECTIVES, "differences = np.reshape(gradients - gradients[onp.arange(n), y][:, None], (n * k, d))",
         "differences = np.reshape(gradients, (n * k, d))"),
        killer=LINEAR,
    ),
    mistake(
        "confidence-by-label", "The running confidence of a class averages the examples predicted as that class.", "By what the batch is grouped.",
        (BATCH, "update(pick(softmax(z), predict(z)), predict(z))", "update(pick(softmax(z), predict(z)), y)"),
    ),
    mistake(
        "confidence-without-debiasing", "biased / (1 − ½^steps): the first value is the batch mean itself.", "The division by 1 − decay^steps.",
        (TARGETS, "return RunningConfidence(biased / (1 - self.decay**steps), biased, steps, self.decay)",
         "return RunningConfidence(biased, biased, steps, self.decay)"),
        killer=RUNNING,
    ),
    mistake(
        "running-confidence-plain", "The running mean starts at 0 and is debiased.", 'Declare "running confidence": "plain" if it is meant.',
        (TARGETS, "return RunningConfidence(biased / (1 - self.decay**steps), biased, steps, self.decay)",
         "return RunningConfidence(self.decay * self.value + (1 - self.decay) * batch, biased, steps, self.decay)"),
        choice=("running confidence", "plain"),
        killer="method/test_targets.py::test_running_confidence[float32]",
    ),
    mistake(
        "absent-class-zero", "A class absent from the batch contributes its stored value.", "What an empty mean gives.",
        (TARGETS, "total / onp.maximum(count, 1), self.value)", "total / onp.maximum(count, 1), 0)"),
        killer=RUNNING,
    ),
    mistake(
        "confidence-of-the-original-class", "C is the running confidence of the target class.", "The index into the running confidence.",
        (OBJECTIVES, '{"running": running.value[targets]', '{"running": running.value[predict(z)]'),
        killer=f"{OBJECTIVE}[adversary critic]",
    ),
    mistake(
        "own-target-confidence-detached", "Where C is the example's own confidence, gradient flows through it.", "A detach or no_grad around the softmax that gives C.",
        (OBJECTIVES, '"own": own}.get', '"own": stop_gradient(own)}.get'),
        killer=f"{OBJECTIVE}[adversary critic, own]",
    ),
    # The attack: its steps
    mistake(
        "overshoot-missing", "The iterates and the result are x + (1 + o) r.", "Where o enters.",
        (ATTACK, FINAL, "    x_hat = x + r\n    return"), (ATTACK, ITERATE, "        x_hat = x + r\n        if"),
        killer=f"{ATTACKED}[l2-truncated]",
    ),
    mistake(
        "overshoot-at-the-end-only", "The iterates, too, are x + (1 + o) r.", "Where each iteration linearises.",
        (ATTACK, ITERATE, "        x_hat = x + r\n        if"),
        killer=ATTACKED,
    ),
    mistake(
        "overshoot-twice", "r adds up steps without the overshoot.", "Whether r itself is multiplied by 1 + o.",
        (ATTACK, STEP, "r = r + (1 + overshoot) * active[:, None] * newton_step(log_p, w, confidence, eps, geometry)"),
        killer="method/test_second_order.py::test_the_confidence_level_of_a_two_class_logistic_model",
    ),
    mistake(
        "sqrt-eps-missing", "The step has length √ε + φ/n.", "The step's length.",
        (ATTACK, "return (math.sqrt(eps) + phi / n) * w / n", "return (phi / n) * w / n"),
        killer=f"{ATTACKED}[l2-truncated]",
    ),
    mistake(
        "eps-outside-the-norm", "n = √(ε + ‖w‖²).", "Where ε is added to the norm.",
        (ATTACK, "n = np.sqrt(eps + np.sum(w * w, axis=1, keepdims=True))", "n = eps + np.sqrt(np.sum(w * w, axis=1, keepdims=True))"),
        killer=ATTACKED,
    ),
    mistake(
        "step-divided-by-the-norm-once", "The linearised step is (φ/n)·(w/n).", "The division by ‖w‖, twice: once for the distance, once for the direction.",
        (ATTACK, "return (math.sqrt(eps) + phi / n) * w / n", "return (math.sqrt(eps) + phi) * w / n"),
        killer=f"{ATTACKED}[l2-truncated]",
    ),
    mistake(
        "phi-without-absolute-value", "φ = |log p_t − log C|.", "The sign where p_t > C.",
        (ATTACK, "phi = absolute(log_p - np.log(like(confidence, log_p)))[:, None]",
         "phi = (np.log(like(confidence, log_p)) - log_p)[:, None]"),
        killer="method/test_second_order.py::test_one_newton_step_solves_the_linearised_equation",
    ),
    mistake(
        "linf-step-by-l2-norm", "The L∞ step is (√ε + φ)·sign(w)/‖w‖₁.", "The norm of w for geometry linf.",
        (ATTACK, "size = np.sum(absolute(w), axis=1, keepdims=True)", "size = np.sqrt(np.sum(w * w, axis=1, keepdims=True))"),
        killer=f"{ATTACKED}[linf-truncated]",
    ),
    mistake(
        "gradient-of-the-logit", "w = ∇_x log p_t, not ∇_x f_t.", "What is differentiated by x.",
        (ATTACK, "pull_back(one_hot(targets, z.shape[1], z.dtype) - p)", "pull_back(one_hot(targets, z.shape[1], z.dtype))"),
        killer=f"{ATTACKED}[l2-truncated]",
    ),
    mistake(
        "box-in-training", "The training attack is not clipped to the box.", "A clip to [0, 1] in the training attack.",
        (ATTACK, FINAL, "    x_hat = np.clip(x + (1 + overshoot) * r, 0, 1)\n    return"),
        killer=f"{ATTACKED}[l2-truncated]",
    ),
    mistake(
        "step-limit-in-training", "The training attack has no step limit; 0.1 is the evaluation's.", "A limit on the step's norm.",
        (ATTACK, STEP, """step = newton_step(log_p, w, confidence, eps, geometry)
        step = step * np.minimum(1, 0.1 / np.sqrt(1e-30 + np.sum(step * step, axis=1, keepdims=True)))
        r = r + active[:, None] * step"""),
        killer=f"{ATTACKED}[l2-truncated]",
    ),
    # The attack: when it stops
    mistake(
        "never-stops", "An example that has reached C stays put.", "The indicator p_t < C.",
        (ATTACK, INDICATOR, "active = onp.ones_like(stop_gradient(p))"),
        killer="method/test_second_order.py::test_an_example_that_has_arrived_stays_for_good",
    ),
    mistake(
        "indicator-not-cumulative", "An example that has arrived once stays put for good.", "The product over iterations.",
        (ATTACK, INDICATOR, "active = round_straight_through(sigmoid(confidence - p))"),
        killer=ATTACKED,
    ),
    mistake(
        "argmax-required-to-stop", "Training's attack stops at p_t ≥ C alone, whatever the argmax.", "An argmax test in the indicator.",
        (ATTACK, INDICATOR, """goes = round_straight_through(sigmoid(confidence - p))
        elsewhere = stop_gradient(network.logits(params, x_hat)).argmax(axis=1) != targets
        active = active * (goes + (1 - stop_gradient(goes)) * elsewhere)"""),
        killer=f"{ATTACKED}[l2-truncated]",
    ),
    mistake(
        "stops-at-the-boundary", "The attack goes on to confidence C, inside the class.", "What ends the attack: the boundary, or p_t ≥ C.",
        (ATTACK, INDICATOR, "active = active * (stop_gradient(network.logits(params, x_hat)).argmax(axis=1) != targets)"),
        killer=f"{ATTACKED}[l2-truncated]",
    ),
    mistake(
        "tie-goes-on", "p_t = C counts as arrived: ½ rounds to 0.", "p_t < C or p_t ≤ C.",
        (NUMERICS, "return onp.round(x)", "return onp.floor(x + 0.5)"),
        killer="method/test_second_order.py::test_own_confidence_ties_exactly_and_a_tie_stops",
    ),
    # The attack: its gradient
    mistake(
        "attack-detached", "x̂ is attached to θ in the critic term; else the method does nothing.", "A detach on x̂ before the critic.",
        (OBJECTIVES, "D = critic.scores(fixed(critic_params), x_hat, s.slope, noise)", "D = critic.scores(fixed(critic_params), stop_gradient(x_hat), s.slope, noise)"),
        killer=f"{OBJECTIVE}[adversary critic]",
    ),
    mistake(
        "iterates-not-detached", "Every iterate is a constant: θ enters through each step, not through the path.", 'A missing detach in the loop; declare "unrolling": "full" if it is meant.',
        (ATTACK, 'if gradient != "full":', "if False:"), choice=("unrolling", "full"),
        killer=ATTACKED,
    ),
    mistake(
        "second-order-term-dropped", "w = ∇_x log p_t is differentiated by θ: second order.", "create_graph, or its like, where w is computed.",
        (ATTACK, "pull_back(one_hot(targets, z.shape[1], z.dtype) - p)", "stop_gradient(pull_back(one_hot(targets, z.shape[1], z.dtype) - p))"),
        killer=ATTACKED,
    ),
    mistake(
        "phi-detached", "φ = |log p_t − log C| is differentiated by θ.", "A detach on log p_t.",
        (ATTACK, "phi = absolute(log_p - np.log(like(confidence, log_p)))[:, None]",
         "phi = stop_gradient(absolute(log_p - np.log(like(confidence, log_p))))[:, None]"),
        killer=f"{ATTACKED}[l2-truncated]",
    ),
    mistake(
        "norm-detached", "n = √(ε + ‖w‖²) is differentiated by θ.", "A detach on the norm of w.",
        (ATTACK, "n = np.sqrt(eps + np.sum(w * w, axis=1, keepdims=True))",
         "n = stop_gradient(np.sqrt(eps + np.sum(w * w, axis=1, keepdims=True)))"),
        killer=f"{ATTACKED}[l2-truncated]",
    ),
    mistake(
        "indicator-without-gradient", "Backwards the rounding is the identity, and the sigmoid keeps its slope.", 'A comparison in place of the rounded sigmoid; declare "indicator": "constant" if it is meant.',
        (ATTACK, INDICATOR, "active = active * stop_gradient(round_straight_through(sigmoid(confidence - p)))"), choice=("indicator", "constant"),
        killer=ATTACKED,
    ),
    mistake(
        "indicator-without-sigmoid-slope", "Backwards the indicator is σ(C − p), with σ's slope.", "What the straight-through gradient is taken of.",
        (ATTACK, INDICATOR, "active = active * round_straight_through(0.5 + confidence - p)"),
        killer=f"{ATTACKED}[l2-truncated]",
    ),
    mistake(
        "indicator-cumulative-forwards-only", "Each factor of the cumulative product gets its gradient.", "A detach on the product so far.",
        (ATTACK, INDICATOR, "active = stop_gradient(active) * round_straight_through(sigmoid(confidence - p))"),
        killer=f"{ATTACKED}[l2-truncated]",
    ),
    # The classifier's terms
    mistake(
        "softmax-twice", "Cross-entropy takes logits.", "A softmax before a loss that has its own.",
        (LOSSES, "return mean(-pick(log_softmax(z), y))", "return mean(-pick(log_softmax(softmax(z)), y))"),
        killer=f"{LOSS}[cross_entropy]",
    ),
    mistake(
        "cross-entropy-summed", "Cross-entropy is a mean over examples.", "The reduction.",
        (LOSSES, "return mean(-pick(log_softmax(z), y))", "return np.sum(-pick(log_softmax(z), y))"),
        killer=f"{LOSS}[cross_entropy]",
    ),
    mistake(
        "logarithm-of-softmax", "log-softmax is computed from shifted logits: a probability that underflows has a logarithm.", "log(softmax(z) + tiny).",
        (NUMERICS, "return z - np.log(np.sum(np.exp(z), axis=1, keepdims=True))", "return np.log(softmax(z) + 1e-12)"),
        killer="method/test_numerics.py::test_log_softmax_keeps_what_softmax_loses",
    ),
    mistake(
        "target-instead-of-predicted-class", "The critic judges x̂ as ŷ = argmax f(x̂), the class it is taken for.", "The class given to D in the critic term.",
        (OBJECTIVES, JUDGED, "losses.fool_loss(D, generate.targets, changed)"), KEEP_TARGETS,
        killer="method/test_objectives.py::test_a_moved_boundary_is_noticed",
    ),
    mistake(
        "label-instead-of-predicted-class", "The critic judges x̂ as ŷ = argmax f(x̂).", "The class given to D in the critic term.",
        (OBJECTIVES, JUDGED, "losses.fool_loss(D, y, changed)"),
        killer=f"{OBJECTIVE}[adversary critic]",
    ),
    mistake(
        "original-instead-of-predicted-class", "The critic judges x̂ as ŷ = argmax f(x̂), not as argmax f(x).", "The class given to D in the critic term.",
        (OBJECTIVES, JUDGED, "losses.fool_loss(D, predict(z), changed)"),
        killer=f"{OBJECTIVE}[adversary critic]",
    ),
    mistake(
        "critic-term-over-all", "The critic term averages over S, the attacks that changed the prediction.", "The mask of the critic term.",
        (OBJECTIVES, JUDGED, "losses.fool_loss(D, y_hat, changed | True)"),
        killer=f"{OBJECTIVE}[adversary critic]",
    ),
    mistake(
        "cycle-over-all", "The cycle term averages over S.", "The mask of the cycle term.",
        (OBJECTIVES, "losses.cycle_loss(x, x_back, changed)", "losses.cycle_loss(x, x_back, changed | True)"),
        killer=f"{OBJECTIVE}[adversary critic]",
    ),
    mistake(
        "kept-divided-by-n", "Means over S divide by |S|.", "The denominator of the masked mean.",
        (NUMERICS, "np.sum(values[mask]) / max(int(onp.sum(mask)), 1)", "np.sum(values[mask]) / len(mask)"),
        killer="method/test_numerics.py::test_masked_mean_is_the_mean_of_what_the_mask_keeps",
    ),
    mistake(
        "kept-against-label", "S compares argmax f(x̂) with argmax f(x), not with y.", "The definition of S.",
        (OBJECTIVES, CHANGED, "changed = y_hat != y"),
        killer=f"{OBJECTIVE}[adversary critic]",
    ),
    mistake(
        "kept-at-target-only", "S holds every changed prediction, also those that landed in a third class.", "The definition of S.",
        (OBJECTIVES, CHANGED, "changed = y_hat == generate.targets"), KEEP_TARGETS,
        killer=f"{OBJECTIVE}[adversary critic]",
    ),
    mistake(
        "saturating-loss", "The classifier minimises softplus(−D).", "The generator's loss: −softplus(D) saturates.",
        (LOSSES, "softplus(-pick(scores, y_adv)), changed", "-softplus(pick(scores, y_adv)), changed"),
        killer="method/test_losses.py::test_the_generator_does_not_saturate",
    ),
    mistake(
        "fool-loss-sign", "The classifier wants D(x̂) large: softplus(−D).", "The sign of D in the classifier's critic term.",
        (LOSSES, "softplus(-pick(scores, y_adv)), changed", "softplus(pick(scores, y_adv)), changed"),
        killer=f"{LOSS}[fool_loss]",
    ),
    mistake(
        "cycle-input-attached", "x̂ is a constant where the cycle starts.", "A missing detach on x̂ in the cycle term.",
        (OBJECTIVES, CYCLE, CYCLE.replace("stop_gradient(x_hat)", "x_hat")),
        killer=f"{OBJECTIVE}[adversary critic]",
    ),
    mistake(
        "cycle-confidence-detached", "conf, the cycle's target confidence, is attached.", 'A detach on max p(x); declare "cycle confidence": "detached" if it is meant.',
        (OBJECTIVES, CYCLE, CYCLE.replace("own", "stop_gradient(own)")), choice=("cycle confidence", "detached"),
        killer=f"{OBJECTIVE}[adversary critic]",
    ),
    mistake(
        "cycle-result-detached", "The cycle's result is attached to θ.", "A detach on x_back: the cycle term then has no gradient.",
        (OBJECTIVES, CYCLE, f"{CYCLE}\n    x_back = stop_gradient(x_back)"),
        killer=f"{OBJECTIVE}[adversary critic]",
    ),
    mistake(
        "cycle-to-the-attacks-confidence", "The cycle aims at the original confidence max p(x), not at C.", "The confidence given to the cycle's attack.",
        (OBJECTIVES, CYCLE, CYCLE.replace("own", "attacked.target_confidence")),
        killer=f"{OBJECTIVE}[adversary critic]",
    ),
    mistake(
        "cycle-towards-the-label", "The cycle aims at argmax f(x), not at y.", "The target of the cycle's attack.",
        (OBJECTIVES, CYCLE, CYCLE.replace("predict(z)", "y")),
        killer=f"{OBJECTIVE}[adversary critic]",
    ),
    mistake(
        "cycle-plain-norm", "The cycle term takes the squared norm.", 'Declare "cycle norm": "plain" if it is meant, as the paper prints it.',
        (OBJECTIVES, "losses.cycle_loss(x, x_back, changed)", "losses.cycle_loss(x, x_back, changed, squared=False)"), choice=("cycle norm", "plain"),
        killer=f"{OBJECTIVE}[adversary critic]",
    ),
    mistake(
        "cycle-mean-over-pixels", "The cycle's norm sums over pixels.", "A mean-squared-error function.",
        (LOSSES, "np.sum(r * r, axis=1) if squared", "np.sum(r * r, axis=1) / r.shape[1] if squared"),
        killer=f"{LOSS}[cycle_loss]",
    ),
    mistake(
        "cycle-l1", "The cycle's norm is Euclidean.", "The norm.",
        (LOSSES, "np.sum(r * r, axis=1) if squared", "np.sum(np.abs(r), axis=1) if squared"),
        killer=f"{LOSS}[cycle_loss]",
    ),
    # The critic's terms
    mistake(
        "failed-attacks-dropped", "The critic sees all attacked images, also those whose attack failed.", "A mask in the critic's loss.",
        (BATCH, "terms = objectives.critic_objective(critic, x, y, x_hat, y_hat, noise_real, noise_fake, UNIT)",
         """terms = objectives.critic_objective(critic, x, y, x_hat, y_hat, noise_real, noise_fake, UNIT)
        kept = self.changed
        noise = noise_fake and [a[kept] for a in noise_fake]
        terms["fake"] = (1, losses.fake_loss(self.scores(critic, x_hat[kept], noise), y_hat[kept]))"""),
        (BATCH, "return x_hat, predict(network.logits(params, x_hat))",
         "self.changed = predict(network.logits(params, x_hat)) != predict(network.logits(params, x))\n"
         "        return x_hat, predict(network.logits(params, x_hat))"),
    ),
    mistake(
        "fake-by-target", "The critic's loss takes D_ŷ(x̂).", "The class given to D in the critic's loss.",
        (BATCH, "return x_hat, predict(network.logits(params, x_hat))", "return x_hat, targets"),
    ),
    mistake(
        "fake-by-label", "The critic's loss takes D_ŷ(x̂), ŷ what x̂ is taken for.", "The class given to D in the critic's loss.",
        (OBJECTIVES, "losses.fake_loss(fake, y_hat)",
         "losses.fake_loss(fake, y)"),
        killer=f"{OBJECTIVE}[critic]",
    ),
    mistake(
        "real-and-fake-swapped", "softplus(−D) on data, softplus(D) on attacked images.", "The signs in the critic's loss.",
        (LOSSES, "return mean(softplus(-pick(scores, y)))", "return mean(softplus(pick(scores, y)))"),
        (LOSSES, "return mean(softplus(pick(scores, y_adv)))", "return mean(softplus(-pick(scores, y_adv)))"),
        killer="method/test_losses.py::test_the_two_sides_of_the_critics_game",
    ),
    mistake(
        "linear-critic-loss", "The critic's loss is softplus, not the scores themselves.", "A Wasserstein loss.",
        (LOSSES, "return mean(softplus(-pick(scores, y)))", "return mean(-pick(scores, y))"),
        (LOSSES, "return mean(softplus(pick(scores, y_adv)))", "return mean(pick(scores, y_adv))"),
        killer=f"{LOSS}[real_loss]",
    ),
    mistake(
        "penalty-at-interpolates", "The penalty is taken at x and at x̂.", 'Declare "penalty points": "interpolates" if it is meant.',
        (BATCH, 'penalty = terms.pop("penalty_real")[1] + terms.pop("penalty_fake")[1]',
         """del terms["penalty_real"], terms["penalty_fake"]
        between = u * x + (1 - u) * x_hat
        penalty = losses.gradient_penalty(self.critic_gradient(critic, between, y, noise_real))"""),
        choice=("penalty points", "interpolates"),
    ),
    mistake(
        "penalty-at-real-only", "The penalty is taken at x and at x̂.", "The second half of the penalty.",
        (BATCH, 'terms.pop("penalty_real")[1] + terms.pop("penalty_fake")[1]', 'terms.pop("penalty_real")[1] + 0 * terms.pop("penalty_fake")[1]'),
    ),
    mistake(
        "penalty-at-attacked-only", "The penalty is taken at x and at x̂.", "The first half of the penalty.",
        (BATCH, 'terms.pop("penalty_real")[1] + terms.pop("penalty_fake")[1]', '0 * terms.pop("penalty_real")[1] + terms.pop("penalty_fake")[1]'),
    ),
    mistake(
        "penalty-one-sided", "The penalty is two-sided: (‖g‖ − 1)².", "A maximum with 0.",
        (LOSSES, PENALTY, "return mean(relu(norm(gradients) - 1) ** 2)"),
        killer=f"{LOSS}[gradient_penalty]",
    ),
    mistake(
        "penalty-zero-centred", "The penalty is centred at norm 1.", "The − 1.",
        (LOSSES, PENALTY, "return mean(norm(gradients) ** 2)"),
        killer=f"{LOSS}[gradient_penalty]",
    ),
    mistake(
        "penalty-per-batch", "The norm is per example.", "The axis of the norm.",
        (LOSSES, PENALTY, "return (np.sqrt(np.sum(gradients * gradients)) - 1) ** 2"),
        killer="method/test_losses.py::test_the_penalty_takes_its_norm_inside_the_mean",
    ),
    mistake(
        "penalty-of-the-mean-norm", "The mean is taken of (‖g‖ − 1)², not of ‖g‖.", "The order of mean and square.",
        (LOSSES, PENALTY, "return (mean(norm(gradients)) - 1) ** 2"),
        killer=LOSS,
    ),
    mistake(
        "penalty-not-squared", "The penalty is squared.", "The exponent.",
        (LOSSES, PENALTY, "return mean(np.abs(norm(gradients) - 1))"),
        killer=f"{LOSS}[gradient_penalty]",
    ),
    mistake(
        "penalty-detached", "The penalty is differentiated by the critic's parameters: second order.", "create_graph, or its like, in the penalty.",
        (LOSSES, PENALTY, "return mean((norm(stop_gradient(gradients)) - 1) ** 2) + 0 * mean(norm(gradients))"),
        killer="method/test_losses.py::test_gradient[gradient_penalty]",
    ),
    mistake(
        "penalty-without-noise", "Loss and penalty share one draw of noise.", "The noise of the penalty's forward pass.",
        (OBJECTIVES, "critic.input_gradient(critic_params, x, y, s.slope, noise_real)", "critic.input_gradient(critic_params, x, y, s.slope, None)"),
        (OBJECTIVES, "critic.input_gradient(critic_params, x_hat, y_hat, s.slope, noise_fake)", "critic.input_gradient(critic_params, x_hat, y_hat, s.slope, None)"),
        killer=f"{OBJECTIVE}[critic]",
    ),
    # The other defences
    mistake(
        "weight-decay-on-the-last-layer", "Weight decay takes the hidden layers' weights only.", "The layers that are decayed.",
        (LOSSES, "for W, _ in params[:-1])", "for W, _ in params)"),
        killer="method/test_losses.py::test_weight_decay_leaves_biases_and_the_last_layer_alone",
    ),
    mistake(
        "weight-decay-on-biases", "Weight decay takes no biases.", "The parameters that are decayed.",
        (LOSSES, "sum((0.5 * np.sum(W * W) for W, _ in params[:-1])", "sum((0.5 * (np.sum(W * W) + np.sum(b * b)) for W, b in params[:-1])"),
        killer="method/test_losses.py::test_weight_decay_leaves_biases_and_the_last_layer_alone",
    ),
    mistake(
        "weight-decay-without-half", "Weight decay is ½‖W‖².", "The factor ½.",
        (LOSSES, "0.5 * np.sum(W * W)", "np.sum(W * W)"),
        killer="method/test_losses.py::test_weight_decay_leaves_biases_and_the_last_layer_alone",
    ),
    mistake(
        "adversarial-examples-only", "Adversarial training: ½ L(x) + ½ L(x + r).", "The clean half.",
        (OBJECTIVES, '"cross_entropy": (0.5,', '"cross_entropy": (0,'), (OBJECTIVES, '"attacked": (0.5,', '"attacked": (1,'),
        killer=f"{OBJECTIVE}[adversarial, linf]",
    ),
    mistake(
        "virtual-gradient-not-normalised", "r has length ε: the direction is normalised.", "The gradient's norm.",
        (PERTURBATIONS, "d = unit_rows(grad(lambda r: kl_divergence(z0, logits(x + r)))(xi * d))",
         "d = grad(lambda r: kl_divergence(z0, logits(x + r)))(xi * d)"),
        killer=f"{OBJECTIVE}[virtual]",
    ),
    mistake(
        "virtual-target-attached", "The clean prediction in the KL term is a constant.", "A detach on p(x).",
        (OBJECTIVES, "losses.kl_divergence(stop_gradient(z),", "losses.kl_divergence(z,"),
        killer=f"{OBJECTIVE}[virtual]",
    ),
    mistake(
        "virtual-kl-reversed", "KL(p(x) ‖ p(x + r)), in this order.", "The order of the arguments.",
        (LOSSES, "softmax(z0) * (log_softmax(z0) - log_softmax(z))", "softmax(z) * (log_softmax(z) - log_softmax(z0))"),
        killer=LOSS,
    ),
    mistake(
        "margin-gradient-detached", "The norm of the gradients' difference is differentiated by θ.", "create_graph, or its like, in the margin loss.",
        (OBJECTIVES, "y, gaps, s.epsilon)", "y, stop_gradient(gaps), s.epsilon)"),
        killer=f"{OBJECTIVE}[margin, l2]",
    ),
    mistake(
        "margin-summed-over-classes", "The hinge takes the worst class.", "A sum where the maximum belongs.",
        (LOSSES, "return mean(pick(hinge, others.argmax(axis=1)) * (others.max(axis=1) > 0))",
         "return mean(np.sum(hinge * (1 - one_hot(y, z.shape[1], z.dtype)), axis=1))"),
        killer=LOSS,
    ),
    # Steps
    mistake(
        "adam-beta1-0.9", "β1 = 0.5.", "The framework's default.",
        (ADAM, "beta1: float = 0.5", "beta1: float = 0.9"),
        killer="method/test_adam.py::test_the_defaults_are_the_authors",
    ),
    mistake(
        "adam-eps-inside", "ε stands outside the bias correction: m/(√v + ε).", 'Declare "Adam epsilon": "inside" if it is meant, as in PyTorch.',
        (ADAM, "scale * m / (onp.sqrt(v) + eps)", "rate / (1 - beta1**t) * m / (onp.sqrt(v / (1 - beta2**t)) + eps)"), choice=("Adam epsilon", "inside"),
        killer="method/test_adam.py::test_epsilon_stands_outside_the_bias_correction",
    ),
    mistake(
        "adam-without-bias-correction", "Adam corrects the bias of its moments.", "√(1−β2ᵗ)/(1−β1ᵗ).",
        (ADAM, SCALE, "scale = rate"),
        killer="method/test_adam.py::test_three_steps_by_hand",
    ),
    mistake(
        "adam-restarted", "Moments and t continue from earlier training.", "The step count.",
        (ADAM, SCALE, "scale = rate * (1 - beta2) ** 0.5 / (1 - beta1)"),
        killer="method/test_adam.py::test_three_steps_by_hand",
    ),
    mistake(
        "critic-updated-in-the-classifier-step", "The classifier's step leaves the critic alone.", "Which parameters the classifier's optimiser holds.",
        (BATCH, 'weights = {"critic": critic_weight, "cycle": cycle_weight}',
         """fooling = gradients(lambda D: self._classifier_terms(params, D, x, y, targets, C, noise_judge), D)["critic"]
        before, D = D, [(W - critic_rate * V, b - critic_rate * c) for (W, b), (V, c) in zip(D, fooling)]
        weights = {"critic": critic_weight, "cycle": cycle_weight}"""),
        (BATCH, "self._classifier_terms(p, D, x, y, targets, C, noise_judge)", "self._classifier_terms(p, before, x, y, targets, C, noise_judge)"),
        (OBJECTIVES, "D = critic.scores(fixed(critic_params), x_hat, s.slope, noise)", "D = critic.scores(critic_params, x_hat, s.slope, noise)"),
    ),
    mistake(
        "classifier-before-the-critic", "The classifier's step uses the updated critic.", "The order of the two steps.",
        (BATCH, "self._classifier_terms(p, D, x, y, targets, C, noise_judge)", 'self._classifier_terms(p, state["critic"], x, y, targets, C, noise_judge)'),
    ),
    mistake(
        "stale-confidence", "C already holds this batch.", "When the running confidence is updated.",
        (BATCH, 'C = running["value"]', 'C = state["value"]'),
    ),
    mistake(
        "targets-relative-to-the-label", "The nearest class is relative to the prediction, not to y.", "The label given to the choice of targets.",
        (BATCH, 'targets = self.nearest_class(params, x, predict(network.logits(params, x)), "l2")', 'targets = self.nearest_class(params, x, y, "l2")'),
    ),
    # Evaluation
    mistake(
        "deepfool-linearises-at-the-iterate", "DeepFool tests at x + (1 + o) r and linearises at x + r.", "Where the gradients are taken.",
        (DEEPFOOL, "boundaries(model, x[rows] + r, labels[rows])", "boundaries(model, images, labels[rows])"),
        killer="attacks/test_attacks.py::test_deepfool_linearises_without_the_overshoot",
    ),
    mistake(
        "deepfool-without-overshoot", "DeepFool's image is x + (1 + o) r, o = 0.02.", "The overshoot.",
        (DEEPFOOL, "overshoot: float = 0.02", "overshoot: float = 0.0"),
        killer="attacks/test_attacks.py::test_deepfool_is_exact_on_a_linear_model[2-linear-float32]",
    ),
    mistake(
        "deepfool-without-step-limit", "A DeepFool step is at most 0.1 + 1e-4 long.", "The limit on the step's length.",
        (DEEPFOOL, "step_limit: float = 0.1", "step_limit: float = math.inf"), (DEEPFOOL, "import numpy as onp", "import math\n\nimport numpy as onp"),
        killer="attacks/test_attacks.py::test_deepfool_on_a_curved_boundary",
    ),
    mistake(
        "deepfool-from-the-prediction", "Attacks start from the labels given, so a misclassified image has r = 0.", "The label that DeepFool leaves.",
        (BATCH, "result = deepfool(self.model(params), x, labels)", "result = deepfool(self.model(params), x)"),
    ),
    mistake(
        "high-confidence-without-step-limit", "An evaluation step is at most 0.1 long.", "The limit on the step's norm.",
        (HIGH, "step_limit: float = 0.1", "step_limit: float = onp.inf"),
        killer="attacks/test_attacks.py::test_the_published_limits_are_the_defaults",
    ),
    mistake(
        "high-confidence-at-the-boundary", "The evaluation's attack ends at confidence C.", "What ends it.",
        (HIGH, "return (z.argmax(axis=1) == targets[rows]) & (pick(p, targets[rows]) >= confidence[rows])", "return z.argmax(axis=1) == targets[rows]"),
        killer=LEVEL,
    ),
    mistake(
        "evaluation-without-box", "Evaluated images stay in [0, 1].", "The clip after every step.",
        (SHARED, "return x if box is None else onp.clip(x, *box)", "return x"),
        killer="attacks/test_attacks.py::test_success_is_success[deepfool]",
    ),
    mistake(
        "rho-counts-failures-as-zero", "ρ is a mean over successes.", "What a failed attack contributes.",
        (BATCH, "return losses.masked_mean(ratios, success)", "return losses.masked_mean(ratios * success, success | True)"),
    ),
    mistake(
        "rho-with-failures", "ρ is a mean over successes; last iterates of failures do not count.", "The mask.",
        (BATCH, "return losses.masked_mean(ratios, success)", "return losses.masked_mean(ratios, success | True)"),
    ),
    mistake(
        "rho-ratio-of-means", "ρ is the mean of ratios, not the ratio of means.", "The order of division and mean.",
        (BATCH, "return losses.masked_mean(ratios, success)", "return np.sum(norm(images - x)[success]) / np.sum(norm(x)[success])"),
    ),
]

REWRITES = {
    "log-sum-exp": [(NUMERICS, "return z - np.log(np.sum(np.exp(z), axis=1, keepdims=True))",
                     "m = np.sum(z, axis=1, keepdims=True) / z.shape[1]\n"
                     "    return z - m - np.log(np.sum(np.exp(z - m), axis=1, keepdims=True))")],
    "softplus": [(NUMERICS, "return positive + np.log1p(np.exp(x - 2 * positive))", "return np.logaddexp(0, x)")],
    "leaky": [(NUMERICS, "return slope * x + (1 - slope) * relu(x)", "return np.where(x > 0, x, slope * x)")],
    "mean": [(NUMERICS, "return np.sum(values) / len(values)", "return np.mean(values)")],
    "masked mean": [(NUMERICS, "np.sum(values[mask]) / max(int(onp.sum(mask)), 1)", "np.sum(values * mask) / max(int(onp.sum(mask)), 1)")],
    "straight through": [(ATTACK, INDICATOR, "s = sigmoid(confidence - p)\n        active = active * (s + stop_gradient((s > 0.5) - s))")],
    "step": [(ATTACK, "return (math.sqrt(eps) + phi / n) * w / n", "return w * (math.sqrt(eps) * n + phi) / (n * n)")],
    "log ratio": [(ATTACK, "absolute(log_p - np.log(like(confidence, log_p)))", "np.abs(np.log(np.exp(log_p) / like(confidence, log_p)))")],
    "iterate": [(ATTACK, ITERATE, "        x_hat = (x + r) + overshoot * r\n        if")],
    "cycle": [(LOSSES, "r = x - x_back", "r = x_back - x")],
    "norm": [(NUMERICS, "s = np.sum(x * x, axis=1)", "s = np.einsum('nd,nd->n', x, x)")],
    "probability": [(ATTACK, "return pick(log_softmax(z), targets), pick(p, targets), pull_back(",
                     "return pick(log_softmax(z), targets), np.exp(pick(log_softmax(z), targets)), pull_back(")],
    "penalty": [(LOSSES, PENALTY, "n = norm(gradients)\n    return mean(n * n - 2 * n + 1)")],
    "adam": [(ADAM, "beta1 * m + (1 - beta1) * g", "m + (1 - beta1) * (g - m)")],
    "sigmoid": [(NUMERICS, "return 0.5 * (1 + np.tanh(0.5 * x))", "return 1 / (1 + np.exp(-x))")],
}

# What the kit cannot see: it asks the definitions and the steps, not the loop, the evaluation or each line by hand.
UNSEEN = [
    unseen(
        "attack-detached-in-the-loop", "The reverse of the attack is computed and left out.",
        ("method/steps.py", "zip(direct, indirect, strict=True)", "zip(direct, [(0 * V, 0 * c) for V, c in indirect], strict=True)"),
        killer=STEPS,
    ),
    unseen(
        "full-mode-truncated", "Full mode detaches the iterates.",
        (ATTACK, 'if gradient != "full":', "if True:"),
        killer=f"{ATTACKED}[l2-full]",
    ),
    unseen(
        "critic-not-fixed", "The classifier's objective has a gradient by the critic's parameters.",
        (OBJECTIVES, "critic.scores(fixed(critic_params)", "critic.scores(critic_params"),
        killer="method/test_objectives.py::test_the_critics_parameters_are_fixed_in_the_classifiers_objective",
    ),
    unseen(
        "theta-not-fixed", "The critic's objective has a gradient by the classifier's parameters.",
        (OBJECTIVES, '    x_hat = stop_gradient(x_hat)\n    real', "    real"),
        killer="method/test_objectives.py::test_the_classifiers_parameters_are_fixed_in_the_critics_objective",
    ),
    unseen(
        "fast-gradient-attached", "Adversarial training differentiates through r.",
        (OBJECTIVES, "r = gradient_step(lambda v: network.logits(fixed(params), v)",
         "r = gradient_step(lambda v: network.logits(params, v)"),
        (PERTURBATIONS, "import numpy as onp", "import autograd.numpy as onp"),
        killer=f"{OBJECTIVE}[adversarial, l2]",
    ),
    unseen(
        "virtual-direction-attached", "Virtual adversarial training differentiates through d.",
        (OBJECTIVES, "d = virtual_direction(lambda v: network.logits(fixed(params), v)",
         "d = virtual_direction(lambda v: network.logits(params, v)"),
        (PERTURBATIONS, "import numpy as onp", "import autograd.numpy as onp"),
        killer=f"{OBJECTIVE}[virtual]",
    ),
    unseen(
        "target-for-prediction-in-the-critic-step", "The same in the critic's step.",
        (BY_HAND, "self.taken_for = self.at_x_hat.z.argmax(axis=1)", "self.taken_for = targets"),
        killer=LOOP,
    ),
    unseen(
        "everything-in-S", "Attacks that did not change the prediction count too.",
        (OBJECTIVES, "changed = y_hat != predict(z)", "changed = y_hat == y_hat"),
        killer=f"{OBJECTIVE}[adversary critic]",
    ),
    unseen(
        "empty-S-is-nan", "0/0 where no attack succeeded.",
        (NUMERICS, "/ max(int(onp.sum(mask)), 1)", "/ int(onp.sum(mask))"),
        killer="method/test_numerics.py::test_masked_mean_of_nothing_is_zero",
    ),
    unseen(
        "penalty-of-attacked-images-at-interpolates", "The penalty is taken between real and attacked images.",
        (OBJECTIVES, "critic.input_gradient(critic_params, x_hat, y_hat, s.slope, noise_fake)",
         "critic.input_gradient(critic_params, (x + x_hat) / 2, y_hat, s.slope, noise_fake)"),
        killer=f"{OBJECTIVE}[critic]",
    ),
    unseen(
        "cycle-towards-what-it-is", "The cycle's target is the class of x̂: it goes nowhere.",
        (OBJECTIVES, "stop_gradient(x_hat), predict(z), own,", "stop_gradient(x_hat), y_hat, own,"),
        killer=f"{OBJECTIVE}[adversary critic]",
    ),
    unseen(
        "sum-for-mean", "Terms grow with the batch.",
        (NUMERICS, "return np.sum(values) / len(values)", "return np.sum(values)"),
        killer="method/test_numerics.py::test_values",
    ),
    unseen(
        "adversarial-training-weights", "½ L(x) + L(x + r).",
        (OBJECTIVES, '"attacked": (0.5,', '"attacked": (1,'),
        killer="method/test_objectives.py::test_terms_are_named_and_weighted",
    ),
    unseen(
        "virtual-step-of-the-probe", "The perturbation has the length ξ of the finite difference, not ε.",
        (OBJECTIVES, "network.logits(params, x + s.epsilon * d)", "network.logits(params, x + s.xi * d)"),
        killer=f"{OBJECTIVE}[virtual]",
    ),
    unseen(
        "margin-includes-the-label", "The maximum runs over j = y too: never below 1.",
        (LOSSES, "others = stop_gradient(hinge) * (1 - one_hot(y, z.shape[1], z.dtype))", "others = stop_gradient(hinge)"),
        killer="method/test_losses.py::test_the_hinge_of_a_satisfied_margin_is_flat",
    ),
    unseen(
        "margin-norm-over-classes", "The norm over classes, not over pixels.",
        (OBJECTIVES, "size = norm(differences) if",
         "size = np.sqrt(np.sum(np.reshape(differences, (n, k, d)) ** 2, axis=1)[:, onp.arange(k) % d]) if"),
        killer=LINEAR,
    ),
    unseen(
        "margin-norm-not-dual", "The norm of the ball, not its dual.",
        (OBJECTIVES, 'norm(differences) if check_geometry(geometry) == "l2"', 'norm(differences) if geometry == "linf"'),
        killer=LINEAR,
    ),
    unseen(
        "max-outside-the-sum", "One perturbation for all, as eq. 1 is printed.",
        ("method/risk.py", "worst = stop_gradient(candidates).argmax(axis=0)",
         "worst = onp.full(candidates.shape[1], stop_gradient(candidates).sum(axis=1).argmax())"),
        killer="method/test_risk.py::test_separable_sets_let_the_max_under_the_sum",
    ),
    unseen(
        "norm-nan-at-zero", "The norm's gradient at 0 is nan.",
        (NUMERICS, "return np.sqrt(s + (s == 0)) * (s > 0)", "return np.sqrt(s)"),
        killer="method/test_critic.py::test_a_flat_critic_has_penalty_one_and_no_nan",
    ),
    unseen(
        "rounding-without-gradient", "The derivative of rounding is 0, as everywhere in mathematics.",
        (NUMERICS, "lambda ans, x: lambda g: g)", "lambda ans, x: lambda g: 0 * g)"),
        killer="method/test_numerics.py::test_rounding_rounds_forwards_and_is_the_identity_backwards",
    ),
    unseen(
        "own-confidence-of-the-target", "C is not the confidence of the original image.",
        (HIGH, "confidence = p.max(axis=1)", "confidence = p.min(axis=1)"),
        killer="attacks/test_attacks.py::test_own_confidence_is_that_of_the_original_image",
    ),
    unseen(
        "confidence-is-enough", "Below C = ½ the attack may stop before its class flips.",
        (HIGH, "return (z.argmax(axis=1) == targets[rows]) & (pick(p, targets[rows]) >= confidence[rows])",
         "return pick(p, targets[rows]) >= confidence[rows]"),
        killer="attacks/test_attacks.py::test_no_norm_is_below_the_exact_distance",
    ),
    unseen(
        "nearest-to-the-prediction", "Evaluation: the class nearest to the prediction, not to the attacked label.",
        (HIGH, "targets = nearest_class(model, x, labels)", "targets = nearest_class(model, x, p.argmax(axis=1))"),
        killer="attacks/test_attacks.py::test_success_is_success[high_confidence]",
    ),
    unseen(
        "nearest-to-the-true-label", "Training: the class nearest to the true label, not to the predicted one.",
        (TRAIN, "    step.attack(state.running", '    step.predicted = y\n    step.attack(state.running'),
        killer=LOOP,
    ),
    unseen(
        "nearest-norm-not-dual", "The norm of the ball, not its dual.",
        ("attacks/nearest.py", '{"l2": 2, "linf": 1}', '{"l2": 2, "linf": onp.inf}'),
        killer="method/test_targets.py::test_the_two_geometries_differ",
    ),
    unseen(
        "running-mean-decay", "Another memory than the authors'.",
        (TARGETS, "decay: float = 0.5", "decay: float = 0.9"),
        killer=RUNNING,
    ),
    unseen(
        "running-mean-by-true-label", "The confidence is averaged by label, not by prediction.",
        (TRAIN, "def _update_confidence(state: State, x) -> None:", "def _update_confidence(state: State, x, y) -> None:"),
        (TRAIN, "update(pick(softmax(z), predict(z)), predict(z))", "update(pick(softmax(z), predict(z)), y)"),
        (TRAIN, '_update_confidence(state, x)\n    return', '_update_confidence(state, x, y)\n    return'),
        (TRAIN, "update(step.confidence, step.predicted)", "update(step.confidence, y)"),
        killer="experiment/test_train.py::test_pretraining_is_replayed_with_weight_decay_and_running_confidence",
    ),
    unseen(
        "noise-on-the-input-only", "No noise after the hidden activations.",
        (CRITIC, "if noise is not None:", "if noise is not None and i == 0:"),
        killer=NOISED,
    ),
    unseen(
        "noise-deviations-swapped", "0.5 on the input, 0.1 on the hidden layers.",
        (CRITIC, "[input_std] + [hidden_std] * (len(params) - 1)", "[hidden_std] + [input_std] * (len(params) - 1)"),
        killer="method/test_critic.py::test_noise_has_its_deviations_its_shapes_and_its_dtype",
    ),
    unseen(
        "noise-of-the-other-pass", "The penalty on data has the noise of the attacked images.",
        (OBJECTIVES, "critic.input_gradient(critic_params, x, y, s.slope, noise_real)",
         "critic.input_gradient(critic_params, x, y, s.slope, noise_fake)"),
        killer="method/test_objectives.py::test_each_forward_pass_shares_its_noise_with_its_penalty",
    ),
    unseen(
        "noise-off-for-the-classifier", "The critic that judges in the classifier's step is noiseless.",
        (TRAIN, "step.gradient(y, state.critic, noise(), s)", "step.gradient(y, state.critic, [0 * e for e in noise()], s)"),
        killer=LOOP,
    ),
    unseen(
        "smooth-decay", "The rate falls every epoch.",
        (ADAM, "(epoch // halve_every)", "(epoch / halve_every)"),
        killer="method/test_adam.py::test_the_rate_is_halved_every_forty_epochs",
    ),
    unseen(
        "confidence-updated-late", "The attack aims at the confidence of the batch before.",
        (TRAIN, '    state.running = state.running.update(step.confidence, step.predicted)\n    step.attack(state.running,',
         '    before = state.running\n    state.running = before.update(step.confidence, step.predicted)\n    step.attack(before,'),
        killer=LOOP,
    ),
    unseen(
        "moments-forgotten", "Adam starts anew after pre-training.",
        (TRAIN, "    step.attack(", '    state.adam = Adam.start(state.params)\n    step.attack('),
        killer=LOOP,
    ),
    unseen(
        "last-batch-counts-in-full", "Records average over batches of unequal size.",
        (TRAIN, "value * len(rows)", "value * training.batch"),
        killer="experiment/test_train.py::test_a_smaller_last_batch_counts_by_its_size",
    ),
    unseen(
        "deepfool-tested-without-overshoot", "The label is tested at x + r, not at x + (1+o) r.",
        (DEEPFOOL, "hunt.arrives(model.logits(images), rows)",
         "hunt.arrives(model.logits(x[rows] + (images - x[rows]) / (1 + overshoot)), rows)"),
        killer="attacks/test_attacks.py::test_deepfool_is_exact_on_a_linear_model",
    ),
    unseen(
        "deepfool-without-the-extra", "The 1e-4 that every step adds is left out.",
        (DEEPFOOL, "onp.minimum(distance, step_limit) + extra", "onp.minimum(distance, step_limit)"),
        killer="attacks/test_attacks.py::test_steps_are_limited",
    ),
    unseen(
        "judged-before-clipping", "Success is judged, then the image is clipped into the box.",
        (DEEPFOOL, "return clip(x[rows] + (1 + overshoot) * r, box), moved", "return x[rows] + (1 + overshoot) * r, moved"),
        (SHARED, "found, success = self.found, self.confirmed(self.best, self.found)",
         'found, success, self.last = self.found, self.found, clip(self.last, self.box)\n        self.best = clip(self.best, self.box)'),
        killer="attacks/test_attacks.py::test_images_stay_in_any_box[deepfool]",
    ),
    unseen(
        "not-confirmed", "Nobody looks whether the returned image is adversarial.",
        (SHARED, "found, success = self.found, self.confirmed(self.best, self.found)", "found, success = self.found, self.found"),
        killer="attacks/test_attacks.py::test_confirmation_in_one_pass_over_the_batch",
    ),
    unseen(
        "failure-returned", "A failed attack returns its last iterate as if it were adversarial.",
        (SHARED, "images = onp.where(success[:, None], self.best, self.x)", "images = self.last * 1"),
        killer="attacks/test_attacks.py::test_a_failure_gives_the_original_back",
    ),
    unseen(
        "failure-of-norm-zero", "A failed attack has norm 0.",
        (SHARED, "onp.linalg.norm(images - self.x, axis=1), onp.nan)", "onp.linalg.norm(images - self.x, axis=1), 0)"),
        killer="attacks/test_attacks.py::test_a_failure_gives_the_original_back",
    ),
    unseen(
        "not-projected", "Projected gradient leaves its ball.",
        ("attacks/projected_gradient.py", "r *= onp.minimum(size, inside[rows[go]]) / onp.where(size > 0, size, 1)", "pass"),
        killer="attacks/test_attacks.py::test_success_is_success[projected_gradient]",
    ),
    unseen(
        "last-not-best", "Carlini-Wagner keeps the last adversarial image, not the nearest.",
        (SHARED, "better = hit & (squares < self.squares[rows])", "better = hit"),
        killer="attacks/test_attacks.py::test_a_longer_run_is_never_worse[carlini_wagner-search_steps-values2]",
    ),
    unseen(
        "constant-not-bisected", "The constant only grows.",
        (CARLINI, "upper = onp.where(works, onp.minimum(upper, c), upper)", "upper = upper * 1"),
        killer="attacks/test_attacks.py::test_carlini_wagner_bisects_its_constant",
    ),
    unseen(
        "direction-of-the-batch", "The gradient of the whole batch has length 1, not each example's.",
        (PERTURBATIONS, "size = onp.linalg.norm(g, axis=1, keepdims=True)", "size = onp.linalg.norm(g)"),
        killer="attacks/test_attacks.py::test_rows_of_unit_length",
    ),
    unseen(
        "failures-count-as-zero", "An attack that failed counts as a perturbation of length 0.",
        (EVALUATE, "onp.mean(self.ratios[self.success])", "onp.mean(onp.nan_to_num(self.ratios))"),
        killer="experiment/test_evaluate.py::test_failures_are_a_rate_and_never_in_the_mean",
    ),
    unseen(
        "mean-of-means", "ρ averages over batches of unequal size.",
        (EVALUATE, "onp.mean(self.ratios[self.success])", "onp.mean([part.mean() for part in onp.array_split(self.ratios, 5)])"),
        killer="experiment/test_evaluate.py::test_rho_of_a_known_perturbation",
    ),
    unseen(
        "conventions-mixed", "The table says that true labels were attacked, but predictions were.",
        (EVALUATE, 'labels = y if start == "true" else predicted', "labels = predicted"),
        killer="experiment/test_evaluate.py::test_the_two_conventions_differ_on_misclassified_images",
    ),
    unseen(
        "ratio-of-means", "mean ‖r‖ / mean ‖x‖ for the mean of ‖r‖/‖x‖.",
        (EVALUATE, "size = onp.linalg.norm(check_not_blank(x), axis=1)", "size = onp.full(len(x), onp.linalg.norm(x, axis=1).mean())"),
        killer="experiment/test_evaluate.py::test_rho_of_a_known_perturbation",
    ),
    unseen(
        "by-hand-bias-signal", "Biases are given the signal δ of the input gradient, in which they do not occur.",
        (REVERSE, '            into.add(l, tau, self.delta[l][at])\n', '            into.add_signal(l, tau, self.delta[l][at])\n'),
        killer=UNROLLED,
    ),
    unseen(
        "by-hand-without-softmax-curvature", "The J v term (2b of the derivation) is dropped.",
        (REVERSE, "zeta = s.p * (onp.vecdot(s.p, Jv)[:, None] - Jv)", "zeta = 0 * Jv"),
        killer=UNROLLED,
    ),
    unseen(
        "by-hand-without-second-order", "The term τᵀδ (2a of the derivation) is dropped.",
        (REVERSE, "into.add(l, tau, self.delta[l][at])", "into.add(l, 0 * tau, self.delta[l][at])"),
        killer=UNROLLED,
    ),
    unseen(
        "by-hand-indicator-sign", "The indicator's gradient has the wrong sign.",
        (REVERSE, "p_bar = s.sign * phi_bar, -c_bar * s.slope", "p_bar = s.sign * phi_bar, c_bar * s.slope"),
        killer=UNROLLED,
    ),
    unseen(
        "by-hand-indicator-of-one-step", "Earlier indicators lose their share.",
        (REVERSE, '            c_bar[part] += bars.i[rows]\n', ""),
        killer=UNROLLED,
    ),
    unseen(
        "by-hand-stopped-examples-move", "Examples that have arrived go on.",
        (REVERSE, "moving, length = step.goes > 0", "moving, length = step.goes > -1"),
        killer=UNROLLED,
    ),
    unseen(
        "by-hand-norm-derivative", "One of the two places of n in the step is forgotten.",
        (REVERSE, "(math.sqrt(self.eps) + 2 * s.phi / s.n)", "(math.sqrt(self.eps) + s.phi / s.n)"),
        killer=UNROLLED,
    ),
    unseen(
        "by-hand-path-without-overshoot", "Full mode forgets the overshoot on the path.",
        (REVERSE, "by, rows = self.ahead * self.span.coordinates(rho)", "by, rows = self.span.coordinates(rho)"),
        killer=UNROLLED,
    ),
    unseen(
        "by-hand-first-layer-without-overshoot", "The next pass is not at the next iterate.",
        (REVERSE, "length * self.stacks.first[at]", "step.move[:, None] * self.stacks.first[at]"),
        killer=UNROLLED,
    ),
    unseen(
        "by-hand-cotangent-unscaled", "r̄ enters W̄_1 without the step's length.",
        (REVERSE, '        delta *= alpha\n', ""),
        killer=UNROLLED,
    ),
    unseen(
        "by-hand-coordinates-forgotten", "W̄_1 sees x where it should see the iterate.",
        (REVERSE, '            signal[part] += gamma[part] * bars.a[rows]\n', ""),
        killer=UNROLLED,
    ),
    unseen(
        "by-hand-later-and-this", "A step's own signal is counted as a later one's.",
        (REVERSE, '            signal[part] += gamma[part] * bars.a[rows]\n            if part.start >= others:\n                bars.a[rows] += rho[part.start - others : part.stop - others]\n',
         '            if part.start >= others:\n                bars.a[rows] += rho[part.start - others : part.stop - others]\n            signal[part] += gamma[part] * bars.a[rows]\n'),
        killer=UNROLLED,
    ),
    unseen(
        "by-hand-cycle-starts-at-x", "W̄_1 sees x where the cycle starts at x̂.",
        (REVERSE, "into.add(0, self.start, bars.a)", "into.add(0, 0 * self.start, bars.a)"),
        killer=STEPS,
    ),
    unseen(
        "by-hand-first-step-by-order-of-classes", "The first step combines the classes' gradients with one another's weights.",
        (PASSES, "onp.take_along_axis(s, self.others, axis=1)[:, None]", "s[:, None, 1:]"),
        killer=STEPS,
    ),
    unseen(
        "by-hand-first-pass-lost", "What the attack's first step leaves at x is not sent back.",
        (BY_HAND, "z_bar += bars.z + ", "z_bar += "),
        killer=STEPS,
    ),
    unseen(
        "by-hand-first-pass-twice", "It is sent back by the attack and by the pass at x.",
        (REVERSE, "bars.z, zeta = zeta[:others], zeta[others:]", "bars.z, others = zeta[:others], 0"),
        killer=STEPS,
    ),
    unseen(
        "sum-of-whole-blocks", "What is left of a matrix after its last whole block is not added to.",
        (REVERSE, "for i in range(0, len(total), rows)", "for i in range(0, len(total) - rows + 1, rows)"),
        killer="by_hand/test_steps.py::test_a_sum_of_products_grows_block_by_block",
    ),
    unseen(
        "adam-decays-once", "In place, the second moment does not forget.",
        (BY_HAND, '                v *= beta2\n', ""),
        killer="by_hand/test_steps.py::test_adam_in_place_is_adam_to_the_last_bit",
    ),
    unseen(
        "by-hand-cycle-halved", "The derivative of the square lacks its 2.",
        (BY_HAND, "(2 * s.cycle_weight * share)[:, None]", "(s.cycle_weight * share)[:, None]"),
        killer=STEPS,
    ),
    unseen(
        "by-hand-own-confidence-fixed", "The cycle's confidence is a constant.",
        (BY_HAND, "own_bar * self.confidence", "0 * own_bar * self.confidence"),
        killer=STEPS,
    ),
    unseen(
        "by-hand-all-examples", "The means run over all examples, not over S.",
        (BY_HAND, "share = (changed / max(changed.sum(), 1)).astype(dtype)", "share = onp.full(len(changed), 1 / len(changed), dtype)"),
        killer=STEPS,
    ),
    unseen(
        "by-hand-critic-losses-dropped", "The critic's weights see the penalty alone.",
        (BY_HAND, "(t + s_bar * a).T @ d", "t.T @ d"),
        killer=STEPS,
    ),
    unseen(
        "by-hand-penalty-gradient-unscaled", "∇‖w‖ is taken for w.",
        (BY_HAND, "* (size - 1) / onp.where(size > 0, size, onp.inf)", "* (size - 1)"),
        killer=STEPS,
    ),
    unseen(
        "by-hand-gaps-of-one-class", "The nearest class by ‖∇f_j‖, not by ‖∇f_j − ∇f_y‖.",
        (PASSES, "classes[self.others] - classes[y][:, None]", "classes[self.others]"),
        killer=STEPS,
    ),
    unseen(
        "shear-the-wrong-way", "Slanted strokes are slanted more.",
        (STANDIN, "+ shear * upright", "- shear * upright"),
        killer="experiment/test_standin.py::test_deskewed_strokes_stand_upright_in_the_middle",
    ),
    unseen(
        "ridge-forgotten", "The kernel machine interpolates its training labels.",
        (STANDIN, "K[onp.diag_indices_from(K)] += RIDGE", "K[onp.diag_indices_from(K)] += 0.0"),
        killer="experiment/test_standin.py::test_the_classifiers_solve_their_own_equations",
    ),
    unseen(
        "changed-means-unchanged", "The original label counts as the target.",
        (STANDIN, "onp.equal(answers, taken_for), onp.equal(answers, labels)", "onp.equal(answers, labels), onp.equal(answers, taken_for)"),
        killer="experiment/test_standin.py::test_every_answer_is_of_one_kind",
    ),
]
# fmt: on
"""{name: edits} of changes that every case must let pass."""

CHOICES_AS_CHANGES = {m.choice: m for m in MISTAKES if m.choice}
BY_ID = {m.id: m for m in MISTAKES}
CATALOGUE = [*MISTAKES, *UNSEEN]
