"""The check against other libraries, as far as it goes without them: they are an extra."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from reference.errors import InputError
from reference.experiment import crosscheck


def record(networks=("undefended", "mine")):
    attack = {"seconds": 1.25, "success": 1.0, "mean": 0.5, "median": 0.4}
    failed = attack | {"success": 0.0, "mean": None, "median": None}
    one = {
        "images": 7,
        "attacks": {"strongest": attack, "theirs": failed},
        "pairs": {"a": {"peer": "b", "images": 7, "median": 1e-7, "largest": 2e-6}},
        "strongest": {"ours": 0.5, "best single peer": None},
        "robust": {"0.5": {"strongest": 0.9, "projected gradient": 0.8, "both": 0.75, "AutoAttack": 0.7}},
    }
    return {"source": "here", "versions": {"torch": "1"}, "networks": dict.fromkeys(networks, one)}


def test_the_record_as_tables():
    text = crosscheck.as_markdown(json.loads(json.dumps(record())))
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    assert lines["strongest"].count("0.5000 1.2 s") == 2 and lines["theirs"].count("– (0 %) 1.2 s") == 2
    assert lines["a – b"].count("1.0e-07, 2.0e-06") == 2
    assert lines["‖r‖ ≤ 0.5"].count("75.0 / 70.0") == 2
    assert "first 7 test images" in text and "undefended" in text and "mine" in text
    strong = record()
    for found in strong["networks"].values():
        found |= {"pairs": {}, "robust": {}}
    few = crosscheck.as_markdown(strong)
    assert "best single peer" in few and "pair" not in few and "radius" not in few


@pytest.mark.parametrize("name", ["crosscheck", "crosscheck-full", "crosscheck-full-strong", "crosscheck-paper"])
def test_the_gallery_s_pages_are_made_from_its_records(name):
    gallery = Path(crosscheck.__file__).parents[1] / "gallery"
    record = json.loads((gallery / f"{name}.json").read_text(encoding="utf-8"))
    assert (gallery / f"{name}.md").read_text(encoding="utf-8") == crosscheck.as_markdown(record)


def test_leads_are_taken_on_the_images_that_both_classify_right():
    """Image by image, and where both attacks succeeded."""
    rows = {"mine": np.array([2, 3, 5, 7]), "critic": np.array([0, 2, 3, 7])}
    ratios = {
        "mine": {"strongest": np.array([0.5, 0.25, 9.0, np.inf])},
        "critic": {"strongest": np.array([9.0, 1.0, 0.5, 2.0])},
    }
    (lead,) = crosscheck.leads(rows, ratios).values()
    assert lead["images"] == 3 and lead["strongest"]["mean"] == 0.375  # of 1 − 0.5 and 0.5 − 0.25
    assert 0.25 <= lead["strongest"]["low"] <= lead["strongest"]["high"] <= 0.5
    assert crosscheck.leads({"mine": rows["mine"]}, ratios) == {}
    apart = crosscheck.leads(rows | {"mine": np.array([1, 4, 6, 8])}, ratios)
    assert apart["mine"] == {"images": 0, "strongest": {"mean": None, "low": None, "high": None}}
    told = record() | {"leads": {"margin": lead | {"nearest of all": lead["strongest"]}}}
    (line,) = (line for line in crosscheck.as_markdown(told).splitlines() if line.startswith("| margin"))
    assert line.count("+0.3750 [+0.2") == 2 and "| 3 |" in " ".join(line.split())


def test_an_image_that_keeps_its_label_is_infinitely_far():
    x = np.zeros((2, 4))
    found = crosscheck.distances(x + 0.5, x, np.array([True, False]))
    np.testing.assert_array_equal(found, [1, np.inf])


def test_without_the_peers_or_a_run_one_line_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "foolbox", None)
    with pytest.raises(InputError, match=r"pip install '\.\[peers\]'"):
        crosscheck.as_torch([])
    for wrong, says in ((["--run", str(tmp_path)], "run demo.py first"), (["--images", "0"], "images = 0")):
        assert crosscheck.main(wrong) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert says in line


def test_networks_that_saw_other_images_are_refused(monkeypatch, tmp_path, capsys):
    """Their test images are not embedded, and others they may have been trained on."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "margin-0.npz").touch()
    read = SimpleNamespace(params=[]), {"data": ["letters", 14]}
    monkeypatch.setattr(crosscheck, "read_checkpoint", lambda path: read)
    assert crosscheck.main(["--run", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "saw letters" in line
