"""The products that `cost` derives on paper are those that the plain definitions multiply."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds

from reference.bench import growth
from reference.by_hand import steps as by_hand
from reference.method import steps
from reference.studies import cost


def test_a_counted_array_counts_products_and_nothing_else():
    a, b = np.ones((2, 3)).view(cost.Counted), np.ones((3, 4))
    cost.Counted.products = 0
    c = np.maximum((a + 1) @ b, 0)
    assert cost.Counted.products == 24 and isinstance(c, cost.Counted) and np.array_equal(c, np.full((2, 4), 6))
    np.concatenate([c, c]).T @ np.ones((4, 5))
    assert cost.Counted.products == 24 + 4 * 4 * 5
    np.ones(2) @ c
    assert cost.Counted.products == 24 + 4 * 4 * 5, "a sum of rows is no matrix product"


@settings(max_examples=10)
@given(seeds, st.integers(1, 7), st.integers(1, 9), st.integers(0, 2), st.integers(1, 4), st.integers(2, 5))
def test_paper_and_run_agree(seed, batch, width, depth, iterations, classes):
    p = growth.problem(seed, batch=batch, width=width, depth=depth, iterations=iterations, classes=classes)
    if depth == 0:  # F is all of N, and the first layer is the last: nothing is passed back at all
        assert cost.on_paper(p)[cost.ENTROPY] == cost.count(p, cost.ENTROPY, steps)
        return
    assert cost.on_paper(p) == {step: cost.count(p, step, steps) for step in cost.STEPS}


def test_by_hand_passes_are_shared_and_none_is_forgotten():
    """The adversary critic's step is held to the floor of its products in `test_bench`."""
    p = growth.problem()
    found = {step: cost.count(p, step, by_hand) for step in cost.STEPS}
    N, F = (sum(m * n for m, n in sizes) for sizes in ([(196, 256), (256, 256), (256, 10)], [(196, 256)]))
    assert found[cost.ENTROPY] == len(p.x) * (3 * N - F) == cost.on_paper(p)[cost.ENTROPY]
    assert found[cost.ADVERSARIAL] == len(p.x) * (6 * N - F)  # less a pass forward and one back at x
    assert all(found[f"critic, {mode}"] < cost.on_paper(p)[f"critic, {mode}"] for mode in cost.MODES)


def test_the_detached_gradient_is_exactly_zero():
    p = growth.problem()
    size = {mode: np.abs(cost.critic_gradient(p, mode)).max() for mode in cost.MODES}
    assert size["detached"] == 0 < size["truncated"] != size["full"]
