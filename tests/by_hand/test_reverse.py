"""Reverse mode over nested lists: the derivatives are autograd's, the nesting is the input's."""

import autograd.numpy as np
import numpy as onp
import pytest
from autograd import grad
from calculus import assert_gradient, assert_like, leaves
from hypothesis import given
from hypothesis import strategies as st
from strategies import problems, seeds

from reference.method import network
from reference.method.reverse import make_vjp, tree_map


def scalar(params, x):
    return np.sum(np.tanh(network.logits(params, x)) ** 2)


def same(got, expected, **close):
    assert_like(got, expected)
    for a, b in zip(leaves(got), leaves(expected), strict=True):
        onp.testing.assert_allclose(a, b, **(close or {"rtol": 1e-13, "atol": 1e-15}))


@given(problems())
def test_nested_inputs_have_autograds_gradient(q):
    at = [q.params, (q.x, [q.critic])]

    def f(tree):
        params, (x, (critic,)) = tree
        return scalar(params, x) * scalar(critic, 1 + x)

    value, pull_back = make_vjp(f, at)
    onp.testing.assert_allclose(value, f(at), rtol=0)
    got = pull_back(onp.array(1.0))
    same(got, grad(f)(at))
    assert isinstance(got[1], tuple) and isinstance(got[1][1], list) and isinstance(got[0][0], tuple)
    assert_gradient(got, f, at, analytic=False)


@given(problems(), seeds)
def test_several_outputs_add_up(q, seed):
    """Outputs that share work, one that the other is made of, one listed twice; Σ v·output is the judge."""

    def f(tree):
        z = network.logits(tree[0], tree[1])
        return z, np.sum(z**3), z, tree[1]

    at = (q.params, q.x)
    values, pull_back = make_vjp(f, at)
    rng = onp.random.default_rng(seed)
    bars = tuple(rng.standard_normal(onp.shape(v)) for v in values)
    got = pull_back(bars)
    same(got, grad(lambda tree: sum(np.sum(v * o) for v, o in zip(bars, f(tree), strict=True)))(at))
    same(pull_back(bars), got, rtol=0)  # a second pull starts afresh
    assert all(onp.array_equal(v, o) for v, o in zip(values, f(at), strict=True))


def test_what_is_not_used_gets_zeros_of_its_shape_and_dtype():
    at = [onp.ones((2, 3), onp.float32), (onp.ones(4, onp.float32), onp.ones((), onp.float64))]
    value, pull_back = make_vjp(lambda t: (np.sum(t[0] ** 2), 5.0), at)
    assert value[1] == 5.0
    got = pull_back((onp.float32(1), 1.0))
    same(got, [2 * at[0], (0 * at[1][0], 0 * at[1][1])], rtol=0)
    _, pull_back = make_vjp(lambda t: onp.float64(3), at)
    same(pull_back(onp.float64(1)), tree_map(onp.zeros_like, at), rtol=0)


def test_cotangents_must_be_as_many_as_outputs():
    _, pull_back = make_vjp(lambda t: (t[0], t[0]), [onp.ones(2)])
    with pytest.raises(ValueError):
        pull_back((onp.ones(2),))


@given(problems(hidden=st.integers(0, 2)))
def test_second_order_inside_out(q):
    """Its pull-back differentiated by autograd, by itself, and itself inside autograd's: all one Hessian product."""
    v = [(onp.cos(W), onp.sin(b)) for W, b in q.params]

    def along(gradient):
        return sum(np.sum(G * V) + np.sum(g * w) for (G, g), (V, w) in zip(gradient, v, strict=True))

    def ours(params):
        return along(make_vjp(lambda p: scalar(p, q.x), params)[1](np.ones(())))

    def autograds(params):
        return along(grad(lambda p: scalar(p, q.x))(params))

    expected = grad(autograds)(q.params)
    tight = {"rtol": 1e-10, "atol": 1e-12 * max(onp.abs(g).max() for g in leaves(expected))}
    same(grad(ours)(q.params), expected, **tight)
    for inner in (ours, autograds):
        value, pull_back = make_vjp(inner, q.params)
        onp.testing.assert_allclose(value, inner(q.params), rtol=1e-12)
        same(pull_back(onp.ones(())), expected, **tight)


def test_an_outer_trace_passes_through_what_the_inner_one_closes_over():
    def outer(a):
        (value, constant), pull_back = make_vjp(lambda t: (a * t[0] ** 2, a), [onp.array(3.0)])
        return value + constant + pull_back((np.ones(()), np.ones(())))[0]  # 9a + a + 6a

    assert grad(outer)(2.0) == 16.0


def test_tree_map_keeps_the_nesting():
    assert tree_map(lambda a: a + 1, [1, (2, [3, ()])]) == [2, (3, [4, ()])]
