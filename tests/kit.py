"""What the tests of the conformance kit share: its cases, its command line, a small adapter."""

import contextlib
import io

from reference.conformance import __main__ as cli
from reference.conformance.cases import load

CASES = load()


def call(*arguments):
    """-> (exit status, what it printed, what it complained of)"""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.main([str(a) for a in arguments])
    return status, out.getvalue(), err.getvalue()


GOOD = """
import numpy as np
class Adapter:
    name = "small"
    choices = {}
    def logits(self, params, x):
        print("noise on stdout")
        *hidden, (W, b) = params
        for V, c in hidden:
            x = np.maximum(x @ V + c, 0)
        return x @ W + b
"""
