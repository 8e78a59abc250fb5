"""Property tests draw the same examples on every run: a red test stays red until it is mended.

One BLAS thread, as in the demo: sums come out the same in this process and in those it starts, and Ctrl-C has one
thread to go to.  Set before NumPy is first imported.
"""

import os
import signal

os.environ["OPENBLAS_NUM_THREADS"] = "1"
# A shell's background job ignores Ctrl-C, and nohup SIGHUP; so would every process that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

from hypothesis import settings  # noqa: E402

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=25, print_blob=True, database=None)
settings.load_profile("ci")
