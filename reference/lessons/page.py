"""The page `attack.html`: the defences' networks under the same attack, live, in one file that loads nothing.

The page's markup is attack.html, what it does is attack.js, and the attack itself is method.mjs; `page` puts the three
together with the networks' weights.  Shipped are the networks of networks.npz, and networks.json says how they were
trained; `from_results` takes those of one's own `demo.py`.
"""

from __future__ import annotations

import base64
import json
import math
import re
from pathlib import Path
from typing import NamedTuple

import numpy as onp

from ..experiment.state import load_checkpoint
from ..experiment.tables import NAMES
from ..method.network import Params
from ..method.settings import AdversaryCritic
from ..plumbing.files import load_npz, save_npz
from ..studies.survey import load_networks

HERE = Path(__file__).parent
SHIPPED = HERE / "networks.npz"
METHOD = HERE.parent / "conformance/adapters/method.mjs"
IMAGES = 50  # test images on the page, as many of each class
DIGIT, TARGET, CONFIDENCE = 20, 9, 0.8  # what the page opens with: the first 4 of the test images, and a 9


class Content(NamedTuple):
    """What the page shows: networks by defence, the critic of the last, images (n, d) in [0, 1], labels, and a text.

    Weights are rounded to float16, the page's format, wherever they come from.
    """

    networks: dict[str, Params]
    critic: Params | None
    images: onp.ndarray
    labels: onp.ndarray
    made: str


def halved(params: Params) -> Params:
    """The weights as the page has them: rounded to float16, in float64."""
    return [tuple(a.astype(onp.float16).astype(float) for a in layer) for layer in params]


def shipped() -> Content:
    """The networks that come with the project."""
    return load(SHIPPED)


def load(path: Path) -> Content:
    """What `save` wrote."""
    arrays = load_npz(path)

    def params(name: str) -> Params:
        depth = sum(key.startswith(f"{name}.W") for key in arrays)
        return [(arrays[f"{name}.W{i}"].astype(float), arrays[f"{name}.b{i}"].astype(float)) for i in range(depth)]

    names = list(dict.fromkeys(key.split(".")[0] for key in arrays if ".W" in key and key[:2] != "D."))
    images = arrays["images"] / 255.0
    critic = params("D") or None
    return Content({name: params(name) for name in names}, critic, images, arrays["labels"], str(arrays["made"]))


def save(path: Path, content: Content) -> None:
    """Write the content to one npz file: NAME.W0, NAME.b0, … and D.W0, … in float16, images in uint8."""
    arrays = {
        "images": onp.round(content.images * 255).astype(onp.uint8),
        "labels": content.labels,
        "made": content.made,
    }
    for name, params in (content.networks | ({"D": content.critic} if content.critic else {})).items():
        for i, (W, b) in enumerate(params):
            arrays |= {f"{name}.W{i}": W.astype(onp.float16), f"{name}.b{i}": b.astype(onp.float16)}
    save_npz(path, arrays)


def from_results(results: Path, folder: Path | None = None) -> Content:
    """The networks that `demo.py` left in `results`, and the first test images of each class."""
    networks, data = load_networks(results, folder)
    critic = load_checkpoint(results / "checkpoints" / "critic-0.npz").critic if "critic" in networks else None
    rows = of_each_class(data.test.y)
    epochs = load_checkpoint(results / "checkpoints" / f"{next(iter(networks))}-0.npz").epoch
    sizes = "-".join(str(len(W)) for W, _ in next(iter(networks.values())))
    made = f"Networks {sizes}-{int(data.test.y.max()) + 1}, trained for {epochs} epochs on {data.source}; test images."
    return Content(
        {name: halved(params) for name, params in networks.items()},
        critic and halved(critic),
        data.test.x[rows].astype(float),
        data.test.y[rows],
        made,
    )


def of_each_class(labels: onp.ndarray, n: int = IMAGES) -> onp.ndarray:
    """The rows of the first n/k images of every class, class by class."""
    classes = onp.unique(labels)
    return onp.concatenate([onp.flatnonzero(labels == j)[: n // len(classes)] for j in classes])


def script() -> str:
    """The page's JavaScript: the module without its `export`s, then what the page does."""
    return re.sub(r"^export ", "", METHOD.read_text(encoding="utf-8"), flags=re.MULTILINE)


def page(content: Content, own: bool = False) -> str:
    """The whole page as HTML text; of networks of one's `own` it does not say beforehand what will be seen."""
    scale = 255 * (28 // math.isqrt(content.images.shape[1])) ** 2  # a 14×14 pixel is the mean of four bytes
    pixels = onp.round(content.images * scale).astype(onp.uint8 if scale == 255 else "<u2")
    data = {
        "own": own,
        "side": math.isqrt(content.images.shape[1]),
        "networks": [
            {
                "name": NAMES.get(name, name),
                "place": list(NAMES).index(name) if name in NAMES else i,
                "network": _layers(params),
                "critic": {"slope": AdversaryCritic().slope, "layers": _layers(content.critic)}
                if name == "critic" and content.critic
                else None,
            }
            for i, (name, params) in enumerate(content.networks.items())
        ],
        "images": _base64(pixels),
        "scale": scale,
        "labels": content.labels.tolist(),
        "start": {
            "digit": DIGIT,
            "target": TARGET,
            "network": list(content.networks).index("critic") if "critic" in content.networks else 0,
        },
        "made": content.made,
    }
    parts = {
        "DATA": json.dumps(data).replace("</", "<\\/"),
        "METHOD": script(),
        "SCRIPT": (HERE / "attack.js").read_text(encoding="utf-8"),
    }
    return re.sub(r"\b(DATA|METHOD|SCRIPT)\b", lambda found: parts[found[1]], (HERE / "attack.html").read_text("utf-8"))


def _layers(params: Params) -> list[dict]:
    return [
        {"W": _base64(W.astype("<f2")), "b": _base64(b.astype("<f2")), "inputs": len(W), "outputs": len(b)}
        for W, b in params
    ]


def _base64(array: onp.ndarray) -> str:
    return base64.b64encode(onp.ascontiguousarray(array).tobytes()).decode("ascii")
