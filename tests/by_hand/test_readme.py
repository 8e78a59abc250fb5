"""The worked example of the derivation is computed anew: every number that the page prints."""

import doctest
from pathlib import Path

import numpy as np

from reference import by_hand


def test_every_number_of_the_worked_example():
    page = Path(by_hand.__file__).with_name("README.md")
    with np.printoptions():  # the page sets its own
        failed, attempted = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert attempted > 25 and failed == 0
