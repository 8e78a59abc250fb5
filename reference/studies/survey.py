"""Do people take adversarial images for the target class?  Makes the page that asks them, and scores their answers.

    python -m reference.studies survey make [--results DIR] [--out DIR]
    python -m reference.studies survey score DIR/*.json

`make` reads the networks that the demo trained, and writes to DIR
    survey.html    for the annotators: one file, which needs no network and holds nothing but pixels to be labelled;
    key.json       for `score`, and for nobody else: whose image each is, its label and what it is taken for;
    stand-in-*.json    the answers of two classifiers that no defence ever saw: a stand-in, until people have answered.
Each annotator sends back the JSON file that the page hands out; put it beside the key.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import math
from pathlib import Path

import numpy as onp

from ..attacks import high_confidence
from ..by_hand.model import from_params
from ..data import Digits
from ..errors import InputError, require
from ..experiment.run import SHEET_CONFIDENCE, digits
from ..experiment.standin import StandIn
from ..experiment.state import read_checkpoint
from ..experiment.tables import NAMES
from ..experiment.train import fingerprint as data_fingerprint
from ..method.network import Params
from ..method.numerics import pick, predict, softmax
from ..plumbing.files import content_of, write_json, write_text
from .scoring import ANSWERS, KEY, STAND_IN, as_text, fingerprint, read, score

PAGE = Path(__file__).with_name("survey.html")
CANDIDATES = 1000  # test images at most that are attacked, to find those fit to be shown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of the survey."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = __doc__
    actions = parser.add_subparsers(dest="action", required=True, metavar="make|score")
    add = actions.add_parser("make", help="build the page and its key from the demo's networks").add_argument
    add("--results", type=Path, default=Path("results"), metavar="DIR", help="the demo's output (default: results)")
    add("--out", type=Path, default=Path("results/survey"), metavar="DIR", help="default: results/survey")
    add("--images", type=int, default=20, metavar="N", help="adversarial images of each defence (default: 20)")
    add("--checks", type=int, default=10, metavar="N", help="attention checks, clean digits (default: 10)")
    add("--seed", type=int, default=0, metavar="N", help="of the order in which images are shown (default: 0)")
    add("--data", type=Path, metavar="DIR", help="full MNIST, if the demo was given it: the same folder")
    add = actions.add_parser("score", help="the tables from the key and the answers").add_argument
    add("files", type=Path, nargs="+", metavar="FILE", help="the key and the answers: DIR/*.json")
    add("--out", type=Path, metavar="DIR", help="for table.md and table.json (default: score, beside the first file)")


def run(args: argparse.Namespace) -> None:
    """Do what the command line asks."""
    if args.action == "make":
        make(args.out, args.results, args.images, args.checks, args.seed, args.data)
        print(f"{args.out / PAGE.name}: for the annotators")
        print(f"{args.out / 'key.json'}: for `survey score`; keep it to yourself")
        return
    result, out = score(args.files), args.out or args.files[0].parent / "score"
    text = as_text(result)
    write_json(out / "table.json", result)
    write_text(out / "table.md", text + "\n")
    print(text)


def make(out: Path, results: Path, images: int = 20, checks: int = 10, seed: int = 0, folder: Path | None = None):
    """Write the page, its key and the stand-in's answers to `out`.

    results: the demo's output folder; images: per defence; checks: clean digits; folder: of full MNIST, if it was
    used.  Raises `InputError` where there are no trained networks, or too few images that all of them can be asked
    about, or where `out` holds another survey's key.
    """
    images, checks = require("a whole number, 1 or more", images=images, checks=checks)
    (seed,) = require("a whole number, 0 or more", seed=seed)
    networks, data = load_networks(results, folder)
    pixels, items, convention = choose(networks, data, images, checks)
    order = arrange(onp.random.default_rng(seed), len(networks), images, checks)
    pixels, items = pixels[order], [items[i] for i in order]
    stand_in = StandIn(*data.train)
    errors = {STAND_IN + name: error for name, error in stand_in.errors(*data.test).items()}
    labels = {STAND_IN + name: "".join(map(str, found)) for name, found in stand_in.labels(pixels / 255).items()}
    key: dict = {
        "kind": KEY,
        "data": f"{data.source}, {data.side}×{data.side}",
        "attack": convention,
        "images": f"of the first {CANDIDATES} test images, those that every network classifies right and that the "
        "attack moved for every one",
        "seed": seed,
        "defences": list(networks),
        "stand_ins": errors,
        "stand_in_answers": labels,
        "pixels": hashlib.sha256(pixels.tobytes()).hexdigest(),
        "items": items,
    }
    key["fingerprint"] = fingerprint(key)
    kept = out / "key.json"
    if kept.exists() and read(kept).get("fingerprint") != key["fingerprint"]:
        raise InputError(f"{kept} is another survey's, and its answers need it: choose another --out, or remove it")
    write_json(kept, key)
    write_text(out / PAGE.name, page(pixels, key["fingerprint"]))
    for name, text in labels.items():
        answers = {"kind": ANSWERS, "fingerprint": key["fingerprint"], "annotator": name, "answers": text}
        write_json(out / f"stand-in-{name.removeprefix(STAND_IN).replace(' ', '-')}.json", answers)


def load_networks(results: Path, folder: Path | None = None) -> tuple[dict[str, Params], Digits]:
    """The demo's trained classifiers by defence, seed 0 of each, and the digits that they were trained on."""
    paths = {name: path for name in NAMES if (path := results / "checkpoints" / f"{name}-0.npz").exists()}
    if not paths:
        raise InputError(
            f"no trained networks in {results / 'checkpoints'}: run demo.py first, "
            "or name its output folder with --results"
        )
    found = {name: read_checkpoint(path) for name, path in paths.items()}
    side = math.isqrt(len(next(iter(found.values()))[0].params[0][0]))
    data = digits(side, folder)
    for name, (state, of_run) in found.items():
        path = paths[name]
        with content_of(path, "a checkpoint of demo.py", "train again"):
            unfinished = state.epoch < of_run["training.pretrain_epochs"] + of_run["training.epochs"]
            other = of_run["data"] != json.loads(json.dumps(data_fingerprint(data)))
        if unfinished:
            raise InputError(f"{path} is of an unfinished training: go on with demo.py --resume")
        if other:
            raise InputError(f"{path} was trained on other digits than {data.source}: name their folder with --data")
    return {name: state.params for name, (state, _) in found.items()}, data


def choose(networks: dict[str, Params], data: Digits, images: int, checks: int) -> tuple[onp.ndarray, list[dict], str]:
    """The images to show: (pixels (n, d) uint8, key items, the attack's convention), defence by defence, checks last.

    All defences are asked about the same test images: those that every network classifies right and that the attack
    moved for each, so that a defence's answers differ from another's by the defence alone.  Checks are other test
    images, those that the networks are surest of.  Classes take turns.
    """
    x, y = data.test.x[:CANDIDATES], data.test.y[:CANDIDATES]
    fit, sure, attacked = onp.ones(len(x), bool), onp.ones(len(x)), {}
    for name, params in networks.items():
        model = from_params(params)
        p = softmax(model.logits(x))
        found = high_confidence(model, x, ("true", y), SHEET_CONFIDENCE)
        # What is shown has 8 bits a pixel, so it is judged with 8 bits.
        shown = onp.round(255 * found.images).astype(onp.uint8)
        taken_for = predict(model.logits((shown / 255).astype(x.dtype)))
        fit &= (predict(p) == y) & found.success & (taken_for == predict(model.logits(found.images)))
        sure = onp.minimum(sure, pick(p, y))
        attacked[name] = shown, taken_for
    rows = in_turns(onp.flatnonzero(fit), y, images, "adversarial images of every defence (--images)")
    surest = onp.argsort(-sure, kind="stable")
    clean = in_turns(surest[(sure[surest] > 0.5) & ~onp.isin(surest, rows)], y, checks, "clear digits (--checks)")
    pixels = [shown[rows] for shown, _ in attacked.values()] + [onp.round(255 * x[clean]).astype(onp.uint8)]
    blocks = [(name, rows, taken_for) for name, (_, taken_for) in attacked.items()] + [("", clean, y)]
    items = [
        {"defence": name, "image": int(i), "original": int(y[i]), "taken_for": int(taken_for[i])}
        for name, chosen, taken_for in blocks
        for i in chosen
    ]
    return onp.concatenate(pixels), items, found.convention


def in_turns(rows: onp.ndarray, y: onp.ndarray, n: int, what: str) -> onp.ndarray:
    """The first `n` of `rows`, the classes y (of every row) taking turns; `InputError` if there are fewer."""
    if len(rows) < n:
        raise InputError(f"{len(rows)} of the test images are fit, not {n}, to give {what}: ask for fewer")
    turn = [onp.sum(y[rows[:i]] == y[row]) for i, row in enumerate(rows)]
    return rows[onp.lexsort((y[rows], turn))[:n]]


def arrange(rng: onp.random.Generator, defences: int, images: int, checks: int) -> onp.ndarray:
    """The order in which they are shown, as indices into `choose`'s images: random, and balanced.

    Each turn shows one image of every defence, and a test image comes back (under another defence) only after a
    while.  The checks come one in every equal part of the whole.
    """
    order, total = rng.permutation(images), defences * images
    turns = [
        [d * images + order[(turn + d * images // defences) % images] for d in rng.permutation(defences)]
        for turn in range(images)
    ]
    bounds = onp.linspace(0, total, checks + 1).astype(int)
    places = [rng.integers(low, high + 1) for low, high in zip(bounds, bounds[1:])]
    return onp.insert(onp.concatenate(turns), places, total + rng.permutation(checks))


def page(pixels: onp.ndarray, mark: str) -> str:
    """The survey's page: images `pixels` (n, d) uint8 in the order shown, and the fingerprint."""
    survey = {
        "fingerprint": mark,
        "count": len(pixels),
        "side": math.isqrt(pixels.shape[1]),
        "pixels": base64.b64encode(pixels.tobytes()).decode(),
    }
    return PAGE.read_text(encoding="utf-8").replace("SURVEY", json.dumps(survey), 1)
