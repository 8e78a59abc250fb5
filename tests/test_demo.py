"""The demo from the command line: what it writes, how it fails, and Ctrl-C."""

import importlib.util
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from small import TINY

from reference.errors import DivergenceError
from reference.experiment import pictures, plans
from reference.experiment import run as experiment
from reference.experiment.standin import StandIn
from reference.experiment.state import load_checkpoint
from reference.plumbing.files import load_npz

ROOT = Path(__file__).parent.parent
SPEC = importlib.util.spec_from_file_location("demo", ROOT / "demo.py")
demo = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(demo)

SMALL = replace(
    TINY,
    training=replace(TINY.training, epochs=8),
    defences={name: replace(d, hidden=(8,)) if name == "critic" else d for name, d in plans.QUICK.defences.items()},
)
RUN = ["--quick", "--defences", "undefended,critic", "--jobs", "2"]
OPTIONS = "quick long full paper plain defences select seeds epochs side hidden data out".split()
OPTIONS += "jobs cluster timings resume help".split()
DRAWN = [(Path("p.png"), "a caption")]


def shrink(patch):
    """Tiny networks, a stand-in that knows few digits, and no pictures."""
    patch.setattr(plans, "QUICK", SMALL)
    patch.setattr(pictures, "draw_all", lambda *_: DRAWN)
    patch.setattr(experiment, "StandIn", lambda x, y: StandIn(x[:300], y[:300]))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    shrink(monkeypatch)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The output folder of an uninterrupted run, and what it printed."""
    out, printed = tmp_path_factory.mktemp("finished"), StringIO()
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        patch.setattr(sys, "stdout", printed)
        assert demo.main([*RUN, "--out", str(out)]) == 0
    return out, printed.getvalue()


def test_a_run_writes_and_prints_its_table(finished):
    out, printed = finished
    assert {path.name for path in out.iterdir()} == {
        *("table.md", "table.json", "table.npz", "training.json", "checkpoints")
    }
    assert {path.name for path in (out / "checkpoints").iterdir()} == {"README.md", "undefended-0.npz", "critic-0.npz"}
    table = (out / "table.md").read_text(encoding="utf-8")
    assert table in printed and "| undefended       |" in table and "| adversary critic |" in table
    assert "p.png: a caption" in printed
    runs = json.loads((out / "table.json").read_text())["runs"]
    assert [run["defence"] for run in runs] == ["undefended", "critic"]
    assert len(json.loads((out / "training.json").read_text())["critic 0"]) == 9
    ratios = load_npz(out / "table.npz")["critic 0 strongest"]
    found = runs[1]["from_true_label"]["attacks"]["strongest"]
    assert len(ratios) == found["images"] and np.isclose(np.nanmean(ratios), found["rho"])
    # Not on a terminal: a line a run, no bars.
    lines = [line for line in printed.splitlines() if re.match(r"\w+, seed 0: 9 epochs with pre-training, ", line)]
    assert len(lines) == 2 and "\r" not in printed


SCRIPT = """
import sys
sys.path[:0] = {paths!r}
import demo, test_demo

if __name__ == "__main__":
    demo.plans.QUICK = test_demo.SMALL
    demo.pictures.draw_all = lambda *_: []
    sys.exit(demo.main(sys.argv[1:]))
"""


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_ctrl_c_keeps_the_epochs_and_resume_ends_the_same(finished, tmp_path, monkeypatch):
    """Ctrl-C reaches every process of the terminal: one line, status 130, no process left; then --resume, on Dask."""
    script, out = tmp_path / "script.py", tmp_path / "out"
    script.write_text(SCRIPT.format(paths=[str(ROOT), str(ROOT / "tests")]))
    command = [*RUN, "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, script, *command], stderr=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    checkpoint, began = out / "checkpoints" / "critic-0.npz", time.monotonic()
    while not checkpoint.exists() and process.poll() is None and time.monotonic() - began < 60:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    interrupted = time.monotonic()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr.decode()
    assert stderr.decode().strip().startswith("interrupted: the epochs done are kept") and stderr.count(b"\n") == 2
    while time.monotonic() - interrupted < 20:  # whoever is still tidying up
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    else:
        raise AssertionError("processes are left")
    assert {path.suffix for path in (out / "checkpoints").iterdir()} == {".npz", ".md"}, "nothing half-written"
    assert 1 <= load_checkpoint(checkpoint).epoch <= 9
    assert not (out / "table.md").exists()

    pytest.importorskip("distributed")
    monkeypatch.setattr(demo, "Bars", Kills)
    assert demo.main([*command, "--resume", "--cluster", "local:2"]) == 0
    assert Kills.killed
    assert_same_files(out, finished[0])


class Kills(demo.Bars):
    """Kills a worker as soon as it tells of an epoch."""

    killed = None

    def __call__(self, defence, seed, epoch, epochs, record):
        if Kills.killed is None and epoch < epochs:
            Kills.killed = multiprocessing.active_children()[0]
            os.kill(Kills.killed.pid, signal.SIGKILL)
        super().__call__(defence, seed, epoch, epochs, record)


def assert_same_files(a, b):
    """To the byte, but for the seconds in table.json."""
    for name in ("table.md", "training.json", "table.npz"):
        assert (a / name).read_bytes() == (b / name).read_bytes(), name
    records = [json.loads((out / "table.json").read_text()) for out in (a, b)]
    for run in records[0]["runs"] + records[1]["runs"]:
        del run["seconds"]
    assert records[0] == records[1]


def test_one_at_a_time_gives_the_same_files(finished, tmp_path):
    assert demo.main([*RUN, "--jobs", "1", "--out", str(tmp_path)]) == 0
    assert_same_files(tmp_path, finished[0])


def refused(capsys, *argv):
    """The one line on stderr with which the demo refuses `argv`."""
    assert demo.main(list(map(str, argv))) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and captured.err.startswith("demo.py: ")
    return captured.err


@pytest.mark.parametrize(
    "argv, says",
    [
        ("--defences critic,none", "unknown defence 'none': choose from undefended,"),
        ("--defences=", "unknown defence ''"),
        ("--hidden nonsense", "--hidden nonsense: give widths joined by hyphens"),
        ("--hidden 20x20", "--hidden 20x20"),
        ("--hidden 0", r"hidden = \(0,\): give whole widths"),
        ("--hidden=-5", "--hidden -5: give widths"),
        ("--hidden 8--8", "--hidden 8--8"),
        ("--hidden -5", "--hidden -5: give widths"),
        ("--epochs 0", "epochs = 0: give a whole number, 1 or more"),
        ("--epochs=-3", "epochs = -3"),
        ("--epochs", "--epochs: expected one argument"),
        ("--epochs many", "--epochs: invalid int value: 'many'"),
        ("--seeds 99999999999999999999", "--seeds: 99999999999999999999: give 1 to 1000"),
        ("--seeds 0", "--seeds: 0: give 1 to 1000"),
        ("--seeds=-1", "--seeds: -1: give"),
        ("--jobs 0", "--jobs: 0: give 1 to 1000"),
        ("--jobs 2.5", "--jobs: 2.5: give 1 to 1000"),
        ("--side 20", "--side: invalid choice"),
        ("--long", "not allowed with argument --quick"),
        ("--fast", "unrecognized arguments: --fast"),
        ("--data /nowhere/at/all", "/nowhere/at/all is not a folder"),
    ],
)
def test_bad_input_is_refused_in_one_line(argv, says, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "run_all", lambda *_: pytest.fail("it began"))
    out = tmp_path / "out"
    assert re.search(says, refused(capsys, "--quick", "--out", out, *argv.split()))
    assert not out.exists(), "nothing is written"


def test_an_output_folder_that_cannot_be_is_refused_before_training(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "run_all", lambda *_: pytest.fail("it began"))
    file = tmp_path / "file"
    file.write_text("mine")
    for out in (file, file / "below"):
        assert f"cannot write to {out}" in refused(capsys, "--quick", "--out", out)
    assert file.read_text() == "mine"


def test_checkpoints_of_another_run_are_refused(capfd, finished):
    assert demo.main([*RUN[:2], "critic", "--epochs", "5", "--resume", "--out", str(finished[0])]) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and "critic-0.npz belongs to a run with other settings" in error
    assert "training.epochs, training.halve_every" in error


def test_what_an_earlier_run_wrote_is_moved_aside(tmp_path):
    """All of it, each time into a new folder; what somebody else put there stays."""
    assert demo.moved_aside(tmp_path) is None
    asides = []
    for i in range(2):
        (tmp_path / "checkpoints").mkdir()
        for name in ("checkpoints/critic-0.npz", "table.md", "mine.txt"):
            (tmp_path / name).write_text(f"{i}")
        asides.append(demo.moved_aside(tmp_path))
    for i, aside in enumerate(asides):
        found = {str(path.relative_to(aside)): path.read_text() for path in aside.rglob("*.*")}
        assert found == {"checkpoints/critic-0.npz": f"{i}", "table.md": f"{i}"}
    assert {path.name for path in tmp_path.iterdir()} == {"mine.txt", *(path.name for path in asides)}


@pytest.mark.parametrize(
    "error, status, says",
    [
        (DivergenceError("margin became nan"), 1, "demo.py: margin became nan"),
        (ChildProcessError("it died"), 1, "demo.py: it died"),
        (KeyboardInterrupt(), 130, "interrupted: the epochs done are kept; add --resume"),
    ],
)
def test_every_end_has_its_status_and_one_line(error, status, says, monkeypatch, tmp_path, capsys):
    def fail(*_):
        raise error

    monkeypatch.setattr(experiment, "run_all", fail)
    assert demo.main(["--quick", "--out", str(tmp_path)]) == status
    err = capsys.readouterr().err
    assert says in err and len(err.strip().splitlines()) == 1


def test_a_bug_is_not_hidden(monkeypatch, tmp_path):
    monkeypatch.setattr(experiment, "run_all", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        demo.main(["--quick", "--out", str(tmp_path)])


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as left:
        demo.main(["--help"])
    text = capsys.readouterr().out
    assert left.value.code == 0
    assert sorted(set(re.findall(r"--(\w+)", text.split("\nWrites ")[0]))) == sorted(OPTIONS)
    assert all(name in text.replace("\n", "").replace(" ", "") for name in plans.DEMO.defences)
    assert "130" in text


def test_the_plan_is_what_was_asked_for():
    def plan(*argv):
        return demo.plan_from(demo.arguments(list(argv)))

    assert plan() == plans.DEMO and plan("--paper") == plans.PAPER and plan("--long") == plans.LONG
    assert plan("--full") == plans.FULL and plan("--full").full and not plan("--side", "28").full
    assert plan("--quick") == SMALL
    p = plan("--defences", "critic,margin", "--seeds", "4", "--side", "28", "--hidden", "30-20", "--epochs", "23")
    assert (list(p.defences), p.seeds, p.side) == (["critic", "margin"], 4, 28)
    assert p.training == plans.with_epochs(replace(plans.DEMO.training, hidden=(30, 20)), 23)
    third = plan("--full", "--epochs", "60")  # adversarial training keeps its third of the epochs
    assert third.training_of("critic").epochs == 60 and third.training_of("adversarial").epochs == 20
    assert plan("--hidden", "linear").training.hidden == ()
    assert demo.arguments([]).out == Path("results")


def test_paper_first_says_how_long_it_takes(monkeypatch, tmp_path, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(plans, "PAPER", replace(SMALL, full=True))
    monkeypatch.setattr(experiment, "run_all", stop)
    assert demo.main(["--paper", "--out", str(tmp_path)]) == 130
    assert "Training will take about " in capsys.readouterr().out


RECORD = {
    "cross_entropy": 1.23456,
    "critic": 0.98765,
    "attack_success": 0.726,
    "validation_error": 0.248,
    "learning_rate": 1,
}


class Terminal(StringIO):
    def isatty(self):
        return True


def test_bars_on_a_terminal_fit_into_100_columns(monkeypatch, capsys):
    pytest.importorskip("tqdm")
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    bars = demo.Bars()
    for epoch in (57, 115):  # resumed at 56
        for name in ("critic", "adversarial"):
            bars(name, 0, epoch, 115, RECORD)
    bars.close()
    lines = [re.sub(r"\x1b\[\w", "", line).strip() for line in re.split("[\r\n]", screen.getvalue())]
    assert max(map(len, lines)) <= 100
    (last,) = {line for line in lines if line.startswith("critic 0 ") and "115/115" in line and "error" in line}
    assert last.endswith("error 24.8 %, loss 1.23, critic 0.99, fooled 0.73]")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_without_tqdm_or_terminal_a_run_is_a_line(terminal, monkeypatch, capsys):
    if terminal:
        monkeypatch.setitem(sys.modules, "tqdm", None)
        monkeypatch.setattr(sys, "stderr", Terminal())
    bars = demo.Bars()
    for epoch in (1, 2):
        bars("margin", 1, epoch, 2, {"margin": 0.5, "validation_error": 0.1})
    bars.close()
    out, err = capsys.readouterr()
    assert out == "margin, seed 1: 2 epochs with pre-training, validation error 10.0 %, loss 0.50\n" and err == ""
