"""The L∞ attack of the study against a closed form, and that each case changes one thing."""

from dataclasses import asdict

import numpy as np

from reference.by_hand.model import from_params
from reference.method.numerics import one_hot, predict
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
    for name in list(choices.CASES)[1:5]:
        other = asdict(choices.CASES[name])
        assert sum(other["generator"][key] != base["generator"][key] for key in base["generator"]) == 1
        assert {**other, "generator": 0} == {**base, "generator": 0}
