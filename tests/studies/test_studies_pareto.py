"""The front, by its definition and by known examples."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reference.studies import pareto


def test_known_fronts():
    assert pareto.on_front([1, 2, 3], [1, 2, 3]).all()
    assert pareto.on_front([1, 2, 3], [3, 2, 1]).tolist() == [True, False, False]
    assert pareto.on_front([1, 1, 1], [2, 2, 1]).tolist() == [True, True, False]  # equals don't dominate each other
    assert pareto.on_front([1, 1, 2], [1, 2, 2]).tolist() == [False, True, False]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12))
def test_the_front_is_by_its_definition(points):
    front = pareto.on_front(*np.array(points).T)
    for (error, rho), on in zip(points, front, strict=True):
        dominated = any(e <= error and r >= rho and (e, r) != (error, rho) for e, r in points)
        assert on != dominated
    assert front.any()


def records(name, errors, rhos):
    return [
        {"name": name, "seed": i, "family": name, "error": e, "deepfool": r, "high_confidence": -r}
        for i, (e, r) in enumerate(zip(errors, rhos, strict=True))
    ]


def test_beaten_is_only_what_the_seeds_tell_apart():
    best = records("best", [0.10, 0.11, 0.12], [0.50, 0.51, 0.52])
    surely = records("surely", [0.20, 0.21, 0.225], [0.40, 0.41, 0.425])
    perhaps = records("perhaps", [0.05, 0.11, 0.22], [0.40, 0.41, 0.42])
    found = pareto.fronts(best + surely + perhaps)
    assert found["deepfool"] == {"best": "front", "surely": "beaten", "perhaps": ""}
    assert found["high_confidence"] == {"best": "front", "surely": "", "perhaps": "front"}
