"""The stand-in for annotators: what deskewing does, what the classifiers err, and what their labels say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds

from reference.data import load
from reference.errors import InputError
from reference.experiment import standin


@pytest.fixture(scope="module")
def stand_in():
    data = load(14)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(standin, "LARGEST", 1000)
        return standin.StandIn(*data.train)


def moments(x, side):
    """Ink, centre and covariance of row and column of one image."""
    image, at = x.reshape(side, side), np.arange(side)
    ink = image.sum()
    row, column = image.sum(axis=1) @ at / ink, image.sum(axis=0) @ at / ink
    return ink, row, column, (at - row) @ image @ (at - column) / ink


@given(seeds, st.floats(-0.4, 0.4), st.integers(-3, 3), st.integers(-3, 3))
def test_deskewed_strokes_stand_upright_in_the_middle(seed, slant, down, right):
    """A slanted bar, off the middle and of uneven ink, whose every row is two pixels wide at a fractional place."""
    side, ink = 28, np.random.default_rng(seed).uniform(0.5, 1, 9)
    image = np.zeros((side, side))
    for k, row in enumerate(range(9 + down, 18 + down)):
        place = 13.5 + right + slant * (k - 4)
        left = int(np.floor(place))
        image[row, left], image[row, left + 1] = ink[k] * (1 - place + left), ink[k] * (place - left)
    before, after = moments(image, side), moments(standin.deskew(image.reshape(1, -1)), side)
    assert np.isclose(before[3], slant * before_variance(image), atol=1e-9)
    # Linear interpolation moves ink by fractions of a pixel, and is exact on what is linear between pixels only.
    assert abs(after[3]) < 0.05 + 0.05 * abs(before[3])
    assert abs(after[1] - 13.5) < 0.2 and abs(after[2] - 13.5) < 0.2


def before_variance(image):
    at, ink = np.arange(len(image)), image.sum(axis=1)
    row = ink @ at / ink.sum()
    return ink @ (at - row) ** 2 / ink.sum()


def test_an_upright_image_in_the_middle_and_a_blank_one_stay():
    image = np.zeros((14, 14))
    image[3:11, 5:9] = np.random.default_rng(0).random((8, 1))
    image += image[::-1] + image[:, ::-1] + image[::-1, ::-1]  # symmetric: its middle is the image's
    x = np.stack([image.ravel() / image.max(), np.zeros(196)])
    np.testing.assert_allclose(standin.deskew(x), x, atol=1e-12)


def test_both_classifiers_read_clean_digits(stand_in):
    """The bound is far from chance, 0.9, and from what 1,000 training images allow, some 0.05."""
    data = load(14)
    errors = stand_in.errors(*data.validation)
    assert set(errors) == {"nearest neighbours", "kernel machine"}
    assert all(0 < error < 0.1 for error in errors.values())
    labels = stand_in.labels(data.validation.x)
    assert errors == {name: np.mean(found != data.validation.y) for name, found in labels.items()}
    assert np.any(labels["nearest neighbours"] != labels["kernel machine"])


def test_the_classifiers_solve_their_own_equations(stand_in, monkeypatch):
    """The kernel machine's, and the neighbours' found one image at a time; whatever the batch."""
    x = load(14).test.x[:30]
    squares = ((standin.deskew(x)[:, None] - stand_in.x) ** 2).sum(axis=2)
    np.testing.assert_allclose(stand_in._squares(standin.deskew(x)), squares, atol=1e-9)
    K = np.exp(-standin.WIDTH * stand_in._squares(stand_in.x) / stand_in.scale)
    residual = K @ stand_in.weights + standin.RIDGE * stand_in.weights - (2 * stand_in.one_hot - 1)
    assert np.abs(residual).max() < 1e-6
    votes = np.zeros((30, 10))
    for i, row in enumerate(squares):
        for j in np.argsort(row)[: standin.NEIGHBOURS]:
            votes[i] += stand_in.one_hot[j] / row[j]
    whole = stand_in.labels(x)
    assert np.array_equal(whole["nearest neighbours"], votes.argmax(axis=1))
    monkeypatch.setattr(standin, "BATCH", 7)
    assert all(np.array_equal(whole[name], found) for name, found in stand_in.labels(x).items())


@given(st.lists(st.tuples(st.integers(-1, 9), st.integers(0, 9), st.integers(1, 9)), min_size=1))
def test_every_answer_is_of_one_kind(rows):
    answers, labels, shift = np.array(rows).T
    taken_for = (labels + shift) % 10
    found = standin.kinds(np.stack([answers, labels, taken_for]), taken_for, labels)
    assert list(found) == ["changed", "unchanged", "other", "unsure"]
    assert np.all(sum(which.astype(int) for which in found.values()) == 1)
    for i, answer in enumerate(answers):
        kind = {taken_for[i]: "changed", labels[i]: "unchanged", standin.UNSURE: "unsure"}.get(answer, "other")
        assert found[kind][0, i]
    assert found["unchanged"][1].all() and found["changed"][2].all()


def test_shares_of_clean_digits(stand_in):
    """Clean digits look like their labels, and said to be taken for what they are, like the target."""
    x, y = load(14).test.x[:100], load(14).test.y[:100]
    others = (y + 1) % 10
    errors = stand_in.errors(x, y)
    for name, found in stand_in.shares(x, others, y).items():
        assert found["unchanged"] == 1 - errors[name] and found["unsure"] == 0
        assert np.isclose(sum(found.values()), 1)
        assert stand_in.shares(x, y, others)[name]["changed"] == found["unchanged"]
    with pytest.raises(InputError, match="leave out the failed attacks"):
        stand_in.shares(x, y, y)


def test_unfit_training_images():
    x, y = load(14).train.x[:4], load(14).train.y[:4]
    with pytest.raises(InputError, match="at least 5"):
        standin.StandIn(x, y)
    with pytest.raises(InputError, match="expected 4 labels"):
        standin.StandIn(x, y[:3])
