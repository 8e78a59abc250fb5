"""The defences and the critic's loss: values and gradients against those by hand, and where each gradient stops."""

import warnings
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import autograd.numpy as anp
import numpy as np
import pytest
import scipy.special
from autograd import make_vjp
from calculus import (
    adversarial_training_by_hand,
    adversary_critic_by_hand,
    assert_gradient,
    assert_like,
    critic_by_hand,
    cross_entropy_by_hand,
    forward,
    leaves,
    lengths,
    margin_by_hand,
    multi_step_by_hand,
    pretraining_by_hand,
    pull_back,
    size,
    surrogate,
    virtual_adversarial_by_hand,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import Problem, problems, seeds

from reference.method import network
from reference.method import objectives as O
from reference.method.numerics import predict
from reference.method.perturbations import gradient_step, virtual_direction
from reference.method.settings import (
    AdversarialTraining,
    AdversaryCritic,
    Generator,
    Margin,
    MultiStep,
    VirtualAdversarial,
)
from reference.method.targets import RunningConfidence

SAME_BRANCH = 1e-7


WEIGHTED = AdversaryCritic(penalty_weight=2.0)


@dataclass(frozen=True)
class Case:
    """An objective: the library's, the same by hand, and what it is differentiated by."""

    ours: callable
    by_hand: callable
    by: str = "params"


def against_critic(**generator):
    s = AdversaryCritic(critic_weight=0.7, cycle_weight=0.3, generator=Generator(iterations=3, **generator))

    def by_hand(held, params, q):
        return np.dot([1, 0.7, 0.3], list(adversary_critic_by_hand(held, params, q, s).values()))

    return Case(lambda p, q: O.adversary_critic(p, q.x, q.y, q.targets, q.running, q.critic, q.noise_fake, s), by_hand)


def settled(ours, by_hand, s):
    return Case(lambda p, q: ours(p, q, s), lambda held, p, q: by_hand(held, p, q, s))


def adversarial(p, q, s):
    return O.adversarial_training(p, q.x, q.y, s)


def multi_step(p, q, s):
    return O.multi_step(p, q.x, q.y, s)


def virtual(p, q, s):
    return O.virtual_adversarial(p, q.x, q.y, s, q.start)


def margin(p, q, s):
    return O.margin(p, q.x, q.y, s)


CASES = {
    "undefended": Case(lambda p, q: O.undefended(p, q.x, q.y), cross_entropy_by_hand),
    "pretraining": Case(
        lambda p, q: O.pretraining(p, q.x, q.y, 0.3), lambda held, p, q: pretraining_by_hand(held, p, q, 0.3)
    ),
    "adversarial, linf": settled(adversarial, adversarial_training_by_hand, AdversarialTraining(0.3)),
    "adversarial, l2": settled(adversarial, adversarial_training_by_hand, AdversarialTraining(0.5, "l2")),
    "multi-step, l2": settled(multi_step, multi_step_by_hand, MultiStep(0.4, 3)),
    "multi-step, linf": settled(multi_step, multi_step_by_hand, MultiStep(0.2, 2, "linf")),
    "virtual": settled(virtual, virtual_adversarial_by_hand, VirtualAdversarial(0.8)),
    "virtual, 3 iterations": settled(virtual, virtual_adversarial_by_hand, VirtualAdversarial(0.8, 0.01, 3)),
    "margin, l2": settled(margin, margin_by_hand, Margin(0.4)),
    "margin, linf": settled(margin, margin_by_hand, Margin(0.2, "linf")),
    "adversary critic": against_critic(),
    "adversary critic, own": against_critic(confidence="own"),
    "critic": Case(
        lambda p, q: O.critic_objective(p, q.x, q.y, q.start, q.targets, q.noise_real, q.noise_fake, WEIGHTED),
        lambda held, p, q: critic_by_hand(held, p, q, q.start, q.targets, 2.0),
        by="critic",
    ),
}
table = pytest.mark.parametrize("name", CASES)


def run(case, q):
    return O.differentiate(lambda p: case.ours(p, q), getattr(q, case.by))


def away_from_branches(case, q):
    _, value, held = surrogate(lambda held, p: case.by_hand(held, p, q), getattr(q, case.by))
    assume(held.margin > SAME_BRANCH and abs(value) < 1e4)
    return value


@table
@settings(max_examples=20)
@given(q=problems())
def test_value_and_gradient(name, q):
    case = CASES[name]
    value, at = away_from_branches(case, q), getattr(q, case.by)
    terms, gradient = run(case, q)
    np.testing.assert_allclose(sum(w * v for w, v in terms.values()), value, rtol=1e-9, atol=1e-12)
    assert_gradient(gradient, surrogate(lambda held, p: case.by_hand(held, p, q), at)[0], at)


@table
@settings(max_examples=6)
@given(q=problems(batch=st.integers(1, 4)), seed=seeds)
def test_order_and_repetition_of_examples_do_not_matter(name, q, seed):
    away_from_branches(CASES[name], q)
    terms, gradient = run(CASES[name], q)
    order = np.random.default_rng(seed).permutation(len(q.x))
    for rows in (order, np.tile(order, 2)):
        same, g = run(CASES[name], q.take(rows))
        assert_same(terms, gradient, same, g)


@table
@settings(max_examples=6)
@given(q=problems(), seed=seeds, c=st.floats(-3, 3))
def test_names_of_classes_and_the_level_of_logits_do_not_matter(name, q, seed, c):
    away_from_branches(CASES[name], q)
    order = np.random.default_rng(seed).permutation(q.k)
    inverse = np.argsort(order)

    def renamed(params, c=0):
        *hidden, (W, b) = params
        return [*hidden, (W[:, order], b[order] + c)]

    other = replace(
        q,
        params=renamed(q.params, c),
        critic=renamed(q.critic),
        y=inverse[q.y],
        targets=inverse[q.targets],
        running=replace(q.running, value=q.running.value[order]),
    )
    terms, gradient = run(CASES[name], q)
    same, g = run(CASES[name], other)
    assert_same(terms, renamed(gradient), same, g)


def assert_same(terms, gradient, other_terms, other_gradient):
    assert list(terms) == list(other_terms)
    for name, (weight, value) in terms.items():
        np.testing.assert_allclose(other_terms[name], (weight, value), rtol=1e-7, atol=1e-10)
    scale = size(leaves(gradient))
    for a, b in zip(leaves(gradient), leaves(other_gradient), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7 * scale + 1e-12)


@table
@settings(max_examples=6)
@given(q=problems())
def test_float32_stays_float32(name, q):
    q, case = q.cast(np.float32), CASES[name]
    terms = case.ours(getattr(q, case.by), q)
    # times float32, for a term that is the plain number 0 promotes nothing
    assert {(np.float32(1) * value).dtype for _, value in terms.values()} == {np.dtype("f4")}
    assert O.total(terms).dtype == np.float32
    _, gradient = run(case, q)
    assert all(leaf.dtype == np.float32 for leaf in leaves(gradient))
    (_, b) = getattr(q, case.by)[-1]

    def by_last_bias(b):  # alone: autograd's lists cast their entries back, which would hide a promotion
        *hidden, (W, _) = getattr(q, case.by)
        return O.total(case.ours([*hidden, (W, b)], q))

    pull, value = make_vjp(by_last_bias)(b)
    assert_like(pull(np.float32(1)), b)


def test_terms_are_named_and_weighted():
    """As in the settings' defaults: λ = 0.5, β = 0.01, and the penalty's weight on both penalties."""
    q = authors("toy")
    s = AdversaryCritic()
    terms = O.adversary_critic(q.params, q.x, q.y, q.targets, q.running, q.critic, None, s)
    assert {name: w for name, (w, _) in terms.items()} == {"cross_entropy": 1, "critic": 0.5, "cycle": 0.01}
    terms = O.critic_objective(q.critic, q.x, q.y, q.x, q.y, None, None, s)
    assert {name: w for name, (w, _) in terms.items()} == {
        "real": 1,
        "fake": 1,
        "penalty_real": 10,
        "penalty_fake": 10,
    }
    assert {n: w for n, (w, _) in O.adversarial_training(q.params, q.x, q.y, AdversarialTraining()).items()} == {
        "cross_entropy": 0.5,
        "attacked": 0.5,
    }


def test_differentiate_returns_plain_numbers_and_the_gradient_of_the_sum():
    terms, gradient = O.differentiate(
        lambda p: {"a": (2, anp.sum(p[0][0] ** 2)), "b": (3, anp.sum(p[0][1]))}, [(np.array([[3.0]]), np.array([5.0]))]
    )
    assert terms == {"a": (2, 9.0), "b": (3, 5.0)} and all(type(v) is float for _, v in terms.values())
    assert gradient[0][0] == 12 and gradient[0][1] == 3


# Where the gradient stops, boundary by boundary.  Each is moved in the surrogate, by name: then the gradient must not
# agree any more.  On the networks of the authors' values some attacks fail, and some land in a third class.

FILE = Path(__file__).parent / "authors_values.npz"


@cache
def authors(name):
    with np.load(FILE) as file:
        z = {key.split("/")[1]: file[key] for key in file.files if key.startswith(name + "/")}
    return Problem(
        params=[(z[f"W{i}"], z[f"b{i}"]) for i in range(3)],
        critic=[(z[f"CW{i}"], z[f"Cb{i}"]) for i in range(3)],
        x=z["x"],
        y=z["y"],
        targets=z["targets"],
        confidence=z["cvec"],
        running=RunningConfidence.start(5, np.float64).update(z["conf"], z["pred"]),
        noise_real=None,
        noise_fake=None,
        start=z["G"],
    )


STOPS = [
    # (objective, network, what is moved, what that would mean)
    ("adversarial, l2", "toy", "r", "the step of adversarial training attached"),
    ("virtual", "toy", "d", "the direction of virtual adversarial training attached"),
    ("virtual", "toy", "KL target", "the target of the divergence attached"),
    ("adversary critic", "toy", "iterates", "the path attached in truncated mode"),
    ("adversary critic", "toy", "indicator", "the indicator without a gradient"),
    ("adversary critic", "toy", "cumulative", "each step with its own indicator only"),
    ("adversary critic", "toy", "w", "no second-order term"),
    ("adversary critic", "toy", "φ", "a step of constant length"),
    ("adversary critic", "toy", "class mean", "the running mean of the confidence attached"),
    ("adversary critic", "toy", "x̂ in the critic", "the attack detached"),
    ("adversary critic", "toy", "cycle input", "the image the cycle starts from attached"),
    ("adversary critic", "toy", "conf", "own confidence detached in the cycle term"),
    ("adversary critic", "toy", "S", "means over all examples, not over S"),
    ("adversary critic", "toy_third", "ŷ", "the critic asked about the target, not about the class taken for"),
    ("adversary critic, own", "toy", "own confidence", "own confidence detached in the attack"),
]


@pytest.mark.parametrize("name, problem, moved, meaning", STOPS, ids=[f"{s[0]}: {s[2]}" for s in STOPS])
def test_a_moved_boundary_is_noticed(name, problem, moved, meaning):
    q, case = authors(problem), CASES[name]
    _, gradient = run(case, q)
    right, _, _ = surrogate(lambda held, p: case.by_hand(held, p, q), q.params)
    wrong, _, _ = surrogate(lambda held, p: case.by_hand(held, p, q), q.params, moved)
    assert_gradient(gradient, right, q.params)
    with pytest.raises(AssertionError, match="gradient gives"):
        assert_gradient(gradient, wrong, q.params)


def zero_gradient(f, at):
    """The gradient of `f` at `at` is exactly 0, though its value changes if `at` does."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Output seems independent")
        pull, value = make_vjp(f)(at)
    assert not any(np.any(g) for g in leaves(pull(1.0)))
    moved = [(1.1 * W, b + 0.1) for W, b in at]
    assert abs(f(moved) - value) > 1e-3 * abs(value)


@pytest.mark.parametrize("term", ["critic", None])
def test_the_critics_parameters_are_fixed_in_the_classifiers_objective(term):
    q, s = authors("toy"), AdversaryCritic()

    def f(critic):
        terms = O.adversary_critic(q.params, q.x, q.y, q.targets, q.running, critic, None, s)
        return terms[term][1] if term else O.total(terms)

    zero_gradient(f, q.critic)


def test_the_classifiers_parameters_are_fixed_in_the_critics_objective():
    q, g = authors("toy"), Generator()

    def f(params):
        _, _, x_hat, _ = O.generate(params, q.x, q.targets, q.running, g)
        return O.total(O.critic_objective(q.critic, q.x, q.y, x_hat, q.targets, None, None, AdversaryCritic()))

    zero_gradient(f, q.params)


def test_each_forward_pass_shares_its_noise_with_its_penalty():
    """The four noises of four different draws would be an unbiased mistake: told apart by ∇_x D at two noises."""
    q = authors("toy")
    rng = np.random.default_rng(0)
    real, fake = ([rng.standard_normal((24, len(W))) for W, _ in q.critic] for _ in range(2))
    terms = O.critic_objective(q.critic, q.x, q.y, q.x, q.y, real, fake, AdversaryCritic())
    swapped = O.critic_objective(q.critic, q.x, q.y, q.x, q.y, fake, real, AdversaryCritic())
    for a, b in (("penalty_real", "penalty_fake"), ("penalty_fake", "penalty_real")):
        assert terms[a][1] == swapped[b][1] != terms[b][1]


def test_fixed_parameters_are_the_same_numbers_without_gradient():
    q = authors("toy")
    x = q.x
    zero_gradient(lambda p: np.sum(network.logits(O.fixed(p), x)), q.params)
    assert np.array_equal(network.logits(O.fixed(q.params), x), network.logits(q.params, x))


# Targets and confidence


@pytest.mark.parametrize("geometry, order", [("l2", 2), ("linf", 1)])
@given(q=problems())
def test_nearest_targets_by_hand(geometry, order, q):
    t = O.choose_targets(q.params, q.x, Generator(geometry=geometry))
    z = network.logits(q.params, q.x)
    J = network.class_gradients(lambda v: network.logits(q.params, v), q.x)
    for i, p in enumerate(predict(z)):
        lengths = np.linalg.norm(J[i] - J[i, p], ord=order, axis=1)
        distance = np.where(lengths > 0, np.abs(z[i] - z[i, p]) / np.where(lengths > 0, lengths, 1), np.inf)
        distance[p] = np.inf
        assert t[i] != p
        assert distance[t[i]] <= distance.min() * (1 + 1e-9) or np.isinf(distance).all()


@pytest.mark.parametrize("targets", ["uniform", "softmax"])
def test_random_targets_are_other_classes_in_the_right_proportions(targets):
    params = [(np.zeros((1, 4)), np.array([3.0, 1.0, 0.0, -1.0]))]
    t = O.choose_targets(params, np.zeros((20000, 1)), Generator(targets=targets), np.random.default_rng(0))
    weights = np.array([0, 1, 1, 1]) if targets == "uniform" else np.array([0, *np.exp([1.0, 0, -1])])
    expected = weights / weights.sum()
    found = np.bincount(t, minlength=4) / len(t)
    assert found[0] == 0
    assert np.all(np.abs(found - expected) < 4 * np.sqrt(expected / len(t)) + 1e-12)


labelled = st.tuples(st.integers(0, 2), st.floats(0.3, 1))


@given(st.lists(st.lists(labelled, min_size=1, max_size=5), min_size=1, max_size=5))
def test_the_running_confidence_is_a_debiased_mean(batches):
    """By hand: Σ_s (1−δ) δ^(T−s) m_s / (1 − δ^T); an absent class puts its last value, at first 1, for m_s."""
    state, history = RunningConfidence.start(3, np.float64), []
    for batch in batches:
        labels, confidence = np.array([b[0] for b in batch]), np.array([b[1] for b in batch])
        present = np.isin(np.arange(3), labels)
        means = [confidence[labels == j].mean() if present[j] else state.value[j] for j in range(3)]
        history.append(means)
        state = state.update(confidence, labels)
        T = len(history)
        weights = 0.5 * 0.5 ** np.arange(T - 1, -1, -1) / (1 - 0.5**T)
        np.testing.assert_allclose(weights.sum(), 1)
        np.testing.assert_allclose(state.value, weights @ np.array(history), rtol=1e-12)
        assert state.steps == T
    first = RunningConfidence.start(3, np.float64).update(*(np.array(v) for v in ([0.5, 0.75, 0.25], [2, 0, 2])))
    np.testing.assert_array_equal(first.value, [0.75, 1, 0.375])


def test_the_running_confidence_keeps_its_dtype_and_does_not_change_in_place():
    state = RunningConfidence.start(2)
    later = state.update(np.array([0.5], np.float32), np.array([1]))
    assert later.value.dtype == later.biased.dtype == np.float32
    np.testing.assert_array_equal(state.value, [1, 1])
    assert (state.steps, later.steps) == (0, 1)


# Closed forms


@given(problems(hidden=st.just(0)), st.floats(0.01, 1))
def test_a_linear_critic_or_classifier_takes_the_gradients_of_its_weights(q, epsilon):
    W, b = q.params[0]
    gaps = np.linalg.norm(W.T[None] - W.T[q.y][:, None], axis=2)
    np.testing.assert_allclose(O.gradient_gaps(q.params, q.x, q.y), gaps, rtol=1e-11, atol=1e-14)
    gaps = np.abs(W.T[None] - W.T[q.y][:, None]).sum(axis=2)
    np.testing.assert_allclose(O.gradient_gaps(q.params, q.x, q.y, "linf"), gaps, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("geometry", ["l2", "linf"])
@given(q=problems())
def test_gradient_gaps_are_differentiated_twice(geometry, q):
    G = np.random.default_rng(0).random((len(q.x), q.k))

    def by_hand(held, params):
        z, slopes = forward(held, params, q.x)
        columns = []
        for j in range(q.k):
            w = pull_back(params, slopes, np.eye(q.k)[np.full(len(z), j)] - np.eye(q.k)[q.y])
            sign = held.constant(np.sign(np.real(w)))
            columns.append(lengths(w) if geometry == "l2" else np.sum(sign * w, axis=1))
        return np.sum(G * np.stack(columns, axis=1))

    replay, value, _ = surrogate(by_hand, q.params)
    pull, gaps = make_vjp(lambda p: O.gradient_gaps(p, q.x, q.y, geometry))(q.params)
    np.testing.assert_allclose(np.sum(G * gaps), value, rtol=1e-10, atol=1e-12)
    assert_gradient(pull(G), replay, q.params)


def linear(params):
    return lambda v: network.logits(params, v)


def test_a_model_that_writes_into_its_argument_does_not_change_the_images():
    x, W = np.full((2, 3), 0.5), np.arange(6.0).reshape(3, 2)

    def writes(v):
        v -= 0.25
        return v @ W

    found = virtual_direction(writes, x, np.eye(3)[:2], 1e-4)
    np.testing.assert_array_equal(found, virtual_direction(lambda v: (v - 0.25) @ W, x, np.eye(3)[:2], 1e-4))
    assert (x == 0.5).all()


@given(problems(classes=st.just(2), hidden=st.just(0)))
def test_the_virtual_direction_of_two_classes_is_along_the_weights_after_one_iteration(q):
    """The Fisher matrix has rank one: p(1 − p) w wᵀ with w = ∇(f_1 − f_0)."""
    w = q.params[0][0] @ [-1, 1]
    d = virtual_direction(linear(q.params), q.x, q.start, 1e-4, 1)
    np.testing.assert_allclose(np.abs(d @ w), np.linalg.norm(w), rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(d, axis=1), 1, rtol=1e-12)
    assert np.all((d @ w) * (q.start @ w) > 0), "on the side where it started"


@settings(max_examples=10)
@given(problems(classes=st.integers(3, 4)))
def test_the_virtual_direction_is_the_leading_eigenvector_of_the_fisher_matrix(q):
    """J ᵀ(diag p − p pᵀ) J, the Hessian of KL(p(x) ‖ p(x + r)) at r = 0."""
    J = network.class_gradients(linear(q.params), q.x)
    p = scipy.special.softmax(network.logits(q.params, q.x), axis=1)
    F = np.einsum("nki,nkl,nlj->nij", J, np.einsum("nk,kl->nkl", p, np.eye(q.k)) - p[:, :, None] * p[:, None, :], J)
    values, vectors = np.linalg.eigh(F)
    start = np.abs(np.einsum("nd,nd->n", q.start, vectors[:, :, -1]))
    second = values[:, -2] if F.shape[1] > 1 else 0 * values[:, -1]
    usable = (values[:, -1] > 1e-2) & (second < 0.8 * values[:, -1]) & (start > 1e-2)
    assume(usable.any())
    d = virtual_direction(linear(q.params), q.x, q.start, 1e-6, 60)
    np.testing.assert_allclose(np.abs(np.einsum("nd,nd->n", d, vectors[:, :, -1]))[usable], 1, atol=1e-6)


@pytest.mark.parametrize("geometry, order", [("linf", np.inf), ("l2", 2)])
@given(q=problems(classes=st.just(2), hidden=st.just(0)))
def test_the_gradient_step_is_the_worst_in_its_ball_for_two_linear_classes(geometry, order, q):
    r = gradient_step(linear(q.params), q.x, q.y, 0.3, geometry)
    w = q.params[0][0].T[1 - q.y] - q.params[0][0].T[q.y]
    np.testing.assert_allclose(np.linalg.norm(r, ord=order, axis=1), 0.3, rtol=1e-12)
    dual = np.linalg.norm(w, ord={np.inf: 1, 2: 2}[order], axis=1)
    np.testing.assert_allclose(np.sum(r * w, axis=1), 0.3 * dual, rtol=1e-11)


def test_a_zero_gradient_gives_a_zero_step():
    flat = [(np.zeros((3, 2)), np.array([1.0, 0.0]))]
    for geometry in ("l2", "linf"):
        assert not gradient_step(linear(flat), np.ones((2, 3)), np.array([0, 1]), 0.3, geometry).any()
    assert not virtual_direction(linear(flat), np.ones((2, 3)), np.ones((2, 3)), 0.1).any()
