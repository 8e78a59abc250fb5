"""How much of each classifier's adversarial error is unavoidable overlap, and how much is harmful?

On the toy problem the density is known, so that every error has a kind (see `reference.toy`): II, the point looks like
the class it is taken for; I, harmful, anything else.  Test points that are classified right are attacked until the
classifier, its temperature fit to the validation sample, is 90 % sure of another class; shares are of these points.

Before training: after pre-training, from which all defences go on.  After: at the end of each defence's training, the
undefended one's too.  Each radius is that of the smallest validation error (on a tie the largest), anew for each seed,
which is another sample and another start.  The critic's settings are the demo's; unlike the radii they were found by
counting kinds, on another sample.  "of any radius": the smallest share of kind I among all radii, chosen on the test
sample, to the other defences' favour.  The exact posterior, attacked alike, is what no training can improve on: it
too is sure of one class in the empty space where no class has data.

Columns: error, exact; where the attacks end; mean ‖r‖ of the attacks that succeeded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import autograd.numpy as np
import numpy as onp
from autograd.scipy.special import logsumexp
from matplotlib.figure import Figure

from .. import adjoint, toy
from ..attacks import as_model
from ..data import Split
from ..experiment import with_epochs
from ..figures import BLACK, FONT, SKY, VERMILLION, caption, look, plain
from ..network import logits
from ..numerics import predict
from ..report import grid
from ..settings import AdversarialTraining, Defence, Margin, Training, Undefended, VirtualAdversarial
from ..train import error, train
from .measures import FIRST_TOY, calibrated, on_toy
from .study import Records, by_name, compare, entry, values

BEFORE, POSTERIOR = "before training", "exact posterior"


@dataclass(frozen=True)
class Size:
    """How much this study does."""

    training: Training
    seeds: int
    radii: tuple[float, ...]
    """ε, L2, of the defences that have one; the classes are 0.07 wide."""
    test: int


RADII = (0.005, 0.01, 0.02, 0.05, 0.1)
SIZES = {
    "quick": Size(with_epochs(replace(toy.TRAINING, pretrain_epochs=2), 4), 1, (0.05,), 100),
    "preview": Size(toy.TRAINING, 1, RADII, 1000),
    "full": Size(toy.TRAINING, 10, RADII, 1000),
}


def candidates(size: Size) -> dict[str, Sequence[Defence]]:
    """By defence what it may be trained with."""
    every = (
        (Undefended(),),
        tuple(AdversarialTraining(radius, "l2") for radius in size.radii),
        tuple(VirtualAdversarial(radius, xi=0.01) for radius in size.radii),
        tuple(Margin(radius) for radius in size.radii),
        (toy.CRITIC,),
    )
    return {found[0].name: found for found in every}


def tasks(size: Size):
    only_pretrained = replace(size, training=replace(size.training, epochs=0))
    runs = [(BEFORE, (Undefended(),), only_pretrained)]
    runs += [(name, defences, size) for name, defences in candidates(size).items()]
    runs += [(POSTERIOR, (), size)]
    return [
        ({"name": name, "seed": seed, "settings": repr((defences, at.training, at.test))}, (defences, at, seed))
        for seed in range(size.seeds)
        for name, defences, at in runs
    ]


def measure(defences: Sequence[Defence], size: Size, seed: int) -> dict:
    """Train with each of the defences, choose one by the validation error; without any, the exact posterior."""
    data = toy.load(FIRST_TOY + seed, test=size.test)
    if not defences:
        exact = data._replace(test=Split(data.test.x.astype(float), data.test.y))
        return on_toy(as_model(posterior_logits), exact)
    found = []
    for defence in defences:
        params = train(data, defence, size.training, seed).params
        about = {"radius": getattr(defence, "epsilon", None), "validation": error(params, *data.validation)}
        found.append(about | on_toy(adjoint.as_model(calibrated(params, data.validation)), data))
    chosen = min(reversed(found), key=lambda one: one["validation"])
    keep = ("radius", "error", "attacked_I")
    return chosen | {
        "any_radius": min(one["attacked_I"] for one in found),
        "every": [[one[key] for key in keep] for one in found],
    }


def posterior_logits(x):
    """log p(x | k) of every class up to a number common to all: (n, 2) in [0, 1] -> (n, 3), in float64."""

    def mixtures(x):
        squares = [np.sum((x[:, None] - onp.array(means)) ** 2, axis=2) for means in toy.MEANS]
        return np.stack([logsumexp(-s / (2 * toy.STD**2), axis=1) for s in squares], axis=1)

    centre = onp.array([[0.5, 0.5]])
    return mixtures(x) - mixtures(centre) + onp.log(toy.densities(centre))


def table(records: Records) -> str:
    groups = by_name(records)
    header = ["classifier", "ε", "error %", "attacked: II %", "I %", "failed %", "‖r‖", "I %, of any radius"]
    keys = (("error", 2), ("attacked_II", 1), ("attacked_I", 1), ("failed", 1))
    rows = []
    for name, group in groups.items():
        tried = len(group[0].get("every", ())) > 1
        radii = sorted({record["radius"] for record in group}) if tried else []
        rows.append(
            [name, f"{radii[0]:g}" + f"–{radii[-1]:g}" * (len(radii) > 1) if radii else "–"]
            + [entry(group, key, digits, 100) for key, digits in keys]
            + [entry(group, "length"), entry(group, "any_radius", 1, 100) if tried else "–"]
        )
    return f"{grid(header, rows)}\n\nThe Bayes error is {100 * toy.bayes_error():.2f} %."


def finding(records: Records) -> str:
    groups = by_name(records)
    critic, undefended = groups[toy.CRITIC.name], groups[Undefended.name]

    def percent(group, key="attacked_I"):
        return f"{100 * values(group, key).mean():.0f} %"

    shares = ", ".join(f"{percent(group)} {name}" for name, group in groups.items() if name not in (BEFORE, POSTERIOR))
    others = {name: group for name, group in groups.items() if "every" in group[0] and name not in (BEFORE, critic[0]["name"])}
    errors = [100 * values(group, "error").mean() for name, group in groups.items() if name not in (BEFORE, POSTERIOR)]
    return f"{shares} {errors} {others.keys()} {undefended[0]['seed']}"


def draw(records: Records) -> Figure:
    return Figure()
