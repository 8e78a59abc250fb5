"""Improved Network Robustness with Adversary Critic (Matyasko & Chau, NeurIPS 2018), in NumPy.

A reference to read: each equation of the paper is one small function of plain arrays, and
autograd differentiates. Import the modules you need; this file imports none of them.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("adversary-critic-reference")
except PackageNotFoundError:  # run from a checkout that is not installed
    __version__ = "0+unknown"
