"""Settings refuse what would quietly train another method; plans scale to another side."""

from dataclasses import replace

import pytest

from reference.errors import InputError
from reference.experiment import plans
from reference.method import settings as S

WRONG = [
    (S.Generator, {"iterations": 0}),
    (S.Generator, {"iterations": 2.5}),
    (S.Generator, {"overshoot": -0.1}),
    (S.Generator, {"gradient": "half"}),
    (S.Generator, {"geometry": "L2"}),
    (S.Generator, {"targets": "neerest"}),
    (S.Generator, {"confidence": "runing"}),
    (S.Generator, {"confidence": 80}),
    (S.Generator, {"confidence": 1.0}),
    (S.AdversarialTraining, {"geometry": "l1"}),
    (S.AdversarialTraining, {"epsilon": -1}),
    (S.VirtualAdversarial, {"xi": 0}),
    (S.VirtualAdversarial, {"power_iterations": 0}),
    (S.Margin, {"geometry": "L2"}),
    (S.Margin, {"epsilon": float("nan")}),
    (S.AdversaryCritic, {"critic_weight": -1}),
    (S.AdversaryCritic, {"critic_learning_rate": 0}),
    (S.AdversaryCritic, {"hidden": (0,)}),
    (S.Training, {"batch": 2.5}),
    (S.Training, {"learning_rate": float("inf")}),
    (S.Training, {"beta1": 1}),
    (S.Training, {"epochs": -1}),
    (S.Training, {"hidden": (2.5,)}),
    (S.Training, {"halve_every": None}),
]


@pytest.mark.parametrize("kind, wrong", WRONG, ids=str)
def test_a_wrong_setting_is_refused_by_name(kind, wrong):
    (name,) = wrong
    with pytest.raises(InputError, match=f"^{name} = .*: give "):
        kind(**wrong)


def test_l2_lengths_scale_with_the_side_and_others_do_not():
    small = replace(plans.DEMO, defences=plans.DEMO.defences | {"L∞": S.AdversarialTraining(0.1), "L2": S.Margin(0.5)})
    plan = plans.at_side(small, 28)
    assert plan.side == 28 and plan.training == small.training
    assert plan.radii == tuple(2 * radius for radius in small.radii)
    for name in ("virtual", "L2"):
        assert plan.defences[name].epsilon == 2 * small.defences[name].epsilon
    for name in ("undefended", "L∞", "critic"):
        assert plan.defences[name] == small.defences[name]
    assert plans.at_side(plan, 14) == small


def test_the_paper_s_plan_is_the_authors_configuration():
    """As published with their code: sizes, rates, weights and noise."""
    t, c = plans.PAPER.training, plans.PAPER.defences["critic"]
    assert (t.hidden, t.batch, t.epochs, t.pretrain_epochs) == ((1200, 1200, 1200), 100, 100, 1)
    assert (t.learning_rate, t.halve_every, t.weight_decay, t.beta1, t.beta2) == (5e-4, 40, 5e-6, 0.5, 0.999)
    assert (c.hidden, c.critic_weight, c.cycle_weight, c.penalty_weight) == ((1200, 1200), 0.5, 0.01, 10)
    assert (c.input_noise, c.hidden_noise, c.critic_learning_rate, c.critic_steps) == (0.1, 0.5, 1e-3, 1)
    g = c.generator
    assert (g.iterations, g.overshoot, g.eps, g.gradient, g.confidence) == (5, 0.05, 1e-8, "truncated", "running")
    assert plans.PAPER.side == 28 and list(plans.PAPER.defences) == list(plans.DEMO.defences)
