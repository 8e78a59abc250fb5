"""The search's two rules, and that `settings` holds what they chose."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from reference.experiment import plans, search

GALLERY = Path(search.__file__).parents[1] / "gallery" / "search.json"


def result(error, deepfool, high, **more):
    return {"error": error, "rho": {"DeepFool": deepfool, "high-confidence": high}} | more


def test_the_first_rule_takes_the_smallest_error_and_then_the_larger_rho():
    a, b, c = result(0.03, 0.2, 0.4), result(0.02, 0.1, 0.2), result(0.02, 0.1, 0.3)
    assert search.select([a, b, c])[0] is c


def test_the_second_rule_takes_the_largest_rho_within_one_point():
    """Both ρ count; exactly one point is within."""
    a, b, c = result(0.02, 0.1, 0.2), result(0.03, 0.15, 0.4), result(0.031, 0.3, 0.9)
    assert search.select([a, b, c])[1] is b
    assert search.select([a, result(0.03, 0.3, 0.1), b])[1] is b


def test_the_settings_are_what_the_rules_chose():
    """From the kept results of the search, all of whose candidates are still the program's."""
    results = json.loads(GALLERY.read_text(encoding="utf-8"))
    candidates = {(name, repr(c)) for name, cs in search.CANDIDATES.items() for c in cs}
    assert {(r["name"], r["settings"]) for r in results} == candidates
    for name in search.CANDIDATES:
        first, second = search.select([r for r in results if r["name"] == name])
        assert first["settings"] == repr(plans.DEMO.defences[name])
        assert second["settings"] == repr(plans.ROBUST[name])


def test_the_table_marks_the_choices(capsys):
    assert search.main(["--out", str(GALLERY)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + sum(map(len, search.CANDIDATES.values()))
    assert sum("1 and 2" in line for line in lines) + sum(line.endswith(" 1 |") for line in lines) == 5


def test_only_what_is_missing_is_judged_and_kept(tmp_path, monkeypatch, capsys):
    """At the smallest size: one candidate, then nothing."""
    tiny = replace(plans.DEMO.training, hidden=(), epochs=1, pretrain_epochs=0)
    monkeypatch.setattr(search, "DEMO", replace(plans.DEMO, training=tiny))
    out = tmp_path / "search.json"
    assert search.main(["--only", "undefended", "--out", str(out)]) == 0
    first = capsys.readouterr()
    assert len(first.err.splitlines()) == 1 and "undefended" in first.err
    assert search.main(["--only", "undefended", "--out", str(out)]) == 0
    again = capsys.readouterr()
    assert again.err == "" and again.out == first.out
    (kept,) = json.loads(out.read_text())
    assert 0 < kept["error"] < 0.9 and kept["rho"]["DeepFool"] > 0 and kept["seconds"] > 0


@pytest.mark.parametrize("content", ("{", '{"a": 1}', "[1]"))
def test_a_foreign_file_is_refused(tmp_path, content, capsys):
    out = tmp_path / "search.json"
    out.write_text(content)
    assert search.main(["--out", str(out)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert out.read_text() == content


def test_no_jobs_and_an_interrupt(tmp_path, monkeypatch, capsys):
    assert search.main(["--jobs", "0", "--out", str(tmp_path / "a.json")]) == 2

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "search", interrupted)
    assert search.main(["--out", str(tmp_path / "a.json")]) == 130
    assert "goes on" in capsys.readouterr().err
