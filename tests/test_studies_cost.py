"""The products that `cost` derives on paper are those that the plain definitions multiply."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds

from reference import fused, steps
from reference.bench import growth
from reference.studies import cost


def test_a_counted_array_counts_products_and_nothing_else():
    a, b = np.ones((2, 3)).view(cost.Counted), np.ones((3, 4))
    cost.Counted.total = 0
    c = np.maximum((a + 1) @ b, 0)
    assert cost.Counted.total == 24 and isinstance(c, cost.Counted) and np.array_equal(c, np.full((2, 4), 6))
    c.T @ np.ones((2, 5))
    assert cost.Counted.total == 24 + 4 * 2 * 5


@settings(max_examples=10)
@given(seeds, st.integers(1, 7), st.integers(1, 9), st.integers(0, 2), st.integers(1, 4), st.integers(2, 5))
def test_paper_and_run_agree(seed, batch, width, depth, iterations, classes):
    p = growth.problem(seed, batch=batch, width=width, depth=depth, iterations=iterations, classes=classes)
    if depth == 0:  # F is all of N, and the first layer is the last: nothing is passed back at all
        assert cost.on_paper(p)[cost.ENTROPY] == cost.count(p, cost.ENTROPY, steps)
        return
    assert cost.on_paper(p) == {step: cost.count(p, step, steps) for step in cost.STEPS}


@pytest.mark.parametrize("mode", cost.MODES)
def test_by_hand_every_step_multiplies_less(mode):
    p = growth.problem()
    step = f"critic, {mode}"
    assert 0 < cost.count(p, step, fused) < 0.8 * cost.on_paper(p)[step]


def test_the_detached_gradient_is_exactly_zero():
    p = growth.problem()
    size = {mode: np.abs(cost.critic_gradient(p, mode)).max() for mode in cost.MODES}
    assert size["detached"] == 0 < size["truncated"] != size["full"]
