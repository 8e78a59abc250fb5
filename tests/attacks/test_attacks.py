"""The attacks: what they return is what they say, and where the answer is known they find it.

Everything that holds of all attacks is one test over the table `ATTACKS`; a new attack is one line there.
"""

import warnings

import numpy as np
import problems
import pytest
from autograd import make_vjp
from hypothesis import given
from hypothesis import strategies as st

from reference import attacks
from reference.attacks import AttackWarning, carlini_wagner, deepfool, high_confidence
from reference.attacks.model import as_model
from reference.attacks.nearest import nearest_class
from reference.errors import InputError
from reference.method.generator import newton_step
from reference.method.numerics import pick, softmax
from reference.method.perturbations import gradient_step, unit_rows, virtual_direction


def projected_gradient(model, x, labels=None, **settings):
    settings = {"radius": 0.5, "rng": np.random.default_rng(0)} | settings
    return attacks.projected_gradient(model, x, labels, **settings)


def quick(attack, **defaults):
    return lambda model, x, labels=None, **settings: attack(model, x, labels, **(defaults | settings))


ATTACKS = {
    "deepfool": quick(deepfool, iterations=40),
    "ddn": quick(attacks.ddn, iterations=40),
    "high_confidence": quick(high_confidence, iterations=40),
    "carlini_wagner": quick(carlini_wagner, search_steps=3, iterations=30, learning_rate=0.05),
    "projected_gradient": quick(projected_gradient, iterations=10, restarts=2),
}
every_attack = pytest.mark.parametrize("name", ATTACKS)
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
seeds = st.integers(0, 2**32 - 1)
# Random networks often have flat spots; that they are warned about has its own test.
flat_is_fine = pytest.mark.filterwarnings("ignore::reference.attacks.AttackWarning")


def as_pair(f):
    """The same model for those who do not use autograd."""
    return f, lambda x, v: make_vjp(f)(x)[0](v)


def succeeded(name, f, x, labels, result):
    """Success, recomputed from the definition."""
    z = f(result.images)
    if name == "high_confidence":
        t, own = nearest_class(f, x, labels), softmax(f(x)).max(axis=1)
        return (z.argmax(axis=1) == t) & (pick(softmax(z), t) >= own)
    return z.argmax(axis=1) != labels


def assert_same(a, b, rtol=0.0):
    np.testing.assert_array_equal(a.success, b.success)
    np.testing.assert_array_equal(a.reason, b.reason)
    np.testing.assert_allclose(a.images, b.images, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(a.last, b.last, rtol=rtol, atol=rtol)


def test_the_table_is_complete():
    """By the functions' names."""
    assert set(ATTACKS) == {attack.__name__ for attack in attacks.ATTACKS.values()}


# ---- what is returned is what is said


@st.composite
def cases(draw):
    n, d, k = draw(st.integers(1, 5)), draw(st.integers(1, 6)), draw(st.integers(2, 5))
    hidden = draw(st.lists(st.integers(1, 7), max_size=2))
    seed, dtype = draw(seeds), draw(st.sampled_from([np.float32, np.float64]))
    f = problems.random_network(seed, (d, *hidden, k), dtype)
    labels = draw(st.sampled_from([None, np.random.default_rng(seed).integers(0, k, n)]))
    return f, problems.images(seed, n, d, dtype), labels


@every_attack
@flat_is_fine
@given(case=cases())
def test_success_is_success(name, case):
    f, x, labels = case
    result = ATTACKS[name](f, x, labels)
    assert_same(result, ATTACKS[name](as_pair(f), x, labels))

    ok, labels = result.success, f(x).argmax(axis=1) if labels is None else labels
    np.testing.assert_array_equal(result.labels, labels)
    assert succeeded(name, f, x, labels, result)[ok].all()
    np.testing.assert_array_equal(result.images[~ok], x[~ok])
    np.testing.assert_array_equal(np.isnan(result.norms), ~ok)
    distance = np.linalg.norm(result.images.astype(float) - x, axis=1)
    np.testing.assert_allclose(result.norms[ok], distance[ok], rtol=1e-5)
    np.testing.assert_array_equal(result.reason == "success", ok)
    assert set(result.reason) <= {"success", "iteration limit", "vanishing gradient"}
    for image in (result.images, result.last):
        assert image.dtype == x.dtype and image.shape == x.shape
        assert (image >= 0).all() and (image <= 1).all()
    assert result.norms.dtype == x.dtype
    if name == "projected_gradient":
        assert (result.norms[ok] <= 0.5).all()


@every_attack
def test_a_failure_gives_the_original_back(name):
    f, x, labels, _ = problems.linear()
    timid = {
        "deepfool": {"iterations": 2, "step_limit": 1e-6, "extra": 0},
        "high_confidence": {"iterations": 2, "step_limit": 1e-6},
        "carlini_wagner": {"iterations": 2, "search_steps": 1, "learning_rate": 1e-6},
        "projected_gradient": {"iterations": 2, "radius": 1e-6},
        "ddn": {"iterations": 2, "first_norm": 1e-6},
    }[name]
    result = ATTACKS[name](f, x, labels, **timid)
    assert not result.success.any() and np.isnan(result.norms).all()
    np.testing.assert_array_equal(result.images, x)
    assert (result.last != x).any(axis=1).all()
    assert set(result.reason) == {"iteration limit"}
    assert set(result.iterations) == {4 if name == "projected_gradient" else 2}  # two restarts


@every_attack
@pytest.mark.parametrize("box", [(0, 1), None, (-1, 2)])
def test_zero_iterations(name, box):
    f, x, labels, _ = problems.linear()
    if name == "carlini_wagner" and box is None:
        pytest.skip("needs a box")
    once = {"restarts": 1} if name == "projected_gradient" else {}  # others start elsewhere
    result = ATTACKS[name](f, x, labels, iterations=0, box=box, **once)
    assert not result.success.any() and not result.iterations.any()
    np.testing.assert_array_equal(result.last, x)


@every_attack
def test_images_that_are_misclassified_at_the_start(name):
    f, x, labels, _ = problems.linear(k=2)
    wrong = 1 - labels  # with two classes the target is then the prediction, own confidence reached
    result = ATTACKS[name](f, x, wrong)
    assert result.success.all()
    if name == "carlini_wagner":  # its change of variables does not reach x itself
        assert (result.norms < 1e-6).all()
    else:
        assert (result.norms == 0).all() and not result.iterations.any()
        np.testing.assert_array_equal(result.images, x)


@every_attack
def test_images_stay_in_any_box(name):
    f, x, labels, distance = problems.linear()
    low, high = float(x.min()) - 0.2 * distance.min(), float(x.max()) + 0.2 * distance.min()
    far = {"first_norm": 1.0} if name == "ddn" else {}  # so that its way leads out of the box
    result = ATTACKS[name](f, x, labels, box=(low, high), **far)
    for image in (result.images, result.last):
        assert (image >= low).all() and (image <= high).all()
    assert succeeded(name, f, x, labels, result)[result.success].all()
    if name != "carlini_wagner":
        free = ATTACKS[name](f, x, labels, box=None, **far)
        every = np.concatenate([free.images, free.last])
        assert free.success.all() and (every.min() < low or every.max() > high)


@every_attack
@both_dtypes
def test_images_on_the_faces_of_the_box(name, dtype):
    """The boundary x₁ = ½ is in reach from the corners, although the change of variables is flat there."""
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype)
    scale = np.array([[4, -4], [0, 0]], dtype)
    f = lambda v: (v - dtype(0.5)) @ scale  # noqa: E731
    result = ATTACKS[name](f, x, iterations=300, **({"radius": 1} if "proj" in name else {}))
    assert result.success.all()
    assert (result.norms >= 0.5).all()


def test_confirmation_in_one_pass_over_the_batch():
    """A model that answers otherwise in batches of two: what was found in a batch of one is not counted."""
    f, x, _, _ = problems.linear(n=2, k=2)

    def moody(v):
        return f(v) + np.array([100.0, 0.0]) * (len(v) == 2)

    for name in ("deepfool", "projected_gradient"):
        result = ATTACKS[name](moody, x, np.array([1, 0]))
        assert result.success.tolist() == [True, False]
        assert result.reason.tolist() == ["success", "rounding"]
        np.testing.assert_array_equal(result.images[1], x[1])


def test_what_was_confirmed_is_kept_when_something_better_is_not():
    f, x, labels, _ = problems.linear()
    confirmed = []

    def sceptic(v):
        """f for the first images it is shown, and the attacked label for all others."""
        if abs(v - x).max() < 1e-4:  # what every attack asks at first, to see whether the model can be trusted
            return f(v)
        confirmed.append(v.copy())
        known = (v == confirmed[0]).all(axis=1, keepdims=True)
        return np.where(known, f(v), 100.0 * (labels[:, None] == np.arange(4)))

    model = as_model(f)._replace(logits=sceptic)
    result = ATTACKS["carlini_wagner"](model, x, labels)
    assert len(confirmed) == 4 and (confirmed[1] != confirmed[0]).any()  # it did find better ones
    assert result.success.all()
    np.testing.assert_array_equal(result.images, confirmed[0])


@every_attack
def test_a_nan_on_the_way_is_no_success(name):
    """argmax takes a nan for the largest logit."""
    f, x, labels, _ = problems.linear()

    def brittle(v):
        return f(v) * np.where((v == x[: len(v)]).all() or len(v) != len(x), 1.0, np.nan)

    gradient = as_pair(f)[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nan in comparisons
        result = ATTACKS[name]((brittle, gradient), x, labels)
    assert not result.success.any() and np.isnan(result.norms).all()


# ---- the answer where it is known


@both_dtypes
@pytest.mark.parametrize("make", [problems.linear, problems.locally_linear])
@pytest.mark.parametrize("k", [2, 3, 7])
def test_deepfool_is_exact_on_a_linear_model(make, k, dtype):
    f, x, labels, distance = make(seed=k, k=k, dtype=dtype)
    assert (distance < 0.1).all()  # the step limit does not bind
    result = deepfool(f, x, labels)
    tolerance = 1e-9 if dtype == np.float64 else 1e-4
    np.testing.assert_allclose(result.norms, 1.02 * (distance + 1e-4), rtol=tolerance, atol=1e-6)
    assert set(result.iterations) == {1} and result.success.all()
    assert set(f(result.images).argmax(axis=1) != labels) == {True}

    slow = deepfool(f, x, labels, step_limit=0.24 * distance.max(), extra=0)
    assert slow.success.all() and slow.iterations[distance.argmax()] == 5
    assert (slow.norms >= distance * (1 - tolerance)).all()
    assert deepfool(f, x, labels, step_limit=np.inf).success.all()


@every_attack
@both_dtypes
@pytest.mark.parametrize("make", [problems.linear, problems.locally_linear, problems.sphere])
def test_no_norm_is_below_the_exact_distance(name, make, dtype):
    f, x, labels, distance = make(seed=3, n=8, dtype=dtype)
    result = ATTACKS[name](f, x, labels)
    assert result.success.sum() >= 6
    ok = result.success
    assert (result.norms[ok] >= distance[ok] * (1 - (1e-9 if dtype is np.float64 else 1e-3))).all()


@both_dtypes
def test_carlini_wagner_and_projected_gradient_approach_the_distance(dtype):
    """Between two classes; of several rivals both follow the highest, which need not be the nearest."""
    f, x, labels, distance = problems.linear(seed=1, k=2, dtype=dtype)
    found = carlini_wagner(f, x, labels, iterations=300, learning_rate=1e-3)
    assert found.success.all() and (found.norms <= 1.01 * distance + 1e-5).all()
    # The first iterate across the boundary is at most one step of 2.5·radius/iterations behind it.
    radius = float(1.01 * distance.max())
    found = projected_gradient(f, x, labels, radius=radius, iterations=100)
    assert found.success.all() and (found.norms <= distance * 1.001 + radius / 40).all()
    found = projected_gradient(f, x, labels, radius=0.99 * float(distance.min()))
    assert not found.success.any()  # the ball ends before the boundary


def test_deepfool_on_a_curved_boundary():
    """The gradients point at the centre: each step is right in direction, and Newton's in length."""
    f, x, labels, distance = problems.sphere(n=20)
    result = deepfool(f, x, labels)
    assert result.success.all()
    inside, length = labels == 1, np.linalg.norm(x - 0.5, axis=1)
    estimate = abs(length**2 - 0.09) / (2 * length)  # Newton's; too long from inside
    once = 1.02 * (np.minimum(estimate, 0.1) + 1e-4)
    np.testing.assert_allclose(result.norms[inside], once[inside], rtol=1e-9)
    assert (result.iterations[inside] == 1).all() and (result.iterations[~inside] > 1).any()
    bound = 1.02 * (distance + 1e-4 * result.iterations)
    assert (result.norms >= distance).all() and (result.norms <= bound)[~inside].all()


@both_dtypes
@pytest.mark.parametrize("confidence", [0.6, 0.9, 0.999])
def test_high_confidence_reaches_the_level_set_of_a_logistic_model(confidence, dtype):
    """log p is concave in the margin: Newton's step falls short, so the overshoot is 2 % of the way at most."""
    problem, distance_to = problems.logistic(dtype=dtype)
    f, x, labels, _ = problem
    exact = distance_to(confidence)
    result = high_confidence(f, x, labels, confidence)
    assert result.success.all() and (softmax(f(result.images)).max(axis=1) >= confidence).all()
    assert (result.norms >= exact * (1 - 1e-4)).all()
    assert (result.norms <= exact * 1.02 + 2e-4).all()


def test_own_confidence_is_that_of_the_original_image():
    (f, x, labels, _), distance_to = problems.logistic()
    own = softmax(f(x)).max(axis=1)
    result = high_confidence(f, x)
    given_it = high_confidence(f, x, labels, own)
    assert_same(result, given_it)
    assert (result.norms >= distance_to(own) * (1 - 1e-9)).all()


def test_steps_are_limited():
    f, x, labels, _ = problems.linear(k=3)
    r = high_confidence(f, x, labels, 0.99999, iterations=1, step_limit=1e-3).last - x
    np.testing.assert_allclose(np.linalg.norm(r, axis=1), 1.02e-3, rtol=1e-9)
    r = deepfool(f, x, labels, iterations=1, step_limit=1e-5).last - x
    np.testing.assert_allclose(np.linalg.norm(r, axis=1), 1.02 * (1e-5 + 1e-4), rtol=1e-9)


def test_the_published_limits_are_the_defaults():
    """Far from every boundary, one step is 1.02 · 0.1 long, DeepFool's 1.02 · (0.1 + 1e-4)."""
    f, x, labels = (lambda v: np.array([[9.0, -9.0]]) + v @ np.eye(2)), np.full((1, 2), 0.5), np.array([0])
    for attack, length in ((deepfool, 0.1001), (high_confidence, 0.1)):
        last = attack(f, x, labels, iterations=1).last
        np.testing.assert_allclose(np.linalg.norm(last - x), 1.02 * length, rtol=1e-6)


def test_carlini_wagner_with_a_margin():
    f, x, labels, _ = problems.linear(k=3)
    result = carlini_wagner(f, x, labels, confidence=0.05, search_steps=5, iterations=60)
    z = f(result.images)
    own = z[np.arange(len(z)), labels]
    z[np.arange(len(z)), labels] = -np.inf
    assert result.success.all() and (z.max(axis=1) - own >= 0.05).all()


def test_carlini_wagner_bisects_its_constant():
    """With logits a thousand times as large the first constant works, and is far too large."""
    f, x, labels, _ = problems.linear(k=2)
    once, search = (carlini_wagner(lambda v: 1e3 * f(v), x, labels, search_steps=s, iterations=100) for s in (1, 9))
    assert once.success.all() and (search.norms < once.norms).all()


def test_deepfool_towards_given_targets():
    f, x, labels, distance = problems.linear(k=3)
    other = 3 - labels - nearest_class(f, x, labels)  # the class that is neither
    first = deepfool(f, x, labels, targets=other, step_limit=np.inf, iterations=1)
    gain = f(first.last) - f(x)  # Δf is closed by the step, times the overshoot
    n, z = np.arange(len(x)), f(x)
    gap = z[n, labels] - z[n, other]
    assert (gain[n, other] - gain[n, labels] >= 1.02 * gap).all()
    result = deepfool(f, x, labels, targets=other, step_limit=np.inf)
    assert result.success.all() and (result.norms >= distance).all()
    assert (f(result.images).argmax(axis=1) != labels).all()


# ---- longer runs


def assert_never_worse(results):
    for shorter, longer in zip(results, results[1:], strict=False):
        assert (longer.success >= shorter.success).all()
        ok = shorter.success
        assert (longer.norms[ok] <= shorter.norms[ok]).all()


@flat_is_fine
@pytest.mark.parametrize(
    "name, setting, values",
    [
        ("deepfool", "iterations", [0, 1, 2, 3, 5, 10, 40]),
        ("high_confidence", "iterations", [0, 1, 2, 3, 5, 10, 40]),
        ("carlini_wagner", "search_steps", [1, 2, 3, 4, 6]),
        ("projected_gradient", "restarts", [1, 2, 3, 6]),
    ],
)
@given(case=cases())
def test_a_longer_run_is_never_worse(name, setting, values, case):
    f, x, labels = case
    extra = {"radius": 0.3, "iterations": 3} if name == "projected_gradient" else {}
    if name == "carlini_wagner":
        extra = {"iterations": 10, "learning_rate": 0.1}
    assert_never_worse([ATTACKS[name](f, x, labels, **extra, **{setting: v}) for v in values])


def test_restarts_find_what_the_first_start_does_not():
    """A gradient that leads away from the hole in which the other class sits."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0.4, 0.6, (10, 2))
    c = x[:, :1] + 0.3  # each image's hole begins .3 to the right; the slope leads left

    def f(v, c=c):
        margin = np.where(v[:, :1] < 0.8, v[:, :1] + 1, -1)
        return np.concatenate([margin, -margin], axis=1)

    def gradient(v, g):
        return np.concatenate([g[:, :1] - g[:, 1:], 0 * g[:, :1]], axis=1)

    first, more = (projected_gradient((f, gradient), x, radius=0.45, restarts=r, box=None) for r in (1, 8))
    assert not first.success.any() and more.success.any()
    assert_never_worse([first, more])


# ---- invariances


@every_attack
def test_a_constant_added_to_all_logits_changes_nothing(name):
    f, x = problems.random_network(5, (6, 12, 4), float), problems.images(5, 8, 6, float)
    assert_same(ATTACKS[name](f, x), ATTACKS[name](lambda v: f(v) + 7, x), rtol=1e-8)


@every_attack
def test_images_do_not_interact(name):
    """Permuting the batch permutes the results; an image alone fares as in company."""
    f, x = problems.random_network(6, (6, 12, 4), float), problems.images(6, 8, 6, float)
    run = quick(ATTACKS[name], **({"restarts": 1} if name == "projected_gradient" else {}))
    whole, order = run(f, x), np.random.default_rng(0).permutation(8)
    permuted = run(f, x[order])
    np.testing.assert_array_equal(permuted.success, whole.success[order])
    np.testing.assert_allclose(permuted.images, whole.images[order], rtol=1e-8, atol=1e-8)
    alone = [run(f, x[i : i + 1]) for i in range(8)]
    np.testing.assert_array_equal([a.success[0] for a in alone], whole.success)
    np.testing.assert_allclose([a.images[0] for a in alone], whole.images, rtol=1e-8, atol=1e-8)
    np.testing.assert_array_equal([a.iterations[0] for a in alone], whole.iterations)


@every_attack
def test_numpy_numbers_do_not_promote(name):
    f, x, labels, _ = problems.linear(dtype=np.float32)
    settings = {
        "deepfool": ("overshoot", "step_limit", "extra"),
        "high_confidence": ("overshoot", "step_limit", "eps", "confidence"),
        "carlini_wagner": ("confidence", "learning_rate", "first_constant"),
        "ddn": ("gamma", "first_norm"),
        "projected_gradient": ("radius", "step"),
    }[name]
    box = (np.float64(0), np.float64(1))
    result = ATTACKS[name](f, x, labels, box=box, **{s: np.float64(0.25) for s in settings})
    assert result.images.dtype == result.last.dtype == result.norms.dtype == np.float32


# ---- what is said


@pytest.mark.parametrize(
    "name, settings, says",
    [
        ("deepfool", {"overshoot": 0.03}, ["DeepFool", "overshoot 0.03", "step limit 0.1"]),
        ("high_confidence", {}, ["high-confidence", "confidence own", "overshoot 0.02", "nearest"]),
        ("high_confidence", {"confidence": 0.8, "targets": [0] * 6}, ["0.8", "targets given"]),
        ("carlini_wagner", {}, ["Carlini-Wagner", "search steps 3", "confidence 0"]),
        ("projected_gradient", {}, ["projected gradient", "radius 0.5", "restarts 2"]),
    ],
)
def test_the_convention_names_what_was_done(name, settings, says):
    f, x, labels, _ = problems.linear(n=6, k=2)
    labels = np.ones_like(labels)
    settings = settings | {"iterations": 7}
    for given_labels, word in ((("true", labels), "true"), (labels, "given"), (None, "predicted")):
        if given_labels is None and "targets" in settings:
            continue
        text = ATTACKS[name](f, x, given_labels, **settings).convention
        for part in [*says, f"from the {word} label", "box [0, 1]", "iterations 7"]:
            assert part in text, text
    if name != "carlini_wagner":
        assert "no box" in ATTACKS[name](f, x, labels, **settings, box=None).convention


@every_attack
@pytest.mark.parametrize(
    "model, says, reason",
    [
        (problems.constant(), "model is constant", "vanishing gradient"),
        (problems.constant(), "gradient vanishes at 3 of 3", "vanishing gradient"),
        (problems.vanishing(), "gradient vanishes at 3 of 3", "vanishing gradient"),
        (lambda v: softmax(10 * v), "look like probabilities", None),
    ],
)
def test_models_that_cannot_be_trusted_are_warned_about(name, model, says, reason):
    x = np.array([[0.1, 0.9], [0.2, 0.3], [0.9, 0.8]])
    with pytest.warns(AttackWarning) as caught:
        result = ATTACKS[name](model, x, restarts=1) if "proj" in name else ATTACKS[name](model, x)
    assert any(says in str(w.message) for w in caught)
    if reason:
        assert not result.success.any() and set(result.reason) == {reason}
        np.testing.assert_array_equal(result.last, x) if name != "carlini_wagner" else None


def test_the_warning_points_at_the_caller():
    with pytest.warns(AttackWarning) as caught:
        deepfool(problems.constant(), np.array([[0.1], [0.9]]))
    assert {w.filename for w in caught} == {__file__}


def test_good_models_are_not_warned_about():
    f, x, *_ = problems.linear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for attack in ATTACKS.values():
            attack(f, x)
            attack(f, x[[0, 0]])  # the same image twice: the same output, and no constant model
            attack(f, x[:1])


X = np.full((2, 3), 0.5)


def two(v):
    return v[:, :2] * 2


@every_attack
@pytest.mark.filterwarnings("ignore:Output seems independent")  # of a model that returns a list
@pytest.mark.parametrize(
    "wrong, says",
    [
        ({"x": X * 255}, "x must lie in \\[0, 1\\].*divide by 255"),
        ({"x": X[0]}, r"shape \(3,\)"),
        ({"x": X[:0]}, "n >= 1"),
        ({"x": X * np.nan}, "nan"),
        ({"x": (X * 255).astype(np.uint8)}, "uint8"),
        ({"x": X.astype(np.float16)}, "float32 or float64"),
        ({"x": X[:, :1]}, r"shape \(2, 1\)"),
        ({"model": lambda v: v @ np.ones((4, 2))}, r"the model fails on x of shape \(2, 3\)"),
        ({"x": X, "box": (0, 0.4)}, "must lie in the box"),
        ({"box": (1, 0)}, "box = .*low < high"),
        ({"box": 1}, "box = 1"),
        ({"box": (0, np.nan)}, "box = "),
        ({"labels": [0, 2]}, r"labels must be in 0\.\.1"),
        ({"labels": [0]}, "expected 2 labels"),
        ({"labels": [0.0, 1.0]}, "labels must be integers"),
        ({"labels": (0, 2)}, r"labels must be in 0\.\.1"),
        ({"model": "net"}, "a model is a function"),
        ({"model": lambda v: v[:, :1]}, r"k ≥ 2"),
        ({"model": lambda v: v[0]}, "logits\\(x\\) has shape"),
        ({"model": lambda v: [[0, 1]] * len(v)}, "list"),
        ({"model": lambda v: two(v) * np.nan}, "nan or infinite"),
        ({"model": (two, lambda v, g: g)}, "input gradient must be"),
        ({"model": (two, lambda v, g: v * np.inf)}, "gradient has nan or infinite"),
        ({"x": X.astype(np.float32), "model": lambda v: two(v) @ np.eye(2)}, "float32.*float64"),
        ({"iterations": -1}, "iterations = -1: give a whole number"),
        ({"iterations": 2.5}, "iterations = 2.5"),
        ({"iterations": "many"}, "iterations = 'many'"),
    ],
)
def test_wrong_input_is_named(name, wrong, says):
    wrong = {"model": two, "x": X} | wrong
    with pytest.raises(InputError, match=says) as caught:
        ATTACKS[name](**wrong)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name, settings, says",
    [(n, {"targets": t}, s) for n in ("deepfool", "high_confidence") for t, s in [
        ([0, 1], "1 of 2 targets equal the attacked label"),
        ([1, 2], r"0\.\.1"),
        ([1], "expected 2"),
    ]]
    + [("high_confidence", {"confidence": c}, "confidence") for c in (0, 1, np.nan, "x", [0.5])]
    + [(n, {s: -0.1}, f"{s} = -0.1") for n, s in [
        ("deepfool", "overshoot"),
        ("deepfool", "step_limit"),
        ("deepfool", "extra"),
        ("high_confidence", "overshoot"),
        ("high_confidence", "step_limit"),
        ("high_confidence", "eps"),
        ("carlini_wagner", "confidence"),
        ("carlini_wagner", "learning_rate"),
        ("carlini_wagner", "first_constant"),
        ("projected_gradient", "radius"),
        ("projected_gradient", "step"),
    ]]
    + [
        ("deepfool", {"overshoot": np.nan}, "overshoot = nan"),
        ("deepfool", {"overshoot": np.inf}, "finite"),
        ("carlini_wagner", {"box": None}, "needs a box"),
        ("carlini_wagner", {"search_steps": 0}, "search_steps = 0"),
        ("projected_gradient", {"restarts": 0}, "restarts = 0"),
        ("projected_gradient", {"rng": None, "restarts": 2}, "rng"),
    ],
)  # fmt: skip
def test_wrong_settings_are_named(name, settings, says):
    with pytest.raises(InputError, match=says):
        ATTACKS[name](two, X, [0, 0], **settings)


# ---- the steps of the training defences


@both_dtypes
@given(seed=seeds)
def test_rows_of_unit_length(dtype, seed):
    rng = np.random.default_rng(seed)
    g = rng.standard_normal((6, 4)) * 10.0 ** rng.integers(-30, 30, (6, 1))
    g = g.astype(dtype)
    g[0] = 0
    u = unit_rows(g)
    assert u.dtype == dtype and not u[0].any()
    np.testing.assert_allclose(np.linalg.norm(u[1:], axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(unit_rows(g * 4), u)


@both_dtypes
@given(seed=seeds)
def test_gradient_step_is_the_optimum_for_two_linear_classes(dtype, seed):
    rng = np.random.default_rng(seed)
    W, x, y = rng.standard_normal((4, 2)), rng.uniform(size=(5, 4)), rng.integers(0, 2, 5)
    W, x = W.astype(dtype), x.astype(dtype)
    w = W[np.arange(4)[:, None], 1 - y] - W[np.arange(4)[:, None], y]  # columns: f_other − f_y
    for geometry, dual in (("l2", 2), ("linf", 1)):
        r = gradient_step(lambda v: v @ W, x, y, np.float64(0.3), geometry)
        assert r.dtype == dtype
        length = np.linalg.norm(r, 2 if geometry == "l2" else np.inf, axis=1)
        np.testing.assert_allclose(length, 0.3, rtol=1e-5)
        # Hölder: no r of this length gains more.
        gain = (r * w.T).sum(axis=1)
        np.testing.assert_allclose(gain, 0.3 * np.linalg.norm(w, dual, axis=0), rtol=1e-3)
        alone = gradient_step(lambda v: v @ W, x[:1], y[:1], 0.3, geometry)
        np.testing.assert_allclose(alone, r[:1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("geometry", ["l2", "linf"])
def test_no_gradient_no_step(geometry):
    x = np.full((3, 2), 0.5)
    assert not gradient_step(problems.constant(), x, np.zeros(3, int), 1.0, geometry).any()
    assert not virtual_direction(problems.constant(), x, np.ones((3, 2)), 0.1).any()
    w, log_p = np.zeros((3, 2)), np.log([0.1, 0.2, 0.3])
    assert not newton_step(log_p, w, 0.9, geometry=geometry).any()


def test_wrong_steps_are_named():
    x, y = np.full((2, 3), 0.5), np.array([0, 1])
    with pytest.raises(InputError, match="l1.*give one of l2, linf"):
        gradient_step(two, x, y, 0.1, "l1")
    with pytest.raises(InputError, match="l1.*give one of l2, linf"):
        newton_step(np.zeros(2), x, 0.5, geometry="l1")
    with pytest.raises(InputError, match="epsilon = -1"):
        gradient_step(two, x, y, -1)
    with pytest.raises(InputError, match="xi = 0"):
        virtual_direction(two, x, x, 0)


@both_dtypes
def test_newton_step_solves_the_linearised_problem(dtype):
    rng = np.random.default_rng(0)
    w, log_p = rng.standard_normal((5, 4)).astype(dtype), -rng.uniform(1, 3, 5).astype(dtype)
    for geometry, order in (("l2", 2), ("linf", np.inf)):
        s = newton_step(log_p, w, 0.8, 1e-12, geometry)
        assert s.dtype == dtype
        np.testing.assert_allclose(log_p + (w * s).sum(axis=1), np.log(0.8), atol=1e-5)
        dual = np.linalg.norm(w, 2 if order == 2 else 1, axis=1)
        shortest = (np.log(0.8) - log_p) / dual
        np.testing.assert_allclose(np.linalg.norm(s, order, axis=1), shortest, rtol=1e-5)


@both_dtypes
@given(seed=seeds)
def test_virtual_direction_of_two_linear_classes(dtype, seed):
    """The Fisher matrix is p(1 − p) wwᵀ: one power iteration finds ±w/‖w‖, from a start of any length."""
    rng = np.random.default_rng(seed)
    W, x = rng.standard_normal((4, 2)).astype(dtype), rng.uniform(size=(5, 4)).astype(dtype)
    w = (W[:, 1] - W[:, 0]) / np.linalg.norm(W[:, 1] - W[:, 0])
    start = rng.standard_normal((5, 4))
    d = virtual_direction(lambda v: v @ W, x, start, np.float64(0.1))
    assert d.dtype == dtype
    away = abs(start @ w) / np.linalg.norm(start, axis=1) > 0.1  # else rounding decides
    np.testing.assert_allclose(np.linalg.norm(d, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(abs(d @ w)[away], 1, rtol=1e-3)
    again = virtual_direction(lambda v: v @ W, x, 8 * start, 0.1)
    np.testing.assert_allclose(again, d, atol=1e-5)


def test_virtual_direction_is_the_leading_eigenvector_of_the_fisher_matrix():
    rng = np.random.default_rng(0)
    W, x = rng.standard_normal((5, 4)), rng.uniform(size=(3, 5))
    d = virtual_direction(lambda v: v @ W, x, rng.standard_normal((3, 5)), 1e-4, 200)
    for p, row in zip(softmax(x @ W), d, strict=True):
        fisher = W @ (np.diag(p) - np.outer(p, p)) @ W.T
        leading = np.linalg.eigh(fisher)[1][:, -1]
        assert abs(row @ leading) > 1 - 1e-6


def test_deepfool_linearises_without_the_overshoot():
    """It tests at x + (1+o) r but takes the next gradient at x + r."""
    f, x, labels, _ = problems.sphere()
    model, seen = as_model(f), []
    recorded = model._replace(linearise=lambda v: (seen.append(v), model.linearise(v))[1])
    settings = {"overshoot": 0.5, "step_limit": 1e-3}
    once = deepfool(f, x, labels, iterations=1, **settings)
    deepfool(recorded, x, labels, iterations=2, **settings)
    assert not once.success.any()
    np.testing.assert_allclose(seen[-1], x + (once.last - x) / 1.5, rtol=1e-12)


@pytest.mark.parametrize("rules", ["Foolbox", "ART"])
def test_deepfool_by_other_libraries_rules(rules):
    """Their loops, written out for one image at a time; their own attacks are asked by `experiment.crosscheck`."""
    f = problems.random_network(8, (5, 16, 4), float)
    x = np.clip(problems.images(8, 30, 5, float) * 1.6 - 0.3, 0, 1)  # many pixels on the faces: clipping matters
    labels, expected = f(x).argmax(axis=1), []
    for one, label in zip(x, labels, strict=True):
        image, total = one.copy(), np.zeros(5)
        for _ in range(50):
            pull_back, z = make_vjp(f)(image[None])
            z = z[0]
            if z.argmax() != label:
                break
            steps = []
            for j in np.delete(np.arange(4), label):
                w = pull_back((np.eye(4)[j] - np.eye(4)[label])[None])[0]
                steps.append((abs(z[j] - z[label]) / np.linalg.norm(w), w / np.linalg.norm(w)))
            length, direction = min(steps, key=lambda step: step[0])
            if rules == "Foolbox":
                total += (length + 1e-4) * direction
                image = np.clip(one + 1.02 * total, 0, 1)
            else:
                image = np.clip(image + length * direction, 0, 1)
        expected.append(image)
    common = {"iterations": 50, "step_limit": np.inf}
    if rules == "Foolbox":
        found = deepfool(f, x, labels, at_image=True, clip_r=False, **common)
    else:
        found = deepfool(f, x, labels, overshoot=1e-9, extra=0, **common)
    usual = deepfool(f, x, labels)
    ok = found.success & (found.iterations > 1)
    assert ok.sum() > 8
    np.testing.assert_allclose(found.images[ok], np.array(expected)[ok], atol=1e-7)
    assert (abs(found.norms - usual.norms)[ok] > 1e-3).sum() > 3
    assert ("unclipped" in found.convention) == (rules == "Foolbox")
