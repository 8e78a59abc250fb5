"""Good inputs pass through untouched; each wrong one gets one line with what, got and cure."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reference.errors import RULES, DivergenceError, InputError, check_labels, require
from reference.plumbing.checks import check_confidence, check_images, check_params

shapes = st.tuples(st.integers(1, 5), st.integers(1, 5))
dtypes = st.sampled_from([np.float32, np.float64])


def network(*sizes, dtype=np.float32):
    return [(np.ones((a, b), dtype), np.zeros(b, dtype)) for a, b in zip(sizes, sizes[1:], strict=False)]


def changed(params, layer, weight=None, bias=None):
    """A copy of the parameters with one array replaced."""
    W, b = params[layer]
    pair = (W if weight is None else weight, b if bias is None else bias)
    return params[:layer] + [pair] + params[layer + 1 :]


def test_errors_are_caught_as_their_usual_kinds():
    assert issubclass(InputError, ValueError) and issubclass(DivergenceError, ArithmeticError)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("value", [True, np.True_, (2, True)])
def test_true_is_no_number(rule, value):
    with pytest.raises(InputError, match="x = .*True"):
        require(rule, x=value)


@given(st.data(), shapes, dtypes)
def test_images_pass_untouched(data, shape, dtype):
    x = data.draw(arrays(dtype, shape, elements=st.floats(0, 1, width=32)))
    assert check_images(x) is x


@pytest.mark.parametrize(
    "x, says",
    [
        (np.zeros((2, 28, 28)), r"x must be a matrix .*\(2, 28, 28\).*reshape"),
        (np.zeros(784), r"\(784,\).*single image"),
        (np.zeros((0, 784)), "n >= 1"),
        (np.zeros((2, 4), np.uint8), "dtype uint8; divide by 255"),
        (np.full((2, 4), np.nan), "8 of 8 values are nan or infinite"),
        (np.array([[0, np.inf]]), "1 of 2 values"),
        (np.array([[0.0, 255.0], [17.0, 1.0]]), r"2 of 4 pixels .*from 0 to 255.*divide by 255"),
        (np.array([[-1e-3, 1.0]]), r"1 of 2 pixels .*from -0\.001 to 1"),
        ([[0.0], [0.0, 1.0]], "equally long"),
        ([["0"]], "must hold floats"),
        (None, "must be a matrix"),
    ],
)
def test_wrong_images_are_named(x, says):
    with pytest.raises(InputError, match=says):
        check_images(x)


def test_the_message_uses_the_callers_name():
    with pytest.raises(InputError, match="^start must be a matrix"):
        check_images(np.zeros(3), "start")


@given(st.integers(1, 12), st.sampled_from([np.uint8, np.int32, np.int64]), st.data())
def test_labels_pass_untouched(classes, dtype, data):
    y = data.draw(arrays(dtype, st.integers(1, 9), elements=st.integers(0, classes - 1)))
    assert check_labels(y, classes) is y
    assert check_labels(y, classes, len(y)) is y


@pytest.mark.parametrize(
    "y, says",
    [
        (np.eye(3, dtype=int), r"shape \(3, 3\).*argmax"),
        (np.array([], int), "n >= 1"),
        (np.array([0.0, 1.0, 2.0]), "dtype float64; use y.astype"),
        (np.array([True, False, True]), "dtype bool"),
        (np.array([0, 1]), "expected 3 labels, one an image, got 2"),
        (np.array([0, 1, 10]), r"0\.\.9, got 0\.\.10.*11 outputs"),
        (np.array([-1, 1, 2]), r"got -1\.\.2; number the classes from 0"),
    ],
)
def test_wrong_labels_are_named(y, says):
    with pytest.raises(InputError, match=says):
        check_labels(y, 10, n=3)


@given(st.floats(0, 1, exclude_min=True, exclude_max=True), st.integers(1, 4))
def test_confidence_passes(c, n):
    assert check_confidence(c) == check_confidence(np.float64(c), n) == c
    vector = np.full(n, c)
    assert check_confidence(vector) is check_confidence(vector, n) is vector


def test_one_confidence_does_not_promote_float32():
    x = np.ones((2, 3), np.float32)
    assert (x * check_confidence(np.float64(0.8))).dtype == np.float32


@pytest.mark.parametrize(
    "c, says",
    [
        (0, "strictly between 0 and 1, got 0 "),
        (1.0, "got 1 "),
        (80, "got 80 .*not 80"),
        (np.nan, "got nan"),
        ([0.5, np.nan, 2], r"got nan \(2 of 3 are wrong\)"),
        ([0.5, 0.5], r"vector \(3,\), got shape \(2,\)"),
        ([[0.5, 0.5, 0.5]], r"shape \(1, 3\)"),
        ([], r"shape \(0,\)"),
        ("same", "dtype <U4"),
        (None, "dtype object"),
    ],
)
def test_wrong_confidence_is_named(c, says):
    with pytest.raises(InputError, match=says):
        check_confidence(c, n=3)


@given(st.lists(st.integers(1, 4), min_size=2, max_size=5), dtypes)
def test_params_pass_untouched(sizes, dtype):
    params = network(*sizes, dtype=dtype)
    for checked in (check_params(params), check_params(tuple(params), sizes[0])):
        assert len(checked) == len(params)
        for (W, b), (W0, b0) in zip(checked, params, strict=True):
            assert W is W0 and b is b0


@pytest.mark.parametrize(
    "params, says",
    [
        ([], "non-empty list .* a list of length 0"),
        ({"W0": 1}, "a dict of length 1"),
        (None, "a NoneType"),
        (np.ones((4, 3)), "a ndarray"),
        ([np.ones((4, 3))], r"layer 0 must be a pair \(W, b\), got a ndarray"),
        ([(np.ones((4, 3)),)], "a tuple of length 1; give each layer its own bias"),
        (changed(network(4, 3, 2), 1, weight=np.ones((2, 3))), r"layer 1 must have .*transpose"),
        (changed(network(4, 3), 0, bias=np.zeros((1, 3))), r"\(4, 3\) and \(1, 3\)"),
        (network(4, 3)[:1] + network(5, 2), r"layer 1 takes 5 inputs, but 3 .*W1 \(3, 2\)"),
        (network(6, 3), "layer 0 takes 6 inputs, but 4 come from the images"),
        (
            changed(network(4, 3), 0, bias=np.zeros(3)),
            "one float dtype, got W0 float32, b0 float64",
        ),
        (network(4, 3) + network(3, 2, dtype=float), r"got W1 float64.*\(W0 float32\)"),
        (network(4, 3, dtype=int), "one float dtype, got W0 int64"),
        (changed(network(4, 3, 3), 1, bias=np.full(3, np.nan, "f")), "b1: 3 of 3 values are nan"),
        (changed(network(4, 3), 0, weight=np.full((4, 3), np.inf, "f")), "W0: 12 of 12"),
    ],
)
def test_wrong_params_are_named(params, says):
    with pytest.raises(InputError, match=says):
        check_params(params, inputs=4)
