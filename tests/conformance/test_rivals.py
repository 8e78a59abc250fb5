"""The method in PyTorch and in JAX says what the plain definitions say: terms and gradients, float64 and float32."""

import numpy as np
import pytest
from calculus import size
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import problems

from reference.method import objectives
from reference.method.numerics import predict
from reference.method.settings import AdversaryCritic, Generator

TOLERANCE = {np.float64: 1e-10, np.float32: 1e-4}


class PyTorch:
    examples, problems = 25, problems()

    def __init__(self):
        self.library = pytest.importorskip("torch", reason="PyTorch is not installed")
        from reference.conformance.adapters import pytorch

        self.module = pytorch

    def arrays(self, tree, attached=False):
        if isinstance(tree, list | tuple):
            return type(tree)(self.arrays(part, attached) for part in tree)
        return self.library.tensor(tree).requires_grad_(attached)

    def run(self, terms, weights, params):
        """-> terms as floats, gradient as arrays."""
        params = self.arrays(params, attached=True)
        values = terms(params)
        gradient = self.module.gradient(values, weights, params)
        return {name: v.item() for name, v in values.items()}, [tuple(g.numpy() for g in layer) for layer in gradient]


class Jax:
    # Of one size, since every operation is compiled for every new shape.
    examples, problems = 3, problems(*map(st.just, (3, 2, 4, 5, 6)))

    def __init__(self):
        self.library = pytest.importorskip("jax", reason="JAX is not installed")
        from reference.conformance.adapters import jax

        self.module = jax

    def arrays(self, tree):
        return self.library.tree.map(self.library.numpy.asarray, tree)

    def run(self, terms, weights, params):
        """-> terms as floats, gradient as arrays."""
        params = self.arrays(params)
        values, gradient = terms(params), self.module.gradient(terms, weights, params)
        return {name: float(v) for name, v in values.items()}, self.library.tree.map(np.asarray, gradient)


@pytest.fixture(params=[PyTorch, Jax], scope="module")
def rival(request):
    """One of the libraries; JAX with 64-bit floats for as long as it is used."""
    made = request.param()
    if isinstance(made, Jax):
        made.library.config.update("jax_enable_x64", True)
        yield made
        made.library.config.update("jax_enable_x64", False)
    else:
        yield made


def same(expected, found, dtype):
    """The terms and the gradient agree, relatively, every array against the largest."""
    (terms, gradient), (others, other) = expected, found
    assert terms.keys() == others.keys()
    for name, (_, value) in terms.items():
        assert abs(value - others[name]) <= TOLERANCE[dtype] * max(abs(value), 1)
    scale = size([a for layer in gradient for a in layer])
    for layer, second in zip(gradient, other, strict=True):
        for a, b in zip(layer, second, strict=True):
            assert a.shape == b.shape and b.dtype == dtype
            assert size([a - b]) <= TOLERANCE[dtype] * max(size([a]), 0.01 * scale)


def draw(rival, test, **strategies):
    """Run `test` on as many examples as the library can afford."""
    settings(max_examples=rival.examples)(given(**strategies)(test))()


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_the_classifier_s_objective(rival, dtype):
    def test(problem, iterations, gradient, confidence):
        if dtype is np.float32:
            iterations = min(iterations, 2)  # more would carry one rounding error into the next step's kinks
        q = problem.cast(dtype)
        s = AdversaryCritic(generator=Generator(iterations=iterations, gradient=gradient, confidence=confidence))
        args = (q.x, q.y, q.targets, q.running, q.critic, q.noise_real, s)
        expected = objectives.differentiate(lambda p: objectives.adversary_critic(p, *args), q.params)
        # A vanishing gradient sends an image far away and magnifies every rounding error as much.
        assume(dtype is np.float64 or expected[0]["cycle"][1] < 10)
        C = {"running": q.running.value[q.targets], "own": None}.get(confidence, np.full(len(q.x), 0.3, dtype))
        x, y, t, critic, noise = map(rival.arrays, (q.x, q.y, q.targets, q.critic, q.noise_real))
        C = None if C is None else rival.arrays(C)

        def terms(params):
            return rival.module.classifier_terms(
                params, x, y, t, C, critic, noise, iterations=iterations, gradient=gradient
            )

        same(expected, rival.run(terms, {"critic": s.critic_weight, "cycle": s.cycle_weight}, q.params), dtype)

    draw(
        rival,
        test,
        problem=rival.problems,
        iterations=st.integers(1, 6),
        gradient=st.sampled_from(("truncated", "full", "detached")),
        confidence=st.sampled_from(("running", "own", 0.3)),
    )


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_the_critic_s_objective(rival, dtype):
    def test(problem):
        q = problem.cast(dtype)
        args, s = (q.x, q.y, q.x[::-1].copy(), q.targets, q.noise_real, q.noise_fake), AdversaryCritic()
        expected = objectives.differentiate(lambda D: objectives.critic_objective(D, *args, s), q.critic)
        weights, given = dict.fromkeys(("penalty_real", "penalty_fake"), s.penalty_weight), [*map(rival.arrays, args)]
        same(expected, rival.run(lambda D: rival.module.critic_terms(D, *given), weights, q.critic), dtype)

    draw(rival, test, problem=rival.problems)


def test_the_nearest_class(rival):
    def test(problem):
        expected = objectives.choose_targets(problem.params, problem.x, Generator())
        found = rival.module.nearest_class(rival.arrays(problem.params), rival.arrays(problem.x))
        assert (np.asarray(found) == expected).all()

    draw(rival, test, problem=rival.problems)


def test_the_nearest_class_without_gradients(rival):
    """All boundaries infinitely far: the highest other logit."""
    params = [(np.zeros((3, 4)), np.array([1.0, 3.0, 2.0, 0.0]))]
    x = np.ones((2, 3))
    assert (predict(x @ params[0][0] + params[0][1]) == 1).all()
    assert (np.asarray(rival.module.nearest_class(rival.arrays(params), rival.arrays(x))) == 2).all()
