"""The trained classifier as the evaluation's attacks take it, with hand-written passes in place of autograd's."""

from __future__ import annotations

import numpy as onp

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

    def gaps_of(params, x, labels, geometry):
        net = Pass(params, x)
        return net, ClassGaps(net, Span(params[0][0], geometry), labels, geometry).size

    def gaps(x, labels, geometry):
        net, size = gaps_of(params, x, labels, geometry)
        if size.dtype == onp.float32 and onp.sort(size, axis=1)[:, 1].min() < 1e-15:  # squares below 1e-45 are 0
            exact = [(W.astype(float), b.astype(float)) for W, b in params]
            size = gaps_of(exact, x.astype(float), labels, geometry)[1].astype(size.dtype)
        return net.z, size, pull_back(net)

    return Model(lambda x: network.logits(params, x), linearise, gaps)
