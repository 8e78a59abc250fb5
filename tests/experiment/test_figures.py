"""Every picture draws on arrays alone, says what it shows, and is written with the same bytes each time."""

import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from reference.errors import InputError
from reference.experiment import figures
from reference.experiment.figures import Panel, digit_sheet, robust_accuracy, save, training_curves, two_kinds

DEFENCES = ["undefended", "adversary critic"]


def sheet(m=2, side=14, success=None):
    rng = np.random.default_rng(0)
    x = rng.random((10, side * side)).astype(np.float32)
    attacked = np.clip(x + 0.1 * rng.standard_normal((m, *x.shape)), 0, 1)
    to = np.tile((np.arange(10) + 5) % 10, (m, 1))
    success = np.ones((m, 10), bool) if success is None else success
    return digit_sheet(x, attacked, np.arange(10), to, success, DEFENCES[:m], side, "A note.")


def accuracy(defences=DEFENCES):
    steps = {name: (np.array([0, 1, 2.0]), np.array([0.9, 0.5, 0])) for name in defences}
    return robust_accuracy({"DeepFool": steps, "PGD": steps}, fixed_radii=["PGD"], note="A note.")


def kinds(kinds=("I", "II", "")):
    rng = np.random.default_rng(0)
    predicted = np.repeat(np.arange(2), 5)[None].repeat(10, axis=0)
    typical = np.stack([predicted + 0.5, 1.5 - predicted], axis=-1)
    starts, ends = rng.random((2, len(kinds), 2))
    panel = Panel(predicted, starts, ends, np.array(kinds, "U2"))
    x, y = rng.random((20, 2)), np.arange(20) % 2
    return two_kinds({"before": panel, "after": panel}, x, y, predicted, typical, ["A", "B"], note="A note.")


def curves():
    plain = [{"epoch": e, "cross_entropy": 1 / e, "train_error": 0.1, "validation_error": 0.2} for e in (1, 2, 3)]
    attack = {"critic": 1.0, "cycle": np.nan, "real": 0.5, "fake": 0.6, "attack_success": 0.9, "mean_r": 0.3}
    return training_curves({"undefended": plain, "adversary critic": [plain[0], plain[1] | attack, attack]}, "A note.")


PICTURES = {"digit_sheet": sheet, "robust_accuracy": accuracy, "two_kinds": kinds, "training_curves": curves}


def texts(figure):
    figure.draw_without_rendering()
    return [t.get_text() for t in figure.findobj(matplotlib.text.Text) if t.get_text()]


@pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES)
def test_every_picture_is_labelled_and_captioned(picture):
    figure = picture()
    assert isinstance(figure, Figure)
    assert figure.get_suptitle()
    assert figure.get_supxlabel().replace("\n", " ").endswith("A note.")
    shown = [axes for axes in figure.axes if axes.get_subplotspec() or axes.images]
    assert shown and all(axes.xaxis.get_label_text() for axes in shown)
    assert any(axes.yaxis.get_label_text() for axes in figure.axes)
    smallest = min(t.get_fontsize() for t in figure.findobj(matplotlib.text.Text) if t.get_text())
    assert smallest >= 9, "illegible on a slide"


@pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES)
def test_the_same_arrays_give_the_same_bytes(picture, tmp_path):
    save(picture(), tmp_path / "a.png", dpi=40)
    save(picture(), tmp_path / "new" / "b.png", dpi=40)
    data = (tmp_path / "a.png").read_bytes()
    assert data.startswith(b"\x89PNG") and b"Software" not in data
    assert data == (tmp_path / "new" / "b.png").read_bytes()


def test_pyplot_stays_untouched():
    code = (
        "import sys, matplotlib; keys = set(matplotlib.rcParams) - {'backend'}; "
        "before = {k: matplotlib.rcParams[k] for k in keys}; import reference.experiment.figures as f; "
        "f.robust_accuracy({'a': {'b': ([0, 1], [1, 0])}}); "
        "assert 'matplotlib.pyplot' not in sys.modules and all(before[k] == matplotlib.rcParams[k] for k in keys)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unwritable_place_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot write") as error:
        save(accuracy(), tmp_path / "file" / "a.png")
    assert "\n" not in str(error.value)


def test_the_sheet_names_every_attack_and_every_failure():
    success = np.ones((2, 10), bool)
    success[1, 3] = False
    figure = sheet(success=success)
    labels, rows = texts(figure), [label.get_text().replace("\n", " ") for label in figure.axes[0].get_yticklabels()]
    assert labels.count("3 → 8") == 1 and labels.count("0 → 5") == 2 and labels.count("failed") == 1
    assert rows == ["original", DEFENCES[0], "perturbation", DEFENCES[1], "perturbation"]


def test_a_sheet_of_failures_shows_the_originals_and_no_perturbation():
    figure = sheet(success=np.zeros((2, 10), bool))
    drawn = [image.get_array() for image in figure.axes[0].images]
    assert texts(figure).count("failed") == 20
    np.testing.assert_array_equal(drawn[10], drawn[0])
    assert np.ma.getmaskarray(drawn[20]).all()


def test_perturbations_share_one_symmetric_scale():
    limits = {image.get_clim() for image in sheet().axes[0].images if image.get_cmap().name == "PuOr_r"}
    assert len(limits) == 1 and sum(limits.pop()) == 0


@pytest.mark.parametrize("side", [14, 28])
def test_one_defence_or_none(side, tmp_path):
    for m in (0, 1):
        save(sheet(m, side), tmp_path / "a.png", dpi=30)
    save(accuracy(DEFENCES[:1]), tmp_path / "a.png", dpi=30)
    save(training_curves({"undefended": []}), tmp_path / "a.png", dpi=30)


def test_nan_perturbations_and_accuracies_leave_gaps(tmp_path):
    x = np.zeros((10, 4))
    figure = digit_sheet(x, np.full((1, 10, 4), np.nan), range(10), [range(10)], np.ones((1, 10)), ["margin"], 2)
    save(figure, tmp_path / "a.png", dpi=30)
    save(robust_accuracy({"DeepFool": {"own": ([0, np.nan], [0.9, np.nan])}}), tmp_path / "a.png", dpi=30)


def test_accuracy_is_a_step_curve_or_markers_in_percent():
    steps, markers = accuracy().axes
    assert {line.get_drawstyle() for line in steps.lines} == {"steps-post"}
    assert {line.get_marker() for line in steps.lines} == {"None"}
    assert {line.get_drawstyle() for line in markers.lines} == {"default"}
    assert len({line.get_marker() for line in markers.lines}) == 2
    np.testing.assert_allclose(steps.lines[0].get_ydata(), [90, 50, 0])


def test_a_defence_looks_the_same_in_every_picture():
    together, alone = accuracy().axes[0].lines[1], accuracy(["adversary critic"]).axes[0].lines[0]
    assert together.get_color() == alone.get_color() and together.get_linestyle() == alone.get_linestyle()
    assert len({figures.look(name, ["own", "other"]) for name in (*figures.KNOWN, "own", "other")}) == 7


def test_titles_count_both_kinds_and_the_failures():
    assert kinds().axes[0].get_title() == "before\nkind I: 1,  kind II: 1,  failed: 1"
    assert kinds(["II"] * 70).axes[1].get_title() == "after\nkind I: 0,  kind II: 70"


def test_training_curves_draw_what_the_records_hold():
    drawn = {line.get_label() for axes in curves().axes for line in axes.lines}
    assert {"cross entropy", "critic", "cycle", "real", "attack success", "mean r"} <= drawn
    assert not {"margin", "penalty real", "target confidence"} & drawn
    assert len(curves().axes) == 4 + 3
