"""Every fast twin is its plain definition: values and first derivatives, in float64 and float32; further it refuses.

The plain definitions are held to independent derivations in `test_second_order` and `test_objectives`.
"""

import inspect
from functools import partial

import numpy as np
import pytest
from autograd import elementwise_grad, make_vjp
from calculus import leaves, size
from hypothesis import given
from hypothesis import strategies as st
from strategies import problems

from reference import adjoint, critic, network, objectives, twins
from reference.attacks import as_model, targets
from reference.attacks.high_confidence import unrolled
from reference.errors import InputError
from reference.settings import AdversaryCritic, Generator
from reference.train import FAST

GEOMETRIES = st.sampled_from(("l2", "linf"))
TWINS = [
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


@pytest.mark.parametrize("plain, twin", TWINS, ids=lambda f: f.__module__)
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

    for (plain, g), (fast, h) in zip(both(objectives.PLAIN), both(FAST), strict=True):
        for name in plain:
            assert fast[name] == pytest.approx(plain[name], rel=1e-10, abs=1e-14)
        assert size([a - b for a, b in zip(leaves(g), leaves(h), strict=True)]) <= 1e-10 * size(leaves(g))


@given(problems())
def test_the_fast_model_is_the_classifier(problem):
    """For the attacks of the evaluation: logits, and pulled-back cotangents."""
    fast = adjoint.as_model(problem.params)
    plain = as_model(partial(network.logits, problem.params))
    v = np.random.default_rng(0).standard_normal((len(problem.x), problem.k))
    (z, pull), (z0, pull0) = fast.linearise(problem.x), plain.linearise(problem.x)
    np.testing.assert_allclose(z, z0, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(pull(v), pull0(v), rtol=1e-12, atol=1e-14)
    t = targets.nearest_class(fast, problem.x, z.argmax(axis=1))
    assert np.array_equal(t, targets.nearest_class(plain, problem.x, z.argmax(axis=1)))


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
            with pytest.raises(InputError, match="choose"):
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
    """A batch as training sees it -> what each step says, as {name: arrays}."""
    step = via.classifier_step(p.params, p.x) if via.classifier_step else objectives.ClassifierStep(p.params, p.x, via)
    step.attack(p.running, s.generator, np.random.default_rng(0))
    critic_step = via.critic_step or partial(objectives.critic_step, via=via)
    judged = critic_step(p.critic, p.x, p.y, step.images, step.taken_for, p.noise_real, p.noise_fake, 10.0)
    terms = step.gradient(p.y, p.critic, p.noise_real, s)
    return {
        "predicted": step.predicted,
        "confidence": step.confidence,
        "images": step.images,
        "taken_for": step.taken_for,
        "C": step.target_confidence,
        "critic's terms": [np.array(v) for _, v in judged[0].values()],
        "critic's gradient": leaves(judged[1]),
        "terms": [np.array(weight * v) for weight, v in terms[0].values()],
        "gradient": leaves(terms[1]),
    }, (terms[0].keys(), judged[0].keys())


@pytest.mark.parametrize("dtype, tolerance", ((np.float64, 1e-10), (np.float32, 1e-4)), ids=("float64", "float32"))
@given(problem=problems(), generator=SETTINGS)
def test_the_fused_steps(problem, generator, dtype, tolerance):
    """Both steps as a whole, by hand, against the plain definitions, in every mode."""
    p, s = problem.cast(dtype), AdversaryCritic(generator=generator)
    (plain, names), (fused, other) = both_steps(p, s, objectives.PLAIN), both_steps(p, s, FAST)
    assert names == other
    assert np.array_equal(plain["taken_for"], fused["taken_for"])
    for name in plain:
        a, b = leaves(plain[name]), leaves(fused[name])
        assert [v.dtype for v in a] == [v.dtype for v in b]
        assert size([u - v for u, v in zip(a, b, strict=True)]) <= tolerance * size(a), name
