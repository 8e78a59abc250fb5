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
        confidence = np.full(10, 0.8, np.float32)
        return Evaluation((np.arange(10) < wrong).astype(int), np.zeros(10, int), attacks, confidence)

    history = [{"epoch": 1, "cross_entropy": 0.5}]
    attacked = np.zeros((8, 4)), np.ones(8, int), np.zeros(8, int)
    looks = {"nearest neighbours": 0.5, "kernel machine": 0.75}
    both = evaluation("true", NAMES), evaluation("predicted", NAMES[:3])
    return Outcome(defence, seed, history, *both, {}, {}, attacked, looks, {"training": 12.5, "DeepFool": 3.25}, 0.0)


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
    printed = report.table([outcome("critic"), outcome("multi-step"), outcome("margin")])
    assert [cells(printed, row)[0] for row in (0, 2, 3)] == ["adversary critic", "multi-step adversarial", "margin"]
    assert cells(printed, 1) == ["– published", "1.18", "–", "0.290", "0.272", "0.575", "–", "–", "–", "88.0"]
    assert cells(printed, 4) == ["– published", "0.84", "–", "0.262", "0.230", "0.453", "–", "–", "–", "60.5"]
    assert len(printed.splitlines()) == 2 + 5


def test_one_seed_shows_the_mean_and_half_the_interval():
    run = outcome()
    text = report.table([run])
    header = [cell.strip() for cell in text.splitlines()[0].strip("|").split("|")]
    columns = ["ρ DeepFool (10)", "ρ Carlini-Wagner (10)", "ρ high-confidence (10)", "ρ strongest (10)"]
    looks = [f"looks: {judge} %" for judge in ("nearest neighbours", "kernel machine", "people")]
    assert header == ["defence", "error %", "ECE", *columns, *looks]
    name, error, ece, *rhos = cells(text)
    low, high = run.true.error_interval()
    assert (name, error) == ("undefended", f"10.0 (±{50 * (high - low):.1f})")
    assert ece == "0.100"  # 90 % right at a confidence of 0.8
    # in the order of the header, not of the evaluation
    for cell, attack, rho in zip(rhos, report.columns_of(run.true), (0.2, 0.206, 0.202, 0.204), strict=False):
        low, high = report.interval(report.ratios([run.true.attacks[attack]]))
        assert cell == f"{rho:.3f} (±{(high - low) / 2:.3f})"
    assert (high - low) / 2 == pytest.approx(1.96 * np.std(np.linspace(0.1, 0.3, 10)) / np.sqrt(10), rel=0.1)


def test_several_seeds_show_their_standard_deviation_with_n_minus_1_and_the_interval_over_images():
    runs = [outcome(seed=seed, scale=scale, wrong=seed) for seed, scale in enumerate((1.0, 1.1, 1.5))]
    _, error, _, deepfool, *_ = cells(report.table(runs))
    low, high = stats.binomtest(1, 10).proportion_ci(method="wilson")
    assert error == f"10.0 ±{10.0:.1f} (±{50 * (high - low):.1f})"  # 0, 10 and 20 %
    # The same images, scaled: the interval of the mean is the first run's, scaled by the mean 1.2.
    low, high = report.interval(report.ratios([runs[0].true.attacks["DeepFool"]]))
    spread = np.sqrt((0.04**2 + 0.02**2 + 0.06**2) / 2)
    assert deepfool == f"{0.24:.3f} ±{spread:.3f} (±{0.6 * (high - low):.3f})"


def test_the_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    ends = np.array([report.interval(rng.exponential(size=(1, 100))) for _ in range(200)])
    covered = np.mean((ends[:, 0] < 1) & (ends[:, 1] > 1))
    assert 0.90 <= covered <= 0.98
    assert np.isnan(report.interval(np.array([[0.1, np.nan]]))).all()


def test_the_interval_over_seeds_is_wider_where_seeds_differ():
    values = np.linspace(0, 0.01, 50) + np.array([[0.1], [0.2], [0.3]])
    images, both = report.interval(values), report.interval(values, seeds=True)
    assert both[0] == pytest.approx(0.1, abs=0.01) and both[1] == pytest.approx(0.3, abs=0.01)
    assert images[1] - images[0] < 0.003
    values[1, 10:] = np.nan  # an image with no value for one seed counts for the others
    assert report.interval(values)[0] < 0.2 + 0.005 < report.interval(values)[1] + 0.002


def test_differences_are_paired_image_by_image():
    """A constant lead has no interval, however much the images differ; failed attacks leave their image out."""
    runs = [outcome("critic", seed, 1.0) for seed in range(2)]
    others = [outcome("margin", seed, 1.0) for seed in range(2)]
    for run in others:
        found = run.true.attacks["DeepFool"]
        run.true.attacks["DeepFool"] = robustness(found.ratios - 0.05, np.arange(10) > 1)
    found = report.difference(*([run.true.attacks["DeepFool"] for run in group] for group in (runs, others)))
    assert found["images"] == 8
    assert [found[key] for key in ("mean", "low", "high")] == pytest.approx([0.05] * 3)
    text = report.lead([*runs, *others])
    assert cells(text)[:2] == ["margin", "+0.0500 [+0.0500, +0.0500] (8)"]
    assert cells(text)[-1] == "+0.0000 [+0.0000, +0.0000] (10)"
    assert report.lead(others) == report.lead(runs) == ""


def test_the_success_rate_is_shown_where_an_attack_failed():
    success = np.arange(10) >= 3
    deepfool = cells(report.table([outcome(success=success)]))[3]
    assert deepfool.endswith(", 70 %") and deepfool.startswith(f"{np.linspace(0.1, 0.3, 10)[3:].mean():.3f} ")
    two = cells(report.table([outcome(success=success), outcome(seed=1)]))[3]
    assert two.endswith(", 85 %")
    assert "%" not in "".join(cells(report.table([outcome()])))
    none = cells(report.table([outcome(success=np.zeros(10))]))
    assert none[3:7] == ["–, 0 %"] * 4


def test_attacks_from_the_predicted_label_have_their_own_table():
    run = outcome()
    run.predicted.attacks["DeepFool"] = robustness(np.full(10, 0.7))
    text = report.table([run], "predicted")
    assert "Carlini-Wagner" not in text and "looks" not in text and cells(text)[2] == "0.700 (±0.000)"
    assert cells(report.table([run]))[3].startswith("0.200")


def test_each_stand_in_has_its_own_column():
    """4 and 6 of 8, with Wilson's interval for one run; "–" where no attack succeeded."""
    run = outcome()
    for found, hits in zip(cells(report.table([run]))[-3:-1], (4, 6), strict=True):
        low, high = stats.binomtest(hits, 8).proportion_ci(method="wilson")
        assert found == f"{100 * hits / 8:.1f} (±{50 * (high - low):.1f})"
    other = replace(run, seed=1, looks={"nearest neighbours": 0.7, "kernel machine": 0.75})
    assert cells(report.table([run, other]))[-3].startswith(f"60.0 ±{np.std([50, 70], ddof=1):.1f} ")
    none = replace(run, looks={}, attacked=tuple(a[:0] for a in run.attacked))
    assert cells(report.table([none]))[-3] == cells(report.table([run, none]))[-2] == "–"
    assert report.as_json([run], QUICK, "digits")["runs"][0]["looks_like_target"] == {"images": 8, **run.looks}


def test_rows_follow_the_outcomes_and_columns_line_up():
    runs = [outcome("margin"), outcome("undefended"), outcome("margin", 1, 2.0)]
    assert {name: [run.seed for run in group] for name, group in report.by_defence(runs).items()} == {
        "margin": [0, 1],
        "undefended": [0],
    }
    text = report.table(runs)
    assert [cells(text, i)[0] for i in (0, 2)] == ["margin", "undefended"]
    assert len({len(line) for line in text.splitlines()}) == 1
    assert len({tuple(m.start() for m in re.finditer(r"\|", line)) for line in text.splitlines()}) == 1


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_report_prints_every_convention(seeds):
    plan = replace(QUICK, seeds=seeds)
    runs = [outcome(name, seed) for name in ("undefended", "critic") for seed in range(seeds)]
    text = report.full_report(runs, plan, report.as_json(runs, plan, "some digits"))
    assert "Measured: some digits, 14×14, classifier 32, 2 epochs, 10 test images, float32" in text
    assert ("One seed" if seeds == 1 else "standard deviation over 2 seeds") in text
    for name in NAMES:
        assert f"- {name} from the true label" in text
    for name in NAMES[:3]:
        assert f"- {name} from the predicted label" in text
    assert "full-scale MNIST, 28×28" in text and "margin" not in text
    for block in (report.table(runs), report.table(runs, "predicted"), report.lead(runs)):
        assert block in text


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
    assert (good["rho_low"], good["rho_high"]) == report.interval(report.ratios([found]))
    assert good["images"] == 10 and good["convention"] == "DeepFool from the true label"
    run = back["runs"][1]
    assert (run["defence"], run["seed"], run["seconds"]["training"]) == ("critic", 1, 12.5)
    assert run["from_true_label"]["error"] == 0.1 and run["from_true_label"]["dtype"] == "float32"
    assert set(run["from_predicted_label"]["attacks"]) == set(NAMES[:3])
    assert "AdversaryCritic(" in run["settings"] and "Training(" in back["training"]
    assert back["published"]["values"]["critic"] == [1.18, 0.29, 0.272, 0.575]


def test_json_has_the_means_and_the_differences_of_the_tables():
    runs = [outcome("critic", 0), outcome("margin", 0, scale=0.9)]
    found = report.as_json(runs, QUICK, "some digits")["over_seeds"]
    assert "critic_less_this" not in found["critic"]["DeepFool"]
    pair = [[run.true.attacks["strongest"]] for run in runs]
    assert found["margin"]["strongest"]["critic_less_this"] == report.difference(*pair)
    each = report.per_image(runs)
    assert len(each) == 2 * len(NAMES) and each["margin 0 DeepFool"].mean() == pytest.approx(0.18)
