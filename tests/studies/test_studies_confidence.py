"""The boundary-only generator stops at the boundary; regions and their boundaries are counted as in known cases."""

import autograd.numpy as np
import numpy as onp
import pytest
from autograd import grad
from hypothesis import given
from hypothesis import strategies as st
from strategies import problems, seeds

from reference.method import network
from reference.method.generator import unrolled
from reference.method.objectives import choose_targets
from reference.method.settings import Generator
from reference.method.targets import RunningConfidence
from reference.studies import confidence
from reference.studies.measures import with_objective


@given(problems())
def test_the_gap_and_its_gradient(problem):
    signs = onp.random.default_rng(0).standard_normal((len(problem.x), problem.k))
    gap, w = confidence.linearise_gap(problem.params, problem.x, signs)
    expected = onp.sum(network.logits(problem.params, problem.x) * signs, axis=1)
    onp.testing.assert_allclose(gap, expected, rtol=1e-10, atol=1e-12)
    gradient = grad(lambda x: np.sum(network.logits(problem.params, x) * signs))(problem.x)
    onp.testing.assert_allclose(w, gradient, rtol=1e-10, atol=1e-12)


@given(problems(classes=st.just(2)))
def test_for_two_classes_it_is_the_attack_at_one_half(problem):
    s, x, t = Generator(), problem.x, problem.targets
    weights = onp.random.default_rng(0).standard_normal(x.shape)
    expected = unrolled(problem.params, x, t, 0.5)
    found = confidence.to_boundary(problem.params, x, t, 1 - t, s)
    onp.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)
    mine = grad(lambda p: np.sum(weights * confidence.to_boundary(p, x, t, 1 - t, s)))(problem.params)
    theirs = grad(lambda p: np.sum(weights * unrolled(p, x, t, 0.5)))(problem.params)
    for layer, other in zip(mine, theirs, strict=True):
        for a, b in zip(layer, other, strict=True):
            onp.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8 * max(1, onp.abs(b).max()))


@given(seeds)
def test_it_ends_at_the_boundary_whatever_a_third_class_does(seed):
    # Linear; class 2 is likelier than both, so that p_t stays far below ½.
    rng = onp.random.default_rng(seed)
    W, x = rng.standard_normal((4, 3)), rng.random((5, 4))
    w = W[:, 1] - W[:, 0]
    gap, s = x @ w, Generator(iterations=12)
    labels = (gap > 0).astype(int)
    x_hat = confidence.to_boundary([(W, onp.array([0.0, 0.0, 9.0]))], x, 1 - labels, labels, s)
    left = (x_hat @ w) / gap  # of the way: 1 at the start, 0 on the boundary
    assert (left < 0).all() and (left > -s.overshoot - 1e-3 * onp.linalg.norm(w) / onp.abs(gap)).all()


@given(problems())
def test_the_generator_fills_what_the_objective_takes(problem):
    running = RunningConfidence.start(problem.k, float)
    found = confidence.generate(problem.params, problem.x, problem.targets, running, Generator())
    z = network.logits(problem.params, problem.x)
    onp.testing.assert_array_equal(found.logits, z)
    own = onp.exp(z - z.max(axis=1, keepdims=True))
    onp.testing.assert_allclose(found.confidence, own.max(axis=1) / own.sum(axis=1))
    assert (found.target_confidence == 0.5).all() and found.images.shape == problem.x.shape


def grid(g):
    t = (onp.arange(g) + 0.5) / g
    return onp.meshgrid(t, t)


@pytest.mark.parametrize("radius", (0.1, 0.3, 0.45))
def test_a_disc(radius):
    x, y = grid(200)
    inside = radius - onp.hypot(x - 0.5, y - 0.5)
    found = confidence.regions(onp.stack([inside, -inside, inside - 1], axis=2))
    assert found["boundary"] == pytest.approx(2 * onp.pi * radius, rel=2e-3)
    assert found["regions"] == 2


@pytest.mark.parametrize("n", (1, 2, 5))
def test_oblique_stripes(n):
    # n boundaries, each from side to side of the square at a slope of 1/4: n + 1 regions.
    x, y = grid(400)
    at = [0.3 * (i + 1) / n for i in range(n)]
    wave = onp.prod([y - 0.25 * x - 0.2 - a for a in at], axis=0)
    found = confidence.regions(onp.stack([wave, -wave], axis=2))
    assert found["boundary"] == pytest.approx(n * onp.hypot(1, 0.25), rel=5e-3)
    assert found["regions"] == n + 1


def test_islands_are_counted_by_class():
    x, y = grid(100)
    scores = onp.zeros((100, 100, 3))
    for i, (cx, cy) in enumerate([(0.2, 0.2), (0.2, 0.8), (0.8, 0.2), (0.8, 0.8)]):
        scores[onp.hypot(x - cx, y - cy) < 0.1, 1 + i % 2] = 1
    scores[..., 0] += 0.5
    assert confidence.regions(scores)["regions"] == 1 + 4
    assert confidence.regions(scores[..., ::-1])["regions"] == 1 + 4


@given(problems())
def test_training_takes_it_from_the_predicted_class_to_the_nearest(problem):
    s, running = Generator(), RunningConfidence.start(problem.k, float)
    step = with_objective(generate=confidence.generate).ClassifierStep(problem.params, problem.x)
    step.attack(running, s)
    targets = choose_targets(problem.params, problem.x, s)
    expected = confidence.to_boundary(problem.params, problem.x, targets, step.predicted, s)
    onp.testing.assert_allclose(step.images, expected, rtol=1e-10)
