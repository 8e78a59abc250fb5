"""Our networks attacked by other libraries' attacks and by ours: `python -m reference.experiment.crosscheck`.

It needs the extra `peers` (Foolbox, ART and adv-lib, with PyTorch) and the checkpoints of a run of the demo.  Two
questions are asked of each network, on the first test images that it classifies right.  Do attacks of the same name
and settings find the same?  And does any attack find less than `strongest` does?  The networks together are asked a
third: how far is the critic's ahead of each, by the nearest image that any of these attacks finds?
"""

from __future__ import annotations

if __name__ == "__main__":
    from ..plumbing import process

    process.begin()  # before NumPy is imported

import math
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as onp

from ..attacks import carlini_wagner, ddn, deepfool, high_confidence, projected_gradient, strongest
from ..attacks.result import others
from ..by_hand.model import from_params
from ..data import load
from ..errors import InputError, require
from ..method.network import logits
from ..method.numerics import predict
from ..plumbing.command import Parser, add_places, answer
from ..plumbing.executors import run_all
from ..plumbing.files import write_json, write_text
from .state import read_checkpoint
from .tables import NAMES, finite, grid, interval

RADII = (0.5, 1.0, 1.5, 2.0)
"""At 14×14; lengths grow with the side, as the images' own norms do."""
PAIRS = (
    ("DeepFool, Foolbox's rules", "DeepFool (Foolbox)"),
    ("DeepFool, ART's rules", "DeepFool (ART)"),
    ("Carlini-Wagner 9 × 1000", "Carlini-Wagner 9 × 1000 (Foolbox)"),
    ("DDN 100 from norm 1", "DDN 100 from norm 1 (adv-lib)"),
)
"""The same attack, with the same settings, of ours and of a peer."""
STRONG = ("DDN 1000 (Foolbox)", "DDN 100 × 9 targets (adv-lib)", "ALMA 1000 (adv-lib)", "FAB × 9 targets (adv-lib)")
"""The peers' attacks that find the smallest perturbations."""


def our_attacks(params, x, y) -> dict[str, Callable[[], onp.ndarray]]:
    """Our attacks by name, each -> attacked images (n, d), the original where it failed."""
    model = from_params(params)
    foolbox = {"iterations": 50, "step_limit": onp.inf, "at_image": True, "clip_r": False}
    art = {"iterations": 100, "overshoot": 1e-6, "extra": 0, "step_limit": onp.inf}

    def run(attack, **settings):
        return lambda: attack(model, x, ("true", y), **settings).images

    return {
        "DeepFool": run(deepfool),
        "DeepFool, Foolbox's rules": run(deepfool, **foolbox),
        "DeepFool, ART's rules": run(deepfool, **art),
        "Carlini-Wagner 9 × 1000": run(carlini_wagner),
        "DDN 100 from norm 1": run(ddn, first_norm=1),
        "DDN 100 × 9 targets": run(ddn, targets="all"),
        "high-confidence": run(high_confidence),
        "strongest": run(strongest),
    }


def peers_attacks(params, x, y) -> dict[str, Callable[[], onp.ndarray]]:
    """The peers' attacks by name, each -> attacked images (n, d)."""
    network, torch = as_torch(params)
    import foolbox
    from adv_lib import attacks as advlib
    from art.attacks.evasion import CarliniL2Method, DeepFool
    from art.estimators.classification import PyTorchClassifier

    k = params[-1][1].size
    inputs, labels = torch.tensor(x), torch.tensor(y)
    bounded = foolbox.PyTorchModel(network, bounds=(0, 1))
    art = PyTorchClassifier(network, torch.nn.CrossEntropyLoss(), x.shape[1:], k, clip_values=(0, 1))

    def by_foolbox(attack):
        return lambda: attack(bounded, inputs, labels, epsilons=None)[1].numpy()

    def by_art(attack):
        return lambda: attack.generate(x, onp.eye(k)[y])

    def by_advlib(attack, **settings):
        return lambda: attack(network, inputs, labels, **settings).detach().numpy()

    def ddn_to_every_class():
        targets = [torch.tensor(t) for t in others(y, k)]
        found = [advlib.ddn(network, inputs, t, targeted=True, levels=None).numpy() for t in targets]
        return nearest(found, x, y, network, torch)

    fast = foolbox.attacks
    return {
        "DeepFool (Foolbox)": by_foolbox(fast.L2DeepFoolAttack()),
        "DeepFool (ART)": by_art(DeepFool(art, batch_size=len(x), verbose=False)),
        "Carlini-Wagner 9 × 1000 (Foolbox)": by_foolbox(
            fast.L2CarliniWagnerAttack(9, steps=1000, stepsize=0.01, initial_const=0.01)
        ),
        "Carlini-Wagner, defaults (ART)": by_art(CarliniL2Method(art, batch_size=len(x), verbose=False)),
        "DDN 100 from norm 1 (adv-lib)": by_advlib(advlib.ddn, levels=None),
        "DDN 1000 (Foolbox)": by_foolbox(fast.DDNAttack(steps=1000)),
        "DDN 100 × 9 targets (adv-lib)": ddn_to_every_class,
        "ALMA 1000 (adv-lib)": by_advlib(advlib.alma, num_steps=1000, distance="l2"),
        "FAB × 9 targets (adv-lib)": by_advlib(advlib.fab, norm=2, targeted_restarts=True),
    }


def as_torch(params):
    """-> (the network as a PyTorch module, torch)."""
    try:
        import adv_lib  # noqa: F401
        import art  # noqa: F401
        import foolbox  # noqa: F401
        import torch
    except ImportError as cause:
        raise InputError(
            f"{cause}: install the peers with pip install '.[peers]', as reference/attacks/README.md says"
        ) from cause
    torch.set_num_threads(1)
    layers = []
    for W, b in params:
        layer = torch.nn.Linear(*W.shape)
        layer.weight.data, layer.bias.data = torch.tensor(W.T.copy()), torch.tensor(b)
        layers += [layer, torch.nn.ReLU()]
    network = torch.nn.Sequential(*layers[:-1]).eval()
    for p in network.parameters():
        p.requires_grad_(False)
    return network, torch


def distances(images, x, wrong) -> onp.ndarray:
    """‖images − x‖ (n,), inf where the image is not `wrong` (n,)."""
    return onp.where(wrong, onp.linalg.norm(onp.asarray(images, float) - x, axis=1), onp.inf)


def nearest(found, x, y, network, torch) -> onp.ndarray:
    """Image by image the nearest of several that leave their label."""
    wrong = [network(torch.tensor(images)).argmax(1).numpy() != y for images in found]
    norms = onp.stack([distances(images, x, w) for images, w in zip(found, wrong, strict=True)])
    return onp.stack(found)[norms.argmin(axis=0), onp.arange(len(x))]


def autoattack(params, x, y, radius: float) -> onp.ndarray:
    """Which images (n,) withstand APGD-CE, APGD-T and FAB-T at `radius`: AutoAttack without its black-box part."""
    network, torch = as_torch(params)
    from adv_lib import attacks as advlib

    torch.manual_seed(0)
    robust = onp.ones(len(x), bool)
    for attack, settings in (
        (advlib.apgd, {"loss_function": "ce"}),
        (advlib.apgd_targeted, {}),
        (advlib.fab, {"targeted_restarts": True}),
    ):
        rows = onp.flatnonzero(robust)
        if not len(rows):
            break
        within = {"ε": radius} if attack is advlib.fab else {"eps": radius}
        inputs, labels = torch.tensor(x[rows]), torch.tensor(y[rows])
        images = attack(network, inputs, labels, norm=2, **within, **settings).detach()
        wrong = (network(images).argmax(1) != labels).numpy()
        robust[rows] = distances(images, x[rows], wrong) > radius * (1 + 1e-5)
    return robust


def check(params, x, y, strong: bool = False) -> tuple[dict, dict[str, onp.ndarray]]:
    """One network: {"attacks": {name: …}, "pairs": {name: …}, "strongest": …, "robust": {radius: …}}, and its ‖r‖/‖x‖.

    strong: only `strongest` and the attacks of `STRONG`; there are no pairs then, and no robust accuracies.
    ‖r‖/‖x‖: {which: (n,)}, by `strongest` and by the nearest of it and `STRONG`.
    """
    network, torch = as_torch(params)
    norms, attacks = {}, {}
    ours = our_attacks(params, x, y)
    asked = ours | peers_attacks(params, x, y)
    for name, attack in ({name: asked[name] for name in ("strongest", *STRONG)} if strong else asked).items():
        torch.manual_seed(0)
        began = time.perf_counter()
        images = onp.asarray(attack(), x.dtype)
        seconds = time.perf_counter() - began
        # Each is judged by the network as it attacked it: rounding differs.
        z = logits(params, images) if name in ours else network(torch.tensor(images)).numpy()
        norms[name] = distances(images, x, predict(z) != y)
        ok = onp.isfinite(norms[name])
        mean, median = (float(f(norms[name][ok])) if ok.any() else None for f in (onp.mean, onp.median))
        attacks[name] = {"seconds": seconds, "success": float(ok.mean()), "mean": mean, "median": median}

    pairs = {}
    for our, their in () if strong else PAIRS:
        both = onp.isfinite(norms[our]) & onp.isfinite(norms[their])
        apart = onp.abs(norms[our][both] - norms[their][both]) / norms[their][both]
        pairs[our] = {"peer": their, "images": int(both.sum())}
        pairs[our] |= {"median": float(onp.median(apart)), "largest": float(apart.max())}

    best = onp.min([norms[name] for name in STRONG], axis=0)
    robust = {}
    for radius in () if strong else onp.array(RADII) * math.isqrt(x.shape[1]) / 14:
        found = projected_gradient(from_params(params), x, ("true", y), radius, restarts=1, targets="all")
        steps = ~found.success
        robust[f"{radius:g}"] = {
            "strongest": float(onp.mean(norms["strongest"] > radius)),
            "projected gradient": float(onp.mean(steps)),
            "both": float(onp.mean(steps & (norms["strongest"] > radius))),
            "AutoAttack": float(autoattack(params, x, y, radius).mean()),
        }
    means = {"ours": float(norms["strongest"].mean()), "best of each peer image by image": float(best.mean())}
    single = {name: attacks[name]["mean"] for name in STRONG if attacks[name]["success"] == 1}
    means["best single peer"] = min(single.values(), default=None)
    found = {"images": len(x), "attacks": attacks, "pairs": pairs, "strongest": means, "robust": robust}
    every = {"strongest": norms["strongest"], "nearest of all": onp.minimum(norms["strongest"], best)}
    return found, {which: r / onp.linalg.norm(x, axis=1) for which, r in every.items()}


def leads(rows: dict[str, onp.ndarray], ratios: dict[str, dict]) -> dict:
    """The critic's ‖r‖/‖x‖ less each rival's, on the images that both classify right.

    rows: {network: test images (n,) that it classifies right}.  ratios: {network: what `check` says of them}.
    -> {rival: {"images": how many both do, which: {mean, low, high}}}, the ends of a 95 % interval over the images on
    which both attacks succeeded; None where there are too few.
    """
    found = {}
    for rival in (name for name in rows if name != "critic" and "critic" in rows):
        _, mine, its = onp.intersect1d(rows["critic"], rows[rival], return_indices=True)
        found[rival] = {"images": len(mine)}
        for which, ratio in ratios[rival].items():
            pairs = ratios["critic"][which][mine] - ratio[its]
            pairs = pairs[onp.isfinite(pairs)]
            low, high = interval(pairs[None])
            mean = float(pairs.mean()) if len(pairs) else onp.nan
            found[rival][which] = finite({"mean": mean, "low": low, "high": high})
    return found


def as_markdown(record: dict) -> str:
    """The record as tables."""
    networks = record["networks"]
    first = next(iter(networks.values()))
    names = [NAMES.get(name, name) for name in networks]
    fewest, most = (f(n["images"] for n in networks.values()) for f in (min, max))
    images = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    lines = [
        "# Our attacks beside other libraries'",
        "",
        f"The networks are those of `{record['source']}`.  Each is attacked on the first {images} test images that it "
        "classifies right, in L2, box [0, 1], float32, one thread.  Versions: "
        + ", ".join(f"{name} {version}" for name, version in record["versions"].items())
        + ".  Made by `python -m reference.experiment.crosscheck`.",
        "",
        "Mean ‖r‖ over the successes, success rate where it is below 100 %, and seconds:",
        "",
    ]

    def cell(found):
        rate = "" if found["success"] == 1 else f" ({100 * found['success']:.3g} %)"
        return ("–" if found["mean"] is None else f"{found['mean']:.4f}") + rate + f" {found['seconds']:.1f} s"

    rows = [[name, *(cell(n["attacks"][name]) for n in networks.values())] for name in first["attacks"]]
    lines += [grid(["attack", *names], rows), ""]
    rows = [
        [f"{name} – {pair['peer']}"]
        + [f"{n['pairs'][name]['median']:.1e}, {n['pairs'][name]['largest']:.1e}" for n in networks.values()]
        for name, pair in first["pairs"].items()
    ]
    if rows:
        lines += ["The same attack twice: median and largest relative difference of ‖r‖, image by image:", ""]
        lines += [grid(["pair", *names], rows), ""]
    lines += [f"`strongest` against {', '.join(STRONG)}, mean ‖r‖:", ""]

    def number(n, key):
        value = n["strongest"][key]
        return "–" if value is None else f"{value:.4f}"

    rows = [[key, *(number(n, key) for n in networks.values())] for key in first["strongest"]]
    lines += [grid(["", *names], rows), ""]

    if record.get("leads"):
        head = "The critic's ‖r‖/‖x‖ less a rival's: mean and 95 % interval over images that both classify right:"

        def said(lead):
            return "–" if lead["low"] is None else "{mean:+.4f} [{low:+.4f}, {high:+.4f}]".format(**lead)

        rows = [
            [NAMES[rival], f"{lead['images']}", said(lead["strongest"]), said(lead["nearest of all"])]
            for rival, lead in record["leads"].items()
        ]
        lines += [head, "", grid(["rival", "images", "by `strongest`", "by the nearest of it and the four"], rows), ""]

    def two(found):
        return f"{100 * found['both']:.1f} / {100 * found['AutoAttack']:.1f}"

    rows = [[f"‖r‖ ≤ {r}", *(two(n["robust"][r]) for n in networks.values())] for r in first["robust"]]
    if rows:
        head = "Robust accuracy % (of images that are classified right): ours / AutoAttack's APGD-CE, APGD-T, FAB-T:"
        lines += [head, "", grid(["radius", *names], rows), ""]
    return "\n".join([*lines, *([record["note"], ""] if "note" in record else [])])


def main(argv: list[str] | None = None) -> int:
    """The command line; the exit status is that of `answer`."""
    parser = Parser(prog="python -m reference.experiment.crosscheck", description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, default=Path("results"), help="folder of a run of demo.py (results)")
    parser.add_argument("--images", type=int, default=200, help="images attacked (200)")
    parser.add_argument("--strong", action="store_true", help="only the attacks that find the smallest perturbations")
    add_places(parser)
    parser.add_argument("--out", type=Path, default=Path("crosscheck"), help="writes OUT.json and OUT.md (crosscheck)")

    def work():
        args = parser.parse_args(argv)
        (images,) = require("a whole number, 1 or more", images=args.images)
        paths = {name: args.run / "checkpoints" / f"{name}-0.npz" for name in NAMES}
        paths = {name: path for name, path in paths.items() if path.is_file()}
        if not paths:
            raise InputError(f"no checkpoints in {args.run}: run demo.py first, or name its folder with --run")
        read = {name: read_checkpoint(path) for name, path in paths.items()}
        states = {name: state.params for name, (state, _) in read.items()}
        trained_on, side, *_ = next(iter(read.values()))[1]["data"]
        test = next((d.test for full in (False, True) if (d := load(side, full=full)).source == trained_on), None)
        if test is None:
            raise InputError(f"the networks in {args.run} saw {trained_on}: give a run on the embedded digits")
        as_torch(states[next(iter(states))])
        packages = ("torch", "foolbox", "adversarial-robustness-toolbox", "adv-lib", "numpy")
        versions = {package: metadata.version(package) for package in packages}
        _, *hidden = (len(W) for W, _ in next(iter(states.values())))
        source = f"demo.py at {side}×{side}, classifier {'-'.join(map(str, hidden))}"
        record = {"source": source, "versions": versions, "networks": {}}
        rows = {n: onp.flatnonzero(predict(logits(p, test.x)) == test.y)[:images] for n, p in states.items()}

        def keep(name, found):
            record["networks"][name], _ = found
            write_json(args.out.with_suffix(".json"), record)
            print(name, found[0]["strongest"], file=sys.stderr)

        tasks = {n: (params, test.x[rows[n]], test.y[rows[n]], args.strong) for n, params in states.items()}
        found = run_all(check, tasks, args.jobs, keep, cluster=args.cluster)
        record["networks"] = {name: one for name, (one, _) in found.items()}
        record["leads"] = leads(rows, {name: ratios for name, (_, ratios) in found.items()})
        write_json(args.out.with_suffix(".json"), record)
        write_text(args.out.with_suffix(".md"), as_markdown(record))
        print(as_markdown(record))

    return answer(parser.prog, work, "what is written stays")


if __name__ == "__main__":
    sys.exit(main())
