"""Reverse mode over nested lists of arrays, one tape entry per array.

autograd boxes a whole parameter list as one value, so that every access to a layer is a recorded step whose reverse
allocates zeros for all the others.  This is its own `make_vjp` with a root for each array instead, and with any number
of outputs; everything recorded in between is autograd's.
"""

from __future__ import annotations

from collections.abc import Callable

from autograd.core import VJPNode, add_outgrads, vspace
from autograd.tracer import isbox, new_box, trace_stack
from autograd.util import toposort


def tree_map(f: Callable, tree):
    """`f` of every array in nested lists and tuples, in the same nesting (named tuples become plain ones)."""
    if isinstance(tree, list | tuple):
        return (list if isinstance(tree, list) else tuple)(tree_map(f, part) for part in tree)
    return f(tree)


def make_vjp(f: Callable, inputs):
    """-> (f(inputs), pull_back): `pull_back` takes cotangents nested like the outputs and returns the inputs'.

    f: a function of nested lists of arrays, written with autograd.numpy, that returns an array or a tuple of arrays.
    What the outputs do not depend on gets zeros.
    """
    with trace_stack.new_trace() as trace:

        def root(array):
            return new_box(array, trace, VJPNode.new_root())

        boxes = tree_map(root, inputs)
        outputs = f(boxes)
        single = not isinstance(outputs, tuple)
        ends = [(o._value, o._node) if isbox(o) and o._trace == trace else (o, None) for o in _tuple(outputs)]

    def pull_back(cotangents):
        bars = {}
        for g, (_, node) in zip(_tuple(cotangents), ends, strict=True):
            if node is not None:
                bars[node] = add_outgrads(bars.get(node), g)
        last = VJPNode.new_root()  # a node that all outputs lead to, so that one sort covers them
        last.parents = list(bars)
        found = {}
        for node in list(toposort(last))[1:]:
            bar = bars.pop(node)
            found[node] = bar[0]
            for parent, part in zip(node.parents, node.vjp(bar[0]), strict=True):
                bars[parent] = add_outgrads(bars.get(parent), part)
        return tree_map(lambda box: found[box._node] if box._node in found else vspace(box._value).zeros(), boxes)

    values = tuple(value for value, _ in ends)
    return (values[0] if single else values), pull_back


def _tuple(values):
    return values if isinstance(values, tuple) else (values,)
