"""Robustness, measured: known perturbations, known rates, and no failure hidden in a mean."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import linear
from strategies import seeds

from reference.attacks import AttackResult, deepfool, high_confidence, strongest
from reference.errors import InputError
from reference.experiment.evaluate import Evaluation, Robustness, evaluate, from_predicted, measure, robust_accuracy

K = 4


def logits(x):
    """The class is the largest of the first K pixels."""
    return x[:, :K]


def images(seed=0, n=12, d=6):
    rng = np.random.default_rng(seed)
    return rng.uniform(0.1, 0.9, (n, d)), rng.integers(K, size=n)


def moves(length, fails=()):
    """An attack that moves the last pixel by −length[i], i the image's place in the whole, and fails on `fails`."""
    place = {}

    def attack(model, x, labels):
        name, labels = labels
        rows = [place[row.tobytes()] for row in x]
        last = x.copy()
        last[:, -1] -= np.asarray(length)[rows]
        success = ~np.isin(rows, fails)
        adversarial = np.where(success[:, None], last, x)
        norms = np.where(success, np.linalg.norm(adversarial - x, axis=1), np.nan)
        n = len(x)
        return AttackResult(adversarial, success, norms, np.ones(n), np.full(n, ""), last, labels, f"moves, {name}")

    def known(x):
        place.update({row.tobytes(): i for i, row in enumerate(x)})
        return attack

    return known


def robustness(norms, success=None, ratios=None, before=None, after=None):
    """Made by hand; `norms` may be given on failures too, which must not matter."""
    norms = np.asarray(norms, float)
    n = len(norms)
    success = np.ones(n, bool) if success is None else np.asarray(success)
    ratios = norms / 2 if ratios is None else np.asarray(ratios, float)
    zeros = np.zeros(n, int)
    norms, kept = (np.where(success, v, np.nan) for v in (norms, ratios))
    return Robustness(kept, ratios, norms, success, zeros if before is None else before, zeros + 1, "by hand")


@given(seeds, st.integers(1, 15))
def test_rho_of_a_known_perturbation(seed, batch):
    """ρ = mean ‖r‖/‖x‖, not mean ‖r‖ / mean ‖x‖, nor a mean of unequal batches' means."""
    x, y = images(seed)
    length = np.random.default_rng(seed).uniform(0.01, 0.1, len(x))
    found = evaluate(logits, x, y, {"moves": moves(length)(x)}, batch=batch).attacks["moves"]
    exact = length / np.sqrt(np.sum(x**2, axis=1))
    np.testing.assert_allclose(found.ratios, exact, rtol=1e-12)
    np.testing.assert_allclose(found.norms, length, rtol=1e-12)
    np.testing.assert_allclose([found.rho, found.authors_rho], np.mean(exact), rtol=1e-12)
    np.testing.assert_allclose(found.median, np.sort(exact)[5:7].mean(), rtol=1e-12)
    assert found.success_rate == 1 and found.convention == "moves, true"


def test_failures_are_a_rate_and_never_in_the_mean():
    x, y = images()
    fails = [0, 5, 11]
    length = np.where(np.isin(np.arange(12), fails), 0.09, 0.01)
    found = evaluate(logits, x, y, {"moves": moves(length, fails)(x)}, batch=5).attacks["moves"]
    size = np.linalg.norm(x, axis=1)
    good = np.setdiff1d(np.arange(12), fails)
    np.testing.assert_allclose(found.rho, np.mean(0.01 / size[good]), rtol=1e-12)
    np.testing.assert_allclose(found.authors_rho, np.mean(length / size), rtol=1e-12)
    assert found.success_rate == 0.75
    assert np.isnan(found.ratios[fails]).all() and np.isnan(found.norms[fails]).all()
    assert np.isfinite(found.last_ratios).all()


def test_the_median_takes_a_failure_for_infinitely_far():
    assert robustness([2, 4, 6, 8]).median == 2.5
    assert robustness([2, 4, 6, 8, 1], [True] * 4 + [False]).median == 3
    assert robustness([2, 4, 6, 8], [True, False, False, False]).median == np.inf


def test_no_success_has_no_rho():
    found = robustness([1, 2], [False, False])
    assert np.isnan(found.rho)
    assert found.success_rate == 0 and found.authors_rho == 0.75 and found.median == np.inf


def test_error_and_wilsons_interval():
    """10 wrong of 100: the textbook's (0.0552, 0.1744)."""
    labels = np.zeros(100, int)
    e = Evaluation(np.r_[np.ones(10, int), np.zeros(90, int)], labels, {})
    assert e.error == 0.1
    np.testing.assert_allclose(e.error_interval(), (0.05522914, 0.17436566), atol=1e-7)
    for end in e.error_interval(0.9):  # where p's own normal approximation just reaches 0.1
        np.testing.assert_allclose(abs(0.1 - end), 1.6448536269514722 * np.sqrt(end * (1 - end) / 100))
    z = 1.959963984540054
    np.testing.assert_allclose(Evaluation(labels, labels, {}).error_interval(), (0, z * z / (100 + z * z)), atol=1e-15)
    low, high = Evaluation(labels + 1, labels, {}).error_interval()  # all wrong
    assert 0.96 < low < 0.97 and high == 1


def test_the_two_conventions_differ_on_misclassified_images():
    problem = linear(n=8, d=5, k=K)
    y = problem.labels.copy()
    wrong = np.array([1, 4])
    y[wrong] = (y[wrong] + 1) % K
    fast = {"DeepFool": deepfool, "high-confidence": high_confidence}
    true = evaluate(problem.logits, problem.x, y, fast)
    predicted = evaluate(problem.logits, problem.x, y, fast, "predicted")
    for e in (true, predicted):
        assert e.error == 0.25 and np.array_equal(e.predicted, problem.labels)
    published, other = true.attacks["DeepFool"], predicted.attacks["DeepFool"]
    assert published.success.all() and (published.norms[wrong] == 0).all()
    assert (other.norms[wrong] > 0).all()
    right = np.setdiff1d(np.arange(8), wrong)
    np.testing.assert_allclose(published.norms[right], other.norms[right], rtol=1e-9)
    np.testing.assert_allclose(other.norms, problem.distance, rtol=0.03, atol=2e-4)  # the overshoot, and `extra`
    assert (true.attacks["high-confidence"].norms[wrong] > 0).any()
    assert "from the true label" in published.convention and "from the predicted label" in other.convention


@pytest.mark.parametrize("shift", [0, 1])
def test_the_other_convention_follows_from_the_first(shift):
    """As if all images had been attacked anew, also where none is misclassified; no attack is run without need."""
    problem = linear(n=9, k=K)
    y = (problem.labels + shift * (np.arange(9) % 4 == 0)) % K
    fast, seen = {"DeepFool": deepfool, "strongest": strongest}, []
    first = {"strongest": 6}  # of the misclassified images 0, 4 and 8 two
    true = evaluate(problem.logits, problem.x, y, fast, "true", first)
    counted = {
        name: lambda m, x, labels, a=attack: (seen.append(len(x)), a(m, x, labels))[1] for name, attack in fast.items()
    }
    other = from_predicted(true, problem.logits, problem.x, counted)
    assert seen == [3, 2] * shift
    anew = evaluate(problem.logits, problem.x, y, fast, "predicted", first)
    assert np.array_equal(other.confidence, anew.confidence)
    assert np.array_equal(other.predicted, anew.predicted) and np.array_equal(other.labels, y)
    for name, found in anew.attacks.items():
        assert other.attacks[name].convention == found.convention
        for key in ("ratios", "last_ratios", "norms", "success", "before", "after"):
            a, b = getattr(other.attacks[name], key), getattr(found, key)
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9, err_msg=f"{name} {key}")


@pytest.mark.parametrize("start", ["True", "given", None, "", True])
def test_other_starts_are_refused(start):
    with pytest.raises(InputError, match='choose "true".*or "predicted"'):
        evaluate(logits, *images(), {"DeepFool": deepfool}, start)


def test_batches_do_not_show():
    problem = linear(n=11, k=K)
    y = (problem.labels + (np.arange(11) % 5 == 0)) % K
    fast = {"DeepFool": deepfool, "high-confidence": high_confidence}
    whole = evaluate(problem.logits, problem.x, y, fast)
    for batch in (1, 3, 10, 11, 500):
        parts = evaluate(problem.logits, problem.x, y, fast, batch=batch)
        assert np.array_equal(parts.predicted, whole.predicted)
        for name in fast:
            for key in ("ratios", "last_ratios", "norms", "success", "before", "after"):
                a, b = getattr(parts.attacks[name], key), getattr(whole.attacks[name], key)
                np.testing.assert_allclose(a, b, rtol=1e-9, err_msg=f"{name} {key}")


def test_before_and_after_are_predictions():
    problem = linear(n=6, k=K)
    found = evaluate(problem.logits, problem.x, problem.labels, {"DeepFool": deepfool}).attacks["DeepFool"]
    assert np.array_equal(found.before, problem.labels) and (found.after != problem.labels).all()


def test_a_subset_is_the_first_images():
    x, y = images()
    attacks = {"all": moves(np.full(12, 0.02))(x), "few": moves(np.linspace(0.01, 0.06, 12))(x)}
    found = evaluate(logits, x, y, attacks, subset={"few": 7}, batch=4)
    assert [len(found.attacks[name].ratios) for name in attacks] == [12, 7] and len(found.predicted) == 12
    np.testing.assert_allclose(found.attacks["few"].norms, np.linspace(0.01, 0.06, 12)[:7])
    assert len(evaluate(logits, x, y, attacks, subset={"few": 99}).attacks["few"].norms) == 12


@given(seeds)
def test_robust_accuracy_falls_from_the_clean_accuracy(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=30)
    before = rng.integers(2, size=20)
    success = rng.random(20) < 0.8
    right = before == labels[:20]
    norms = np.where(right, rng.uniform(0.1, 2, 20), 0)  # a misclassified image is at distance 0
    found = robustness(norms, success, before=before)
    radii = np.sort(rng.uniform(0, 3, 12))
    accuracy = robust_accuracy(found, labels, radii)
    assert accuracy.shape == (12,) and (np.diff(accuracy) <= 0).all()
    by_hand = [np.mean([right[i] and not (success[i] and norms[i] <= radius) for i in range(20)]) for radius in radii]
    np.testing.assert_allclose(accuracy, by_hand)
    assert robust_accuracy(found, labels, [0])[0] == right.mean()
    assert robust_accuracy(found, labels, [1e9])[0] == np.mean(right & ~success)  # a failed attack: robust


def test_an_image_at_the_radius_falls_to_it():
    found = robustness([1.0, 2.0, 0.0], before=np.array([0, 0, 1]))
    accuracy = robust_accuracy(found, np.zeros(3, int), [0, 0.5, 1, 1.5, 2])
    np.testing.assert_allclose(accuracy, [2 / 3, 2 / 3, 1 / 3, 1 / 3, 0])


@pytest.mark.parametrize("light", [0, 5e-324, 1e-310])
def test_an_image_too_dark_for_a_ratio_is_refused(light):
    x, y = images()
    x = x.astype(float)
    x[3] = 0
    x[3, 0] = light
    with pytest.raises(InputError, match="all zero.*leave it out"):
        evaluate(logits, x, y, {"moves": moves(np.full(12, 0.0))(x)})
    with pytest.raises(InputError, match="all zero"):
        measure(moves(np.full(12, 0.0))(x)(None, x, ("true", y)), x, logits)


def test_a_model_that_writes_into_its_argument_changes_nothing():
    """ρ as of the same model that leaves its argument alone, as a pair and by autograd; the images stay."""
    V = np.random.default_rng(1).standard_normal((6, K))
    x, y = images(5, 20)

    def writes(v):
        v *= 0.5
        return v @ V

    def gradient(v, g):
        v[:] = 0
        return 0.5 * (g @ V.T)

    kept = x.copy()
    right = evaluate(lambda v: (v * 0.5) @ V, x, y, {"DeepFool": deepfool}).attacks["DeepFool"]
    for model in (writes, (writes, gradient)):
        found = evaluate(model, x, y, {"DeepFool": deepfool}).attacks["DeepFool"]
        np.testing.assert_array_equal(x, kept)
        np.testing.assert_allclose(found.ratios, right.ratios, rtol=1e-9)


def test_an_attack_that_writes_into_the_images_changes_nothing():
    x, y = images()
    kept = x.copy()

    def writes(model, x, labels):
        x += 1
        return deepfool(model, kept, labels)

    evaluate(logits, x, y, {"writes": writes})
    np.testing.assert_array_equal(x, kept)


def test_an_attack_may_have_any_name():
    x, y = images()
    for name in ("batch", "two words", ""):
        assert len(evaluate(logits, x, y, {name: deepfool}, subset={name: 5}).attacks[name].norms) == 5


def test_images_so_dark_that_their_squares_are_zero():
    x, y = images()
    dark, labels = x * 1e-200, (x[:, :K]).argmax(axis=1)

    def attack(model, x, given):
        n = len(x)
        return AttackResult(x / 2, np.ones(n, bool), x[:, 0], np.ones(n), np.full(n, ""), x / 2, given[1], "halves")

    found = measure(attack(None, dark, ("true", labels)), dark, logits)
    np.testing.assert_allclose(found.last_ratios, 0.5, rtol=1e-12)


@pytest.mark.parametrize(
    "change, says",
    [
        ({"x": images()[0] * 255}, r"in \[0, 1\]"),
        ({"y": images()[1][:-1]}, "expected 12 labels"),
        ({"y": images()[1] + K}, "labels must be in 0..3"),
        ({"batch": 0}, "batch = 0: give a whole number, 1 or more"),
        ({"subset": {"DeepFool": 0}}, "DeepFool.* = 0: give a whole number, 1 or more"),
        ({"subset": [1]}, "subset = .1.: give .attack: number of images"),
        ({"batch": 2.5}, "batch = 2.5: give a whole number"),
        ({"attacks": {}}, "attacks is empty"),
        ({"model": lambda x: x @ np.ones((7, 3))}, "the model fails on x of shape"),
        ({"model": lambda x: logits(x)[:, 0]}, "expected .n, k."),
        ({"subset": {"deepfool": 3}}, "subset names deepfool: choose from DeepFool"),
        ({"model": 3}, "a model is"),
    ],
)
def test_unfit_input_is_refused(change, says):
    x, y = images()
    with pytest.raises(InputError, match=says):
        evaluate(**{"model": logits, "x": x, "y": y, "attacks": {"DeepFool": deepfool}} | change)
