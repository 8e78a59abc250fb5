"""The hand-written steps are the plain definitions: values and gradients, in float64 and float32.

The plain definitions are held to independent derivations in `tests/method`.
"""

import inspect
from copy import deepcopy
from functools import partial
from unittest.mock import patch

import numpy as np
import pytest
from autograd import make_vjp
from calculus import leaves, size
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import problems, seeds

from reference.attacks import as_model
from reference.attacks.nearest import boundaries
from reference.by_hand import generator, passes
from reference.by_hand import steps as by_hand
from reference.by_hand.model import from_params
from reference.errors import InputError
from reference.method import network, objectives
from reference.method import steps as plain
from reference.method.adam import Adam
from reference.method.generator import unrolled
from reference.method.numerics import softmax
from reference.method.perturbations import unit_rows, virtual_direction
from reference.method.settings import (
    AdversarialTraining,
    AdversaryCritic,
    Generator,
    Margin,
    MultiStep,
    VirtualAdversarial,
)

GEOMETRIES = st.sampled_from(("l2", "linf"))


def assert_same_attack(q, C, s, tolerance):
    """The attack and its gradient by the parameters, the confidence and the images, by hand and by autograd."""
    arguments = (s.iterations, s.overshoot, s.eps, s.gradient, s.geometry)
    pull_plain, x_hat = make_vjp(lambda at: unrolled(at[0], at[2], q.targets, at[1], *arguments))((q.params, C, q.x))
    fast, pull_back = generator.unrolled(q.params, q.x, q.targets, C, s)
    g = np.random.default_rng(s.iterations).standard_normal(x_hat.shape).astype(x_hat.dtype)
    assert fast.dtype == x_hat.dtype and size([fast - x_hat]) <= tolerance * size([x_hat])
    expected, found = leaves(pull_plain(g)), leaves(pull_back(g))
    for a, b in zip(expected, found, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        assert size([a - b]) <= tolerance * max(size([a]), 0.01 * size(expected))


@given(
    problems(), st.integers(1, 7), st.sampled_from(("truncated", "full")), GEOMETRIES,
    st.sampled_from((None, 0.3, 0.999)),
)  # fmt: skip
def test_the_unrolled_attack_in_float64(problem, iterations, gradient, geometry, confidence):
    """C = 0.3: examples stop early, or all at once."""
    C = problem.confidence if confidence is None else np.full(len(problem.x), confidence)
    assert_same_attack(problem, C, Generator(iterations=iterations, gradient=gradient, geometry=geometry), 1e-10)


@given(problems(), GEOMETRIES)
def test_the_unrolled_attack_in_float32(problem, geometry):
    """Two steps: more would carry one rounding error into the next step's kinks."""
    problem = problem.cast(np.float32)
    assert_same_attack(problem, problem.confidence, Generator(iterations=2, geometry=geometry), 1e-4)


@given(problems())
def test_a_detached_attack_has_no_gradient(problem):
    q = problem
    _, pull_back = generator.unrolled(q.params, q.x, q.targets, q.confidence, Generator(gradient="detached"))
    assert size(leaves(pull_back(np.ones_like(q.x)))) == 0


@given(problems())
def test_a_batch_in_which_all_have_arrived(problem):
    C = np.full(len(problem.x), 1e-6)
    x_hat, _ = generator.unrolled(problem.params, problem.x, problem.targets, C, Generator())
    assert np.array_equal(x_hat, problem.x) and x_hat is not problem.x
    assert_same_attack(problem, C, Generator(), 1e-10)


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
        (_, away, _), (_, away0, _) = (boundaries(m, problem.x, labels, geometry) for m in (fast, plain))
        np.testing.assert_allclose(away, away0, rtol=1e-9)


SETTINGS = st.builds(
    Generator,
    iterations=st.integers(1, 5),
    gradient=st.sampled_from(("truncated", "full", "detached")),
    geometry=GEOMETRIES,
    targets=st.sampled_from(("nearest", "uniform", "softmax")),
    confidence=st.sampled_from(("running", "own", 0.4, 0.9)),
)


def both_steps(p, s, steps):
    """A batch of the adversary critic as training sees it -> what each step says, as {name: arrays}."""
    step = steps.ClassifierStep(p.params, p.x)
    step.attack(p.running, s.generator, np.random.default_rng(0))
    judged = steps.critic_step(p.critic, p.x, p.y, step.images, step.taken_for, p.noise_real, p.noise_fake, s)
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
@given(problem=problems(), generator=SETTINGS, slope=st.sampled_from((0.2, 0.0, 0.01)))
def test_the_adversary_critics_steps(problem, generator, slope, dtype, tolerance):
    """The adversary critic's two steps as a whole, by hand, against the plain definitions, in every mode.

    In float32 only where the problem is well-conditioned: where float64 moves the plain step itself by 1e-5 at most.
    """
    p, s = problem.cast(dtype), AdversaryCritic(generator=generator, slope=slope)
    expected = both_steps(p, s, plain)
    if dtype is np.float32:
        double = both_steps(problem, s, plain)
        assume(np.array_equal(expected["taken_for"], double["taken_for"]))
        assume(not any(moved_by_rounding(expected[step], double[step]) for step in ("critic", "classifier")))
    found = both_steps(p, s, by_hand)
    assert np.array_equal(expected["taken_for"], found["taken_for"])
    for name in expected:
        compare = assert_same_step if name in ("critic", "classifier") else assert_close
        compare(expected[name], found[name], tolerance)


@given(problems(), st.sampled_from(("truncated", "full", "detached")))
def test_a_step_s_memory_is_used_up(problem, gradient):
    """A gradient without an attack of its own is reby_hand; after another attack it is the same."""
    s, p = AdversaryCritic(generator=Generator(gradient=gradient)), problem
    step, found = by_hand.ClassifierStep(p.params, p.x), []
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
def test_the_other_defences_steps(problem, geometry, epsilon, iterations, dtype, tolerance):
    """Cross-entropy, weight decay, the three kinds of adversarial training, the margin loss."""
    p = problem.cast(dtype)
    for name, settings in (
        ("undefended", []),
        ("pretraining", [0.1]),
        ("adversarial_training", [AdversarialTraining(epsilon, geometry)]),
        ("multi_step", [MultiStep(epsilon, 1 + iterations, geometry)]),
        ("virtual_adversarial", [VirtualAdversarial(epsilon, 0.1, iterations)]),
        ("margin", [Margin(epsilon, geometry)]),
    ):

        def step(steps, p, name=name, settings=settings):
            start = [p.start] if name == "virtual_adversarial" else []
            return getattr(steps, name)(p.params, p.x, p.y, *settings, *start)

        if name == "virtual_adversarial" and flat_somewhere(p, *settings, p.start):
            continue  # its direction is rounding, made a unit vector
        expected = step(plain, p)
        if dtype is np.float32 and moved_by_rounding(expected, step(plain, problem)):
            continue
        assert_same_step(expected, step(by_hand, p), tolerance)


def drawn(rng, params):
    """Numbers of order 1, shaped and typed like the parameters."""
    return [tuple(rng.standard_normal(a.shape).astype(a.dtype) for a in layer) for layer in params]


@pytest.mark.parametrize("dtype", (np.float64, np.float32))
@given(problem=problems(), seed=seeds, cacheful=st.sampled_from((1, 5, by_hand.CACHEFUL)))
def test_adam_in_place_is_adam_to_the_last_bit(problem, seed, cacheful, dtype):
    rng, params = np.random.default_rng(seed), problem.cast(dtype).params
    expected, state = params, Adam.start(params)
    moved, own = deepcopy((expected, state))
    for _ in range(3):
        gradient = drawn(rng, params)
        expected, state = plain.adam_step(expected, gradient, state, 0.1)
        with patch.object(by_hand, "CACHEFUL", cacheful):
            new, own = by_hand.adam_step(moved, deepcopy(gradient), own, 0.1)
        assert new is moved and own.t == state.t
        for a, b in zip(leaves([moved, own.m, own.v]), leaves([expected, state.m, state.v]), strict=True):
            assert a.dtype == b.dtype and np.array_equal(a, b)


@given(problems(), GEOMETRIES)
def test_class_gaps_span_every_cotangent_of_sum_zero(problem, geometry):
    """Norms of the classes' gradients, and the signals and coordinates of any such cotangent without a pass."""
    rng, params, x, y = np.random.default_rng(0), problem.params, problem.x, problem.y
    net, span = passes.Pass(params, x), passes.Span(params[0][0], geometry)
    gaps = passes.ClassGaps(net, span, y, geometry)
    np.testing.assert_allclose(gaps.size, objectives.gradient_gaps(params, x, y, geometry), rtol=1e-9, atol=1e-12)
    s = rng.standard_normal(net.z.shape)
    s -= s.mean(axis=1, keepdims=True)
    *signals, _ = net.backward(s)
    expected = signals if span.narrow else [*signals, net.to_input([*signals, s])]
    found = [np.full_like(v, np.nan) for v in expected]
    gaps.combine(s, found)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@given(seed=seeds, block=st.sampled_from((1, 7, generator.Sums.BLOCK)), sizes=st.tuples(*[st.integers(1, 9)] * 3))
def test_a_sum_of_products_grows_block_by_block(seed, block, sizes):
    rng, (n, i, o) = np.random.default_rng(seed), sizes
    pairs = [(rng.standard_normal((n, i)), rng.standard_normal((n, o))) for _ in range(3)]
    sums = generator.Sums([(np.zeros((i, o)), np.zeros(o))], pairs[0][0])
    with patch.object(generator.Sums, "BLOCK", block):
        for left, right in pairs:
            sums.add(0, left, right)
    np.testing.assert_allclose(sums.sums[0], sum(left.T @ right for left, right in pairs), rtol=1e-12, atol=1e-12)


def test_both_modules_offer_the_same_steps():
    assert plain.__all__ == by_hand.__all__
    for name in plain.__all__:
        pairs = [(getattr(plain, name), getattr(by_hand, name))]
        if inspect.isclass(pairs[0][0]):
            pairs = [(getattr(pairs[0][0], f), getattr(pairs[0][1], f)) for f in ("__init__", "attack", "gradient")]
        for definition, fast in pairs:
            assert inspect.signature(definition) == inspect.signature(fast)


@given(problems())
def test_each_half_of_the_critics_batch_has_its_own_mean(problem):
    """One half alone gives its own terms, and the gradients of both add up."""
    p, s, y_hat = problem, AdversaryCritic(), problem.targets
    x_hat, nothing = 1 - p.x, slice(0, 0)

    def step(real, fake):
        noise = [v[real] for v in p.noise_real], [v[fake] for v in p.noise_fake]
        return by_hand.critic_step(p.critic, p.x[real], p.y[real], x_hat[fake], y_hat[fake], *noise, s)

    every = slice(None)
    (terms, g), (real, g_real), (fake, g_fake) = step(every, every), step(every, nothing), step(nothing, every)
    assert (real["fake"], fake["real"]) == ((1, 0), (1, 0))
    for name in terms:
        np.testing.assert_allclose(terms[name][1], real[name][1] + fake[name][1], rtol=1e-12)
    assert_close(g, [tuple(a + b for a, b in zip(*layers)) for layers in zip(g_real, g_fake)], 1e-10)
