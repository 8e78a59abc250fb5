"""The pictures show what was measured: arranged from real, tiny runs and drawn."""

from dataclasses import replace

import numpy as np
import pytest

from reference.experiment import figures, pictures, plans
from reference.experiment import run as experiment

PLAN = replace(
    plans.QUICK,
    defences={name: plans.QUICK.defences[name] for name in ("undefended", "margin")},
    training=replace(plans.QUICK.training, hidden=(), epochs=1),
    test_images=20,
    slow_images=5,
    seeds=2,
    toy_epochs=1,
)


@pytest.fixture(scope="module")
def outcomes():
    return [experiment.run(PLAN, name, seed, None, False, None) for name in PLAN.defences for seed in (0, 1)]


@pytest.fixture
def drawn(monkeypatch):
    """What each drawing function was given, by its name."""
    seen = {}

    def spy(name, draw):
        def wrapped(*args, **kwargs):
            seen[name] = args
            return draw(*args, **kwargs)

        return wrapped

    for name in ("digit_sheet", "robust_accuracy", "training_curves", "two_kinds"):
        monkeypatch.setattr(figures, name, spy(name, getattr(figures, name)))
    return seen


def test_every_picture_is_written_and_shows_the_outcomes(outcomes, drawn, tmp_path):
    written = pictures.draw_all(outcomes, PLAN, tmp_path)
    assert [path.name for path, _ in written] == ["digits.png", "robust_accuracy.png", "two_kinds.png", "training.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") and caption for path, caption in written)

    originals, adversarial, labels, taken_for, success, names, side, _ = drawn["digit_sheet"]
    assert names == ["undefended", "margin"] and side == 14 and np.array_equal(labels, np.arange(10))
    np.testing.assert_array_equal(adversarial[1], outcomes[2].sheet["adversarial"])  # seed 0 of the second defence
    assert adversarial.shape == (2, *originals.shape) and taken_for.shape == success.shape == (2, 10)

    curves, fixed, note = drawn["robust_accuracy"]
    assert set(fixed) <= set(curves)
    for attack in curves:
        n = len(found.ratios) if (found := outcomes[0].true.attacks.get(attack)) else PLAN.slow_images
        assert f"{attack} {n}" in note
    _, mean = curves["DeepFool"]["undefended"]
    np.testing.assert_allclose(mean, (outcomes[0].curves["DeepFool"][1] + outcomes[1].curves["DeepFool"][1]) / 2)

    assert drawn["training_curves"][0]["margin"] is outcomes[2].history

    panels, x, y, bayes, typical, classes = drawn["two_kinds"]
    assert list(panels) == ["undefended", "adversary critic"] and len(x) == len(y)
    assert bayes.shape == typical.shape[:2] and typical.shape[2] == len(classes)
    for panel in panels.values():
        assert panel.predicted.shape == bayes.shape and set(panel.kinds) <= {"I", "II", ""}
        assert len(panel.starts) == len(panel.ends) == len(panel.kinds)
