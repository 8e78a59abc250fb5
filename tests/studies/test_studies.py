"""Every study runs, and what is shipped of it is what it says today of numbers that today's settings made."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from scipy import stats

from reference.plumbing.records import collect
from reference.studies import __main__ as command
from reference.studies import study

STUDIES = command.STUDIES
README = Path(study.__file__).with_name("README.md")


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_runs_in_its_quickest_setting(name, tmp_path, capsys):
    with ThreadPoolExecutor(1) as here:  # processes take long to start
        study.run(name, STUDIES[name], "quick", tmp_path, cluster=here)
    printed = capsys.readouterr()
    folder = tmp_path / "quick"
    assert sorted(path.name for path in folder.iterdir()) == [f"{name}.json", f"{name}.md", f"{name}.png"]
    found = json.loads((folder / f"{name}.json").read_text())
    text = (folder / f"{name}.md").read_text()
    assert printed.out == f"{text}\n{folder / name}.png\n" and found["finding"] in text
    assert text.startswith(study.question(STUDIES[name])) and study.question(STUDIES[name]).endswith("?")
    assert len(found["records"]) == len(STUDIES[name].tasks(STUDIES[name].SIZES["quick"]))
    # Nothing is measured twice.
    assert command.main([name, "--quick", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr() == (printed.out, "")
    assert json.loads((folder / f"{name}.json").read_text()) == found


@pytest.mark.parametrize("name", ["cycle", "max"])
def test_a_record_is_a_function_of_settings_and_seed(name):
    """But for times: here as in a process of its own."""
    tasks = STUDIES[name].tasks(STUDIES[name].SIZES["quick"])[-1:]
    (there,) = collect(STUDIES[name].measure, tasks, [], lambda _: None, 1)
    here = json.loads(json.dumps(STUDIES[name].measure(*tasks[0][1])))
    assert here and here == {key: there[key] for key in here}


@pytest.mark.parametrize("name", STUDIES)
def test_the_shipped_finding_is_what_the_shipped_numbers_say(name):
    module, found = STUDIES[name], study.read(study.SHIPPED / f"{name}.json")
    assert found["size"] == "full"
    assert found["finding"] == study.finding(module, found["records"])
    assert not found["finding"].startswith("The finding no longer holds")
    tasks = module.tasks(module.SIZES["full"])
    assert len(tasks) == len(found["records"])
    for (about, _), record in zip(tasks, found["records"], strict=True):
        assert about.items() <= record.items(), "the settings are today's"
    assert len({record["seed"] for record in found["records"]}) >= 3
    assert isinstance(module.draw(found["records"]), Figure)
    assert module.table(found["records"]) in (study.SHIPPED / f"{name}.md").read_text()
    assert (study.SHIPPED / f"{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", STUDIES)
def test_every_number_of_a_finding_is_compared(name):
    """Whichever of them is changed, the finding no longer holds."""
    module, records = STUDIES[name], study.read(study.SHIPPED / f"{name}.json")["records"]
    found = module.found(records)
    for i in range(len(found)):
        other = SimpleNamespace(FINDING=module.FINDING, found=lambda _, i=i: [*found[:i], "other", *found[i + 1 :]])
        assert study.finding(other, records).startswith("The finding no longer holds")


@pytest.mark.parametrize("name", STUDIES)
def test_the_readme_says_what_was_found(name):
    """Question, finding, picture, command."""
    row = f"| {study.question(STUDIES[name])} | {study.headline(name)} |"
    (line,) = [line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith(row)]
    assert f"(../gallery/studies/{name}.png)" in line and line.endswith(f"| `{name}` |")


def records(values, name="a"):
    return [{"name": name, "seed": seed, "v": value} for seed, value in enumerate(values)]


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=2, max_size=6))
def test_compare_is_the_paired_t_test(pairs):
    a, b = np.array(pairs).round(2).T
    found = study.compare(records(a), records(b)[::-1], "v")
    assert found == -study.compare(records(b), records(a), "v")
    if np.ptp(b - a) == 0:
        assert found == 0
    if np.ptp(b - a) > 1e-3:
        assert found == np.sign((b - a).mean()) * (stats.ttest_rel(a, b).pvalue < 0.05)


def test_one_seed_tells_nothing():
    assert study.compare(records([1]), records([2]), "v") == 0
    assert study.told(records([1]), records([2]), "v") == "not told apart"
    assert study.told(records([0.01, 0.02, 0.03]), records([0.04, 0.05, 0.061]), "v", "more", "less") == "more"


def test_an_entry_has_its_spread():
    assert study.entry(records([0.1, 0.2]), "v") == "0.150 ±0.071"
    assert study.entry(records([0.1]), "v", 1, 100) == "10.0"
    assert study.entry([records([0.1])[0] | {"v_half": 0.02}], "v", 1, 100) == "10.0 ±2.0"
    assert study.entry(records([0.1, None]), "v") == "–"


def first_record(study, **changes):
    """A file with the record that the study would make first, and these changes."""
    about, _ = command.STUDIES[study].tasks(command.STUDIES[study].SIZES["quick"])[0]
    return json.dumps({"records": [about | {"seconds": 1.0} | changes]})


@pytest.mark.parametrize(
    "content",
    ["", "[]", "3", "[" * 100_000, '{"records": [1]}', '{"records": [{"name": "a"}]}', '{"records": null}']
    + [first_record("cycle", seconds="long"), first_record("cycle", name=1), first_record("cycle", seed=None)],
    ids=lambda content: content[:20],
)
def test_a_foreign_file_is_refused(content, tmp_path, capsys):
    path = tmp_path / "quick" / "cycle.json"
    path.parent.mkdir()
    path.write_text(content)
    assert command.main(["cycle", "--quick", "--out", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert path.read_text() == content


@pytest.mark.parametrize(
    "argv",
    [["cycle", "--jobs", "0"], ["cycle", "--quick", "--full"], ["nothing"], ["survey"], ["survey", "score"]]
    + [["survey", "make", "--images", "x"]],
)
def test_wrong_command_lines(argv, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command.main(argv) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
