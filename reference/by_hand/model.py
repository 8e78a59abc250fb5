"""The trained classifier as the evaluation's attacks take it, with hand-written passes in place of autograd's."""

from __future__ import annotations

from ..attacks.model import Model
from ..method import network
from .passes import ClassGaps, Pass, Span


def from_params(params: network.Params) -> Model:
    """The classifier with these parameters, as a `Model`."""

    def pull_back(net):
        return lambda v: net.to_input(net.backward(v))

    def linearise(x):
        net = Pass(params, x)
        return net.z, pull_back(net)

    def gaps(x, labels, geometry):
        net = Pass(params, x)
        return net.z, ClassGaps(net, Span(params[0][0], geometry), labels, geometry).size, pull_back(net)

    return Model(lambda x: network.logits(params, x), linearise, gaps)
