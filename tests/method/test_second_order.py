"""Training differentiates through the attack: derivatives of derivatives, by θ, by C and by x.

Plain finite differences of the attack x̂(θ) are the wrong judge, by design, for two reasons.  In "truncated" mode the
iterates at which the network is linearised are constants: x̂ moves with them, its gradient does not.  And the indicator
"not there yet" is a step function: x̂ does not see it move, its gradient is σ's, straight through the rounding.  The
judge here is the surrogate of `calculus`: the attack by hand, with each constant frozen at θ₀ and each indicator
replaced by value(θ₀) + σ(C − p) − σ(C − p)|θ₀.  That is a smooth function, with the derivative the method wants; it is
differentiated by complex steps and by finite differences.
"""

import warnings

import numpy as np
import pytest
from autograd import make_vjp
from calculus import (
    adversary_critic_by_hand,
    along,
    assert_gradient,
    assert_like,
    eye,
    finite_difference,
    forward,
    leaves,
    log_probabilities,
    pull_back,
    rows,
    surrogate,
    unroll,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import network, problems, seeds

from reference.errors import InputError
from reference.method import objectives as O
from reference.method.generator import linearise_log_prob, newton_step, unrolled
from reference.method.network import logits
from reference.method.numerics import pick, predict, softmax
from reference.method.settings import AdversaryCritic, Generator

iterations = st.integers(1, 5)
modes = pytest.mark.parametrize("mode", ["truncated", "full"])
geometries = pytest.mark.parametrize("geometry", ["l2", "linf"])
SAME_BRANCH = 1e-7  # two ways to compute a number may fall on different sides of a branch this near
TERMS = ("cross_entropy", "critic", "cycle")


def vector_jacobian(f, at, G):
    pull, value = make_vjp(f)(at)
    return value, pull(G)


@modes
@geometries
@settings(max_examples=20)
@given(q=problems(), M=iterations, seed=seeds)
def test_the_attack_by_parameters_confidence_and_image(mode, geometry, q, M, seed):
    G = np.random.default_rng(seed).standard_normal(q.x.shape)

    def by_hand(held, at):
        params, C, x = at
        return unroll(held, params, x, q.targets, C, M, gradient=mode, geometry=geometry)

    def ours(at):
        params, C, x = at
        return unrolled(params, x, q.targets, C, M, gradient=mode, geometry=geometry)

    at = (q.params, q.confidence, q.x)
    _, x_hat, held = surrogate(by_hand, at)
    assume(held.margin > SAME_BRANCH and np.abs(x_hat).max() < 1e3)
    replay, _, _ = surrogate(lambda held, at: np.sum(G * by_hand(held, at)), at)
    got, gradient = vector_jacobian(ours, at, G)
    np.testing.assert_allclose(got, x_hat, rtol=1e-9, atol=1e-10)
    assert_gradient(gradient, replay, at)


@modes
@geometries
@pytest.mark.parametrize("confidence", ["running", "own", 0.8])
@settings(max_examples=10)
@given(q=problems(batch=st.integers(2, 5)), M=iterations)
def test_the_adversary_critics_terms(mode, geometry, confidence, q, M):
    s = AdversaryCritic(
        critic_weight=0.7,
        cycle_weight=0.3,
        generator=Generator(iterations=M, gradient=mode, geometry=geometry, confidence=confidence),
    )
    check_adversary_critic(q, s)


def check_adversary_critic(q, s):
    """Values of the three terms, and the gradient of their weighted sum, against those by hand."""

    def ours(params):
        return O.adversary_critic(params, q.x, q.y, q.targets, q.running, q.critic, q.noise_fake, s)

    def by_hand(held, params):
        return adversary_critic_by_hand(held, params, q, s)

    weights = [1, s.critic_weight, s.cycle_weight]
    _, values, held = surrogate(by_hand, q.params)
    assume(held.margin > SAME_BRANCH and values["cycle"] < 1e4)
    replay, _, _ = surrogate(lambda held, p: np.dot(weights, list(by_hand(held, p).values())), q.params)
    terms, gradient = O.differentiate(ours, q.params)
    assert list(terms) == list(TERMS)
    for (name, value), weight in zip(values.items(), weights, strict=True):
        np.testing.assert_allclose(terms[name], (weight, value), rtol=1e-9, atol=1e-12)
    assert_gradient(gradient, replay, q.params)


# What the modes mean


def is_zero(f, at):
    """The gradient of `f` is exactly 0, whether or not autograd sees a path from `at` to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Output seems independent")
        value, gradient = vector_jacobian(f, at, 1.0)
    return np.isfinite(value) and not any(np.any(g) for g in leaves(gradient))


@settings(max_examples=10)
@given(q=problems(), confidence=st.sampled_from(["running", "own", 0.8]))
def test_detached_the_method_does_nothing(q, confidence):
    """The answer to "are second-order gradients involved?": without them the critic term's gradient is exactly 0."""
    s = AdversaryCritic(generator=Generator(gradient="detached", confidence=confidence))

    def term(params, name):
        return O.adversary_critic(params, q.x, q.y, q.targets, q.running, q.critic, q.noise_fake, s)[name][1]

    attached = AdversaryCritic(generator=Generator(confidence=confidence))
    same = O.adversary_critic(q.params, q.x, q.y, q.targets, q.running, q.critic, q.noise_fake, attached)
    for name in ("critic", "cycle"):
        assert term(q.params, name) == same[name][1], "the value does not depend on the mode"
        assert is_zero(lambda p, name=name: term(p, name), q.params)


@given(q=problems(), M=iterations)
def test_modes_agree_in_value_and_for_one_step_in_gradient(q, M):
    G = np.ones(q.x.shape)
    runs = {
        mode: vector_jacobian(lambda p, mode=mode: unrolled(p, q.x, q.targets, 0.9, M, gradient=mode), q.params, G)
        for mode in ("truncated", "full")
    }
    np.testing.assert_array_equal(runs["truncated"][0], runs["full"][0])
    if M == 1:  # the only iterate is x itself
        for a, b in zip(leaves(runs["truncated"][1]), leaves(runs["full"][1]), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def fixed_case():
    rng = np.random.default_rng(5)
    return network(rng, [4, 8, 6, 3]), rng.random((5, 4))


@modes
def test_plain_finite_differences_of_the_attack_are_not_its_gradient(mode):
    """See the top of the file.  A gradient that agreed with them would be another method's."""
    params, x = fixed_case()
    t = (logits(params, x).argmax(axis=1) + 1) % 3
    G, rng = np.random.default_rng(1).standard_normal(x.shape), np.random.default_rng(2)
    v = [rng.standard_normal(a.shape) for a in leaves(params)]
    _, gradient = vector_jacobian(lambda p: unrolled(p, x, t, 0.8, gradient=mode), params, G)
    ours = sum(np.sum(g * a) for g, a in zip(leaves(gradient), v, strict=True))
    plain = finite_difference(along(lambda p: np.sum(G * unrolled(p, x, t, 0.8)), params, v), 1e-6)
    assert abs(ours - plain) > 0.05 * abs(plain)


def test_unknown_modes_and_geometries_are_refused():
    params, x = fixed_case()
    t = np.zeros(5, int)
    with pytest.raises(InputError, match="truncated, full, detached"):
        unrolled(params, x, t, 0.8, gradient="none")
    with pytest.raises(InputError, match="l2"):
        unrolled(params, x, t, 0.8, geometry="l1")


# An empty S


@pytest.mark.parametrize("geometry", ["l2", "linf"])
@modes
@settings(max_examples=5)
@given(q=problems())
def test_where_no_attack_changes_the_prediction_both_terms_vanish(mode, geometry, q):
    """C = 10⁻⁹ is reached at the start: nothing moves.  The mean over nothing is 0, not nan, and so is its gradient."""
    s = AdversaryCritic(generator=Generator(gradient=mode, geometry=geometry, confidence=1e-9))

    def term(params, name):
        return O.adversary_critic(params, q.x, q.y, q.targets, q.running, q.critic, q.noise_fake, s)[name][1]

    for name in ("critic", "cycle"):
        assert term(q.params, name) == 0
        assert is_zero(lambda p, name=name: term(p, name), q.params)
    terms, gradient = O.differentiate(
        lambda p: O.adversary_critic(p, q.x, q.y, q.targets, q.running, q.critic, q.noise_fake, s), q.params
    )
    _, plain = O.differentiate(lambda p: O.undefended(p, q.x, q.y), q.params)
    for g, e in zip(leaves(gradient), leaves(plain), strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-12, atol=1e-15)


@modes
def test_a_flat_network_is_not_attacked_and_gives_no_nan(mode):
    """No gradient to follow (all units dead): the step is 0, for it has no direction."""
    params = [(np.ones((2, 3)), -9 * np.ones(3)), (np.ones((3, 2)), np.array([0.0, 1.0]))]
    x, t = np.full((2, 2), 0.5), np.zeros(2, int)
    for geometry in ("l2", "linf"):
        options = {"gradient": mode, "geometry": geometry}
        value, gradient = vector_jacobian(lambda p, o=options: unrolled(p, x, t, 0.9, **o), params, np.ones((2, 2)))
        np.testing.assert_array_equal(value, x)
        assert all(np.isfinite(g).all() for g in leaves(gradient))


# The attack's values


@given(problems())
def test_linearisation_is_the_derivative_of_log_p(q):
    log_p, p, w = linearise_log_prob(lambda v: logits(q.params, v), q.x, q.targets)
    np.testing.assert_allclose(np.exp(log_p), p, rtol=1e-12)
    assert_gradient([w], lambda a: np.sum(rows(log_probabilities(logits(q.params, a[0])), q.targets)), [q.x])


@geometries
@given(q=problems())
def test_one_newton_step_solves_the_linearised_equation(geometry, q):
    """With ε = 0: log p + wᵀs = log C from below, in the least norm; from above the step has the same sign."""
    rng = np.random.default_rng(0)
    log_p, w = np.log(rng.uniform(0.1, 0.9, len(q.x))), rng.standard_normal(q.x.shape)
    s = newton_step(log_p, w, q.confidence, 0.0, geometry)
    np.testing.assert_allclose(np.sum(w * s, axis=1), np.abs(np.log(q.confidence) - log_p), rtol=1e-11)
    dual = np.linalg.norm(w, ord=2 if geometry == "l2" else 1, axis=1)
    primal = np.linalg.norm(s, ord=2 if geometry == "l2" else np.inf, axis=1)
    np.testing.assert_allclose(primal * dual, np.abs(np.log(q.confidence) - log_p), rtol=1e-11)


@given(seeds, st.floats(0.6, 0.95))
def test_the_confidence_level_of_a_two_class_logistic_model(seed, C):
    """f = (0, aᵀx + b).  One step: −log p is softplus(−m), its slope (1 − p)‖a‖; so ‖r‖ = (log C − log p)/((1 − p)‖a‖).
    log p is concave, hence Newton's steps fall short of the level logit p = logit C and converge to it."""
    rng = np.random.default_rng(seed)
    a, b, x = rng.standard_normal(3), rng.standard_normal(), rng.random((4, 3))
    a *= rng.uniform(1, 3) / np.linalg.norm(a)
    params = [(np.stack([0 * a, a], axis=1), np.array([0.0, b]))]
    m, t = x @ a + b, np.ones(4, int)
    p = 1 / (1 + np.exp(-m))
    short = np.maximum(C - p, 0) > 0
    assume(np.abs(C - p).min() > 1e-3)
    one = unrolled(params, x, t, C, iterations=1, overshoot=0.0, eps=1e-18) - x
    expected = short * (np.log(C) - np.log(p)) / ((1 - p) * np.linalg.norm(a))
    np.testing.assert_allclose(one @ a / np.linalg.norm(a), expected, rtol=1e-7, atol=1e-8)
    many = unrolled(params, x, t, C, iterations=12, overshoot=0.0, eps=1e-18) - x
    level = short * (np.log(C / (1 - C)) - m) / np.linalg.norm(a)
    np.testing.assert_allclose(many @ a / np.linalg.norm(a), level, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(many, np.outer(many @ a, a) / (a @ a), atol=1e-12, err_msg="along a")
    over = unrolled(params, x, t, C, iterations=1, overshoot=0.25, eps=1e-18) - x
    # Both are differences with x, of order 1: good to its rounding, however short r is.
    np.testing.assert_allclose(over, 1.25 * one, rtol=1e-12, atol=1e-15, err_msg="overshoot scales all of r, once")


def test_an_example_that_has_arrived_stays_for_good():
    """Without the indicator the steps would go on past C; each example here arrives after 2, 3 or 4 of 7."""
    rng = np.random.default_rng(3)
    params, x = network(rng, [4, 8, 6, 3]), rng.random((5, 4))
    t = (logits(params, x).argmax(axis=1) + 1) % 3
    path = [unrolled(params, x, t, 0.5, iterations=M, overshoot=0.5) for M in range(8)]
    arrived = [softmax(logits(params, v))[np.arange(5), t] >= 0.5 for v in path]
    assert np.logical_or.reduce(arrived).all(), "all arrive some time"
    for i in range(5):
        first = [a[i] for a in arrived].index(True)
        for later in path[first:]:
            np.testing.assert_array_equal(later[i], path[first][i])
        assert all(np.any(path[m][i] != path[m + 1][i]) for m in range(first))


@given(q=problems())
def test_own_confidence_ties_exactly_and_a_tie_stops(q):
    """Attacked towards its own prediction at its own confidence nothing moves: p = C to the last bit."""
    z = logits(q.params, q.x)
    x_hat = unrolled(q.params, q.x, predict(z), pick(softmax(z), predict(z)))
    np.testing.assert_array_equal(x_hat, q.x)


@modes
@geometries
@settings(max_examples=10)
@given(q=problems())
def test_examples_do_not_see_their_neighbours(mode, geometry, q):
    G = np.random.default_rng(0).standard_normal(q.x.shape)

    def run(rows):
        def attack(x):
            return unrolled(q.params, x, q.targets[rows], q.confidence[rows], gradient=mode, geometry=geometry)

        return vector_jacobian(attack, q.x[rows], G[rows])

    whole, pulled = run(np.arange(len(q.x)))
    assume(np.abs(whole).max() < 100)
    for i in range(len(q.x)):
        value, gradient = run([i])
        np.testing.assert_allclose(value[0], whole[i], rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(gradient[0], pulled[i], rtol=1e-5, atol=1e-7)


@given(q=problems(), c=st.floats(-5, 5), seed=seeds)
def test_names_of_classes_and_the_level_of_logits_do_not_matter(q, c, seed):
    order = np.random.default_rng(seed).permutation(q.k)
    *hidden, (W, b) = q.params
    other = [*hidden, (W[:, order], b[order] + c)]
    _, x_hat, held = surrogate(lambda held, p: unroll(held, p, q.x, q.targets, q.confidence, 3), q.params)
    assume(held.margin > SAME_BRANCH and np.abs(x_hat).max() < 100)
    renamed = unrolled(other, q.x, np.argsort(order)[q.targets], q.confidence, 3)
    np.testing.assert_allclose(renamed, x_hat, rtol=1e-7, atol=1e-8)


@modes
@geometries
@pytest.mark.parametrize("C", ["vector", "number"])
@settings(max_examples=5)
@given(q=problems())
def test_float32_stays_float32(mode, geometry, C, q):
    q = q.cast(np.float32)
    C = q.confidence if C == "vector" else 0.8
    G = np.ones(q.x.shape, np.float32)
    options = {"gradient": mode, "geometry": geometry}
    value, gradient = vector_jacobian(lambda a: unrolled(*a, q.targets, C, 2, **options), (q.params, q.x), G)
    assert_like([value, gradient], [q.x, (q.params, q.x)])
    # one array alone, because autograd's lists cast their entries back, which would hide a promotion
    _, by_x = vector_jacobian(lambda x: unrolled(q.params, x, q.targets, C, 2, **options), q.x, G)
    assert_like(by_x, q.x)


def test_the_second_order_term_by_hand():
    """One step on one example, linear classifier: r depends on W through w = Wᵀ(e_t − p) too.  Without that share
    (w held) the gradient differs: the checker of this file would see a dropped second-order term."""
    rng = np.random.default_rng(3)
    W, x = rng.standard_normal((3, 2)), rng.random((1, 3))
    t, G = np.array([1]), rng.standard_normal((1, 3))

    def by_hand(held, params):
        z, slopes = forward(held, params, x)
        p = np.exp(log_probabilities(z))
        w = held.flows("w", pull_back(params, slopes, eye(t, 2) - p))
        s = 1 / (1 + np.exp(p[:, 1] - 0.99))
        n = np.sqrt(1e-8 + np.sum(w * w))
        step = (1 + s - held.constant(s)) * (1e-4 + (np.log(0.99) - np.log(p[:, 1])) / n)
        return np.sum(G * (x + 1.05 * step[:, None] * w / n))

    at = [(W, np.zeros(2))]
    _, gradient = vector_jacobian(lambda p: unrolled(p, x, t, 0.99, 1), at, G)
    assert_gradient(gradient, surrogate(by_hand, at)[0], at)
    with pytest.raises(AssertionError):
        assert_gradient(gradient, surrogate(by_hand, at, "w")[0], at)
