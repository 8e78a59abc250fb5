"""What is the cycle term for?

The cycle term (eq. 7) asks that the attack be undone: A_f(sg[x̂], argmax f(x); conf) should lead back to x.  Trained
with weight β = 0, 0.01 (the authors') and 0.1, and the latter two once more with x̂ attached as the cycle's input, so
that θ may also move x̂ to make the way back shorter.  All else is the demo's recipe, 60 of its 115 epochs at full size.

Columns: error and ρ as in the demo.  Round trip: √ of the mean squared ‖x − A_f(x̂)‖ over the test images whose attack
changed the prediction, by the attack of training, and how many did.  Of the last third of the epochs: sd, the standard
deviation of the critic term over epochs, and its mean step from one epoch to the next.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as onp
from matplotlib.figure import Figure

from ..by_hand import steps as by_hand
from ..experiment.figures import COLOURS, FONT, MARKERS, STYLES, caption, plain
from ..experiment.plans import STUDIED
from ..experiment.state import State
from ..experiment.train import train
from ..method import losses, network, objectives
from ..method.numerics import predict
from ..method.settings import AdversaryCritic
from .measures import robustness, with_objective
from .study import DIGIT_SIZES, ROBUST, Records, Size, by_name, digits, mean, over_seeds, tabulate, told, values

SIZES = DIGIT_SIZES
COLLAPSE = 10

CASES = {"no cycle": 0.0, "β = 0.01": 0.01, "β = 0.1": 0.1, "β = 0.01, attached": 0.01, "β = 0.1, attached": 0.1}


def attached(params, generated, x, y, critic_params, noise, s: AdversaryCritic):
    """`objectives.judge`, but the cycle starts at x̂ itself, not at sg[x̂]."""
    terms = objectives.judge(params, generated, x, y, critic_params, noise, s)
    z, own, x_hat, _ = generated
    predicted, y_hat = predict(z), predict(network.logits(params, x_hat))
    x_back = objectives.attack(params, x_hat, predicted, own, s.generator)
    return terms | {"cycle": (s.cycle_weight, losses.cycle_loss(x, x_back, y_hat != predicted))}


def tasks(size: Size):
    defences = {name: replace(STUDIED["critic"], cycle_weight=beta) for name, beta in CASES.items()}
    return over_seeds(size.seeds, {name: ((s, size), (name, s, size)) for name, s in defences.items()})


def measure(name: str, defence: AdversaryCritic, size: Size, seed: int) -> dict:
    data = digits()
    steps = with_objective(attached) if "attached" in name else by_hand
    state = train(data, defence, size.training, seed, steps=steps)
    epochs = [record for record in state.history if not record["pretraining"]]
    critic = onp.array([record["critic"] for record in epochs])
    late = critic[-max(len(critic) // 3, 2) :]
    return (
        robustness(state.params, data, size.images)
        | round_trip(state, defence, data.test.x[: size.images])
        | {
            "sd": float(late.std()),
            "step": float(onp.abs(onp.diff(late)).mean()) if len(late) > 1 else 0.0,
            "critic": critic.round(4).tolist(),
            "cycle": [round(record["cycle"], 4) for record in epochs],
        }
    )


def round_trip(state: State, defence: AdversaryCritic, x) -> dict:
    """Of the attack of training on `x` (n, d): {changed: share of S, trip: √ mean_S ‖x − A_f(x̂)‖²}."""
    step = by_hand.ClassifierStep(state.params, x)
    step.attack(state.running, defence.generator)
    terms, _ = step.gradient(step.predicted, state.critic, None, defence)
    return {"changed": float(onp.mean(step.taken_for != step.predicted)), "trip": terms["cycle"][1] ** 0.5}


def table(records: Records) -> str:
    cycle = ("round trip", "trip"), ("changed %", "changed", 0, 100), ("sd", "sd", 4), ("step", "step", 4)
    return tabulate("cycle term", by_name(records), ROBUST + cycle)


FINDING = (
    "Little can be seen of it: the way back from x̂ ends [0.63] from x (root mean square) without it, [0.63] with "
    "β = 0.01 and [0.58] with β = 0.1, and ρ by the high-confidence attack is [0.407], [0.406] and [0.405]. With "
    "x̂ attached as its input, β = 0.1 takes ρ by DeepFool from [0.196] to [0.174], which is [lower] by the "
    "seeds' own spread. [None] of the trainings collapses, which would mean that the critic term varies over late "
    "epochs ten times as much as without a cycle."
)


def found(records: Records) -> list[str]:
    groups = by_name(records)
    none, authors, strong, _, loosest = (groups[name] for name in CASES)
    usual = COLLAPSE * onp.median(values(none, "sd"))
    collapsed = sum(int((values(group, "sd") > usual).sum()) for group in groups.values())
    return [
        *(mean(group, "trip", 2) for group in (none, authors, strong)),
        *(mean(group, "high_confidence", 3) for group in (none, authors, strong)),
        *(mean(group, "deepfool", 3) for group in (strong, loosest)),
        told(strong, loosest, "deepfool", "higher", "lower"),
        f"{collapsed}" if collapsed else "None",
    ]


def draw(records: Records) -> Figure:
    figure = Figure(figsize=(13, 4.9), layout="constrained")
    axes = figure.subplots(1, 3)
    for i, (name, group) in enumerate(by_name(records).items()):
        look = {"color": COLOURS[i], "label": name}
        for ax, key in zip(axes, ("critic", "cycle")):
            curve = onp.mean([record[key] for record in group], axis=0)
            ax.plot(range(1, len(curve) + 1), curve, ls=STYLES[i], lw=1.8, **look)
        axes[2].plot(values(group, "trip"), values(group, "high_confidence"), MARKERS[i], ms=9, alpha=0.8, **look)
    axes[0].set(xlabel="epoch", ylabel="critic term (mean over seeds)")
    axes[1].set(xlabel="epoch", ylabel="cycle term, unweighted (mean over seeds)", yscale="log")
    axes[2].set(xlabel="round trip, √ mean ‖x − A(x̂)‖²", ylabel="ρ, high-confidence attack")
    for ax in axes:
        plain(ax)
    axes[0].legend(fontsize=FONT - 1, frameon=False)
    title = "What the cycle term changes"
    return caption(
        figure, title, "Left and middle: training. Right: one mark per seed, after training, on test images."
    )
