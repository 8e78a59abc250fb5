"""Someone else's model: whatever it does, the numbers are right, or one line says what is wrong."""

import warnings
from functools import partial

import autograd.numpy as anp
import numpy as np
import problems
import pytest

from reference.attacks import AttackWarning, carlini_wagner, ddn, deepfool, high_confidence, projected_gradient
from reference.attacks.model import row_norms
from reference.by_hand.model import from_params
from reference.errors import InputError
from reference.method.network import init, logits

ATTACKS = {
    "deepfool": partial(deepfool, iterations=40),
    "ddn": partial(ddn, iterations=40),
    "high_confidence": partial(high_confidence, iterations=40),
    "carlini_wagner": partial(carlini_wagner, search_steps=3, iterations=30, learning_rate=0.05),
    "projected_gradient": partial(projected_gradient, radius=0.5, iterations=20, restarts=1),
}
every_attack = pytest.mark.parametrize("name", ATTACKS)

rng = np.random.default_rng(0)
W = rng.standard_normal((6, 16)) / 2
E = rng.standard_normal((16, 3))
X = rng.uniform(0.2, 0.8, (8, 6))


# ---- raw arrays


def test_the_distance_of_a_model_that_writes_into_its_argument():
    """f = (2(x₁ − ¼), x₂ − ¼): the boundary 2x₁ − x₂ = ¼ is (2·.8 − .2 − ¼)/√5 away."""
    V, x = np.diag([2.0, 1.0]), np.array([[0.8, 0.2]])

    def f(v):
        v -= 0.25
        return v @ V

    found = deepfool((f, lambda v, g: g @ V.T), x, [0])
    np.testing.assert_array_equal(x, [[0.8, 0.2]])
    exact = 1.15 / 5**0.5
    assert found.success.all() and exact <= found.norms[0] <= 1.02 * exact + 1e-3


@every_attack
def test_answers_in_one_array_that_is_used_again(name):
    out, gradient_out = {}, {}

    def f(v):
        return np.matmul(np.maximum(v @ W, 0), E, out=out.setdefault(len(v), np.empty((len(v), 3))))

    def gradient(v, g):
        return np.matmul((g @ E.T) * (v @ W > 0), W.T, out=gradient_out.setdefault(len(v), np.empty(v.shape)))

    def clean(v):
        return np.maximum(v @ W, 0) @ E

    found = ATTACKS[name]((f, gradient), X)
    right = ATTACKS[name]((clean, lambda v, g: (g @ E.T) * (v @ W > 0) @ W.T), X)
    np.testing.assert_array_equal(found.images, right.images)
    np.testing.assert_array_equal(found.success, right.success)


# ---- dtypes


@pytest.mark.parametrize(
    "f",
    [
        lambda v, W, E: anp.maximum(0, v @ W) @ E,
        lambda v, W, E: anp.where(v @ W > 0, v @ W, 0) @ E,
        lambda v, W, E: (v @ W - anp.mean(v @ W, axis=1, keepdims=True)) @ E,
        lambda v, W, E: ((v @ W) / anp.std(v @ W, axis=1, keepdims=True)) @ E,
        lambda v, W, E: anp.max(anp.reshape(v @ W, (-1, 8, 2)), axis=2) @ E[:8],
    ],
    ids=["maximum", "where", "mean", "std", "max-pool"],
)
def test_float32_models_by_autograd(f):
    """Their gradients come promoted; the norms are those of float64 to rounding."""
    small = [a.astype(np.float32) for a in (W, E, X)]
    for attack in (deepfool, ddn):
        found = attack(lambda v: f(v, *small[:2]), small[2])
        right = attack(lambda v: f(v, W, E), X)
        assert found.images.dtype == found.norms.dtype == np.float32
        np.testing.assert_array_equal(found.success, right.success)
        # DDN grows or shrinks by 5 % on what rounding decides.
        np.testing.assert_allclose(found.norms, right.norms, rtol=1e-3 if attack is deepfool else 0.03)


@pytest.mark.filterwarnings("ignore:Output seems independent")
@pytest.mark.parametrize(
    "f",
    [
        lambda v: np.dot(v, W),
        lambda v: np.where(v @ W > 0, v @ W, 0),
        lambda v: np.clip(v @ W, 0, 1),
        lambda v: np.einsum("nd,dk->nk", v, W),
    ],
    ids=["dot", "where", "clip", "einsum"],
)
def test_numpy_where_autograd_numpy_is_needed(f):
    with pytest.raises(InputError, match=r"autograd\.numpy") as caught:
        deepfool(f, X)
    assert "\n" not in str(caught.value)


# ---- gradients and answers that cannot be trusted


def relu_pair(scale=1.0):
    return lambda v: np.maximum(v @ W, 0) @ E, lambda v, g: scale * ((g @ E.T) * (v @ W > 0)) @ W.T


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1 / 8, -1.0, 3.0, 1e-9])
def test_a_wrong_input_gradient_is_noticed(scale, dtype):
    x = X.astype(dtype)
    f = lambda v: (np.maximum(v @ W, 0) @ E).astype(dtype)  # noqa: E731
    with pytest.warns(AttackWarning, match="input gradient disagrees.*check its scale and sign") as caught:
        deepfool((f, relu_pair(scale)[1]), x)
    assert f" {1 / scale:.3g} times" in str(caught[0].message) or dtype == np.float32
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        deepfool((f, relu_pair(1.0)[1]), x)


@pytest.mark.parametrize("factor", [1e-24, 1e-8, 1.0, 1e8])
def test_right_gradients_of_any_scale_are_not_warned_about(factor):
    f, x, *_ = problems.linear(dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        deepfool(lambda v: f(v) * np.float32(factor), x)


def test_a_model_that_answers_otherwise_when_asked_twice():
    noise = np.random.default_rng(0)

    def dropout(v):
        return (np.maximum(v @ W, 0) * (noise.random(16) < 0.9)) @ E

    with pytest.warns(AttackWarning, match="asked twice.*dropout"):
        deepfool((dropout, relu_pair()[1]), X)


@every_attack
def test_a_nan_gradient_on_the_way_ends_the_image_and_is_not_returned(name):
    f, x, labels, distance = problems.linear(k=2)
    x, labels = x[distance > 0.01], labels[distance > 0.01]
    assert len(x) > 2

    def gradient(v, g):
        w = (f(np.eye(x.shape[1])) - f(np.zeros((1, x.shape[1])))).T
        far = np.abs(v - x).max(axis=1, keepdims=True) > 1e-3 if len(v) == len(x) else 1
        return (g @ w) * np.where(far, np.nan, 1)

    slow = {
        "deepfool": {"step_limit": 2e-3, "extra": 0},
        "high_confidence": {"step_limit": 2e-3},
        "carlini_wagner": {"learning_rate": 2e-3},
        "ddn": {"first_norm": 2e-3},
        "projected_gradient": {"step": 2e-3, "restarts": 1},
    }[name]
    with np.errstate(all="ignore"):
        found = ATTACKS[name]((f, gradient), x, labels, **slow)
    assert not found.success.any() and set(found.reason) == {"not finite"}
    assert np.isfinite(found.last).all() and np.isfinite(found.images).all()


@every_attack
def test_a_model_never_sees_an_empty_batch(name):
    """Where every gradient vanishes, and where it vanishes for some."""

    def some(v):
        assert len(v), "no rows"
        return np.stack([0 * v[:, 0] + 1, np.where(v[:, 0] > 0.5, v[:, 0], 0)], axis=1)

    def gradient(v, g):
        assert len(v), "no rows"
        return np.stack([g[:, 1] * (v[:, 0] > 0.5), 0 * v[:, 0]], axis=1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AttackWarning)
        for x in (np.full((2, 2), 0.25), np.array([[0.25, 0.25], [0.75, 0.5]])):
            ATTACKS[name]((some, gradient), x, np.zeros(len(x), int))


# ---- tiny and huge numbers


@pytest.mark.parametrize("factor", [1e-24, 1e-22, 1e-15, 1e15])
@pytest.mark.parametrize("attack", [deepfool, ddn, projected_gradient])
def test_the_scale_of_the_logits_does_not_matter(attack, factor):
    """In float32, where squares below 1e-45 are 0."""
    f, x, labels, distance = problems.linear(seed=2, k=2, dtype=np.float32)
    settings = {"radius": 1.2 * float(distance.max()), "restarts": 1} if attack is projected_gradient else {}
    found = attack(lambda v: f(v) * np.float32(factor), x, labels, **settings)
    assert found.success.all()
    if attack is deepfool:
        np.testing.assert_allclose(found.norms, 1.02 * (distance + 1e-4), rtol=1e-3)
    assert (found.norms >= distance * 0.999).all()


@pytest.mark.parametrize("hidden", [(6,), (20, 16)])
def test_the_scale_of_a_network_does_not_matter(hidden):
    """The last layer times 2^-80: the logits' gradients have squares that are 0 in float32."""
    params = init(np.random.default_rng(3), (4, *hidden, 3))
    small = [*params[:-1], tuple(np.ldexp(a, -80) for a in params[-1])]
    x = np.random.default_rng(4).random((20, 4), np.float32)
    labels = np.argmax(logits(params, x), axis=1)
    whole, tiny = (deepfool(from_params(p), x, labels, iterations=50) for p in (params, small))
    assert whole.success.sum() >= 5 and (tiny.success == whole.success).all()
    np.testing.assert_allclose(tiny.norms[tiny.success], whole.norms[tiny.success], rtol=1e-4)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_norms_of_rows_of_any_size(order, dtype):
    v = rng.standard_normal((5, 7)).astype(dtype)
    v[2] = 0
    plain = np.linalg.norm(v, order, axis=1)
    np.testing.assert_array_equal(row_norms(v, order), plain)
    for power in (-120, -60, 60, 120):  # times powers of two: to the bit
        np.testing.assert_array_equal(row_norms(np.ldexp(v, power), order), np.ldexp(plain, power))
    assert row_norms(v).dtype == dtype


def test_carlini_wagner_with_many_search_steps_in_float32():
    f, x, labels, _ = problems.linear(k=3, dtype=np.float32)
    far = lambda v: f(v) + np.float32(1e3) * (labels[:, None] == np.arange(3))  # noqa: E731  out of reach
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = carlini_wagner(far, x, labels, search_steps=45, iterations=5)
    assert not found.success.any() and np.isfinite(found.last).all()


# ---- odd arguments


@pytest.mark.parametrize(
    "wrong, says",
    [
        ({"labels": [[1], [0]]}, r"labels must be a vector.*use y\.ravel\(\)"),
        ({"model": lambda v: (v[:, :3] * 2).T}, "expected .n, k. with n = 2.*transposed"),
        ({"targets": 2}, r"targets must be a vector \(n,\)"),
        ({"targets": [1, 9]}, r"targets must be in 0\.\.2"),
        ({"x": np.full((2, 4), 1 + 1e-9)}, r"1\.000000001"),
        ({"overshoot": 10**400}, "overshoot = 1000"),
        ({"x": np.ma.masked_greater(np.full((2, 4), 0.5), 0.4)}, "masked array"),
        ({"model": lambda v: np.ma.masked_array(v[:, :3])}, "MaskedArray"),
    ],
)
def test_one_line_names_the_right_thing(wrong, says):
    given = {"model": lambda v: v[:, :3] * 2, "x": np.array([[0.9, 0.5, 0.1, 0.2]] * 2), "labels": [0, 0]} | wrong
    with pytest.raises(InputError, match=says) as caught:
        deepfool(**given)
    assert "\n" not in str(caught.value)


def test_what_can_be_understood_is_accepted():
    V = rng.standard_normal((6, 3))
    right = deepfool(lambda v: v @ V, X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        found = deepfool((lambda v: np.matrix(v @ V), lambda v, g: np.matrix(g @ V.T)), X)
    np.testing.assert_array_equal(found.images, right.images)
    assert type(found.images) is np.ndarray
    one, other = (projected_gradient(lambda v: v @ V, X, radius=0.1, rng=r) for r in (3, np.random.default_rng(3)))
    np.testing.assert_array_equal(one.last, other.last)
    with pytest.raises(InputError, match="rng = 'x'.*seed"):
        projected_gradient(lambda v: v @ V, X, rng="x")
