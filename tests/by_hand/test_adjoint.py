"""Every fast twin is its plain definition: values and first derivatives, in float64 and float32; further it refuses.

The plain definitions are held to independent derivations in `test_second_order` and `test_objectives`.
"""

import inspect
from copy import deepcopy
from functools import partial
from unittest.mock import patch

import numpy as np
import pytest
from autograd import elementwise_grad, make_vjp
from calculus import leaves, size
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import problems, seeds

from reference.attacks import as_model
from reference.by_hand import generator as attack_adjoint
from reference.by_hand import passes as adjoint
from reference.by_hand import steps as fused
from reference.by_hand import twins
from reference.by_hand.model import from_params
from reference.by_hand.twins import TWINS
from reference.errors import InputError
from reference.method import critic, network, objectives, steps, targets
from reference.method.adam import Adam
from reference.method.generator import unrolled
from reference.method.numerics import softmax
from reference.method.perturbations import unit_rows, virtual_direction
from reference.method.settings import AdversarialTraining, AdversaryCritic, Generator, Margin, VirtualAdversarial

GEOMETRIES = st.sampled_from(("l2", "linf"))
PAIRS = [
    (network.logits, twins.logits),
    (critic.scores, twins.scores),
    (critic.input_gradient, twins.input_gradient),
    (unrolled, twins.unrolled),
    (objectives.gradient_gaps, twins.gradient_gaps),
]


def assert_same(plain, twin, at, rng, tolerance):
    """`plain` and `twin`, functions of one tree of arrays, agree in value and in their gradient by every array."""
    (pull_plain, value), (pull_twin, other) = make_vjp(plain)(at), make_vjp(twin)(at)
    g = rng.standard_normal(value.shape).astype(value.dtype)
    assert other.dtype == value.dtype and size([other - value]) <= tolerance * size([value])
    first, second = leaves(pull_plain(g)), leaves(pull_twin(g))
    scale = size(first)
    for a, b in zip(first, second, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        assert size([a - b]) <= tolerance * max(size([a]), 0.01 * scale)


@pytest.mark.parametrize("plain, twin", PAIRS, ids=lambda f: f.__module__)
def test_a_twin_has_its_definition_s_signature(plain, twin):
    assert twin.__name__ == plain.__name__
    assert list(inspect.signature(twin).parameters) == list(inspect.signature(plain).parameters)
    defaults = [p.default for p in inspect.signature(plain).parameters.values()]
    assert [p.default for p in inspect.signature(twin).parameters.values()] == defaults


@given(
    problems(), st.integers(1, 7), st.sampled_from(("truncated", "full")), GEOMETRIES,
    st.sampled_from((None, 0.3, 0.999)),
)  # fmt: skip
def test_the_unrolled_attack_in_float64(problem, iterations, gradient, geometry, confidence):
    """By the parameters, the confidence and the images.  C = 0.3: examples stop early, or all at once."""
    rng = np.random.default_rng(iterations)
    C = problem.confidence if confidence is None else np.full(len(problem.x), confidence)

    def attack(function):
        return lambda at: function(
            at[0], at[2], problem.targets, at[1], iterations, gradient=gradient, geometry=geometry
        )

    assert_same(attack(unrolled), attack(twins.unrolled), (problem.params, C, problem.x), rng, 1e-10)


@given(problems(), GEOMETRIES)
def test_the_unrolled_attack_in_float32(problem, geometry):
    """Two steps: more would carry one rounding error into the next step's kinks."""
    problem = problem.cast(np.float32)

    def attack(function):
        return lambda at: function(at[0], problem.x, problem.targets, at[1], 2, geometry=geometry)

    rng = np.random.default_rng(0)
    assert_same(attack(unrolled), attack(twins.unrolled), (problem.params, problem.confidence), rng, 1e-4)


def test_a_batch_in_which_all_have_arrived():
    params = network.init(np.random.default_rng(0), (3, 4, 2), np.float64)
    x, t = np.random.default_rng(1).random((5, 3)), np.zeros(5, int)
    for function in (unrolled, twins.unrolled):
        assert np.array_equal(function(params, x, t, 1e-6), x)
    rng = np.random.default_rng(2)
    assert_same(lambda p: unrolled(p, x, t, 1e-6), lambda p: twins.unrolled(p, x, t, 1e-6), params, rng, 1e-10)


@given(problems(), st.sampled_from((np.float64, np.float32)), GEOMETRIES)
def test_the_other_twins(problem, dtype, geometry):
    """Networks with and without noise, the critic's input gradient, the margin's gradient gaps."""
    problem, rng = problem.cast(dtype), np.random.default_rng(0)
    tolerance = 1e-10 if dtype is np.float64 else 1e-4
    noise, x, y = problem.noise_real, problem.x, problem.y
    at, D = (problem.params, x), (problem.critic, x)
    assert_same(lambda a: network.logits(*a), lambda a: twins.logits(*a), at, rng, tolerance)
    assert_same(lambda a: critic.scores(*a), lambda a: twins.scores(*a), D, rng, tolerance)
    assert_same(lambda a: critic.scores(*a, noise), lambda a: twins.scores(*a, noise), D, rng, tolerance)
    for plain, twin, at, rest in (
        (critic.input_gradient, twins.input_gradient, problem.critic, (noise,)),
        (objectives.gradient_gaps, twins.gradient_gaps, problem.params, (geometry,)),
    ):
        functions = (lambda p, f=f, rest=rest: f(p, x, y, *rest) for f in (plain, twin))
        assert_same(*functions, at, rng, tolerance)


@given(problems(), st.sampled_from(("running", "own", 0.8)), st.sampled_from(("truncated", "full")))
def test_the_composed_objectives(problem, confidence, gradient):
    """All terms of both steps of the adversary critic, with their gradients, through the twins."""
    s = AdversaryCritic(generator=Generator(confidence=confidence, gradient=gradient))
    p = problem

    def both(via):
        yield objectives.differentiate(
            lambda q: objectives.adversary_critic(q, p.x, p.y, p.targets, p.running, p.critic, p.noise_real, s, via),
            p.params,
        )
        yield objectives.differentiate(
            lambda q: objectives.critic_objective(
                q, p.x, p.y, 1 - p.x, p.targets, p.noise_real, p.noise_fake, 10.0, via
            ),
            p.critic,
        )

    for (plain, g), (fast, h) in zip(both(objectives.PLAIN), both(TWINS), strict=True):
        for name in plain:
            assert fast[name] == pytest.approx(plain[name], rel=1e-10, abs=1e-14)
        assert size([a - b for a, b in zip(leaves(g), leaves(h), strict=True)]) <= 1e-10 * size(leaves(g))


@given(problems())
def test_the_fast_model_is_the_classifier(problem):
    """For the attacks of the evaluation: logits, and pulled-back cotangents."""
    fast = from_params(problem.params)
    plain = as_model(partial(network.logits, problem.params))
    v = np.random.default_rng(0).standard_normal((len(problem.x), problem.k))
    (z, pull), (z0, pull0) = fast.linearise(problem.x), plain.linearise(problem.x)
    np.testing.assert_allclose(z, z0, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(pull(v), pull0(v), rtol=1e-12, atol=1e-14)
    labels = z.argmax(axis=1)
    for geometry in ("l2", "linf"):
        (_, away, _), (_, away0, _) = (targets.boundaries(m, problem.x, labels, geometry) for m in (fast, plain))
        np.testing.assert_allclose(away, away0, rtol=1e-9)


def test_a_second_differentiation_is_refused():
    """Silence would mean a second derivative of 0."""
    rng = np.random.default_rng(0)
    params, x, y = network.init(rng, (3, 4, 2), np.float64), rng.random((2, 3)), np.array([0, 1])
    for function in (
        lambda v: twins.logits(params, v),
        lambda v: twins.scores(params, v),
        lambda v: twins.input_gradient(params, v, y),
        lambda v: twins.gradient_gaps(params, v, y),
        lambda v: twins.unrolled(params, v, y, 0.9),
    ):
        with pytest.raises(InputError, match="differentiated once"):
            elementwise_grad(elementwise_grad(function))(x)


def test_unknown_modes_are_refused_like_the_plain_definition():
    params, x = network.init(np.random.default_rng(0), (2, 2), np.float64), np.zeros((1, 2))
    for wrong in ({"gradient": "half"}, {"geometry": "l1"}):
        for function in (unrolled, twins.unrolled):
            with pytest.raises(InputError, match="give one of|choose"):
                function(params, x, np.array([0]), 0.5, **wrong)


SETTINGS = st.builds(
    Generator,
    iterations=st.integers(1, 5),
    gradient=st.sampled_from(("truncated", "full", "detached")),
    geometry=GEOMETRIES,
    targets=st.sampled_from(("nearest", "uniform", "softmax")),
    confidence=st.sampled_from(("running", "own", 0.4, 0.9)),
)


def both_steps(p, s, via):
    """A batch of the adversary critic as training sees it -> what each step says, as {name: arrays}."""
    step = via.ClassifierStep(p.params, p.x)
    step.attack(p.running, s.generator, np.random.default_rng(0))
    judged = via.critic_step(p.critic, p.x, p.y, step.images, step.taken_for, p.noise_real, p.noise_fake, 10.0)
    names = ("predicted", "confidence", "images", "taken_for", "target_confidence")
    return {name: getattr(step, name) for name in names} | {
        "critic": judged,
        "classifier": step.gradient(p.y, p.critic, p.noise_real, s),
    }


def assert_same_step(plain, other, tolerance):
    """Terms by name, weight and value, and gradients by shape, dtype and value."""
    (terms, gradient), (same_terms, same_gradient) = plain, other
    assert list(terms) == list(same_terms)
    for name in terms:
        assert terms[name] == pytest.approx(same_terms[name], rel=tolerance, abs=1e-3 * tolerance)
    assert_close(gradient, same_gradient, tolerance)


def assert_close(plain, other, tolerance):
    """Relative, down to 1e-3: the examples' parts are of order 1, and where they cancel their rounding is left."""
    a, b = leaves(plain), leaves(other)
    assert [(v.dtype, v.shape) for v in a] == [(v.dtype, v.shape) for v in b]
    assert size([u - v for u, v in zip(a, b, strict=True)]) <= tolerance * max(size(a), 1e-3)


PRECISIONS = pytest.mark.parametrize(
    "dtype, tolerance", ((np.float64, 1e-10), (np.float32, 1e-4)), ids=("float64", "float32")
)


@PRECISIONS
@given(problem=problems(), generator=SETTINGS)
def test_the_fused_steps(problem, generator, dtype, tolerance):
    """The adversary critic's two steps as a whole, by hand, against the plain definitions, in every mode.

    In float32 only where the problem is well-conditioned: where float64 moves the plain step itself by 1e-5 at most.
    """
    p, s = problem.cast(dtype), AdversaryCritic(generator=generator)
    plain = both_steps(p, s, steps)
    if dtype is np.float32:
        double = both_steps(problem, s, steps)
        assume(np.array_equal(plain["taken_for"], double["taken_for"]))
        assume(not any(moved_by_rounding(plain[step], double[step]) for step in ("critic", "classifier")))
    fast = both_steps(p, s, fused)
    assert np.array_equal(plain["taken_for"], fast["taken_for"])
    for name in plain:
        compare = assert_same_step if name in ("critic", "classifier") else assert_close
        compare(plain[name], fast[name], tolerance)


@given(problems(), st.sampled_from(("truncated", "full", "detached")))
def test_a_step_s_memory_is_used_up(problem, gradient):
    """A gradient without an attack of its own is refused; after another attack it is the same."""
    s, p = AdversaryCritic(generator=Generator(gradient=gradient)), problem
    step, found = fused.ClassifierStep(p.params, p.x), []
    for _ in range(2):
        with pytest.raises(InputError, match="call that first"):
            step.gradient(p.y, p.critic, p.noise_real, s)
        step.attack(p.running, s.generator)
        found.append(step.gradient(p.y, p.critic, p.noise_real, s))
    assert_same_step(*found, 1e-12)


def moved_by_rounding(single, double):
    """Whether float32 moves a step's terms or its gradient by more than 1e-5."""
    values = [[weight * value for weight, value in terms.values()] for terms, _ in (single, double)]
    pairs = [(leaves(single[1]), leaves(double[1])), *(([a], [b]) for a, b in zip(*values, strict=True))]
    return any(size([u - v for u, v in zip(a, b, strict=True)]) > 1e-5 * max(size(b), 1e-3) for a, b in pairs)


def flat_somewhere(p, s, start):
    """Whether the network does not tell some image from its neighbour in the search for the direction."""

    def moved(d):
        return softmax(network.logits(p.params, p.x + s.xi * d)) - softmax(network.logits(p.params, p.x))

    def logits(v):
        return network.logits(p.params, v)

    ways = [unit_rows(start)] + [virtual_direction(logits, p.x, start, s.xi, i) for i in range(1, s.power_iterations)]
    return min(np.linalg.norm(moved(d), axis=1).min() for d in ways) < 1e-4


@PRECISIONS
@given(problem=problems(), geometry=GEOMETRIES, epsilon=st.sampled_from((0.1, 0.5)), iterations=st.integers(1, 2))
def test_the_other_fused_steps(problem, geometry, epsilon, iterations, dtype, tolerance):
    """Cross-entropy, weight decay, adversarial and virtual adversarial training, the margin loss."""
    p = problem.cast(dtype)
    for name, settings in (
        ("undefended", []),
        ("pretraining", [0.1]),
        ("adversarial_training", [AdversarialTraining(epsilon, geometry)]),
        ("virtual_adversarial", [VirtualAdversarial(epsilon, 0.1, iterations)]),
        ("margin", [Margin(epsilon, geometry)]),
    ):

        def step(via, p, name=name, settings=settings):
            start = [p.start] if name == "virtual_adversarial" else []
            return getattr(via, name)(p.params, p.x, p.y, *settings, *start)

        if name == "virtual_adversarial" and flat_somewhere(p, *settings, p.start):
            continue  # its direction is rounding, made a unit vector
        plain = step(steps, p)
        if dtype is np.float32 and moved_by_rounding(plain, step(steps, problem)):
            continue
        assert_same_step(plain, step(fused, p), tolerance)


def drawn(rng, params):
    """Numbers of order 1, shaped and typed like the parameters."""
    return [tuple(rng.standard_normal(a.shape).astype(a.dtype) for a in layer) for layer in params]


@pytest.mark.parametrize("dtype", (np.float64, np.float32))
@given(problem=problems(), seed=seeds, cacheful=st.sampled_from((1, 5, fused.CACHEFUL)))
def test_adam_in_place_is_adam_to_the_last_bit(problem, seed, cacheful, dtype):
    rng, params = np.random.default_rng(seed), problem.cast(dtype).params
    expected, state = params, Adam.start(params)
    moved, own = deepcopy((expected, state))
    for _ in range(3):
        gradient = drawn(rng, params)
        expected, state = steps.adam_step(expected, gradient, state, 0.1)
        with patch.object(fused, "CACHEFUL", cacheful):
            new, own = fused.adam_step(moved, deepcopy(gradient), own, 0.1)
        assert new is moved and own.t == state.t
        for a, b in zip(leaves([moved, own.m, own.v]), leaves([expected, state.m, state.v]), strict=True):
            assert a.dtype == b.dtype and np.array_equal(a, b)


@given(problems(), GEOMETRIES)
def test_class_gaps_span_every_cotangent_of_sum_zero(problem, geometry):
    """Norms of the classes' gradients, and the signals and coordinates of any such cotangent without a pass."""
    rng, params, x, y = np.random.default_rng(0), problem.params, problem.x, problem.y
    net, span = adjoint.Pass(params, x), adjoint.Span(params[0][0], geometry)
    gaps = adjoint.ClassGaps(net, span, y, geometry)
    np.testing.assert_allclose(gaps.size, objectives.gradient_gaps(params, x, y, geometry), rtol=1e-9, atol=1e-12)
    s = rng.standard_normal(net.z.shape)
    s -= s.mean(axis=1, keepdims=True)
    *signals, _ = net.backward(s)
    expected = signals if span.narrow else [*signals, net.to_input([*signals, s])]
    found = [np.full_like(v, np.nan) for v in expected]
    gaps.combine(s, found)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@given(seed=seeds, block=st.sampled_from((1, 7, attack_adjoint.Sums.BLOCK)), sizes=st.tuples(*[st.integers(1, 9)] * 3))
def test_a_sum_of_products_grows_block_by_block(seed, block, sizes):
    rng, (n, i, o) = np.random.default_rng(seed), sizes
    pairs = [(rng.standard_normal((n, i)), rng.standard_normal((n, o))) for _ in range(3)]
    sums = attack_adjoint.Sums([(np.zeros((i, o)), np.zeros(o))], pairs[0][0])
    with patch.object(attack_adjoint.Sums, "BLOCK", block):
        for left, right in pairs:
            sums.add(0, left, right)
    np.testing.assert_allclose(sums.sums[0], sum(left.T @ right for left, right in pairs), rtol=1e-12, atol=1e-12)


def test_both_modules_take_the_same_steps():
    for name in ("undefended", "pretraining", "adversarial_training", "virtual_adversarial", "margin", "critic_step"):
        plain, fast = (list(inspect.signature(getattr(via, name)).parameters) for via in (steps, fused))
        assert plain == [*fast, "via"]
    assert inspect.signature(steps.adam_step) == inspect.signature(fused.adam_step)
    for name in ("attack", "gradient"):
        plain, fast = (inspect.signature(getattr(via.ClassifierStep, name)) for via in (steps, fused))
        assert plain == fast
