"""All that training carries from one epoch to the next, and the checkpoint file that keeps it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as onp

from ..errors import InputError
from ..method.adam import Adam
from ..method.network import Params
from ..method.targets import RunningConfidence
from ..plumbing.checks import check_params
from ..plumbing.files import content_of, load_npz, save_npz


@dataclass
class State:
    """All that training carries from one epoch to the next."""

    params: Params
    adam: Adam
    running: RunningConfidence
    rng: onp.random.Generator
    critic: Params | None = None
    critic_adam: Adam | None = None
    epoch: int = 0
    """Epochs done, pre-training included."""
    history: list[dict[str, float]] = field(default_factory=list)
    """One record per epoch: each loss term, errors, and for the critic the attack's success, C and mean ‖r‖."""


def save_checkpoint(path: str | Path, state: State, run: dict) -> None:
    """The whole state in one npz file, written atomically; `run` describes the run that it belongs to."""
    arrays = _arrays(state)
    about = {
        "run": run,
        "epoch": state.epoch,
        "history": state.history,
        "rng": state.rng.bit_generator.state,
        "steps": [state.running.steps, state.adam.t, state.critic_adam.t if state.critic_adam else 0],
    }
    about = json.loads(json.dumps(about))
    about["checksum"] = checksum(arrays, about)
    save_npz(path, arrays | {"about": onp.array(json.dumps(about))}, compress=False)


def load_checkpoint(
    path: str | Path, run: dict | None = None, fresh: State | None = None, epochs: int | None = None
) -> State:
    """The state that `save_checkpoint` wrote; InputError if the file is damaged or belongs to another run.

    run: the description it must have.  fresh: a state before the first epoch, whose shapes and dtypes it must have.
    epochs: how many there are in all.
    """
    state, found = read_checkpoint(path)
    wanted = found if run is None else json.loads(json.dumps(run))
    differs = sorted(key for key in found | wanted if found.get(key) != wanted.get(key))
    if differs:
        raise InputError(
            f"{path} belongs to a run with other settings ({', '.join(differs)[:200]}): "
            "use its settings, or another folder"
        )
    if fresh is not None and _shapes(_arrays(state)) != _shapes(_arrays(fresh)):
        raise InputError(f"{path} holds arrays of other shapes than this run's: remove it, or train again")
    if epochs is not None and state.epoch > epochs:
        raise InputError(f"{path} says that {state.epoch} of {epochs} epochs are done: remove it, or train again")
    return state


def read_checkpoint(path: str | Path) -> tuple[State, dict]:
    """The state in a checkpoint, and the description of its run; InputError if the file is damaged."""
    arrays = load_npz(path, "remove it, or train again")
    with content_of(path, "a checkpoint of a training run", "remove it, or train again"):
        about = json.loads(str(arrays.pop("about")))
        if about.pop("checksum") != checksum(arrays, about):
            raise ValueError("its content does not match its checksum")
        return _state(arrays, about), dict(about["run"])


LISTS = ("params", "adam.m", "adam.v", "critic", "critic_adam.m", "critic_adam.v")


def _arrays(state: State) -> dict[str, onp.ndarray]:
    """All arrays of a state by name."""
    lists = [state.params, state.adam.m, state.adam.v]
    if state.critic is not None:
        lists += [state.critic, state.critic_adam.m, state.critic_adam.v]
    named = {
        f"{name}.{letter}{i}": array
        for name, params in zip(LISTS, lists, strict=False)
        for i, layer in enumerate(params)
        for letter, array in zip("Wb", layer, strict=True)
    }
    return named | {"running.value": state.running.value, "running.biased": state.running.biased}


def _state(arrays: dict[str, onp.ndarray], about: dict) -> State:
    """The state of `arrays` and of the numbers in `about`; ValueError if they do not fit one another."""
    epoch, history, steps = about["epoch"], about["history"], about["steps"]
    if len(steps) != 3 or any(type(n) is not int or not 0 <= n < 2**53 for n in (epoch, *steps)):
        raise ValueError("epoch and steps must be whole numbers")
    if not isinstance(history, list) or len(history) != epoch or not all(map(_is_record, history)):
        raise ValueError("its history must hold a record of finite numbers for each epoch")
    depths = {name: sum(key.startswith(f"{name}.W") for key in arrays) for name in LISTS}
    lists = {name: [(arrays[f"{name}.W{i}"], arrays[f"{name}.b{i}"]) for i in range(n)] for name, n in depths.items()}
    running = RunningConfidence(arrays["running.value"], arrays["running.biased"], steps[0])
    rng = onp.random.default_rng()
    rng.bit_generator.state = about["rng"]
    params, m, v, critic, critic_m, critic_v = lists.values()
    state = State(params, Adam(m, v, steps[1]), running, rng, epoch=epoch, history=history)
    if critic:
        state.critic, state.critic_adam = critic, Adam(critic_m, critic_v, steps[2])
    if _shapes(_arrays(state)) != _shapes(arrays):
        raise ValueError("it holds arrays that belong to no training run")
    inputs = check_params(params)[0][0].shape[0]
    for values in filter(len, lists.values()):
        check_params(values, inputs)
    for means, weights in ((m, params), (v, params), (critic_m, critic), (critic_v, critic)):
        if [_shape(a) for layer in means for a in layer] != [_shape(a) for layer in weights for a in layer]:
            raise ValueError("Adam's moments have other shapes than the weights")
    classes = [_shape(params[-1][1])] * 2 + ([_shape(critic[-1][1])] if critic else [])
    if [_shape(running.value), _shape(running.biased), *classes[2:]] != classes:
        raise ValueError("the running confidence or the critic has another number of classes than the classifier")
    if not all(((a >= 0) & (a < 1.001)).all() for a in (running.value, running.biased)):
        raise ValueError("the running confidence is outside [0, 1]")
    return state


def _is_record(record) -> bool:
    return isinstance(record, dict) and all(isinstance(v, int | float) and abs(v) < onp.inf for v in record.values())


def _shape(array: onp.ndarray) -> tuple:
    return array.shape, array.dtype.str


def _shapes(arrays: dict[str, onp.ndarray]) -> dict[str, tuple]:
    return {name: _shape(array) for name, array in sorted(arrays.items())}


def checksum(arrays: dict[str, onp.ndarray], about: dict) -> str:
    """Of all that a checkpoint holds."""
    digest = sha256(json.dumps(about, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(repr((name, _shape(array))).encode() + array.tobytes())
    return digest.hexdigest()
