"""The survey: what the page holds and hides, the order of its images, and how answers are read and counted."""

import base64
import itertools
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from strategies import seeds

from reference.by_hand.model import from_params as as_model
from reference.data import load
from reference.errors import DivergenceError, InputError
from reference.experiment import standin
from reference.experiment.plans import QUICK
from reference.experiment.train import train
from reference.method.numerics import predict
from reference.method.settings import AdversarialTraining, Undefended
from reference.studies import __main__ as command
from reference.studies import scoring, survey

TRAINING = replace(QUICK.training, hidden=(16,), batch=50, epochs=2, learning_rate=0.005)
DEFENCES = {"undefended": Undefended(), "adversarial": AdversarialTraining(0.1)}
IMAGES, CHECKS = 8, 4  # 20 images, 4 strips


def small(patch):
    patch.setattr(survey, "CANDIDATES", 100)
    patch.setattr(standin, "LARGEST", 1000)


def train_all(folder):
    """A demo's output, as far as the survey reads it."""
    for name, defence in DEFENCES.items():
        train(load(14), defence, TRAINING, checkpoint=folder / "checkpoints" / f"{name}-0.npz")
    return folder


def make_small(out, results):
    """A survey of 20 images."""
    with pytest.MonkeyPatch.context() as patch:
        small(patch)
        survey.make(out, results, IMAGES, CHECKS)
    return out


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return train_all(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def made(results, tmp_path_factory):
    return make_small(tmp_path_factory.mktemp("survey"), results)


@pytest.fixture(scope="module")
def key(made):
    return scoring.read_key(scoring.read(made / "key.json"))


def of_page(made):
    """What the page's script is given."""
    text = (made / "survey.html").read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="survey">(.*?)</script>', text)[1])


def write(path, key, answers, annotator="somebody", **changes):
    content = {"kind": "survey answers", "fingerprint": key.fingerprint, "annotator": annotator, "answers": answers}
    path.write_text(json.dumps(content | changes), encoding="utf-8")
    return path


def text_of(answers):
    return "".join("?" if answer == standin.UNSURE else str(answer) for answer in answers)


def test_the_page_needs_no_network_and_tells_nothing(made, key):
    text = (made / "survey.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|src=|<link|@import|url\(|fetch\(|XMLHttp|WebSocket|import\(", text)
    assert "default-src 'none'" in text
    data = of_page(made)
    assert set(data) == {"fingerprint", "count", "side", "pixels"} and data["fingerprint"] == key.fingerprint
    assert (data["count"], data["side"]) == (20, 14)
    rest = text.replace(data["pixels"], "").lower()
    assert not [word for word in ("undefended", "critic", "adversarial", "original", "taken_for") if word in rest]


def contrast(*colours):
    """Of two colours "#rrggbb" or "#rgb", by the definition of WCAG 2: 1 to 21."""

    def luminance(colour):
        digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
        channels = np.array([int(digits[i : i + 2], 16) for i in (0, 2, 4)]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    low, high = sorted(map(luminance, colours))
    return (high + 0.05) / (low + 0.05)


def test_colours_have_contrast():
    """WCAG 2 AA on white: 4.5 for text, 3 for lines and the mark of the focus."""
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    colours = dict(re.findall(r"--(\w+): (#\w+)", survey.PAGE.read_text(encoding="utf-8")))
    needed = {"ink": 4.5, "quiet": 4.5, "act": 4.5, "line": 3, "mark": 3}
    assert colours.keys() == needed.keys()
    assert [name for name, colour in colours.items() if contrast(colour, "#fff") < needed[name]] == []


def test_the_images_are_adversarial_as_shown(made, results, key):
    """From the page's own pixels: each network takes them for what the key says; checks are the clean test images."""
    pixels = np.frombuffer(base64.b64decode(of_page(made)["pixels"]), np.uint8).reshape(20, 196)
    networks, data = survey.load_networks(results)
    rows = np.array([item["image"] for item in key.about["items"]])
    assert np.array_equal(key.original, data.test.y[rows])
    for name, params in networks.items():
        mine = key.defence == name
        logits = as_model(params).logits
        assert np.array_equal(predict(logits((pixels[mine] / 255).astype(np.float32))), key.taken_for[mine])
        assert np.all(key.taken_for[mine] != key.original[mine])
        assert np.array_equal(predict(logits(data.test.x[rows[mine]])), key.original[mine])
    checks = key.defence == ""
    assert np.array_equal(pixels[checks], np.round(255 * data.test.x[rows[checks]]))
    assert not set(rows[checks]) & set(rows[~checks]) and len(set(rows[checks])) == CHECKS
    shown = [sorted(rows[key.defence == name]) for name in networks]
    assert shown[0] == shown[1] and len(set(shown[0])) == IMAGES


@given(seeds, st.integers(1, 6), st.integers(1, 12), st.integers(1, 8))
def test_the_order_is_random_and_balanced(seed, defences, images, checks):
    def arranged(seed):
        return survey.arrange(np.random.default_rng(seed), defences, images, checks)

    order, total = arranged(seed), defences * images
    assert sorted(order) == list(range(total + checks)) and np.array_equal(order, arranged(seed))
    shown = order[order < total]
    for turn in shown.reshape(images, defences):
        assert sorted(turn // images) == list(range(defences))
        assert images < defences or len(set(turn % images)) == defences
    # Before the c-th check at least c − 1 equal parts have been shown, and at most c.
    before = [np.sum(order[:i] < total) for i in np.flatnonzero(order >= total)]
    for c, count in enumerate(before):
        assert total * c // checks <= count <= -(-total * (c + 1) // checks)


def test_another_seed_is_another_order():
    orders = {tuple(survey.arrange(np.random.default_rng(seed), 5, 20, 10)) for seed in range(20)}
    assert len(orders) == 20
    assert len({tuple(np.array(order) >= 100) for order in orders}) > 10, "the places of the checks"


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 30))
def test_classes_take_turns(labels, n):
    y, rows = np.array(labels), np.arange(len(labels))[::-1]
    if n > len(labels):
        with pytest.raises(InputError, match="ask for fewer"):
            survey.in_turns(rows, y, n, "images")
        return
    chosen = survey.in_turns(rows, y, n, "images")
    assert len(set(chosen)) == n
    for c in set(labels):
        mine = [row for row in rows if y[row] == c]
        taken = [row for row in chosen if y[row] == c]
        assert taken == mine[: len(taken)]
        # No class is ahead of another by more than one, unless that one is used up.
        assert len(taken) == len(mine) or len(taken) >= max(np.bincount(y[chosen])) - 1


def test_the_same_survey_is_the_same_file_and_never_replaces_another(made, results, tmp_path, monkeypatch, capsys):
    make_small(tmp_path, results)
    names = {"survey.html", "key.json", "stand-in-nearest-neighbours.json", "stand-in-kernel-machine.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    for name in names:
        assert (tmp_path / name).read_bytes() == (made / name).read_bytes()
    small(monkeypatch)
    again = ["survey", "make", "--results", results, "--out", tmp_path, "--images", IMAGES, "--checks", CHECKS]
    assert command.main(list(map(str, again))) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'survey.html'}: for the annotators\n")
    assert command.main(list(map(str, [*again, "--seed", 1]))) == 2
    assert "another survey's" in capsys.readouterr().err
    assert (tmp_path / "key.json").read_bytes() == (made / "key.json").read_bytes()


@pytest.mark.parametrize(
    "defect, message",
    [
        ("no folder", "run demo.py first"),
        ("unfinished", "unfinished training"),
        ("other data", "trained on other digits"),
        ("no images", "images = 0: give a whole number, 1 or more"),
        ("too many", "of the test images are fit, not 100"),
        ("seed", "seed = -1"),
    ],
)
def test_what_make_refuses(defect, message, results, tmp_path, monkeypatch, capsys):
    small(monkeypatch)
    folder, more = results, []
    if defect == "no folder":
        folder = tmp_path
    elif defect == "unfinished":
        folder, stop = tmp_path, KeyError("stop")

        def progress(*_):
            raise stop

        with pytest.raises(KeyError):
            train(load(14), Undefended(), TRAINING, 0, progress, tmp_path / "checkpoints" / "undefended-0.npz")
    elif defect == "other data":
        monkeypatch.setattr(survey, "digits", lambda *_: load(14)._replace(source="another"))
    else:
        more = {"no images": ["--images", "0"], "too many": ["--images", "100"], "seed": ["--seed", "-1"]}[defect]
    out = tmp_path / "out"
    assert command.main(["survey", "make", "--results", str(folder), "--out", str(out), *more]) == 2
    assert message in capsys.readouterr().err and not out.exists()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"fingerprint": "0"}, "belongs to another survey ('0', not "),
        ({"answers": "1" * 19}, "does not hold 20 answers"),
        ({"answers": "1" * 19 + " "}, "does not hold 20 answers"),
        ({"answers": "1" * 19 + "²"}, "does not hold 20 answers"),
        ({"answers": ["1"] * 20}, "does not hold 20 answers"),
        ({"annotator": None}, "does not say who answered"),
        ({"answers": "?" * 20}, "fails the attention checks: 0 of 4 right, at least 80% needed"),
        ({"kind": "survey"}, "neither a survey's answers nor its key"),
    ],
)
def test_answers_that_do_not_fit_are_rejected(changes, message, key, made, tmp_path):
    good = write(tmp_path / "good.json", key, text_of(key.original), "good")
    bad = write(tmp_path / "bad.json", key, **{"answers": text_of(key.original), "annotator": "bad"} | changes)
    _, sheets, rejected = scoring.collect([bad, made / "key.json", good])
    assert [sheet.annotator for sheet in sheets] == ["good"]
    assert list(rejected) == [str(bad)] and message in rejected[str(bad)] and "\n" not in rejected[str(bad)]


def test_nobody_passes_for_a_stand_in(key, made, tmp_path):
    """Whichever file comes first."""
    (name, text), *_ = key.about["stand_in_answers"].items()
    false = write(tmp_path / "a.json", key, text_of(key.original), name)
    true = made / f"stand-in-{name.removeprefix('stand-in: ').replace(' ', '-')}.json"
    for files in ([false, true], [true, false]):
        _, sheets, rejected = scoring.collect([made / "key.json", *files])
        assert [sheet.file for sheet in sheets] == [str(true)] and "claims to be a stand-in" in rejected[str(false)]


def test_what_strangers_write_is_printed_in_one_line_and_a_damaged_key_is_named(key, made, tmp_path):
    write(tmp_path / "bad.json", key, text_of(key.original), "x", fingerprint="\x1b[31m\n" * 1000)
    text = scoring.as_text(scoring.score([made / "key.json", tmp_path / "bad.json"]))
    (line,) = [line for line in text.splitlines() if line.startswith("Rejected: ")]
    assert "another survey" in line and "\x1b" not in line and len(line) < 400
    (tmp_path / "key.json").write_text("{")
    with pytest.raises(InputError, match=r"found: none\).*key.json is damaged"):
        scoring.collect([tmp_path / "key.json"])


def test_other_files_are_rejected_and_one_key_is_needed(key, made, tmp_path):
    good = write(tmp_path / "good.json", key, text_of(key.original), "good")
    same = write(tmp_path / "same.json", key, text_of(key.taken_for), "good")
    (tmp_path / "text.json").write_text("no JSON")
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe{}")
    paths = [good, same, made / "key.json", *(tmp_path / f"{name}.json" for name in ("text", "list", "bytes", "none"))]
    _, sheets, rejected = scoring.collect(paths)
    assert [sheet.file for sheet in sheets] == [str(good)], "the same file twice is one annotator"
    words = {
        "same": "by the annotator of",
        "text": "no JSON",
        "list": "is neither",
        "bytes": "no JSON",
        "none": "cannot read",
    }
    assert len(rejected) == len(words)
    for name, word in words.items():
        assert word in rejected[str(tmp_path / f"{name}.json")]
    with pytest.raises(InputError, match=r"exactly one key among the files \(found: none\)"):
        scoring.collect([good])
    copy = tmp_path / "copy.json"
    copy.write_bytes((made / "key.json").read_bytes())
    with pytest.raises(InputError, match="exactly one key"):
        scoring.collect([made / "key.json", copy])
    about = json.loads(copy.read_text())
    about["items"][0]["original"] = (about["items"][0]["original"] + 1) % 10
    copy.write_text(json.dumps(about))
    with pytest.raises(InputError, match="changed or damaged"):
        scoring.collect([copy])


@pytest.mark.parametrize("checks", [5, 10, 35])
def test_the_checks_may_be_missed_once_in_five(checks, key):
    n = 5 * checks
    places = np.arange(n) % 5 == 0
    many = replace(key, defence=np.where(places, "", "critic"), original=np.zeros(n, int), taken_for=np.ones(n, int))

    def accepted(missed):
        answers = "?" * 5 * missed + "0" * (n - 5 * missed)
        try:
            sheet = scoring.read_answers({"fingerprint": key.fingerprint, "annotator": "a", "answers": answers}, many)
        except InputError as error:
            assert f"fails the attention checks: {checks - missed} of {checks} right" in str(error)
            return False
        return sheet.checks_right == checks - missed

    assert [accepted(missed) for missed in (0, checks // 5, checks // 5 + 1, checks)] == [True, True, False, False]


@given(seeds, st.integers(1, 4))
def test_counts_and_intervals(key, seed, annotators):
    """Against a plain count, and Wilson's formula (z = 1.96 of the 95 % level)."""
    rng = np.random.default_rng(seed)
    answers = rng.integers(-1, 10, (annotators, 20))
    target = rng.random(answers.shape) < 0.5
    answers = np.where(target, key.taken_for, answers)
    found = scoring.tally([scoring.Sheet("f", str(i), row, 4) for i, row in enumerate(answers)], key)
    z = stats.norm.ppf(0.975)
    for name in DEFENCES:
        entry, counts = found["defences"][name], dict.fromkeys(("changed", "unchanged", "other", "unsure"), 0)
        for row in answers:
            for i in np.flatnonzero(key.defence == name):
                kind = {key.taken_for[i]: "changed", key.original[i]: "unchanged", -1: "unsure"}.get(row[i], "other")
                counts[kind] += 1
        n = annotators * IMAGES
        assert (entry["images"], entry["answers"]) == (IMAGES, n)
        for kind, count in counts.items():
            p = count / n
            middle, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
            assert entry[kind]["count"] == count and entry[kind]["share"] == p
            np.testing.assert_allclose(
                [entry[kind]["low"], entry[kind]["high"]],
                np.array([middle - half, middle + half]) / (1 + z**2 / n),
                atol=1e-12,
            )


MISSING = {".": np.nan}


def table(*rows):
    return np.array([[MISSING.get(c) or float(c) for c in row] for row in rows])


@pytest.mark.parametrize(
    "rows, value",
    [
        (("123321412...", "1233224125.3", ".3332342251.", "12332441251."), 0.743),
        ((".....34121133.3", "1.213343.......", "..21344.21133.4"), 0.691),
    ],
)
def test_alpha_of_published_examples(rows, value):
    """Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011, example C; and the worked example of Wikipedia's
    article on it."""
    assert round(scoring.alpha(table(*rows)), 3) == value


@given(seeds, st.integers(2, 5), st.integers(1, 8))
def test_alpha_is_one_minus_observed_over_expected_disagreement(seed, annotators, n):
    """Against the definition by pairs; it knows no order of annotators, images or names of classes."""
    rng = np.random.default_rng(seed)
    answers = np.where(rng.random((annotators, n)) < 0.2, np.nan, rng.integers(0, 4, (annotators, n)))
    columns = [column[~np.isnan(column)] for column in answers.T]
    columns = [column for column in columns if len(column) >= 2]
    values = np.concatenate(columns or [[]])
    expected = np.mean([a != b for a, b in itertools.permutations(values, 2)] or [0])
    found = scoring.alpha(answers)
    if not expected:
        assert np.isnan(found)
        return
    within = [np.mean([a != b for a, b in itertools.permutations(column, 2)]) for column in columns]
    observed = np.average(within, weights=[len(column) for column in columns])
    assert np.isclose(found, 1 - observed / expected)
    shuffled = rng.permutation(rng.permutation(answers, axis=0), axis=1)
    assert np.isclose(found, scoring.alpha(7 - 2 * shuffled))


def test_score_from_the_command_line(made, key, tmp_path, capsys, monkeypatch):
    """Two people and both stand-ins, one file rejected: tables apart, everything in the JSON, beside the published."""
    folder = tmp_path / "answers"
    folder.mkdir()
    for path in made.glob("*.json"):
        (folder / path.name).write_bytes(path.read_bytes())
    write(folder / "a.json", key, text_of(np.where(key.defence == "adversarial", key.taken_for, key.original)), "a")
    write(folder / "b.json", key, text_of(np.where(key.defence == "adversarial", -1, key.original)), "b")
    write(folder / "c.json", key, "0" * 20, "c")
    assert command.main(["survey", "score", *map(str, sorted(folder.glob("*.json")))]) == 0
    printed = capsys.readouterr().out
    assert (folder / "score" / "table.md").read_text(encoding="utf-8") == printed
    result = json.loads((folder / "score" / "table.json").read_text(encoding="utf-8"))
    assert result["people"] and result["stand_in"]
    people, stand_in = result["people"]["defences"], result["stand_in"]["defences"]
    assert people["undefended"]["unchanged"]["count"] == 16
    assert people["adversarial"]["changed"]["count"] == people["adversarial"]["unsure"]["count"] == 8
    assert stand_in["undefended"]["answers"] == 2 * IMAGES
    assert len(result["people"]["annotators"]) == len(result["stand_in"]["annotators"]) == 2
    assert list(result["rejected"]) == [str(folder / "c.json")]
    assert result["published"]["values"]["critic"] == [87.99, 9.86]
    assert "Annotators: 2; attention checks right: 4 to 4 of 4" in printed
    blocks = printed.split("\n\n")
    assert "50.0 [28.0, 72.0]" in blocks[2] and blocks[2].count("19.02") == 1
    assert blocks[3].startswith("Automatic stand-in, no people: kernel machine (clean test error ")
    assert blocks[-1].startswith(f"Rejected: {folder / 'c.json'} fails the attention checks")
    small(monkeypatch)
    errors = standin.StandIn(*load(14).train).errors(*load(14).test)
    assert result["survey"]["stand_ins"] == {f"stand-in: {name}": error for name, error in errors.items()}


def test_nobody_has_answered(made, capsys):
    assert command.main(["survey", "score", str(made / "key.json"), "--out", str(made / "nobody")]) == 0
    assert "People: no answers that count." in capsys.readouterr().out
    result = json.loads((made / "nobody" / "table.json").read_text())
    assert result["people"] is None and result["stand_in"] is None


def test_published_values_are_the_papers():
    """Matyasko & Chau 2018: % labelled as the adversarial target / % as the original label."""
    table = """
        undefended      .57   98.74
        adversarial   19.02   77.21
        virtual       35.08   59.68
        margin        60.47   34.52
        critic        87.99    9.86
    """
    rows = [line.split() for line in table.strip().splitlines()]
    assert scoring.PEOPLE == {name: tuple(map(float, values)) for name, *values in rows}


def test_without_a_name_the_studies_are_listed(capsys):
    """Each with its question and, where one is shipped, what was found."""
    assert command.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    heads = [line for line in lines if line and not line.startswith(" ")]
    assert [line.split()[0] for line in heads] == [*command.STUDIES, "survey"]
    assert heads[-1].endswith(survey.__doc__.splitlines()[0])


@pytest.mark.parametrize(
    "error, code", [(InputError("wrong"), 2), (DivergenceError("wrong"), 1), (KeyboardInterrupt(), 130)]
)
def test_the_exit_status_says_what_went_wrong(error, code, monkeypatch, capsys):
    def fail(_):
        raise error

    monkeypatch.setattr(survey, "run", fail)
    assert command.main(["survey", "score", "any"]) == code
    said = capsys.readouterr().err.strip()
    assert said == "reference.studies: wrong" or (code == 130 and said.startswith("interrupted: what was measured"))


@pytest.mark.parametrize(
    "name, value",
    [("items", 3), ("items", []), ("items", [1]), ("items", [{"defence": "critic"}]), ("defences", ["other"])]
    + [
        ("defences", 5),
        ("stand_ins", None),
        ("stand_in_answers", None),
        ("stand_in_answers", {}),
        ("stand_ins", {"a": "x"}),
        ("data", 1),
        ("images", None),
        ("attack", None),
    ],
)
def test_a_key_of_another_kind_is_named(name, value, made, tmp_path, capsys):
    """Its fingerprint fits; a field is missing or has another type."""
    about = json.loads((made / "key.json").read_text()) | {name: value}
    if value is None:
        del about[name]
    about["fingerprint"] = scoring.fingerprint(about)
    (tmp_path / "key.json").write_text(json.dumps(about))
    assert command.main(["survey", "score", str(tmp_path / "key.json")]) == 2
    error = capsys.readouterr().err
    assert "key.json is damaged or not a survey's key" in error and error.count("\n") == 1
