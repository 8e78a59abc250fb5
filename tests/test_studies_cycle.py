"""The cycle with x̂ attached as its input against the same by hand, and the round trip by its definition."""

from dataclasses import replace

import numpy as np
from calculus import adversary_critic_by_hand, assert_gradient, forward, log_probabilities, rows, surrogate, unroll
from hypothesis import assume, given, settings
from strategies import MARGIN, problems

from reference import network, objectives
from reference.numerics import pick, predict, softmax
from reference.settings import AdversaryCritic, Generator
from reference.studies import cycle, measures
from reference.train import State

SETTINGS = AdversaryCritic(critic_weight=0.7, cycle_weight=0.3, generator=Generator(iterations=3))


def attached_by_hand(held, params, q):
    """Cross-entropy + λ·critic + β·mean_S ‖x − A_f(x̂)‖², θ through x̂ as well."""
    terms, g = list(adversary_critic_by_hand(held, params, q, SETTINGS).values()), SETTINGS.generator
    z, _ = forward(held, params, q.x)
    predicted, C = held.largest(z), q.running.value[q.targets]
    x_hat = unroll(held, params, q.x, q.targets, C, g.iterations, g.overshoot, g.eps)
    S = held.largest(forward(held, params, held.constant(x_hat))[0]) != predicted
    own = rows(np.exp(log_probabilities(z)), predicted)
    x_back = unroll(held, params, x_hat, predicted, own, g.iterations, g.overshoot, g.eps)
    squares = np.sum((q.x - x_back) ** 2, axis=1)
    return terms[0] + 0.7 * terms[1] + 0.3 * np.sum(np.where(S, squares, 0)) / max(np.sum(S), 1)


@settings(max_examples=25)
@given(problems())
def test_value_and_gradient_with_the_input_attached(q):
    q = replace(q, targets=objectives.choose_targets(q.params, q.x, SETTINGS.generator))
    replay, value, held = surrogate(lambda held, p: attached_by_hand(held, p, q), q.params)
    assume(held.margin > MARGIN and abs(value) < 1e4)
    step = measures.with_objective(cycle.attached).ClassifierStep(q.params, q.x)
    step.attack(q.running, SETTINGS.generator)
    assume(np.any(step.taken_for != step.predicted))
    terms, gradient = step.gradient(q.y, q.critic, q.noise_fake, SETTINGS)
    np.testing.assert_allclose(sum(w * v for w, v in terms.values()), value, rtol=1e-9)
    assert_gradient(gradient, replay, q.params)


@given(problems())
def test_the_round_trip_by_the_plain_definitions(q):
    found = cycle.round_trip(State(q.params, None, q.running, None, q.critic), SETTINGS, q.x)
    g, z = SETTINGS.generator, network.logits(q.params, q.x)
    targets = objectives.choose_targets(q.params, q.x, g)
    x_hat = objectives.generate(q.params, q.x, targets, q.running, g).images
    S = predict(network.logits(q.params, x_hat)) != predict(z)
    back = objectives.attack(q.params, x_hat, predict(z), pick(softmax(z), predict(z)), g)
    assert found["changed"] == S.mean()
    trip = np.sqrt(np.mean(np.sum((q.x - back)[S] ** 2, axis=1))) if S.any() else 0
    np.testing.assert_allclose(found["trip"], trip, rtol=1e-6, atol=1e-12)
