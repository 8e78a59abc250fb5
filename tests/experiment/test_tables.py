"""The tables: every number is the evaluation's, every convention is printed, nothing in the JSON is nan."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from reference.experiment import tables as report
from reference.experiment.evaluate import Evaluation, Robustness
from reference.experiment.plans import QUICK
from reference.experiment.run import Outcome
from reference.plumbing.files import write_json

NAMES = ("DeepFool", "high-confidence", "strongest", "Carlini-Wagner")


def robustness(ratios, success=None, convention="by hand"):
    ratios = np.asarray(ratios, float)
    success = np.ones(len(ratios), bool) if success is None else np.asarray(success, bool)
    found, zeros = np.where(success, ratios, np.nan), np.zeros(len(ratios), int)
    return Robustness(found, ratios, 2 * found, success, zeros, zeros + 1, convention)


def outcome(defence="undefended", seed=0, scale=1.0, success=None, wrong=1):
    """10 images, of which `wrong` are misclassified; each attack is 1 % weaker than the one before."""

    def evaluation(start, names):
        ratios = scale * np.linspace(0.1, 0.3, 10)
        attacks = {
            name: robustness(ratios * (1 + i / 100), success, f"{name} from the {start} label")
            for i, name in enumerate(names)
        }
        return Evaluation((np.arange(10) < wrong).astype(int), np.zeros(10, int), attacks)

    history = [{"epoch": 1, "cross_entropy": 0.5}]
    attacked = np.zeros((8, 4)), np.ones(8, int), np.zeros(8, int)
    looks = {"one": 0.5, "other": 0.75}
    both = evaluation("true", NAMES), evaluation("predicted", NAMES[:3])
    return Outcome(defence, seed, history, *both, {}, {}, attacked, looks, 12.5, 3.25)


def cells(text, row=0):
    """The cells of a row of a Markdown table."""
    return [cell.strip() for cell in text.splitlines()[2 + row].strip("|").split("|")]


def test_published_values_are_the_papers():
    """Matyasko & Chau 2018, the table for the MLP: error %, DeepFool, Carlini & Wagner, high-confidence."""
    table = """
        undefended    1.46    .131    .124    .173
        adversarial    .90    .228    .210    .299
        virtual        .84    .244    .215    .355
        margin         .84    .262    .230    .453
        critic        1.18    .290    .272    .575
    """
    rows = [line.split() for line in table.strip().splitlines()]
    assert report.PUBLISHED == {name: tuple(map(float, values)) for name, *values in rows}
    assert report.COLUMNS == ("DeepFool", "Carlini-Wagner", "high-confidence")
    printed = report.published(["critic", "mine", "margin"])
    assert cells(printed) == ["adversary critic", "1.18", "0.290", "0.272", "0.575", "87.99"]
    assert cells(printed, 1) == ["margin", "0.84", "0.262", "0.230", "0.453", "60.47"]
    assert len(printed.splitlines()) == 4


def test_one_seed_shows_the_mean_and_half_the_interval():
    run = outcome()
    text = report.table([run])
    header = [cell.strip() for cell in text.splitlines()[0].strip("|").split("|")]
    columns = ["ρ DeepFool (10)", "ρ Carlini-Wagner (10)", "ρ high-confidence (10)", "ρ strongest (10)"]
    assert header == ["defence", "error %", *columns, "looks like target %"]
    name, error, *rhos = cells(text)
    low, high = run.true.error_interval()
    assert (name, error) == ("undefended", f"10.0 ±{50 * (high - low):.1f}")
    # in the order of the header, not of the evaluation
    for cell, attack, rho in zip(rhos, (*report.COLUMNS, "strongest"), (0.2, 0.206, 0.202, 0.204), strict=False):
        low, high = run.true.attacks[attack].interval()
        assert cell == f"{rho:.3f} ±{(high - low) / 2:.3f}"


def test_several_seeds_show_the_standard_deviation_with_n_minus_1():
    runs = [outcome(seed=seed, scale=scale, wrong=seed) for seed, scale in enumerate((1.0, 1.1, 1.5))]
    _, error, deepfool, *_ = cells(report.table(runs))
    assert error == f"10.0 ±{10.0:.1f}"  # 0, 10 and 20 %
    assert deepfool == f"{0.24:.3f} ±{np.sqrt((0.04**2 + 0.02**2 + 0.06**2) / 2):.3f}"


def test_the_success_rate_is_shown_where_an_attack_failed():
    success = np.arange(10) >= 3
    _, _, deepfool, *_ = cells(report.table([outcome(success=success)]))
    assert deepfool.endswith(" (70 %)") and deepfool.startswith(f"{np.linspace(0.1, 0.3, 10)[3:].mean():.3f} ")
    two = cells(report.table([outcome(success=success), outcome(seed=1)]))[2]
    assert two.endswith("(85 %)")
    assert "(" not in report.table([outcome()]).split("\n", 1)[1]
    none = cells(report.table([outcome(success=np.zeros(10))]))
    assert none[2:-1] == ["– (0 %)"] * 4


def test_attacks_from_the_predicted_label_have_their_own_table():
    run = outcome()
    run.predicted.attacks["DeepFool"] = robustness(np.full(10, 0.7))
    text = report.table([run], "predicted")
    assert "Carlini-Wagner" not in text and cells(text)[2] == "0.700 ±0.000"
    assert cells(report.table([run]))[2].startswith("0.200")


def test_looks_are_the_mean_of_the_stand_ins_with_its_spread():
    """5 of 8 in Wilson's interval for one run; over seeds their standard deviation; "–" where no attack succeeded."""
    low, high = stats.binomtest(5, 8).proportion_ci(method="wilson")
    run = outcome()
    assert cells(report.table([run]))[-1] == f"62.5 ±{50 * (high - low):.1f}"
    other = replace(run, seed=1, looks={"one": 0.7, "other": 0.75})
    assert cells(report.table([run, other]))[-1] == f"67.5 ±{np.std([62.5, 72.5], ddof=1):.1f}"
    none = replace(run, looks={}, attacked=tuple(a[:0] for a in run.attacked))
    assert cells(report.table([none]))[-1] == cells(report.table([run, none]))[-1] == "–"
    assert "looks like" not in report.table([run], "predicted")
    assert report.as_json([run], QUICK, "digits")["runs"][0]["looks_like_target"] == {"images": 8, **run.looks}


def test_rows_follow_the_outcomes_and_columns_line_up():
    runs = [outcome("margin"), outcome("undefended"), outcome("margin", 1, 2.0)]
    assert {name: [run.seed for run in group] for name, group in report.by_defence(runs).items()} == {
        "margin": [0, 1],
        "undefended": [0],
    }
    text = report.table(runs)
    assert [cells(text, i)[0] for i in range(2)] == ["margin", "undefended"]
    assert len({len(line) for line in text.splitlines()}) == 1
    assert len({tuple(m.start() for m in re.finditer(r"\|", line)) for line in text.splitlines()}) == 1


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_report_prints_every_convention(seeds):
    plan = replace(QUICK, seeds=seeds)
    runs = [outcome(name, seed) for name in ("undefended", "critic") for seed in range(seeds)]
    text = report.full_report(runs, plan, "some digits")
    assert "Measured: some digits, 14×14, classifier 32, 2 epochs, 10 test images" in text
    assert ("half the 95 % interval over images" if seeds == 1 else "standard deviation over 2 seeds") in text
    for name in NAMES:
        assert f"- {name} from the true label" in text
    for name in NAMES[:3]:
        assert f"- {name} from the predicted label" in text
    published = text[text.index("Published") :]
    assert "full-scale MNIST, 28×28" in published and "margin" not in published
    assert "0.575" in published and "1.46" in published
    for start in ("true", "predicted"):
        assert report.table(runs, start) in text


def test_json_holds_everything_unrounded_and_no_nan(tmp_path):
    runs = [outcome("critic", 0, success=np.zeros(10)), outcome("critic", 1, scale=1 / 3)]
    value = report.as_json(runs, QUICK, "some digits")
    write_json(tmp_path / "table.json", value)  # refuses nan

    def refuse(name):
        raise AssertionError(name)

    back = json.loads((tmp_path / "table.json").read_text(), parse_constant=refuse)
    assert back == json.loads(json.dumps(value))
    failed, good = (run["from_true_label"]["attacks"]["DeepFool"] for run in back["runs"])
    assert failed["success_rate"] == 0 and failed["rho"] is failed["median"] is failed["rho_low"] is None
    np.testing.assert_allclose(failed["rho_with_last_iterates"], 0.2)
    found = runs[1].true.attacks["DeepFool"]
    assert (good["rho"], good["median"]) == (found.rho, found.median)
    assert (good["rho_low"], good["rho_high"]) == found.interval()
    assert good["images"] == 10 and good["convention"] == "DeepFool from the true label"
    run = back["runs"][1]
    assert (run["defence"], run["seed"], run["training_seconds"]) == ("critic", 1, 12.5)
    assert run["from_true_label"]["error"] == 0.1 and run["history"] == runs[1].history
    assert set(run["from_predicted_label"]["attacks"]) == set(NAMES[:3])
    assert "AdversaryCritic(" in run["settings"] and "Training(" in back["training"]
    assert back["published"]["values"]["critic"] == [1.18, 0.29, 0.272, 0.575]
