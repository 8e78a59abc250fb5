"""Settings refuse what would quietly train another method; plans scale to another side."""

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
    plan = plans.at_side(plans.DEMO, 28)
    assert plan.side == 28 and plan.training == plans.DEMO.training
    assert plan.radii == tuple(2 * radius for radius in plans.DEMO.radii)
    for name in ("virtual", "margin"):
        assert plan.defences[name].epsilon == 2 * plans.DEMO.defences[name].epsilon
    for name in ("undefended", "adversarial", "critic"):  # the demo's adversarial training steps in L∞
        assert plan.defences[name] == plans.DEMO.defences[name]
    assert plans.at_side(plan, 14) == plans.DEMO


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
