"""Every class in turn, and several attacks together: nearer than any one of them, and never beyond what is possible."""

import re
from pathlib import Path

import numpy as np
import problems
import pytest

from reference import attacks
from reference.attacks import carlini_wagner, ddn, deepfool, projected_gradient, strongest
from reference.attacks.ddn import loss_direction
from reference.errors import InputError

both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def decoy(dtype=np.float64):
    """Class 1 is the highest rival of class 0 but 0.4 away, class 2 has a lower logit and is 0.1 away."""
    x = np.full((3, 2), 0.5, dtype)

    def f(v):
        gap = v - dtype(0.5)
        return np.stack([0 * v[:, 0], gap[:, 0] - dtype(0.4), 10 * gap[:, 1] - dtype(1)], axis=1)

    return (f, lambda v, g: np.stack([g[:, 1], 10 * g[:, 2]], axis=1)), x, np.zeros(3, int)


@both_dtypes
@pytest.mark.parametrize("attack, within", [(ddn, 1.03), (carlini_wagner, 1.05), (strongest, 1.001)])
def test_the_nearest_class_is_found_behind_a_higher_rival(attack, within, dtype):
    f, x, labels = decoy(dtype)
    settings = {} if attack is strongest else {"targets": "all"}
    quick = {"search_steps": 3, "iterations": 300} if attack is carlini_wagner else {}
    found = attack(f, x, labels, **settings, **quick)
    assert found.success.all() and found.images.dtype == found.norms.dtype == dtype
    assert (found.norms >= 0.1 * (1 - 1e-6)).all() and (found.norms <= 0.1 * within).all()
    if attack is carlini_wagner:  # by itself it follows the highest rival
        assert (attack(f, x, labels, **quick).norms > 0.39).all()
    assert attack is strongest or "all targets" in found.convention


def test_projected_gradient_tries_every_class():
    f, x, labels = decoy()
    assert not projected_gradient(f, x, labels, 0.2, restarts=1).success.any()
    found = projected_gradient(f, x, labels, 0.2, restarts=1, targets="all")
    assert found.success.all() and (found.norms <= 0.2).all() and "targets all" in found.convention
    assert projected_gradient(f, x, labels, 0.2, restarts=1, targets=[2, 2, 2]).success.all()
    assert not projected_gradient(f, x, labels, 0.2, restarts=1, targets=[1, 1, 1]).success.any()
    assert not projected_gradient(f, x, labels, 0.09, restarts=1, targets="all").success.any()


@both_dtypes
@pytest.mark.parametrize("k", [2, 3, 7])
def test_on_a_linear_model_the_distance_is_met(k, dtype):
    f, x, labels, distance = problems.linear(seed=k, k=k, dtype=dtype)
    found = strongest(f, x, labels)
    assert found.success.all()
    assert (found.norms >= distance * (1 - 1e-4)).all() and (found.norms <= 1.001 * distance + 1e-5).all()


@pytest.mark.filterwarnings("ignore::reference.attacks.AttackWarning")
@pytest.mark.parametrize("box", [(0, 1), None, (-1, 2)])
def test_no_single_attack_is_nearer(box):
    """Each of them is among those it combines; at their default lengths the others may win by what rounding leaves."""
    f = problems.random_network(5, (6, 12, 8, 4), float)
    x, y = problems.images(5, 20, 6, float), np.arange(20) % 4
    found = strongest(f, x, ("true", y), box)
    for attack in (deepfool, ddn):
        one = attack(f, x, y, box=box)
        assert (found.success >= one.success).all()
        assert (found.norms <= one.norms)[one.success].all()
    ok = found.success
    assert (f(found.images).argmax(axis=1) != y)[ok].all()
    assert (f(x + 0.999 * (found.images - x)).argmax(axis=1) == y)[ok & (found.norms > 0)].mean() > 0.9
    np.testing.assert_allclose(np.linalg.norm(found.images - x, axis=1)[ok], found.norms[ok])
    wrong = f(x).argmax(axis=1) != y
    assert wrong.any() and (found.norms[wrong] == 0).all() and (found.norms[~wrong & ok] > 0).all()
    assert "from the true label" in found.convention and ("Carlini" in found.convention) == (box is not None)


def test_all_targets_are_the_best_of_each():
    f = problems.random_network(3, (6, 12, 4), float)
    x, y = problems.images(3, 8, 6, float), np.arange(8) % 4
    parts = [ddn(f, x, y, targets=(y + j) % 4) for j in (1, 2, 3)]
    found = ddn(f, x, y, targets="all")
    best = np.min([np.where(p.success, p.norms, np.inf) for p in parts], axis=0)
    np.testing.assert_array_equal(np.where(found.success, found.norms, np.inf), best)
    np.testing.assert_array_equal(found.iterations, sum(p.iterations for p in parts))


@pytest.mark.parametrize("name", ["ddn", "carlini_wagner", "projected_gradient"])
def test_other_words_than_all_are_refused(name):
    with pytest.raises(InputError, match=r"targets = 'every'.*\"all\" for every other class"):
        getattr(attacks, name)(*decoy(), targets="every", **{"restarts": 1} if name == "projected_gradient" else {})


def test_ddn_follows_the_cross_entropy_and_does_not_saturate():
    """The gradient p − e_l in direction; by exact arithmetic where p_l rounds to 1."""
    z = np.array([[1.0, 0.5, -0.3], [0.0, 2.0, 1.0]])
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    plain = p - np.eye(3)[[0, 2]]
    found = loss_direction(z, np.array([0, 2]))
    np.testing.assert_allclose(found * (1 - p[[0, 1], [0, 2]])[:, None], plain, rtol=1e-12)
    found = loss_direction(np.array([[2000.0, 1.0, 1.0]], np.float32), np.array([0]))
    np.testing.assert_array_equal(found, np.array([[-1, 0.5, 0.5]], np.float32))
    assert found.dtype == np.float32


def test_the_readmes_example_prints_what_it_shows(capsys):
    text = (Path(attacks.__file__).parent / "README.md").read_text()
    code, shown = re.search(r"```python\n(.*?)```\n\n(.*?)\n\n", text, re.DOTALL).groups()
    exec(code, {})
    printed = capsys.readouterr().out.split("\n")
    for line, other in zip(shown.splitlines(), printed, strict=False):
        numbers, others_ = (np.array(re.findall(r"[0-9.]+", part), float) for part in (line, other))
        np.testing.assert_allclose(numbers, others_, rtol=1e-5)
