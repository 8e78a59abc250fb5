"""Runs property tests on the library with a mistake of the catalogue in it, each time in a fresh process.

The catalogue is `reference.conformance.make.mistakes`; the changed texts are loaded by `make.variants`, as for the kit.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PRELOAD = ["pytest", "hypothesis", "hypothesis.strategies", "numpy", "scipy.special", "scipy.stats", "autograd.numpy"]


class Outcome(NamedTuple):
    code: int  # pytest's exit code
    passed: int
    failures: list[tuple[str, str, str]]  # (test, type of exception, message)
    errors: list[str]  # outside of tests: collection, fixtures
    seconds: float  # of processor time
    output: str


class Recorder:
    """A pytest plugin: counts, and keeps hypothesis from shrinking what it finds, which takes long and adds nothing."""

    def __init__(self):
        self.passed, self.failures, self.errors = 0, [], []

    def pytest_sessionstart(self):
        from hypothesis import Phase, settings

        # The examples are the same as in the tests' own profile.
        settings.register_profile(
            "mutants", settings.get_profile("ci"), phases=[Phase.explicit, Phase.generate], report_multiple_bugs=False
        )
        settings.load_profile("mutants")

    def pytest_collectreport(self, report):
        if report.failed:
            self.errors.append(str(report.longrepr))

    def pytest_runtest_makereport(self, item, call):
        if call.excinfo is not None:
            if call.excinfo.typename == "Skipped":
                pass
            elif call.when == "call":
                self.failures.append((item.nodeid, call.excinfo.typename, str(call.excinfo.value)[:500]))
            else:
                self.errors.append(f"{call.when} of {item.nodeid}: {call.excinfo.typename}")
        elif call.when == "call":
            self.passed += 1


def run(tests: tuple[str, ...], edits: tuple[tuple[str, str, str], ...]) -> Outcome:
    """`tests` on the library with the `edits`.  Call it in a process that has not imported `reference`."""
    import pytest

    began, recorder, output = time.process_time(), Recorder(), io.StringIO()
    assert not any(name.split(".")[0] == "reference" for name in sys.modules), "the real library is already loaded"
    sys.path.insert(0, str(ROOT))
    from reference.conformance.make.variants import Finder

    found = Finder("reference", edits)
    for name in [name for name in sys.modules if name.split(".")[0] == "reference"]:
        del sys.modules[name]
    sys.meta_path.insert(0, found)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # this process is ours alone; plugins take long to start
    options = ["-o", "addopts=--strict-markers --import-mode=importlib"]  # not those that need a plugin
    arguments = ["-x", "-q", "-p", "no:cacheprovider", "--tb=no", f"--rootdir={ROOT}", *options]
    paths = [str(ROOT / "tests" / test) for test in tests]
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        code = int(pytest.main([*arguments, "-c", str(ROOT / "setup.cfg"), *paths], plugins=[recorder]))
    if found.used != {file for file, _, _ in edits}:
        recorder.errors.append(f"not imported: {[file for file, _, _ in edits if file not in found.used]}")
    spent = time.process_time() - began
    return Outcome(code, recorder.passed, recorder.failures, recorder.errors, spent, output.getvalue())
