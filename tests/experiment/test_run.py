"""Runs side by side in processes: the same outcomes as one after another, and no silence when one of them ends."""

import multiprocessing
import os
import re
import signal
import traceback
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
from small import TINY

from reference.data import Split, load
from reference.errors import DivergenceError, InputError
from reference.experiment import run as experiment
from reference.experiment.plans import DEMO, with_epochs
from reference.experiment.run import estimate, judge_looks, run, run_all
from reference.experiment.standin import StandIn
from reference.experiment.state import load_checkpoint
from reference.method.settings import Training, Undefended
from reference.plumbing.files import locked


class Dies:
    """Ends the process that it is sent to."""

    def __reduce__(self):
        return os._exit, (7,)


def assert_same(a, b, path="outcome"):
    """Equal to the bit, but for the seconds that it took."""
    assert type(a) is type(b), path
    if is_dataclass(a):
        for f in fields(a):
            if f.name not in ("seconds", "ended"):
                assert_same(getattr(a, f.name), getattr(b, f.name), f"{path}.{f.name}")
    elif isinstance(a, dict):
        assert list(a) == list(b), path
        for key in a:
            assert_same(a[key], b[key], f"{path}[{key}]")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), path
        for i, pair in enumerate(zip(a, b, strict=True)):
            assert_same(*pair, f"{path}[{i}]")
    else:
        assert np.array_equal(a, b, equal_nan=isinstance(a, np.ndarray) and a.dtype.kind == "f"), path


@pytest.fixture(autouse=True)
def no_process_is_left():
    yield
    assert multiprocessing.active_children() == []


def test_processes_change_nothing(tmp_path):
    """Two at a time, one at a time and resumed, all in this process: the same outcomes, in the plan's order."""
    heard = []
    plan = replace(TINY, seeds=2, defences={"undefended": Undefended(), "critic": TINY.defences["critic"]})
    two = run_all(plan, tmp_path / "two", 2, report=lambda *message: heard.append(message))
    order = [(name, seed) for name in plan.defences for seed in range(2)]
    assert [(o.defence, o.seed) for o in two] == order
    here = judge_looks([run(plan, name, seed, None, False, None) for name, seed in order], StandIn(*load(14).train))
    for a, b in zip(two, here, strict=True):
        assert_same(a, b)
        assert min(a.seconds.values()) > 0 and {"training", "strongest", "projected gradient"} < a.seconds.keys()
    for name, seed in order:  # every epoch of every run was told, in turn
        mine = [message[2:] for message in heard if message[:2] == (name, seed)]
        assert [m[:2] for m in mine] == [(1, 3), (2, 3), (3, 3)]
        assert [m[2] for m in mine] == next(o.history for o in here if (o.defence, o.seed) == (name, seed))
        assert load_checkpoint(tmp_path / "two" / "checkpoints" / f"{name}-{seed}.npz").epoch == 3
    # Resumed from finished checkpoints, one at a time, it only evaluates.
    one = replace(plan, defences={"critic": plan.defences["critic"]})
    again = run_all(one, tmp_path / "two", 1, resume=True, report=lambda *_: 1 / 0)
    for a, b in zip(again, two[2:], strict=True):
        assert_same(a, b)


def test_what_cannot_end_well_does_not_begin(tmp_path, monkeypatch):
    """No room for the stand-in, or test labels that training never saw: said before anything is trained."""

    def no_room(*_):
        raise MemoryError("93 MiB")

    monkeypatch.setattr(experiment.executors, "run_all", lambda *_, **__: pytest.fail("it began"))
    monkeypatch.setattr(experiment, "StandIn", no_room)
    with pytest.raises(MemoryError):
        run_all(TINY, tmp_path, 1)
    data = load(14)
    few = data.train.y < 5
    data = data._replace(train=Split(data.train.x[few], data.train.y[few]))
    monkeypatch.setattr(experiment, "load_idx", lambda *_: data)
    with pytest.raises(InputError, match="test labels must be in 0..4, got 0..9"):
        run_all(TINY, tmp_path, 1, folder=tmp_path)


def test_what_an_outcome_holds():
    o = run(TINY, "undefended", 0, None, False, None)
    digits = load(14)
    x, y = digits.test.x[:20], digits.test.y[:20]
    assert len(o.true.labels) == 20 and np.array_equal(o.true.labels, y)
    assert [len(o.true.attacks[a].ratios) for a in ("DeepFool", "strongest", "Carlini-Wagner")] == [20, 20, 4]
    assert set(o.predicted.attacks) == {"DeepFool", "DDN", "high-confidence", "strongest"}
    assert "from the true" in o.true.attacks["DeepFool"].convention
    assert "from the predicted" in o.predicted.attacks["DeepFool"].convention
    clean = 1 - o.true.error
    radii, accuracy = o.curves["DeepFool"]
    assert radii[0] == 0 and radii[-1] == 1.25 and accuracy[0] == clean and (np.diff(accuracy) <= 0).all()
    radii, accuracy = o.curves["projected gradient"]
    right = o.true.predicted[:4] == y[:4]
    assert tuple(radii) == (0, *TINY.radii) and accuracy[0] == right.mean() and (np.diff(accuracy) <= 0).all()
    assert set(o.curves) == {"DeepFool", "DDN", "Carlini-Wagner", "high-confidence", "strongest", "projected gradient"}
    images, taken_for, labels = o.attacked
    assert 0 < len(images) <= 20 and images.shape[1] == 196 and (taken_for != labels).all() and o.looks == {}
    shares = StandIn(*digits.train).labels(images)
    looks = judge_looks([o], StandIn(*digits.train))[0].looks
    assert looks == {name: np.mean(found == taken_for) for name, found in shares.items()}
    assert np.array_equal(o.sheet["y"], np.arange(10)) and o.sheet["x"].shape == (10, 196)
    assert all(np.array_equal(x[np.flatnonzero(y == digit)[0]], o.sheet["x"][digit]) for digit in range(10))


def test_the_error_may_be_of_more_images_than_every_attack_gets():
    all_, few = (run(replace(TINY, fast_images=n), "undefended", 0, None, False, None) for n in (20, 7))
    assert few.true.error == all_.true.error and len(few.true.labels) == 20
    for attack, n in {"DeepFool": 20, "DDN": 20, "high-confidence": 7, "strongest": 20}.items():
        for a, b in ((few.true, all_.true), (few.predicted, all_.predicted)):
            found = a.attacks[attack].last_ratios
            assert len(found) == n and np.allclose(found, b.attacks[attack].last_ratios[:n], rtol=1e-4)
    assert len(few.attacked[0]) <= 7


def test_what_a_run_raises_is_raised_here(tmp_path):
    diverging = replace(TINY, training=replace(TINY.training, learning_rate=1e30))
    with pytest.raises(DivergenceError, match="became .* in epoch .*: lower the learning rate") as caught:
        run_all(diverging, tmp_path, 2)
    assert "in _epoch" in "".join(traceback.format_exception(caught.value)), "the run's own traceback comes along"


def test_a_checkpoint_of_another_run_is_refused_here(tmp_path):
    plan = replace(TINY, defences={"undefended": Undefended()})
    run_all(plan, tmp_path, 1)
    other = replace(plan, training=replace(plan.training, hidden=(9,)))
    with pytest.raises(InputError, match=r"undefended-0.npz belongs to .* other settings \(training.hidden\)"):
        run_all(other, tmp_path, 1, resume=True)


def test_a_process_that_dies_at_once_is_named(tmp_path):
    with pytest.raises(ChildProcessError, match=r"bad, seed 0 died twice, .*memory: run fewer at once"):
        run_all(replace(TINY, defences={"bad": Dies()}), tmp_path, 2)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_run_whose_process_is_killed_once_goes_on_and_ends_the_same(tmp_path):
    """As a system short of memory kills it: without a word."""
    plan = replace(TINY, defences={"undefended": Undefended()}, training=replace(TINY.training, epochs=20))
    (expected,) = run_all(plan, tmp_path / "undisturbed", 1)
    killed = []

    def kill(defence, seed, epoch, *_):
        if epoch == 5 and not killed:
            (process,) = multiprocessing.active_children()
            os.kill(process.pid, signal.SIGKILL)
            killed.append(process.pid)

    (found,) = run_all(plan, tmp_path / "killed", 1, report=kill)
    assert killed
    assert_same(found, expected)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_run_whose_process_is_killed_twice_is_named(tmp_path):
    def kill(*_):
        for process in multiprocessing.active_children():
            os.kill(process.pid, signal.SIGKILL)

    plan = replace(TINY, defences={"undefended": Undefended()}, training=replace(TINY.training, epochs=10_000))
    with pytest.raises(ChildProcessError, match=r"undefended, seed 0 died twice"):
        run_all(plan, tmp_path, 1, report=kill)


def test_an_interrupt_ends_all_runs_and_leaves_whole_checkpoints(tmp_path):
    heard = set()

    def interrupt(defence, *_):
        heard.add(defence)
        if len(heard) == 2:
            raise KeyboardInterrupt

    plan = replace(TINY, training=replace(TINY.training, epochs=10_000))
    began = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), locked(tmp_path):
        run_all(plan, tmp_path, 2, report=interrupt)
    assert signal.getsignal(signal.SIGINT) is began
    files = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert files == ["critic-0.npz", "undefended-0.npz"], "nothing half-written"
    assert all(load_checkpoint(tmp_path / "checkpoints" / name).epoch >= 1 for name in files)


def test_other_epochs_are_the_same_recipe():
    t = with_epochs(Training(epochs=100, halve_every=40), 25)
    assert (t.epochs, t.halve_every) == (25, 10)
    assert replace(t, epochs=100, halve_every=40) == Training(), "nothing else changes"
    assert with_epochs(DEMO.training, DEMO.training.epochs) == DEMO.training
    for epochs in (0, -1, 2.5, True):
        with pytest.raises(InputError, match=f"epochs = {epochs}: give a whole number, 1 or more"):
            with_epochs(Training(), epochs)


def test_a_defence_may_have_epochs_of_its_own():
    several = {"undefended": Undefended(), "critic": TINY.defences["critic"]}
    plan = replace(TINY, defences=several, training=replace(TINY.training, epochs=1), epochs={"undefended": 3})
    lengths = {name: len(run(plan, name, 0, None, False, None).history) for name in plan.defences}
    assert lengths["undefended"] - lengths["critic"] == 2


def test_the_estimate_scales_with_epochs_and_seeds(monkeypatch):
    """3 batches in 3 s: a second a batch; 7 batches × 3 epochs × 2 seeds = 42 s a defence on a clock of our own."""
    clock = iter(range(0, 1000, 3))
    monkeypatch.setattr(experiment.time, "perf_counter", lambda: next(clock))
    seen = []
    monkeypatch.setattr(experiment, "train", lambda *args, steps: seen.append(args))
    plan = replace(TINY, seeds=2, training=replace(TINY.training, epochs=1199))  # 1200 with pre-training
    text = estimate(plan, load(14), 2)
    assert "about 4.7 h here with 2 processes (critic 4.7 h, undefended 4.7 h)" in text  # 7·1200·2 s
    assert "about 9.3 h here with 1 processes" in estimate(plan, load(14), 1)
    assert "about 2.3 h" in estimate(plan, load(14), 99), "no run is faster than itself"
    few, _, once = seen[0]
    assert len(few.train.y) == 1500 and set(few.train.y) == set(range(10)) and once.epochs == 1


def test_the_estimate_of_sorted_digits():
    """The batches it times hold every class, however the data are sorted."""
    data = load(14)
    rows = np.argsort(data.train.y)
    data = data._replace(train=Split(data.train.x[rows], data.train.y[rows]))
    text = estimate(replace(TINY, training=replace(TINY.training, batch=10)), data, 1)
    assert re.fullmatch(r"Training will take about [\d.]+ (s|min|h) here .*--resume goes on\.", text)
