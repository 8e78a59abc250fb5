"""The cases as tests of your own suite: `pytest --adversary-critic mine.py`, with an adapter as for the command run.

Installed with the package, it adds two options to pytest and does nothing until one of them is given.
"""

from __future__ import annotations

import pytest


def pytest_addoption(parser):
    group = parser.getgroup("adversary critic")
    group.addoption("--adversary-critic", metavar="MODULE[:OBJECT]", help="test this adapter by the conformance kit")
    group.addoption("--adversary-critic-dtype", choices=["float64", "float32"], default="float64", help="float64")


def pytest_configure(config):
    if config.option.adversary_critic:
        config.pluginmanager.register(Cases(config), "adversary critic cases")


class Cases:
    """Adds a test for each case, asks the adapter when they run, and names the mistakes at the end."""

    def __init__(self, config):
        self.spec, self.dtype = config.option.adversary_critic, config.option.adversary_critic_dtype
        self.adapter, self.judge, self.results = None, None, []

    @pytest.hookimpl(tryfirst=True)  # before -k and the like choose among them
    def pytest_collection_modifyitems(self, session, items):
        from .cases import load

        parent = Kit.from_parent(session, name="adversary-critic", nodeid="adversary-critic")
        items += [Item.from_parent(parent, name=case.id, case=case, kit=self) for case in load().values()]

    def result(self, case):
        """What came of a case; the adapter starts with the first."""
        from ..errors import InputError
        from .diagnose import diagnose
        from .judge import Judge, calls
        from .live import Live

        if self.adapter is None:
            self.adapter = Live(self.spec)
            try:
                self.adapter.__enter__()
            except InputError as error:
                pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
            self.judge = Judge(calls(self.adapter.ask, self.dtype), self.adapter.choices, self.dtype)
        found = self.judge.result(case)
        self.results.append(found)
        if found.status == "failed":
            diagnose(self.results, self.dtype)
        return found

    def pytest_terminal_summary(self, terminalreporter):
        from .diagnose import diagnose
        from .report import explained

        if named := diagnose(self.results, self.dtype):
            terminalreporter.section("adversary critic")
            terminalreporter.write_line("\n".join(explained(named)))

    def pytest_sessionfinish(self):
        if self.adapter is not None:
            self.adapter.__exit__()


class Kit(pytest.Collector):
    """What the cases stand under."""

    def collect(self):
        return []


class Wrong(Exception):
    """The adapter's answer is wrong; the message is the report's."""


class Item(pytest.Item):
    def __init__(self, *, case, kit, **about):
        super().__init__(**about)
        self.case, self.kit = case, kit

    def runtest(self):
        from .report import described

        result = self.kit.result(self.case)
        if result.status in ("skipped", "blocked"):
            pytest.skip(result.text)
        if result.status != "passed":
            raise Wrong("\n".join(described(result)))

    def repr_failure(self, excinfo):
        return str(excinfo.value) if excinfo.errisinstance(Wrong) else super().repr_failure(excinfo)

    def reportinfo(self):
        return self.path, None, f"adversary-critic::{self.case.id}"
