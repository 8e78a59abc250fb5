"""The benchmark: what it counts as floor, what it refuses to time, and that the whole of it runs."""

import gc
import json
import signal
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.bench import __main__ as command
from reference.bench import growth, machine, measure, problem, products, rows
from reference.bench.__main__ import main, ratio, report
from reference.by_hand import steps as fused
from reference.errors import InputError
from reference.studies import cost


@pytest.fixture(scope="module", params=(64, 256))
def tiny(request):
    """Untrained, so that every example stays under attack; the first layer narrower or wider than the image."""
    return growth.problem(batch=20, width=request.param, depth=2, iterations=3)


def test_the_classifier_step_s_floor_by_hand():
    """20 rows, two steps, nobody arrives, all are in S; multiplications in units of the batch."""
    all_ = [np.arange(20)] * 3
    work = problem.Active(all_, all_, all_[0])

    def floor(*sizes):
        parts = products.classifier_step(sizes, (11, 5), work)
        return {name: products.flops(list_) / 40 for name, list_ in parts.items()}

    first, second, last = 11 * 13, 13 * 17, 17 * 3
    upper, critic = second + last, 11 * 5
    assert floor(11, 13, 17, 3) == {
        products.NEAREST: 2 * (first + second),
        products.FORWARD: 3 * upper + 2 * upper + (4 + 3) * first,
        products.REVERSE: 4 * 2 * upper + first,
        products.WEIGHTS: 8 * upper + (2 + 4) * first,
        products.REST: first + upper + upper + critic,
    }
    first, second, last, gram = 11 * 7, 7 * 17, 17 * 3, 7 * 7
    upper = second + last
    assert floor(11, 7, 17, 3) == {
        products.NEAREST: 2 * (gram + second),
        products.FORWARD: 3 * upper + 2 * upper + 4 * gram,
        products.REVERSE: 4 * 2 * upper + first,
        products.WEIGHTS: 8 * upper + 2 * first + 4 * gram + first * 7 / 20,
        products.REST: first + upper + upper + critic + first * 7 / 20 + first,
    }


def test_rows_that_arrived_cost_nothing():
    rows_ = [np.arange(n) for n in (10, 4, 0, 0)]
    some = products.classifier_step((5, 7, 3), (5, 3), problem.Active(rows_, rows_, np.arange(6)))
    one = [np.arange(n) for n in (10, 4)]
    other = products.classifier_step(
        (5, 7, 3), (5, 3), problem.Active([*one, rows_[2]], [*one, rows_[2]], np.arange(6))
    )
    assert {name: sorted(list_) for name, list_ in some.items()} == {
        name: sorted(list_) for name, list_ in other.items()
    }


def test_our_classifier_step_multiplies_what_the_floor_holds_and_little_more(tiny):
    """More: products with one-hot rows, tangents of rows that arrive, and two passes at x that the floor has as one."""
    state, work = tiny.state, problem.active(tiny)
    sizes = measure.layer_sizes(state.params), measure.layer_sizes(state.critic)
    floor = sum(map(products.flops, products.classifier_step(*sizes, work).values()))
    assert floor <= 2 * cost.count(tiny, "critic, truncated", fused) <= 1.15 * floor


def test_our_critic_step_multiplies_what_the_floor_holds_and_little_more(tiny):
    real, fake, _ = tiny.noise
    measure.Counted.products = 0
    critic = measure.counted(tiny.state.critic)
    fused.critic_step(critic, tiny.x, tiny.y, tiny.x_hat, tiny.y_hat, real, fake, tiny.defence)
    floor = products.flops(products.critic_step(measure.layer_sizes(tiny.state.critic), len(tiny.x)))
    assert floor <= 2 * measure.Counted.products <= 1.05 * floor


@given(st.lists(st.integers(0, 1), min_size=3, max_size=3))
def test_who_is_under_attack(stops):
    """A linear classifier and a confidence that each example has already, or never reaches."""
    params = [(np.eye(2), np.zeros(2))]
    x, C = np.array([[0.5, 0.6]] * 3), np.where(stops, 0.1, 0.999999)
    found = problem.under_attack(params, x, np.zeros(3, int), C, growth.Generator(iterations=2))
    assert [list(rows_) for rows_ in found] == [[0, 1, 2], *[[i for i in range(3) if not stops[i]]] * 2]


@pytest.mark.parametrize("network", ("params", "critic"))
@pytest.mark.parametrize("gap, steady", ((5e-8, False), (1e-4, True)))
def test_a_batch_at_a_kink_is_not_steady(network, gap, steady):
    """A hidden unit of the first example is negative by less than float32 can tell, or by more."""
    p = growth.problem(batch=10, width=16, depth=1, iterations=1)
    (W, b), *rest = getattr(p.state, network)
    x = p.x[0] + p.noise[0][0][0] if network == "critic" else p.x[0]
    b = b.astype(np.float64)
    b[0] = -x.astype(np.float64) @ W[:, 0] - gap
    setattr(p.state, network, [(W, b), *rest])
    assert problem.steady(p) == steady


@pytest.mark.parametrize("name", [name for name in measure.ROWS if name != "plain autograd"])
def test_the_rows_agree(name):
    make, library = measure.ROWS[name]
    pytest.importorskip(library, reason=f"{library} is not installed")
    p = growth.problem(batch=10, width=16, depth=1, iterations=1)
    for column in (rows.CLASSIFIER, rows.NEAREST, rows.CRITIC, *rows.OTHERS):
        found = measure.differences({"plain": rows.plain(p)[column], name: make(p)[column]}, measure.old(p, column))
        assert found["plain"] == 0 and found[name] <= measure.TOLERANCE


def test_operations_of_numpy_are_counted():
    """Operators, in place and on what an operation returned, reductions and functions; an iteration more takes more."""
    a, before = np.ones((2, 3)).view(measure.Counted), measure.Counted.calls
    b = a + 1
    b *= 2
    np.concatenate([b @ b.T, b.sum(axis=1)[:, None]], axis=1)
    assert measure.Counted.calls - before == 5
    few, more = (measure.numpy_calls(growth.problem(batch=10, width=16, depth=1, iterations=i)) for i in (1, 2))
    assert 100 < few < more


def test_exponents_of_a_power_law():
    """The first value is off the law, because it is overhead."""
    records = [
        {"axis": "width", "value": v, "row": row, "seconds": max(v, 4) ** 1.5, "flops": v**2, "peak bytes": 7}
        for v in (1, 4, 8, 16)
        for row in ("ours", "floor")
    ]
    (found,) = [fitted for axis, *fitted in growth.exponents(records) if axis == "width"]
    assert found == pytest.approx([1.5, 2, 0], abs=1e-12)


def test_a_row_that_disagrees_is_refused():
    """By a thousandth of the step, though the weights agree to seven digits; nan is no agreement either."""
    old, step = np.full(4, 100.0), np.array([0.01, -0.02, 0.03, 0.0])

    def job(new):
        return rows.Job(lambda: new, arrays=lambda found: [found])

    jobs = {"plain": job(old + step), "close": job(old + (1 + 1e-5) * step), "off": job(old + 1.001 * step)}
    jobs |= {"nan": job(old * np.nan), "not compared": rows.Job(lambda: None)}
    kept, found = measure.agreeing(jobs, [old])
    assert list(kept) == ["plain", "close", "not compared"]
    assert found["plain"] == 0 and found["off"] == pytest.approx(1e-3, rel=1e-3)
    kept, found = measure.agreeing({"plain": job(np.arange(4)), "other": job(np.array([0, 1, 2, 2]))}, None)
    assert list(kept) == ["plain"] and found["other"] == 0.25


def test_what_float32_does_to_the_plain_step(tiny):
    """The reference of the other defences: to rounding where the step is smooth, never nothing."""
    for name in ("undefended", "margin"):
        assert 0 < measure.rounding(tiny, name) < 1e-5
    surer = replace(tiny.state, params=[(20 * W, b) for W, b in tiny.state.params])
    assert measure.rounding(tiny._replace(state=surer), "virtual") > measure.rounding(tiny, "virtual")


def test_rows_are_timed_in_turn_and_prepared_each_time():
    calls = []

    def job(name):
        return rows.Job(lambda: calls.append(name), before=lambda: calls.append(f"before {name}"))

    times = measure.interleave({"a": job("a"), "b": job("b")}, 0, least=2)
    a, b = 2 * ["before a", "a"], 2 * ["before b", "b"]  # the first of both is not timed
    assert calls == a + b + b + a  # rounds take turns to begin
    assert [len(t) for t in times.values()] == [2, 2]


def test_the_collector_passes_over_what_was_there_before():
    frozen = []
    measure.interleave({"a": rows.Job(lambda: frozen.append(gc.get_freeze_count()))}, 0, least=1)
    assert min(frozen) > 1000 and gc.get_freeze_count() == 0


def test_the_ratio_is_the_median_of_pairs():
    assert ratio({"ours": [1, 2, 9], "floor": [1, 4, 3]}, "floor") == 1
    assert ratio({"ours": [1.0]}, "floor") is None


def test_peak_memory_is_that_of_the_run():
    assert 8e6 <= measure.peak_memory(rows.Job(lambda: np.ones(10**6) * 2)) <= 17e6


def test_the_command_runs(tmp_path, capfd, monkeypatch):
    """Tiny, and the growth of time and memory; in this process, and without JAX, which compiles for too long."""
    monkeypatch.setattr(measure, "find_spec", lambda name: None if name == "jax" else find_spec(name))
    monkeypatch.setattr(command, "child", lambda threads, **task: json.loads(json.dumps(command.work(**task))))
    out = tmp_path / "bench.json"
    assert main(["--quick", "--growth", "--out", str(out)]) == 0
    printed = capfd.readouterr().out
    (found,) = json.loads(out.read_text(encoding="utf-8"))["scales"]
    grown = json.loads(out.read_text(encoding="utf-8"))["growth"]
    assert found["refused"] == [] and out.with_suffix(".png").stat().st_size > 10_000
    assert set(found["seconds"]) == set(rows.COLUMNS) and "ours / plain autograd" in printed
    for column, times in found["seconds"].items():
        assert {"plain autograd", "ours"} <= set(times) and all(min(t) > 0 for t in times.values())
        assert ("floor" in times) == (column in (rows.CLASSIFIER, rows.CRITIC))
    assert {r["axis"] for r in grown} == set(growth.AXES) and all(r.get("seconds", 1) > 0 for r in grown)
    assert all(time >= 0 for time, _ in found["profile"].values())
    assert all(time > 0 for time, _ in found["critic profile"].values())
    assert "NOT TIMED" not in printed
    assert "NOT TIMED" in report(found | {"refused": [["nearest class", "PyTorch eager", 1e-4]]})


def test_a_process_of_its_own():
    """With the threads it was told, and its results back here; a failure there is a sentence here."""
    grown = command.child(1, scale="growth quick", epochs=0, seconds=0.01)
    assert {r["row"] for r in grown} >= {"plain autograd", "ours"}
    with pytest.raises(InputError, match="ended early, with exit status 1"):
        command.child(1, scale="no such scale", epochs=0, seconds=0.01)


def test_a_worker_whose_parent_was_killed_before_it_looked_ends():
    task = {"scale": "growth", "epochs": 0, "seconds": 60, "threads": 1, "parent": 2**31}
    command = [sys.executable, "-m", "reference.bench", "--worker", json.dumps(task)]
    assert subprocess.run(command, capture_output=True, timeout=60).returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    "wrong", (["--seconds", "0"], ["--seconds", "inf"], ["--threads", "0"], ["--threads", "100000"], ["--epochs", "-1"])
)
def test_a_wrong_request_is_one_sentence(wrong, tmp_path, capsys):
    assert main([*wrong, "--out", str(tmp_path / "bench.json")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


MACHINE = {"cores": 2, "features": ["avx2", "avx512f"], "forced": {}, "versions": {"numpy": "2.4"}, "python": "3.11"}


@pytest.mark.parametrize("kernel, widest", [("Haswell", False), ("SkylakeX", True), ("Zen", False)])
def test_the_kernels_stand_above_the_table(kernel, widest):
    blas = [{"name": "openblas", "version": "0.3", "kernel": kernel, "threads": 1}]
    said = machine.in_words(MACHINE | {"blas": blas})
    assert f"openblas 0.3 on {kernel} kernels" in said and ("avx512f unused" in said) is not widest
    narrow = MACHINE | {"blas": blas, "features": ["avx2"]}
    assert ("unused" in machine.in_words(narrow)) is (kernel == "SkylakeX")
    assert "FORCED: OPENBLAS_CORETYPE=Haswell" in machine.in_words(
        MACHINE | {"blas": [], "forced": {"OPENBLAS_CORETYPE": "Haswell"}}
    )


def test_this_machine_can_be_named():
    found = machine.machine()
    assert json.loads(json.dumps(found)) == found and f"numpy {np.__version__}" in machine.in_words(found)
