"""The tests of the tests: each mistake of the catalogue turns its property test red, by a failed assertion."""

import multiprocessing
import sys

import mutants
import pytest

from reference.conformance.make.mistakes import CATALOGUE
from reference.conformance.make.variants import edited
from reference.errors import InputError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a fork server")

KILLED = [m for m in CATALOGUE if m.killer]
KILLERS = tuple(dict.fromkeys(m.killer for m in KILLED))
TIMEOUT = 300  # seconds; a mistake may loop for ever
RED = {"AssertionError", "Failed"}  # "Failed": an exception that should have been raised was not


@pytest.fixture(scope="module")
def outcome():
    """The outcome of tests on the library with edits.

    Each has a fresh process, forked from a server that has imported pytest, hypothesis, NumPy, SciPy and autograd but
    not the library.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(mutants.PRELOAD)

    def run(tests, edits=()):
        with context.Pool(1) as pool:
            return pool.apply_async(mutants.run, (tests, edits)).get(TIMEOUT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENBLAS_NUM_THREADS", "1")
        yield run


@pytest.mark.parametrize("tests", [KILLERS[i::8] for i in range(8)], ids=range(8))
def test_without_a_mistake_every_killer_passes(tests, outcome):
    """Otherwise a kill would mean nothing."""
    outcome = outcome(tests)
    assert (outcome.code, outcome.failures, outcome.errors) == (0, [], []), outcome.output
    assert outcome.passed >= len(tests)


@pytest.mark.parametrize("mistake", KILLED, ids=lambda m: m.id)
def test_the_mistake_is_noticed(mistake, outcome):
    outcome = outcome((mistake.killer,), mistake.edits)
    assert not outcome.errors, outcome.errors
    assert outcome.code == 1 and outcome.failures, f"{mistake.id} survives {mistake.killer}"
    assert {kind for _, kind, _ in outcome.failures} <= RED, f"not a failed assertion: {outcome.failures}"


def test_the_catalogue():
    """Every name is of one mistake, and no mistake is held by the authors' values alone."""
    assert len({m.id for m in CATALOGUE}) == len(CATALOGUE)
    assert not any("authors_values" in m.killer for m in CATALOGUE)
    assert all(m.killer or m.edits[0][0].startswith("conformance/") for m in CATALOGUE)


def test_a_stale_mistake_is_an_error():
    assert "class Other" in edited([("errors.py", "class InputError", "class Other")])["errors.py"]
    for old in ("no such text", "Error", ""):
        with pytest.raises(InputError, match="times, not once"):
            edited([("errors.py", old, "x")])
