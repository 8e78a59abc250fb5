"""A classifier step with an objective of a study's own, against the same objective by hand."""

from dataclasses import replace

import numpy as np
from calculus import assert_gradient, forward, surrogate, unroll
from hypothesis import assume
from strategies import MARGIN

from reference.method import objectives
from reference.method.settings import AdversaryCritic, Generator
from reference.studies import measures

SETTINGS = AdversaryCritic(critic_weight=0.7, cycle_weight=0.3, generator=Generator(iterations=3))


def attacked_by_hand(held, params, q):
    """-> (z at x, the predicted classes, x̂, S)."""
    g, (z, _) = SETTINGS.generator, forward(held, params, q.x)
    predicted = held.largest(z)
    x_hat = unroll(held, params, q.x, q.targets, q.running.value[q.targets], g.iterations, g.overshoot, g.eps)
    return z, predicted, x_hat, held.largest(forward(held, params, held.constant(x_hat))[0]) != predicted


def mean_over(S, v):
    return np.sum(np.where(S, v, 0)) / max(np.sum(S), 1)


def step_of(module, q):
    """Terms and gradient of the classifier step, on targets of its own choice."""
    step = module.ClassifierStep(q.params, q.x)
    step.attack(q.running, SETTINGS.generator)
    return step.gradient(q.y, q.critic, q.noise_fake, SETTINGS), step


def assert_value_and_gradient(judge, by_hand, q):
    """by_hand(held, params, q): the total of the terms of `judge`."""
    q = replace(q, targets=objectives.choose_targets(q.params, q.x, SETTINGS.generator))
    replay, value, held = surrogate(lambda held, p: by_hand(held, p, q), q.params)
    assume(held.margin > MARGIN and abs(value) < 1e4)
    (terms, gradient), step = step_of(measures.with_objective(judge), q)
    assume(np.any(step.taken_for != step.predicted))
    np.testing.assert_allclose(sum(w * v for w, v in terms.values()), value, rtol=1e-9)
    assert_gradient(gradient, replay, q.params)
