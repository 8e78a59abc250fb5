"""One training loop for all defences: pre-training, then a critic step and a classifier step per batch.

The order within a batch is the method's: update the running confidence with this batch, compute x̂ at the current θ,
one critic step on it, then one classifier step at the same θ and the same C with the updated critic.

Everything random comes from one generator, whose state is in the checkpoint: a run is a function of its seed, and a
resumed run ends with the same bits as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from zlib import crc32

import numpy as onp

from ..by_hand import steps as by_hand
from ..data import Digits
from ..errors import DivergenceError, InputError, check_labels, require
from ..method import critic, network
from ..method.adam import Adam, decayed
from ..method.network import Params
from ..method.numerics import pick, predict, softmax
from ..method.objectives import Terms
from ..method.settings import (
    AdversarialTraining,
    AdversaryCritic,
    Defence,
    Margin,
    MultiStep,
    Training,
    Undefended,
    VirtualAdversarial,
)
from ..method.targets import RunningConfidence
from ..plumbing.checks import check_images
from .state import State, load_checkpoint, save_checkpoint

Progress = Callable[[int, int, dict[str, float]], None]

DIVERGED = 1e6
"""A loss, confidence or length of this size means that training has diverged."""


def start(data: Digits, defence: Defence, training: Training, seed: int, dtype=onp.float32) -> State:
    """The state before the first epoch, on fresh weights."""
    (seed,) = require("a whole number, 0 or more", seed=seed)
    if not isinstance(defence, Defence):
        raise InputError(f"no objective for {defence!r}: give the settings of a defence, such as Undefended()")
    rng = onp.random.default_rng(seed)
    d, k = data.train.x.shape[1], int(data.train.y.max()) + 1
    params = network.init(rng, (d, *training.hidden, k), dtype)
    state = State(params, Adam.start(params), RunningConfidence.start(k, dtype), rng)
    if isinstance(defence, AdversaryCritic):
        state.critic = network.init(rng, (d, *defence.hidden, k), dtype)
        state.critic_adam = Adam.start(state.critic)
    return state


def train(
    data: Digits,
    defence: Defence,
    training: Training,
    seed: int = 0,
    progress: Progress | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    steps: ModuleType = by_hand,
) -> State:
    """Train a classifier with `defence` on `data.train`; `data.validation` is only measured.

    progress(epoch, epochs, record) is called after every epoch.  checkpoint: a file written after every epoch, so
    that an interrupt loses one epoch at most; `resume` goes on from it if it is there.
    steps: the module that takes the steps, `by_hand.steps`, or `method.steps` to train by the definitions themselves.
    Raises `DivergenceError`, which names the term and the epoch, as soon as a loss or a weight is not finite or
    beyond 1e6, and `InputError` on unfit data or a checkpoint of another run.
    """
    state = start(data, defence, training, seed, check_data(data))
    run = {"defence": defence.name, **asdict(defence), "seed": seed, "data": fingerprint(data)}
    run |= {f"training.{name}": value for name, value in asdict(training).items()}
    epochs = training.pretrain_epochs + training.epochs
    if resume and checkpoint is not None and Path(checkpoint).exists():
        state = load_checkpoint(checkpoint, run, state, epochs)
    while state.epoch < epochs:
        with onp.errstate(all="ignore"):  # what overflows is reported once, as divergence
            record = _epoch(state, data, defence, training, steps)
        state.epoch += 1
        state.history.append(record)
        if checkpoint is not None:
            save_checkpoint(checkpoint, state, run)
        if progress is not None:
            progress(state.epoch, epochs, record)
    return state


def check_data(data: Digits) -> onp.dtype:
    """The dtype of the images; InputError if a split is not fit for training."""
    (x, y), (v, labels) = data.train, data.validation
    check_labels(y, onp.inf, len(check_images(x, "train.x")))
    if not onp.ptp(y):
        raise InputError("the training labels hold a single class: give at least two")
    check_labels(labels, int(y.max()) + 1, len(check_images(v, "validation.x")))
    if (v.shape[1], v.dtype) != (x.shape[1], x.dtype):
        raise InputError(
            f"validation.x is {v.dtype} (n, {v.shape[1]}), but train.x {x.dtype} (n, {x.shape[1]}): "
            "give both the same size and dtype"
        )
    return x.dtype


def fingerprint(data: Digits) -> list:
    """What tells the data of two runs apart: source, side, dtype, and a checksum of what training sees."""
    arrays = (*data.train, *data.validation)
    return [data.source, data.side, str(data.train.x.dtype), [crc32(onp.ascontiguousarray(a)) for a in arrays]]


def _epoch(state: State, data: Digits, defence: Defence, training: Training, steps: ModuleType) -> dict[str, float]:
    x, y = data.train
    pretraining = state.epoch < training.pretrain_epochs
    own_epoch = max(0, state.epoch - training.pretrain_epochs)
    rate = decayed(training.learning_rate, own_epoch, training.halve_every)
    sums: dict[str, float] = {}
    order = state.rng.permutation(len(x))
    for first in range(0, len(x), training.batch):
        rows = order[first : first + training.batch]
        if pretraining:
            record = _pretraining_step(state, x[rows], y[rows], training, rate, steps)
        elif isinstance(defence, AdversaryCritic):
            critic_rate = decayed(defence.critic_learning_rate, own_epoch, training.halve_every)
            record = critic_batch(state, x[rows], y[rows], defence, training, rate, critic_rate, steps)
        else:
            record = take(state, _step(state, x[rows], y[rows], defence, steps), training, rate, steps)
        for name, value in record.items():
            _check(name, value, state, defence)
            sums[name] = sums.get(name, 0.0) + value * len(rows)
    # A step can overflow that no loss has seen yet.
    weights = sum(float(onp.sum(a, dtype=float)) for layer in state.params + (state.critic or []) for a in layer)
    _check("the sum of the weights", weights, state, defence, onp.inf)
    record = {name: total / len(x) for name, total in sums.items()}
    record |= {"epoch": state.epoch + 1, "pretraining": pretraining, "learning_rate": rate}
    for name in ("train", "validation"):
        record[f"{name}_error"] = error(state.params, *getattr(data, name))
    return record


def _check(name: str, value: float, state: State, defence: Defence, bound: float = DIVERGED) -> None:
    if not abs(value) < bound:  # nan is not below it either
        raise DivergenceError(
            f"{name} became {value:g} in epoch {state.epoch + 1} of {defence.name}: lower the learning rate"
        )


def error(params: Params, x, y) -> float:
    """The fraction of `x` (n, d) that is not classified as `y` (n,)."""
    return float(onp.mean(predict(network.logits(params, x)) != y))


def _step(state: State, x, y, defence: Defence, steps: ModuleType) -> tuple[Terms, Params]:
    """The terms and the gradient of a defence without a critic."""
    match defence:
        case Undefended():
            return steps.undefended(state.params, x, y)
        case MultiStep():
            return steps.multi_step(state.params, x, y, defence)
        case AdversarialTraining():
            return steps.adversarial_training(state.params, x, y, defence)
        case VirtualAdversarial():
            start = state.rng.standard_normal(x.shape, dtype=x.dtype)
            return steps.virtual_adversarial(state.params, x, y, defence, start)
        case Margin():
            return steps.margin(state.params, x, y, defence)


def take(
    state: State, step: tuple[Terms, Params], training: Training, rate: float, steps: ModuleType
) -> dict[str, float]:
    """Adam on the classifier, with `step` its (terms, gradient) -> the terms' numbers.  `state` is changed."""
    terms, gradient = step
    state.params, state.adam = steps.adam_step(state.params, gradient, state.adam, rate, training.beta1, training.beta2)
    return {name: value for name, (_, value) in terms.items()}


def _pretraining_step(state: State, x, y, training: Training, rate: float, steps: ModuleType) -> dict[str, float]:
    _update_confidence(state, x)
    return take(state, steps.pretraining(state.params, x, y, training.weight_decay), training, rate, steps)


def _update_confidence(state: State, x) -> None:
    z = network.logits(state.params, x)
    state.running = state.running.update(pick(softmax(z), predict(z)), predict(z))


def critic_batch(
    state: State, x, y, s: AdversaryCritic, training: Training, rate: float, critic_rate: float, steps: ModuleType
) -> dict[str, float]:
    """The adversary critic's batch: running confidence, x̂, critic step(s), classifier step."""
    step = steps.ClassifierStep(state.params, x)
    state.running = state.running.update(step.confidence, step.predicted)
    step.attack(state.running, s.generator, state.rng)

    def noise():
        return critic.draw_noise(state.rng, state.critic, len(x), s.input_noise, s.hidden_noise)

    critic_terms: Terms = {}
    for _ in range(s.critic_steps):
        critic_terms, gradient = steps.critic_step(state.critic, x, y, step.images, step.taken_for, noise(), noise(), s)
        state.critic, state.critic_adam = steps.adam_step(
            state.critic, gradient, state.critic_adam, critic_rate, training.beta1, training.beta2
        )
    record = take(state, step.gradient(y, state.critic, noise(), s), training, rate, steps)
    return record | {
        **{name: value for name, (_, value) in critic_terms.items()},
        "attack_success": float(onp.mean(step.taken_for != step.predicted)),
        "target_confidence": float(onp.mean(step.target_confidence)),
        "mean_r": float(onp.mean(onp.linalg.norm(step.images - x, axis=1))),
    }
