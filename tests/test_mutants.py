"""The tests of the tests: each deliberate mistake of `mutants` turns its property test red, and nothing else does."""

import multiprocessing
import os
import sys
from collections import Counter

import mutants
import pytest
from mutants import MUTANTS, Mutant, StaleMutant

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a fork server")

KILLERS = tuple(dict.fromkeys(m.killer for m in MUTANTS))
NAMES = [m.name for m in MUTANTS]
TIMEOUT = 300  # seconds; a mutant may loop for ever
RED = {"AssertionError", "Failed"}  # "Failed": an exception that should have been raised was not


@pytest.fixture(scope="session")
def mutant_outcomes(request):
    """The outcome of each selected mutant, by name: one process a core works ahead while the tests ask one by one.

    Each job has a fresh process, forked from a server that has imported pytest, hypothesis, NumPy, SciPy and autograd
    but not the library.
    """
    asked = [
        item.callspec.params for item in request.session.items if "mutant_outcomes" in getattr(item, "fixturenames", ())
    ]
    jobs = {p["tests"]: (p["tests"], {}) for p in asked if "tests" in p}
    jobs |= {m.name: ((m.killer,), mutants.sources(m)) for m in (p["mutant"] for p in asked if "mutant" in p)}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(mutants.PRELOAD)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENBLAS_NUM_THREADS", "1")
        with context.Pool(os.cpu_count(), maxtasksperchild=1) as pool:
            running = {key: pool.apply_async(mutants.run, job) for key, job in jobs.items()}
            yield lambda key: running[key].get(TIMEOUT)


@pytest.mark.parametrize("tests", [KILLERS[0::2], KILLERS[1::2]], ids=["even", "odd"])
def test_without_a_mutant_every_killer_passes(tests, mutant_outcomes):
    """Otherwise a kill would mean nothing."""
    outcome = mutant_outcomes(tests)
    assert (outcome.code, outcome.failures, outcome.errors) == (0, [], []), outcome.output
    assert outcome.passed >= len(tests)


@pytest.mark.parametrize("mutant", MUTANTS, ids=NAMES)
def test_the_mutant_is_killed(mutant, mutant_outcomes):
    outcome = mutant_outcomes(mutant.name)
    assert not outcome.errors, outcome.errors
    assert outcome.code == 1 and outcome.failures, f"{mutant.name} survives {mutant.killer}: {mutant.mistake}"
    assert {kind for _, kind, _ in outcome.failures} <= RED, f"not a failed assertion: {outcome.failures}"


def test_the_table():
    assert len(MUTANTS) >= 30
    assert [name for name, count in Counter(NAMES).items() if count > 1] == []
    assert not any("authors_values" in m.killer for m in MUTANTS), "property tests, not the authors' values"
    assert all(m.mistake.endswith(".") for m in MUTANTS)


def test_a_stale_mutant_is_an_error():
    once = Mutant("x", "", "errors.py", "class InputError", "class Other", "")
    assert "class Other" in next(iter(mutants.sources(once).values()))
    for old in ("no such text", "Error", ""):
        with pytest.raises(StaleMutant):
            mutants.sources(once._replace(old=old))
    with pytest.raises(SyntaxError):
        mutants.sources(once._replace(new="class ("))
