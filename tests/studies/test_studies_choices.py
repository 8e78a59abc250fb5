"""The L∞ attack of the study against a closed form, what each case changes, and on what θ acts then."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from autograd import make_vjp

from reference.by_hand.model import from_params
from reference.method import network, objectives
from reference.method.generator import linearise_log_prob, newton_step
from reference.method.numerics import one_hot, predict
from reference.method.settings import Generator
from reference.method.targets import RunningConfidence
from reference.studies import choices


def test_a_linear_classifier_stays_right_as_far_as_its_l1_norms_say():
    """Right at ‖r‖∞ ≤ ρ exactly where every rival's margin is larger than ρ·‖w_l − w_j‖₁; all inside the box."""
    rng = np.random.default_rng(0)
    W, x = rng.standard_normal((6, 4)), 0.5 + 0.2 * rng.standard_normal((200, 6)).clip(-1, 1)
    model = from_params([(W, -0.5 * W.sum(axis=0))])
    z = model.logits(x)
    y = predict(z)
    y[:20] = (y[:20] + 1) % 4  # wrong from the start: these do not count
    rows, lengths = np.arange(len(x)), np.abs(W[:, y].T[:, :, None] - W).sum(axis=1)
    radii = (z[rows, y][:, None] - z) / (lengths + one_hot(y, 4, float))
    radii[rows, y] = np.inf
    exact = radii.min(axis=1)[20:]
    for radius in (0.02, 0.05, 0.1):
        assert np.abs(exact - radius).min() > 1e-5
        assert choices.still_right(model, x, y, radius) == np.mean(exact > radius)
    assert np.isnan(choices.still_right(model, x[:20], y[:20]))


def test_each_case_changes_one_thing_of_the_attack():
    base = asdict(choices.METHOD)
    for name in list(choices.CASES)[1:8]:
        other = asdict(choices.CASES[name])
        changed = sum(other["generator"][key] != base["generator"][key] for key in base["generator"])
        assert changed == (name not in choices.STEPS)
        assert {**other, "generator": 0} == {**base, "generator": 0}


def attacked(generate, s: Generator, seed=0):
    """What `generate` makes of a random batch -> (params, x, targets, x̂, g ↦ ∇_θ ⟨g, x̂⟩ as one vector)."""
    rng = np.random.default_rng(seed)
    params = network.init(rng, (6, 9, 8, 4), float)
    params = [(W, 0.3 * rng.standard_normal(b.shape)) for W, b in params]
    x, targets = rng.random((5, 6)), rng.integers(0, 4, 5)
    pull_back, x_hat = make_vjp(lambda p: generate(p, x, targets, RunningConfidence.start(4, float), s).images)(params)

    def gradient(g):
        return np.concatenate([a.ravel() for layer in pull_back(g) for a in layer])

    return params, x, targets, x_hat, gradient


def nothing_held(active, log_p, w, C, eps):
    return active[:, None] * newton_step(log_p, w, C, eps)


@pytest.mark.parametrize("step", [nothing_held, *choices.STEPS.values()])
def test_what_is_held_changes_the_gradient_and_not_the_attack(step):
    s = Generator(confidence=0.9)
    *_, x_hat, gradient = attacked(choices.generating(step), s)
    *_, right, as_defined = attacked(objectives.generate, s)
    assert np.allclose(x_hat, right, rtol=1e-12)
    g = np.random.default_rng(1).standard_normal(x_hat.shape)
    assert np.allclose(gradient(g), as_defined(g), rtol=1e-10) == (step is nothing_held)


@pytest.mark.parametrize("seed", range(3))
def test_only_the_derivative_of_its_direction_moves_a_step_sideways(seed):
    """For g at a right angle to each step, ⟨g, x̂⟩ has a gradient in L2; none where the direction is held, or in L∞.

    For g along each step it has one everywhere, but where the length is held.
    """
    s = Generator(iterations=1, confidence=0.9)
    cases = {name: (choices.generating(step), s) for name, step in choices.STEPS.items()}
    cases |= {"L2": (objectives.generate, s), "L∞": (objectives.generate, replace(s, geometry="linf"))}
    for name, (generate, settings) in cases.items():
        params, x, targets, x_hat, gradient = attacked(generate, settings, seed)
        _, p, w = linearise_log_prob(lambda v, params=params: network.logits(params, v), x, targets)
        assert (p < 0.9).all() and (np.abs(w).max(axis=1) > 1e-3).all()
        g, r = np.random.default_rng(1).standard_normal(x.shape), x_hat - x
        g -= (np.vecdot(g, r) / np.vecdot(r, r))[:, None] * r
        along, across = (np.linalg.norm(gradient(v)) for v in (r, g))
        assert along > 1e-3 if name != "length held" else along < 1e-12 * across
        assert across > 1e-3 if name in ("L2", "length held") else across < 1e-12 * along
