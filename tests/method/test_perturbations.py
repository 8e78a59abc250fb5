"""The projected steps of multi-step adversarial training.  The single step and the virtual direction: tests/attacks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import problems, seeds

from reference.errors import InputError
from reference.method import network
from reference.method.numerics import log_softmax, pick
from reference.method.perturbations import project, projected_steps

GEOMETRIES = st.sampled_from(("l2", "linf"))


def length(r, geometry):
    return np.linalg.norm(r, axis=1) if geometry == "l2" else np.abs(r).max(axis=1)


@pytest.mark.parametrize("dtype", (np.float64, np.float32))
@given(problems(), GEOMETRIES, st.sampled_from((0.0, 0.1, 0.7, 3.0)), st.integers(1, 8))
def test_the_images_stay_in_the_ball_and_in_the_box(dtype, problem, geometry, epsilon, steps):
    q = problem.cast(dtype)
    r = projected_steps(lambda v: network.logits(q.params, v), q.x, q.y, np.float64(epsilon), steps, geometry)
    assert r.dtype == dtype and np.all(length(r, geometry) <= epsilon * (1 + 1e-5))
    assert (q.x + r).min() >= -1e-6 and (q.x + r).max() <= 1 + 1e-6


@given(seeds, GEOMETRIES, st.integers(1, 8))
def test_on_two_linear_classes_the_worst_point_of_the_ball_is_reached(seed, geometry, steps):
    """There the loss rises along one direction: ε·w/‖w‖ or ε·sign(w), with w the other class's column minus the own."""
    rng = np.random.default_rng(seed)
    W, x, y = rng.standard_normal((3, 2)), np.full((4, 3), 0.5), rng.integers(0, 2, 4)
    w = (W[:, 1 - y] - W[:, y]).T
    r = projected_steps(lambda v: v @ W, x, y, 0.2, steps, geometry)
    worst = 0.2 * (w / np.linalg.norm(w, axis=1, keepdims=True) if geometry == "l2" else np.sign(w))
    np.testing.assert_allclose(r, worst, atol=1e-12)


@given(problems())
def test_in_a_tiny_ball_no_loss_falls(problem):
    """There every loss is linear but for the slightest curvature, and gradient steps climb."""
    q = problem

    def loss(r):
        return -pick(log_softmax(network.logits(q.params, q.x + r)), q.y)

    r = projected_steps(lambda v: network.logits(q.params, v), q.x, q.y, 1e-4, 5)
    assert np.all(loss(r) >= loss(0) - 1e-9)


def test_projection_takes_the_nearest_point():
    x = np.array([[0.5, 0.5]])
    np.testing.assert_allclose(project(np.array([[3.0, 4.0]]), x, 0.5, "l2"), [[0.3, 0.4]])
    np.testing.assert_allclose(project(np.array([[3.0, -0.1]]), x, 0.25, "linf"), [[0.25, -0.1]])
    np.testing.assert_allclose(project(np.array([[3.0, 4.0]]), x, 5.0, "l2"), [[0.5, 0.5]])  # the box


def test_unfit_arguments_are_named():
    x = np.zeros((1, 2))
    with pytest.raises(InputError, match="epsilon = -1"):
        projected_steps(lambda v: v, x, np.array([0]), -1)
    with pytest.raises(InputError, match="geometry = 'l1'"):
        projected_steps(lambda v: v, x, np.array([0]), 1, geometry="l1")
