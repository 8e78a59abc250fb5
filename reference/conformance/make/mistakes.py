"""Known mistakes, each as a change to our own lines: what the wrong code looks like, run, and looked up when it is met.

A mistake is executable (`variants`), so its answers to the cases are computed, and where the right line stands cannot
go stale.  `CHOICES_AS_CHANGES` are the other readings that an adapter may declare; undeclared they are mistakes like
the others.  `REWRITES` change the text and not the mathematics: every case must let them pass.
"""

from __future__ import annotations

from typing import NamedTuple

from .variants import Edit


class Mistake(NamedTuple):
    id: str
    says: str
    """What is right."""
    look: str
    """What to look at next."""
    edits: tuple[Edit, ...]
    """The first is where it stands in our code."""
    choice: tuple[str, str] | None = None
    """The choice that would make it right."""

    @property
    def title(self) -> str:
        return self.id.replace("-", " ")


OBJECTIVES, LOSSES, NUMERICS, CRITIC, NETWORK = (
    "method/objectives.py",
    "method/losses.py",
    "method/numerics.py",
    "method/critic.py",
    "method/network.py",
)
ATTACK, TARGETS, OPTIMISE = "attacks/high_confidence.py", "method/targets.py", "method/adam.py"
DEEPFOOL, VIRTUAL, BATCH = "attacks/deepfool.py", "method/perturbations.py", "conformance/adapters/ours.py"

INDICATOR = "active = active * round_straight_through(sigmoid(confidence - p))"
STEP = "r = r + active[:, None] * newton_step(log_p, w, confidence, eps, geometry)"
FINAL = "    x_hat = x + (1 + overshoot) * r\n    return"
ITERATE = "        x_hat = x + (1 + overshoot) * r\n        if"
JUDGED = "losses.fool_loss(D, y_hat, changed)"
CYCLE = "x_back = attack(params, stop_gradient(x_hat), predict(z), own, s.generator, via)"
CHANGED = "changed = y_hat != predict(z)"
PENALTY = "return mean((norm(gradients) - 1) ** 2)"
KEEP_TARGETS = (
    OBJECTIVES,
    "    return Attacked(z, own,",
    "    generate.targets = targets\n    return Attacked(z, own,",
)
SCALE = "scale = rate * (1 - beta2**t) ** 0.5 / (1 - beta1**t)"
NOISE = """        if i > 0:
            x = leaky_relu(x)
        if noise is not None:
            x = x + noise[i]
"""


def mistake(id, says, look, *edits, choice=None):
    return Mistake(id, says, look, edits, choice)


# fmt: off
MISTAKES = [
    # The networks
    mistake(
        "relu-gradient-half-at-zero", "relu'(0) = 0.", "The maximum function used for ReLU: use the framework's relu.",
        (NUMERICS, "return x * (x > 0)", "return np.maximum(x, 0)"),
    ),
    mistake(
        "relu-gradient-one-at-zero", "relu'(0) = 0.", "A comparison >= 0 where > 0 is meant.",
        (NUMERICS, "return x * (x > 0)", "return x * (x >= 0)"),
    ),
    mistake(
        "relu-on-the-logits", "The last layer of the classifier is linear.", "The loop over layers: no activation after the last.",
        (NETWORK, "return x @ W + b", "return relu(x @ W + b)"),
    ),
    mistake(
        "critic-slope-0.01", "The critic's LeakyReLU has slope 0.2.", "The framework's default slope.",
        (NUMERICS, "slope: float = 0.2", "slope: float = 0.01"),
    ),
    mistake(
        "critic-with-relu", "The critic's activation is LeakyReLU 0.2.", "The critic's activation.",
        (NUMERICS, "slope: float = 0.2", "slope: float = 0"),
    ),
    mistake(
        "noise-off", "The critic's noise is on in training.", "Whether the noise reaches the critic; an evaluation mode.",
        (CRITIC, "x = x + noise[i]", "x = x + 0 * noise[i]"),
    ),
    mistake(
        "noise-before-activation", "Noise is added to the input and after every hidden activation.", "The order of noise and activation.",
        (CRITIC, NOISE, """        if noise is not None:
            x = x + noise[i]
        if i > 0:
            x = leaky_relu(x)
"""),
    ),
    mistake(
        "critic-gradient-of-all-classes", "The penalty takes ∇_x D_y, of one output.", "What is summed before the critic is differentiated by x.",
        (CRITIC, "np.sum(pick(scores(params, v, noise), labels))", "np.sum(scores(params, v, noise))"),
    ),
    # Targets and confidence
    mistake(
        "nearest-by-logit", "The nearest class has the smallest |Δf|/‖Δ∇f‖, not the largest logit.", "The division by the gradients' difference.",
        (TARGETS, "away.argmin(axis=1), others.argmax(axis=1))", "others.argmax(axis=1), others.argmax(axis=1))"),
    ),
    mistake(
        "nearest-without-absolute-value", "The distance is |f_j − f_label|: the label need not be the highest.", "The sign of f_j − f_label where the label is wrong.",
        (TARGETS, "difference = onp.abs(z - z[rows, labels][:, None])", "difference = z[rows, labels][:, None] - z"),
    ),
    mistake(
        "nearest-linf-by-maximum", "For L∞ steps the dual norm is L1.", "The norm of the gradients' difference for geometry linf.",
        (OBJECTIVES, "np.sum(absolute(differences), axis=1)", "np.max(absolute(differences), axis=1)"),
    ),
    mistake(
        "gradient-of-one-class", "Distances take ∇f_j − ∇f_label, not ∇f_j alone.", "What the norm is taken of.",
        (OBJECTIVES, "differences = np.reshape(gradients - gradients[onp.arange(n), y][:, None], (n * k, d))",
         "differences = np.reshape(gradients, (n * k, d))"),
    ),
    mistake(
        "confidence-by-label", "The running confidence of a class averages the examples predicted as that class.", "By what the batch is grouped.",
        (BATCH, "update(pick(softmax(z), predict(z)), predict(z))", "update(pick(softmax(z), predict(z)), y)"),
    ),
    mistake(
        "confidence-without-debiasing", "biased / (1 − ½^steps): the first value is the batch mean itself.", "The division by 1 − decay^steps.",
        (TARGETS, "return RunningConfidence(biased / (1 - self.decay**steps), biased, steps, self.decay)",
         "return RunningConfidence(biased, biased, steps, self.decay)"),
    ),
    mistake(
        "running-confidence-plain", "The running mean starts at 0 and is debiased.", 'Declare "running confidence": "plain" if it is meant.',
        (TARGETS, "return RunningConfidence(biased / (1 - self.decay**steps), biased, steps, self.decay)",
         "return RunningConfidence(self.decay * self.value + (1 - self.decay) * batch, biased, steps, self.decay)"),
        choice=("running confidence", "plain"),
    ),
    mistake(
        "absent-class-zero", "A class absent from the batch contributes its stored value.", "What an empty mean gives.",
        (TARGETS, "total / onp.maximum(count, 1), self.value)", "total / onp.maximum(count, 1), 0)"),
    ),
    mistake(
        "confidence-of-the-original-class", "C is the running confidence of the target class.", "The index into the running confidence.",
        (OBJECTIVES, '{"running": running.value[targets]', '{"running": running.value[predict(z)]'),
    ),
    mistake(
        "own-target-confidence-detached", "Where C is the example's own confidence, gradient flows through it.", "A detach or no_grad around the softmax that gives C.",
        (OBJECTIVES, '"own": own}.get', '"own": stop_gradient(own)}.get'),
    ),
    # The attack: its steps
    mistake(
        "overshoot-missing", "The iterates and the result are x + (1 + o) r.", "Where o enters.",
        (ATTACK, FINAL, "    x_hat = x + r\n    return"), (ATTACK, ITERATE, "        x_hat = x + r\n        if"),
    ),
    mistake(
        "overshoot-at-the-end-only", "The iterates, too, are x + (1 + o) r.", "Where each iteration linearises.",
        (ATTACK, ITERATE, "        x_hat = x + r\n        if"),
    ),
    mistake(
        "overshoot-twice", "r adds up steps without the overshoot.", "Whether r itself is multiplied by 1 + o.",
        (ATTACK, STEP, "r = r + (1 + overshoot) * active[:, None] * newton_step(log_p, w, confidence, eps, geometry)"),
    ),
    mistake(
        "sqrt-eps-missing", "The step has length √ε + φ/n.", "The step's length.",
        (ATTACK, "return (math.sqrt(eps) + phi / n) * w / n", "return (phi / n) * w / n"),
    ),
    mistake(
        "eps-outside-the-norm", "n = √(ε + ‖w‖²).", "Where ε is added to the norm.",
        (ATTACK, "n = np.sqrt(eps + np.sum(w * w, axis=1, keepdims=True))", "n = eps + np.sqrt(np.sum(w * w, axis=1, keepdims=True))"),
    ),
    mistake(
        "step-divided-by-the-norm-once", "The linearised step is (φ/n)·(w/n).", "The division by ‖w‖, twice: once for the distance, once for the direction.",
        (ATTACK, "return (math.sqrt(eps) + phi / n) * w / n", "return (math.sqrt(eps) + phi) * w / n"),
    ),
    mistake(
        "phi-without-absolute-value", "φ = |log p_t − log C|.", "The sign where p_t > C.",
        (ATTACK, "phi = absolute(log_p - np.log(like(confidence, log_p)))[:, None]",
         "phi = (np.log(like(confidence, log_p)) - log_p)[:, None]"),
    ),
    mistake(
        "linf-step-by-l2-norm", "The L∞ step is (√ε + φ)·sign(w)/‖w‖₁.", "The norm of w for geometry linf.",
        (ATTACK, "size = np.sum(absolute(w), axis=1, keepdims=True)", "size = np.sqrt(np.sum(w * w, axis=1, keepdims=True))"),
    ),
    mistake(
        "gradient-of-the-logit", "w = ∇_x log p_t, not ∇_x f_t.", "What is differentiated by x.",
        (ATTACK, "pull_back(one_hot(targets, z.shape[1], z.dtype) - p)", "pull_back(one_hot(targets, z.shape[1], z.dtype))"),
    ),
    mistake(
        "box-in-training", "The training attack is not clipped to the box.", "A clip to [0, 1] in the training attack.",
        (ATTACK, FINAL, "    x_hat = np.clip(x + (1 + overshoot) * r, 0, 1)\n    return"),
    ),
    mistake(
        "step-limit-in-training", "The training attack has no step limit; 0.1 is the evaluation's.", "A limit on the step's norm.",
        (ATTACK, STEP, """step = newton_step(log_p, w, confidence, eps, geometry)
        step = step * np.minimum(1, 0.1 / np.sqrt(1e-30 + np.sum(step * step, axis=1, keepdims=True)))
        r = r + active[:, None] * step"""),
    ),
    # The attack: when it stops
    mistake(
        "never-stops", "An example that has reached C stays put.", "The indicator p_t < C.",
        (ATTACK, INDICATOR, "active = onp.ones_like(stop_gradient(p))"),
    ),
    mistake(
        "indicator-not-cumulative", "An example that has arrived once stays put for good.", "The product over iterations.",
        (ATTACK, INDICATOR, "active = round_straight_through(sigmoid(confidence - p))"),
    ),
    mistake(
        "argmax-required-to-stop", "Training's attack stops at p_t ≥ C alone, whatever the argmax.", "An argmax test in the indicator.",
        (ATTACK, INDICATOR, """goes = round_straight_through(sigmoid(confidence - p))
        elsewhere = stop_gradient(network.logits(params, x_hat)).argmax(axis=1) != targets
        active = active * (goes + (1 - stop_gradient(goes)) * elsewhere)"""),
    ),
    mistake(
        "stops-at-the-boundary", "The attack goes on to confidence C, inside the class.", "What ends the attack: the boundary, or p_t ≥ C.",
        (ATTACK, INDICATOR, "active = active * (stop_gradient(network.logits(params, x_hat)).argmax(axis=1) != targets)"),
    ),
    mistake(
        "tie-goes-on", "p_t = C counts as arrived: ½ rounds to 0.", "p_t < C or p_t ≤ C.",
        (NUMERICS, "return onp.round(x)", "return onp.floor(x + 0.5)"),
    ),
    # The attack: its gradient
    mistake(
        "attack-detached", "x̂ is attached to θ in the critic term; else the method does nothing.", "A detach on x̂ before the critic.",
        (OBJECTIVES, "D = via.scores(fixed(critic_params), x_hat, noise)", "D = via.scores(fixed(critic_params), stop_gradient(x_hat), noise)"),
    ),
    mistake(
        "iterates-not-detached", "Every iterate is a constant: θ enters through each step, not through the path.", 'A missing detach in the loop; declare "unrolling": "full" if it is meant.',
        (ATTACK, 'if gradient != "full":', "if False:"), choice=("unrolling", "full"),
    ),
    mistake(
        "second-order-term-dropped", "w = ∇_x log p_t is differentiated by θ: second order.", "create_graph, or its like, where w is computed.",
        (ATTACK, "pull_back(one_hot(targets, z.shape[1], z.dtype) - p)", "stop_gradient(pull_back(one_hot(targets, z.shape[1], z.dtype) - p))"),
    ),
    mistake(
        "phi-detached", "φ = |log p_t − log C| is differentiated by θ.", "A detach on log p_t.",
        (ATTACK, "phi = absolute(log_p - np.log(like(confidence, log_p)))[:, None]",
         "phi = stop_gradient(absolute(log_p - np.log(like(confidence, log_p))))[:, None]"),
    ),
    mistake(
        "norm-detached", "n = √(ε + ‖w‖²) is differentiated by θ.", "A detach on the norm of w.",
        (ATTACK, "n = np.sqrt(eps + np.sum(w * w, axis=1, keepdims=True))",
         "n = stop_gradient(np.sqrt(eps + np.sum(w * w, axis=1, keepdims=True)))"),
    ),
    mistake(
        "indicator-without-gradient", "Backwards the rounding is the identity, and the sigmoid keeps its slope.", 'A comparison in place of the rounded sigmoid; declare "indicator": "constant" if it is meant.',
        (ATTACK, INDICATOR, "active = active * stop_gradient(round_straight_through(sigmoid(confidence - p)))"), choice=("indicator", "constant"),
    ),
    mistake(
        "indicator-without-sigmoid-slope", "Backwards the indicator is σ(C − p), with σ's slope.", "What the straight-through gradient is taken of.",
        (ATTACK, INDICATOR, "active = active * round_straight_through(0.5 + confidence - p)"),
    ),
    mistake(
        "indicator-cumulative-forwards-only", "Each factor of the cumulative product gets its gradient.", "A detach on the product so far.",
        (ATTACK, INDICATOR, "active = stop_gradient(active) * round_straight_through(sigmoid(confidence - p))"),
    ),
    # The classifier's terms
    mistake(
        "softmax-twice", "Cross-entropy takes logits.", "A softmax before a loss that has its own.",
        (LOSSES, "return mean(-pick(log_softmax(z), y))", "return mean(-pick(log_softmax(softmax(z)), y))"),
    ),
    mistake(
        "cross-entropy-summed", "Cross-entropy is a mean over examples.", "The reduction.",
        (LOSSES, "return mean(-pick(log_softmax(z), y))", "return np.sum(-pick(log_softmax(z), y))"),
    ),
    mistake(
        "logarithm-of-softmax", "log-softmax is computed from shifted logits: a probability that underflows has a logarithm.", "log(softmax(z) + tiny).",
        (NUMERICS, "return z - np.log(np.sum(np.exp(z), axis=1, keepdims=True))", "return np.log(softmax(z) + 1e-12)"),
    ),
    mistake(
        "target-instead-of-predicted-class", "The critic judges x̂ as ŷ = argmax f(x̂), the class it is taken for.", "The class given to D in the critic term.",
        (OBJECTIVES, JUDGED, "losses.fool_loss(D, generate.targets, changed)"), KEEP_TARGETS,
    ),
    mistake(
        "label-instead-of-predicted-class", "The critic judges x̂ as ŷ = argmax f(x̂).", "The class given to D in the critic term.",
        (OBJECTIVES, JUDGED, "losses.fool_loss(D, y, changed)"),
    ),
    mistake(
        "original-instead-of-predicted-class", "The critic judges x̂ as ŷ = argmax f(x̂), not as argmax f(x).", "The class given to D in the critic term.",
        (OBJECTIVES, JUDGED, "losses.fool_loss(D, predict(z), changed)"),
    ),
    mistake(
        "critic-term-over-all", "The critic term averages over S, the attacks that changed the prediction.", "The mask of the critic term.",
        (OBJECTIVES, JUDGED, "losses.fool_loss(D, y_hat, changed | True)"),
    ),
    mistake(
        "cycle-over-all", "The cycle term averages over S.", "The mask of the cycle term.",
        (OBJECTIVES, "losses.cycle_loss(x, x_back, changed)", "losses.cycle_loss(x, x_back, changed | True)"),
    ),
    mistake(
        "kept-divided-by-n", "Means over S divide by |S|.", "The denominator of the masked mean.",
        (NUMERICS, "np.sum(values[mask]) / max(int(onp.sum(mask)), 1)", "np.sum(values[mask]) / len(mask)"),
    ),
    mistake(
        "kept-against-label", "S compares argmax f(x̂) with argmax f(x), not with y.", "The definition of S.",
        (OBJECTIVES, CHANGED, "changed = y_hat != y"),
    ),
    mistake(
        "kept-at-target-only", "S holds every changed prediction, also those that landed in a third class.", "The definition of S.",
        (OBJECTIVES, CHANGED, "changed = y_hat == generate.targets"), KEEP_TARGETS,
    ),
    mistake(
        "saturating-loss", "The classifier minimises softplus(−D).", "The generator's loss: −softplus(D) saturates.",
        (LOSSES, "softplus(-pick(scores, y_adv)), changed", "-softplus(pick(scores, y_adv)), changed"),
    ),
    mistake(
        "fool-loss-sign", "The classifier wants D(x̂) large: softplus(−D).", "The sign of D in the classifier's critic term.",
        (LOSSES, "softplus(-pick(scores, y_adv)), changed", "softplus(pick(scores, y_adv)), changed"),
    ),
    mistake(
        "cycle-input-attached", "x̂ is a constant where the cycle starts.", "A missing detach on x̂ in the cycle term.",
        (OBJECTIVES, CYCLE, CYCLE.replace("stop_gradient(x_hat)", "x_hat")),
    ),
    mistake(
        "cycle-confidence-detached", "conf, the cycle's target confidence, is attached.", 'A detach on max p(x); declare "cycle confidence": "detached" if it is meant.',
        (OBJECTIVES, CYCLE, CYCLE.replace("own", "stop_gradient(own)")), choice=("cycle confidence", "detached"),
    ),
    mistake(
        "cycle-result-detached", "The cycle's result is attached to θ.", "A detach on x_back: the cycle term then has no gradient.",
        (OBJECTIVES, CYCLE, f"{CYCLE}\n    x_back = stop_gradient(x_back)"),
    ),
    mistake(
        "cycle-to-the-attacks-confidence", "The cycle aims at the original confidence max p(x), not at C.", "The confidence given to the cycle's attack.",
        (OBJECTIVES, CYCLE, CYCLE.replace("own", "attacked.target_confidence")),
    ),
    mistake(
        "cycle-towards-the-label", "The cycle aims at argmax f(x), not at y.", "The target of the cycle's attack.",
        (OBJECTIVES, CYCLE, CYCLE.replace("predict(z)", "y")),
    ),
    mistake(
        "cycle-plain-norm", "The cycle term takes the squared norm.", 'Declare "cycle norm": "plain" if it is meant, as the paper prints it.',
        (OBJECTIVES, "losses.cycle_loss(x, x_back, changed)", "losses.cycle_loss(x, x_back, changed, squared=False)"), choice=("cycle norm", "plain"),
    ),
    mistake(
        "cycle-mean-over-pixels", "The cycle's norm sums over pixels.", "A mean-squared-error function.",
        (LOSSES, "np.sum(r * r, axis=1) if squared", "np.sum(r * r, axis=1) / r.shape[1] if squared"),
    ),
    mistake(
        "cycle-l1", "The cycle's norm is Euclidean.", "The norm.",
        (LOSSES, "np.sum(r * r, axis=1) if squared", "np.sum(np.abs(r), axis=1) if squared"),
    ),
    # The critic's terms
    mistake(
        "failed-attacks-dropped", "The critic sees all attacked images, also those whose attack failed.", "A mask in the critic's loss.",
        (BATCH, "terms = objectives.critic_objective(critic, x, y, x_hat, y_hat, noise_real, noise_fake, 1, self.via)",
         """terms = objectives.critic_objective(critic, x, y, x_hat, y_hat, noise_real, noise_fake, 1, self.via)
        kept = self.changed
        noise = noise_fake and [a[kept] for a in noise_fake]
        terms["fake"] = (1, losses.fake_loss(self.via.scores(critic, x_hat[kept], noise), y_hat[kept]))"""),
        (BATCH, "return x_hat, predict(self.via.logits(params, x_hat))",
         "self.changed = predict(self.via.logits(params, x_hat)) != predict(self.via.logits(params, x))\n"
         "        return x_hat, predict(self.via.logits(params, x_hat))"),
    ),
    mistake(
        "fake-by-target", "The critic's loss takes D_ŷ(x̂).", "The class given to D in the critic's loss.",
        (BATCH, "return x_hat, predict(self.via.logits(params, x_hat))", "return x_hat, targets"),
    ),
    mistake(
        "fake-by-label", "The critic's loss takes D_ŷ(x̂), ŷ what x̂ is taken for.", "The class given to D in the critic's loss.",
        (OBJECTIVES, "losses.fake_loss(via.scores(critic_params, x_hat, noise_fake), y_hat)",
         "losses.fake_loss(via.scores(critic_params, x_hat, noise_fake), y)"),
    ),
    mistake(
        "real-and-fake-swapped", "softplus(−D) on data, softplus(D) on attacked images.", "The signs in the critic's loss.",
        (LOSSES, "return mean(softplus(-pick(scores, y)))", "return mean(softplus(pick(scores, y)))"),
        (LOSSES, "return mean(softplus(pick(scores, y_adv)))", "return mean(softplus(-pick(scores, y_adv)))"),
    ),
    mistake(
        "linear-critic-loss", "The critic's loss is softplus, not the scores themselves.", "A Wasserstein loss.",
        (LOSSES, "return mean(softplus(-pick(scores, y)))", "return mean(-pick(scores, y))"),
        (LOSSES, "return mean(softplus(pick(scores, y_adv)))", "return mean(pick(scores, y_adv))"),
    ),
    mistake(
        "penalty-at-interpolates", "The penalty is taken at x and at x̂.", 'Declare "penalty points": "interpolates" if it is meant.',
        (BATCH, 'penalty = terms.pop("penalty_real")[1] + terms.pop("penalty_fake")[1]',
         """del terms["penalty_real"], terms["penalty_fake"]
        between = u * x + (1 - u) * x_hat
        penalty = losses.gradient_penalty(self.via.critic_gradient(critic, between, y, noise_real))"""),
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
    ),
    mistake(
        "penalty-zero-centred", "The penalty is centred at norm 1.", "The − 1.",
        (LOSSES, PENALTY, "return mean(norm(gradients) ** 2)"),
    ),
    mistake(
        "penalty-per-batch", "The norm is per example.", "The axis of the norm.",
        (LOSSES, PENALTY, "return (np.sqrt(np.sum(gradients * gradients)) - 1) ** 2"),
    ),
    mistake(
        "penalty-of-the-mean-norm", "The mean is taken of (‖g‖ − 1)², not of ‖g‖.", "The order of mean and square.",
        (LOSSES, PENALTY, "return (mean(norm(gradients)) - 1) ** 2"),
    ),
    mistake(
        "penalty-not-squared", "The penalty is squared.", "The exponent.",
        (LOSSES, PENALTY, "return mean(np.abs(norm(gradients) - 1))"),
    ),
    mistake(
        "penalty-detached", "The penalty is differentiated by the critic's parameters: second order.", "create_graph, or its like, in the penalty.",
        (LOSSES, PENALTY, "return mean((norm(stop_gradient(gradients)) - 1) ** 2) + 0 * mean(norm(gradients))"),
    ),
    mistake(
        "penalty-without-noise", "Loss and penalty share one draw of noise.", "The noise of the penalty's forward pass.",
        (OBJECTIVES, "via.critic_gradient(critic_params, x, y, noise_real)", "via.critic_gradient(critic_params, x, y, None)"),
        (OBJECTIVES, "via.critic_gradient(critic_params, x_hat, y_hat, noise_fake)", "via.critic_gradient(critic_params, x_hat, y_hat, None)"),
    ),
    # The other defences
    mistake(
        "weight-decay-on-the-last-layer", "Weight decay takes the hidden layers' weights only.", "The layers that are decayed.",
        (LOSSES, "for W, _ in params[:-1])", "for W, _ in params)"),
    ),
    mistake(
        "weight-decay-on-biases", "Weight decay takes no biases.", "The parameters that are decayed.",
        (LOSSES, "sum((0.5 * np.sum(W * W) for W, _ in params[:-1])", "sum((0.5 * (np.sum(W * W) + np.sum(b * b)) for W, b in params[:-1])"),
    ),
    mistake(
        "weight-decay-without-half", "Weight decay is ½‖W‖².", "The factor ½.",
        (LOSSES, "0.5 * np.sum(W * W)", "np.sum(W * W)"),
    ),
    mistake(
        "adversarial-examples-only", "Adversarial training: ½ L(x) + ½ L(x + r).", "The clean half.",
        (OBJECTIVES, '"cross_entropy": (0.5,', '"cross_entropy": (0,'), (OBJECTIVES, '"attacked": (0.5,', '"attacked": (1,'),
    ),
    mistake(
        "virtual-gradient-not-normalised", "r has length ε: the direction is normalised.", "The gradient's norm.",
        (VIRTUAL, "d = unit_rows(grad(lambda r: kl_divergence(z0, logits(x + r)))(xi * d))",
         "d = grad(lambda r: kl_divergence(z0, logits(x + r)))(xi * d)"),
    ),
    mistake(
        "virtual-target-attached", "The clean prediction in the KL term is a constant.", "A detach on p(x).",
        (OBJECTIVES, "losses.kl_divergence(stop_gradient(z),", "losses.kl_divergence(z,"),
    ),
    mistake(
        "virtual-kl-reversed", "KL(p(x) ‖ p(x + r)), in this order.", "The order of the arguments.",
        (LOSSES, "softmax(z0) * (log_softmax(z0) - log_softmax(z))", "softmax(z) * (log_softmax(z) - log_softmax(z0))"),
    ),
    mistake(
        "margin-gradient-detached", "The norm of the gradients' difference is differentiated by θ.", "create_graph, or its like, in the margin loss.",
        (OBJECTIVES, "y, gaps, s.epsilon)", "y, stop_gradient(gaps), s.epsilon)"),
    ),
    mistake(
        "margin-summed-over-classes", "The hinge takes the worst class.", "A sum where the maximum belongs.",
        (LOSSES, "return mean(pick(hinge, others.argmax(axis=1)) * (others.max(axis=1) > 0))",
         "return mean(np.sum(hinge * (1 - one_hot(y, z.shape[1], z.dtype)), axis=1))"),
    ),
    # Steps
    mistake(
        "adam-beta1-0.9", "β1 = 0.5.", "The framework's default.",
        (OPTIMISE, "beta1: float = 0.5", "beta1: float = 0.9"),
    ),
    mistake(
        "adam-eps-inside", "ε stands outside the bias correction: m/(√v + ε).", 'Declare "Adam epsilon": "inside" if it is meant, as in PyTorch.',
        (OPTIMISE, "scale * m / (onp.sqrt(v) + eps)", "rate / (1 - beta1**t) * m / (onp.sqrt(v / (1 - beta2**t)) + eps)"), choice=("Adam epsilon", "inside"),
    ),
    mistake(
        "adam-without-bias-correction", "Adam corrects the bias of its moments.", "√(1−β2ᵗ)/(1−β1ᵗ).",
        (OPTIMISE, SCALE, "scale = rate"),
    ),
    mistake(
        "adam-restarted", "Moments and t continue from earlier training.", "The step count.",
        (OPTIMISE, SCALE, "scale = rate * (1 - beta2) ** 0.5 / (1 - beta1)"),
    ),
    mistake(
        "critic-updated-in-the-classifier-step", "The classifier's step leaves the critic alone.", "Which parameters the classifier's optimiser holds.",
        (BATCH, 'weights = {"critic": critic_weight, "cycle": cycle_weight}',
         """fooling = gradients(lambda D: self._classifier_terms(params, D, x, y, targets, C, noise_judge), D)["critic"]
        before, D = D, [(W - critic_rate * V, b - critic_rate * c) for (W, b), (V, c) in zip(D, fooling)]
        weights = {"critic": critic_weight, "cycle": cycle_weight}"""),
        (BATCH, "self._classifier_terms(p, D, x, y, targets, C, noise_judge)", "self._classifier_terms(p, before, x, y, targets, C, noise_judge)"),
        (OBJECTIVES, "D = via.scores(fixed(critic_params), x_hat, noise)", "D = via.scores(critic_params, x_hat, noise)"),
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
        (BATCH, 'targets = self.nearest_class(params, x, predict(self.via.logits(params, x)), "l2")', 'targets = self.nearest_class(params, x, y, "l2")'),
    ),
    # Evaluation
    mistake(
        "deepfool-linearises-at-the-iterate", "DeepFool tests at x + (1 + o) r and linearises at x + r.", "Where the gradients are taken.",
        (DEEPFOOL, "boundaries(model, x[rows] + r, labels[rows])", "boundaries(model, last[rows], labels[rows])"),
    ),
    mistake(
        "deepfool-without-overshoot", "DeepFool's image is x + (1 + o) r, o = 0.02.", "The overshoot.",
        (DEEPFOOL, "overshoot: float = 0.02", "overshoot: float = 0.0"),
    ),
    mistake(
        "deepfool-without-step-limit", "A DeepFool step is at most 0.1 + 1e-4 long.", "The limit on the step's length.",
        (DEEPFOOL, "step_limit: float = 0.1", "step_limit: float = math.inf"), (DEEPFOOL, "import numpy as onp", "import math\n\nimport numpy as onp"),
    ),
    mistake(
        "deepfool-from-the-prediction", "Attacks start from the labels given, so a misclassified image has r = 0.", "The label that DeepFool leaves.",
        (BATCH, "result = deepfool(self.model(params), x, labels)", "result = deepfool(self.model(params), x)"),
    ),
    mistake(
        "high-confidence-without-step-limit", "An evaluation step is at most 0.1 long.", "The limit on the step's norm.",
        (ATTACK, "step_limit: float = 0.1", "step_limit: float = math.inf"),
    ),
    mistake(
        "high-confidence-at-the-boundary", "The evaluation's attack ends at confidence C.", "What ends it.",
        (ATTACK, "return (z.argmax(axis=1) == t) & (pick(softmax(z), t) >= C)", "return z.argmax(axis=1) == t"),
    ),
    mistake(
        "evaluation-without-box", "Evaluated images stay in [0, 1].", "The clip after every step.",
        ("attacks/result.py", "return x if box is None else onp.clip(x, *box)", "return x"),
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
    "adam": [(OPTIMISE, "beta1 * m + (1 - beta1) * g", "m + (1 - beta1) * (g - m)")],
    "sigmoid": [(NUMERICS, "return 0.5 * (1 + np.tanh(0.5 * x))", "return 1 / (1 + np.exp(-x))")],
}
# fmt: on
"""{name: edits} of changes that every case must let pass."""

CHOICES_AS_CHANGES = {m.choice: m for m in MISTAKES if m.choice}
BY_ID = {m.id: m for m in MISTAKES}
