"""The search's candidates and its two rules; that it measures once, resumes, and judges on the validation split."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reference.data import load
from reference.experiment import plans, search
from reference.experiment.state import load_checkpoint
from reference.method.settings import Undefended, VirtualAdversarial

GALLERY = Path(search.__file__).parents[1] / "gallery"


def result(error, strongest):
    return {"error": error, "rho": {"strongest": strongest}}


def record(name, defence, training, seed, error, strongest):
    """One that `judge` could have returned."""
    about = {"name": name, "settings": repr(defence), "training": repr(training), "seed": seed, "images": 500}
    rho = {"DeepFool": strongest + 0.02, "high-confidence": 0.4, "strongest": strongest}
    looks = {"nearest neighbours": 0.5, "kernel machine": 0.25 * seed}
    success = dict.fromkeys(rho, 1.0)
    return about | {"error": error, "rho": rho, "success": success, "looks": looks, "attacked": 100, "dtype": "float32"}


def test_the_first_rule_takes_the_smallest_error_and_then_the_larger_rho():
    a, b, c = result(0.03, 0.4), result(0.02, 0.1), result(0.02, 0.3)
    assert search.select([a, b, c], ())[0] is c


def test_the_second_rule_takes_the_largest_rho_within_an_absolute_budget():
    """Exactly the budget is within; how good the best candidate of the defence is does not matter."""
    a, b, c = result(0.02, 0.1), result(0.03, 0.15), result(0.031, 0.3)
    for results in ([a, b, c], [b, c], [c, b]):
        assert search.select(results, (0.03, 0.05))[1] == [b, c]
    assert search.select([b, c], (0.029, 0.03))[1] == [None, b]


@pytest.mark.parametrize("name_of_scale", search.SCALES)
def test_the_candidates_favour_nobody(name_of_scale):
    """As many for each defence; trained alike but for epochs, and the learning rate halved at the same fractions.

    The numbers of epochs are the same for each; only single-step adversarial training has one of its own, or a third.
    """
    scale = search.SCALES[name_of_scale]
    assert set(scale.candidates) == set(scale.plan.defences)
    counts = {name: len(set(candidates)) for name, candidates in scale.candidates.items() if name != "undefended"}
    assert len(set(counts.values())) == 1
    for name, candidates in scale.candidates.items():
        for defence, training in candidates:
            assert type(defence) is type(scale.plan.defences[name])
            fraction = training.halve_every / training.epochs
            assert fraction == pytest.approx(scale.plan.training.halve_every / scale.plan.training.epochs)
            own = {"epochs": training.epochs, "halve_every": training.halve_every}
            assert training == replace(scale.plan.training, **own)
    epochs = {name: Counter(t.epochs for _, t in candidates) for name, candidates in scale.candidates.items()}
    del epochs["undefended"]
    if name_of_scale == "paper":
        assert epochs.pop("adversarial") == Counter({round(0.33 * e): n for e, n in epochs["critic"].items()})
    assert all((epochs["critic"] - own).total() <= (name == "adversarial") for name, own in epochs.items())
    assert all(epochs["critic"].keys() <= own.keys() for own in epochs.values())
    labels = [search.label(scale, name, *c) for name, candidates in scale.candidates.items() for c in candidates]
    assert len(set(labels)) == len(labels)
    files = {search.checkpoint(name_of_scale, name, *c, 0, ".") for name, cs in scale.candidates.items() for c in cs}
    assert len(files) == len(labels)


TWO = [Undefended(), VirtualAdversarial(1.0), VirtualAdversarial(2.0), VirtualAdversarial(3.0)]


def small_scale(**changes):
    t = replace(plans.DEMO.training, hidden=(), epochs=1, pretrain_epochs=0)
    plan = replace(plans.DEMO, training=t)
    candidates = {"undefended": [(TWO[0], t)], "virtual": [(d, t) for d in TWO[1:]]}
    return replace(search.Scale(plan, candidates, 2, (0.02, 0.03, 0.04)), **changes)


def rows(text):
    """The cells of the table's rows by candidate."""
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in cells}


def test_the_table_shows_means_over_seeds_and_marks_the_choices():
    scale = small_scale()
    t = scale.plan.training
    records = [
        record("virtual", defence, t, seed, error + 0.01 * seed, rho - 0.02 * seed)
        for defence, error, rho in zip(TWO[1:], (0.01, 0.02, 0.035), (0.2, 0.21, 0.3), strict=True)
        for seed in (0, 1)
    ]
    found = rows(search.table(scale, records))
    assert found["virtual ε 1"][:2] == ["2", "1.5 ±0.7"] and found["virtual ε 1"][4] == "0.190 ±0.014"
    assert found["virtual ε 1"][5:] == ["50", "12", "1, 2 (2 %)"]
    assert found["virtual ε 2"][-1] == "2 (3 %)" and found["virtual ε 3"][-1] == "2 (4 %)"
    page = search.page(scale, records)
    assert "Unfinished: 6 of 8 runs" in page and "2 seeds" in page and "2, 3, 4 %" in page
    done = [*records, *(record("undefended", TWO[0], t, seed, 0.05, 0.1) for seed in (0, 1))]
    assert "Unfinished" not in search.page(scale, done) and rows(search.table(scale, done))["undefended"][-1] == "1"


def test_nothing_is_chosen_before_all_candidates_of_a_defence_are_measured_on_all_seeds():
    scale = small_scale()
    t = scale.plan.training
    records = [record("virtual", d, t, seed, 0.01, 0.2) for d in TWO[1:] for seed in (0, 1)]
    assert rows(search.table(scale, records))["virtual ε 1"][-1].startswith("1")
    for missing in range(len(records)):
        found = rows(search.table(scale, records[:missing] + records[missing + 1 :]))
        assert {row[-1] for row in found.values()} == {""}
    (one,) = rows(search.table(scale, records[:1])).values()
    assert one[:2] == ["1", "1.0"] and one[4] == "0.200"


def test_only_the_search_s_own_seeds_and_training_count():
    scale = small_scale()
    t = scale.plan.training
    records = [record("virtual", TWO[2], t, 0, 0.02, 0.3), record("virtual", TWO[2], t, 1, 0.02, 0.1)]
    records.append(record("virtual", TWO[2], t, 5, 0.5, 0.9))
    records.append(record("virtual", TWO[2], replace(t, epochs=2), 0, 0.5, 0.9))
    (only,) = search.means(scale, records, "virtual")
    assert (only["label"], only["seeds"]) == ("virtual ε 2", 2) and only["rho"]["strongest"] == pytest.approx(0.2)


def test_only_what_is_missing_is_judged_and_kept(tmp_path, monkeypatch, capsys):
    """At the smallest size: one candidate of 20 images, then nothing; its checkpoint is kept as well."""
    scale = small_scale(seeds=1)
    monkeypatch.setitem(search.SCALES, "demo", scale)
    monkeypatch.setattr(search, "IMAGES", 20)
    monkeypatch.setattr(search, "collect", in_this_process)
    arguments = ["--only", "undefended", "--out", str(tmp_path)]
    assert search.main(arguments) == 0
    first = capsys.readouterr()
    assert len(first.err.splitlines()) == 1 and "undefended" in first.err
    (kept,) = search.read(tmp_path / "search-demo.json")
    assert kept["images"] == 20 and kept["rho"]["strongest"] <= kept["rho"]["DeepFool"]
    # The error of the whole validation split, by the network that the checkpoint holds.
    files = list((tmp_path / "checkpoints-demo").iterdir())
    assert len(files) == 1
    x, y = load().validation
    ((W, b),) = load_checkpoint(files[0]).params
    assert kept["error"] == np.mean((x @ W + b).argmax(axis=1) != y)
    assert search.main(arguments) == 0
    again = capsys.readouterr()
    assert again.err == "" and again.out == first.out
    assert (tmp_path / "search-demo.md").read_text() == first.out


def in_this_process(judge, tasks, kept, save, *_):
    """`records.collect` here, where the small scale is known."""
    done = {record["settings"] for record in kept}
    fresh = [about | judge(*arguments) for about, arguments in tasks if about["settings"] not in done]
    if fresh:
        save([*kept, *fresh])


WHOLE = record("critic", TWO[0], None, 0, 0.1, 0.2)
CHANGES = [("name", 3), ("seed", "0"), ("seed", True), ("error", None), ("error", 1e999), ("error", "x")]
CHANGES += [("error", 10**400), ("rho", []), ("rho", {"strongest": 0.1}), ("rho", WHOLE["rho"] | {"DeepFool": "x"})]
CHANGES += [("looks", [1]), ("looks", {"kernel machine": None}), ("training", None)]
FOREIGN = ["", "{", '{"a": 1}', "[1]", "3", "null", "[" * 100_000, '[{"name": "a", "settings": "b", "training": "c"}]']


@pytest.mark.parametrize("content", [*FOREIGN, *CHANGES], ids=lambda content: repr(content)[:40])
def test_a_foreign_file_is_refused(tmp_path, content, capsys):
    out = tmp_path / "search-demo.json"
    content = content if isinstance(content, str) else json.dumps([WHOLE | dict([content])])
    out.write_text(content)
    assert search.main(["--out", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert out.read_text() == content


def test_no_jobs_and_an_interrupt(tmp_path, monkeypatch, capsys):
    assert search.main(["--jobs", "0", "--out", str(tmp_path)]) == 2

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "search", interrupted)
    assert search.main(["--out", str(tmp_path)]) == 130
    assert "goes on" in capsys.readouterr().err


@pytest.mark.parametrize("name", search.SCALES)
def test_the_gallery_s_pages_are_made_from_its_records(name):
    """Every record is of a candidate as it is today, measured once; the page shows no more than they say."""
    scale, gallery = search.SCALES[name], Path(search.__file__).parents[1] / "gallery"
    records = search.read(gallery / f"search-{name}.json")
    candidates = {
        (defence, repr(settings), repr(training), seed)
        for defence, several in scale.candidates.items()
        for settings, training in several
        for seed in range(scale.seeds)
    }
    found = [(r["name"], r["settings"], r["training"], r["seed"]) for r in records]
    assert found and len(set(found)) == len(found) and set(found) <= candidates
    page = (gallery / f"search-{name}.md").read_text(encoding="utf-8")
    assert page == search.page(scale, records) + "\n"
    assert page.count("Unfinished") == (len(found) < len(candidates))
    for record in records:
        assert record["rho"]["strongest"] <= min(record["rho"]["DeepFool"] / 0.99, 1) and 0 < record["error"] < 1


def test_the_plans_are_what_the_shipped_search_chose():
    """Rule 1 for the demo; rule 2 at its middle budget for `--select robustness`, where a candidate is within it."""
    scale = search.SCALES["demo"]
    records = search.read(GALLERY / "search-demo.json")
    for name in scale.candidates:
        first, within = search.select(search.means(scale, records, name), scale.budgets)
        plan = {"rule 1": plans.DEMO.defences[name], "rule 2": plans.ROBUST[name]}
        chosen = {rule: search.label(scale, name, defence, scale.plan.training) for rule, defence in plan.items()}
        assert chosen == {"rule 1": first["label"], "rule 2": (within[1] or first)["label"]}


@pytest.mark.parametrize("name_of_scale, plan", [("full", plans.FULL), ("paper", plans.at_epochs(plans.PAPER, 50))])
def test_the_plans_at_full_size_are_what_their_searches_chose(name_of_scale, plan):
    """Rule 2 at its middle budget, epochs included."""
    scale = search.SCALES[name_of_scale]
    records = search.read(GALLERY / f"search-{name_of_scale}.json")
    for name, defence in plan.defences.items():
        _, within = search.select(search.means(scale, records, name), scale.budgets)
        assert search.label(scale, name, defence, plan.training_of(name)) == within[1]["label"]
