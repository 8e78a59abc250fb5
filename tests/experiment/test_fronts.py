"""The front, by its definition and by known examples; the picture of a search."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.errors import InputError
from reference.experiment import fronts


def test_known_fronts():
    assert fronts.on_front([1, 2, 3], [1, 2, 3]).all()
    assert fronts.on_front([1, 2, 3], [3, 2, 1]).tolist() == [True, False, False]
    assert fronts.on_front([1, 1, 1], [2, 2, 1]).tolist() == [True, True, False]  # equals don't dominate each other
    assert fronts.on_front([1, 1, 2], [1, 2, 2]).tolist() == [False, True, False]
    assert fronts.on_front([1, 2, 3], [np.nan, 2, 3]).tolist() == [False, True, True]
    for error, gain in (([1, 2], [1, 2, 3]), ([[1, 2]], [[1, 2]]), ([1, 2], ["a", "b"]), ([1, [2, 3]], [1, 2])):
        with pytest.raises(InputError, match="give two lists of the same length"):
            fronts.on_front(error, gain)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12))
def test_the_front_is_by_its_definition(points):
    front = fronts.on_front(*np.array(points).T)
    for (error, gain), on in zip(points, front, strict=True):
        dominated = any(e <= error and g >= gain and (e, g) != (error, gain) for e, g in points)
        assert on != dominated
    assert front.any()


def test_the_picture_shows_each_family_up_to_the_widest_error():
    def result(label, error, rho, *looks):
        return {"label": label, "error": error, "rho": {"strongest": rho}, "looks": looks}

    several = {
        "margin": [result("margin ε 0.5", 0.02, 0.2, 0.3, 0.5), result("margin ε 1", 0.05, 0.3, 0.9, 0.8)],
        "adversarial training": [result("adversarial L2 ε 1", 0.03, 0.1, np.nan, 0.1)],
    }
    rho, neighbours, kernel = fronts.draw(several, 0.04).axes
    drawn = {line.get_label(): line.get_xydata().tolist() for line in rho.lines if line.get_label()[0] != "_"}
    assert drawn["margin"] == [[2, 0.2]] and drawn["adversarial L2"] == [[3, 0.1]]
    assert [neighbours.lines[0].get_xydata().tolist(), kernel.lines[0].get_xydata().tolist()] == [[[2, 30]], [[2, 50]]]
    (only,) = fronts.draw(several, 0.1, ["ρ by the strongest attack"]).axes
    assert len(only.lines[0].get_xydata()) == 2
