"""The draws and schedules of the study on few images, and the strength that it chose."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.by_hand import steps as by_hand
from reference.data import Split
from reference.method import steps
from reference.studies import scarcity, study


@given(st.integers(1, 40), st.integers(1, 40), st.integers(2, 5), st.integers(0, 5))
def test_a_draw_is_balanced_nested_and_the_seeds(n, m, k, seed):
    y = np.arange(40) % k
    split = Split(np.arange(40.0)[:, None], y)
    few, more = (scarcity.draw_images(split, size, seed) for size in sorted((n, m)))
    for drawn, size in ((few, min(n, m)), (more, max(n, m))):
        assert len(drawn.y) == size == len(np.unique(drawn.x))
        assert (drawn.y == y[drawn.x[:, 0].astype(int)]).all()
        if size <= 40 // k * k:  # enough of every class
            assert np.ptp(np.bincount(drawn.y, minlength=k)) <= 1
    assert (more.x[: len(few.x)] == few.x).all()
    assert any(
        (scarcity.draw_images(split, 40, seed).x != scarcity.draw_images(split, 40, seed + 1 + i).x).any()
        for i in range(2)
    )


@pytest.mark.parametrize("size", scarcity.SIZES.values(), ids=scarcity.SIZES)
def test_every_number_of_images_gets_the_same_steps(size):
    def counts(n):
        plan = scarcity.schedule(size, n)
        per_epoch = len(range(0, n, plan.batch))
        return plan.pretrain_epochs * per_epoch, plan.epochs * per_epoch

    assert {counts(n) for n in size.numbers} == {(size.steps // 10, size.steps - size.steps // 10)}


def test_weight_decay_is_in_every_step(monkeypatch):
    seen = []
    monkeypatch.setattr(scarcity, "digits", lambda: tiny)
    plain = steps.pretraining
    monkeypatch.setattr(by_hand, "pretraining", lambda p, x, y, c: (seen.append(c), plain(p, x, y, c))[1])
    x = np.random.default_rng(0).random((10, 4))
    tiny = study.digits()._replace(**{name: Split(x, np.arange(10) % 2) for name in ("train", "validation", "test")})
    size = scarcity.SIZES["quick"]
    scarcity.measure("weight decay", 10, 0.5, size, 0)
    assert seen == [0.5] * size.steps


def test_the_weight_decay_has_the_smallest_validation_error():
    records = study.read(study.SHIPPED / "scarcity.json")["records"]
    error = {
        c: np.mean([r["validation"] for r in records if r["decay"] == c and r["images"] == 3500])
        for c in scarcity.DECAYS
    }
    assert scarcity.DECAY == min(error, key=error.get)


def records_of(errors):
    return [
        {"name": f"{method}, {n}", "method": method, "images": n, "decay": 0, "seed": seed, "test": error}
        for method, by_number in errors.items()
        for n, of_seeds in by_number.items()
        for seed, error in enumerate(of_seeds)
    ]


def test_the_finding_counts_points_and_rivals():
    base = {50: (0.3, 0.31, 0.32), 500: (0.1, 0.11, 0.12), 3500: (0.05, 0.051, 0.053)}
    errors = {method: base for method in scarcity.METHODS}
    ours = {50: (0.2, 0.21, 0.221), 500: (0.11, 0.12, 0.131), 3500: (0.05, 0.01, 0.1)}
    errors["adversary critic"] = ours
    assert scarcity.found(records_of(errors)) == ["−10.0", "+1.0", "not told apart", "1", "3"]
