"""One thing at a time is changed, and a lead is counted over the same images."""

from dataclasses import asdict

import numpy as np
import pytest

from reference.experiment.plans import STUDIED
from reference.method.settings import AdversaryCritic
from reference.studies import scale

VARIES = {"training images": {"images", "epochs"}, "epochs": {"epochs"}, "width": {"width"}, "side": {"side"}}


@pytest.mark.parametrize("axis", VARIES)
def test_an_axis_changes_what_it_says_and_nothing_else(axis):
    base = asdict(scale.BASE)
    assert scale.BASE in scale.AXES[axis]
    for point in map(asdict, scale.AXES[axis]):
        changed = {name for name in point if point[name] != base[name]} - {"seeds"}
        assert changed <= VARIES[axis]
        if "images" in changed:
            assert point["images"] * point["epochs"] == base["images"] * base["epochs"]


def test_every_point_is_trained_with_each_of_its_seeds():
    done = [(point, seed) for _, (point, seed) in scale.tasks(scale.POINTS)]
    assert len(done) == len(set(done)) == sum(point.seeds for point in scale.POINTS)
    assert {seed for point, seed in done if point == scale.BASE} == set(range(scale.BASE.seeds))


def test_the_critic_is_the_demos_and_the_authors():
    assert scale.defences(scale.BASE)["critic"] == STUDIED["critic"]
    assert scale.defences(scale.LARGE)["critic"] == AdversaryCritic(hidden=(256, 256))


def test_a_lead_is_paired_over_the_images_that_both_attacks_found():
    a, b = np.array([0.2, 0.5, np.nan, 0.4]), np.array([0.1, 0.3, 0.0, np.nan])
    found = scale.paired(a, b, "lead")
    assert found["lead"] == pytest.approx(0.15)
    assert found["lead_half"] == pytest.approx(1.96 * 0.05)  # standard deviation 0.0707 over √2
    common = np.random.default_rng(0).random(50)
    assert scale.paired(common + 0.1, common, "lead")["lead_half"] < 1e-12


def test_the_best_rival_is_the_one_over_which_the_mean_lead_is_smaller():
    records = [{"rho_multi": m, "rho_virtual": v, "looks_multi": v, "looks_virtual": m} for m, v in ((1, 3), (2, 1))]
    assert scale.best_rival(records, "rho") == "multi"
    assert scale.best_rival(records, "looks") == "virtual"
