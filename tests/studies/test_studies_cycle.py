"""The cycle with x̂ attached as its input against the same by hand, and the round trip by its definition."""

import numpy as np
from calculus import adversary_critic_by_hand, log_probabilities, rows, unroll
from hypothesis import given, settings
from judges import SETTINGS, assert_value_and_gradient, attacked_by_hand, mean_over
from strategies import problems

from reference.experiment.state import State
from reference.method import network, objectives
from reference.method.numerics import pick, predict, softmax
from reference.studies import cycle


def attached_by_hand(held, params, q):
    """Cross-entropy + λ·critic + β·mean_S ‖x − A_f(x̂)‖², θ through x̂ as well."""
    terms, g = adversary_critic_by_hand(held, params, q, SETTINGS), SETTINGS.generator
    z, predicted, x_hat, S = attacked_by_hand(held, params, q)
    own = rows(np.exp(log_probabilities(z)), predicted)
    x_back = unroll(held, params, x_hat, predicted, own, g.iterations, g.overshoot, g.eps)
    cycle_term = mean_over(S, np.sum((q.x - x_back) ** 2, axis=1))
    return terms["cross_entropy"] + 0.7 * terms["critic"] + 0.3 * cycle_term


@settings(max_examples=25)
@given(problems())
def test_value_and_gradient_with_the_input_attached(q):
    assert_value_and_gradient(cycle.attached, attached_by_hand, q)


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
