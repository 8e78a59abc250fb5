"""Digits to train on: `load` the 5,000 embedded ones, or `load_idx` a folder of MNIST files."""

from reference.data.digits import Digits, Split, load
from reference.data.idx import load_idx

__all__ = ["Digits", "Split", "load", "load_idx"]
