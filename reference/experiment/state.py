"""All that training carries from one epoch to the next, and the checkpoint file that keeps it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as onp

from ..errors import InputError
from ..method.adam import Adam
from ..method.network import Params
from ..method.targets import RunningConfidence
from ..plumbing.checks import check_params
from ..plumbing.files import load_npz, save_npz


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
    arrays = {}
    for name, params in _parameter_lists(state).items():
        for i, (W, b) in enumerate(params):
            arrays[f"{name}.W{i}"], arrays[f"{name}.b{i}"] = W, b
    arrays["running.value"], arrays["running.biased"] = state.running.value, state.running.biased
    about = {
        "run": run,
        "epoch": state.epoch,
        "history": state.history,
        "rng": state.rng.bit_generator.state,
        "steps": [state.running.steps, state.adam.t, state.critic_adam.t if state.critic_adam else 0],
    }
    save_npz(path, arrays | {"about": onp.array(json.dumps(about))}, compress=False)


def load_checkpoint(path: str | Path, run: dict | None = None) -> State:
    """The state that `save_checkpoint` wrote; InputError if the file is damaged or belongs to another run."""
    arrays = load_npz(path)
    try:
        about = json.loads(str(arrays["about"]))
        steps = about["steps"]
        running = RunningConfidence(arrays["running.value"], arrays["running.biased"], steps[0])
        rng = onp.random.default_rng()
        rng.bit_generator.state = about["rng"]
        lists = {
            name: [(arrays[f"{name}.W{i}"], arrays[f"{name}.b{i}"]) for i in range(_depth(arrays, name))]
            for name in ("params", "adam.m", "adam.v", "critic", "critic_adam.m", "critic_adam.v")
        }
        check_params(lists["params"])
        state = State(lists["params"], Adam(lists["adam.m"], lists["adam.v"], steps[1]), running, rng)
        if lists["critic"]:
            state.critic = lists["critic"]
            state.critic_adam = Adam(lists["critic_adam.m"], lists["critic_adam.v"], steps[2])
        state.epoch, state.history = about["epoch"], about["history"]
        found = dict(about["run"])
    except (KeyError, ValueError, TypeError) as cause:
        raise InputError(f"{path} is not a checkpoint of a training run ({cause!r}): remove it, train again") from cause
    wanted = found if run is None else json.loads(json.dumps(run))
    differs = sorted(key for key in found | wanted if found.get(key) != wanted.get(key))
    if differs:
        raise InputError(
            f"{path} belongs to a run with other settings ({', '.join(differs)}): use its settings, or another folder"
        )
    return state


def _parameter_lists(state: State) -> dict[str, Params]:
    lists = {"params": state.params, "adam.m": state.adam.m, "adam.v": state.adam.v}
    if state.critic is not None:
        lists |= {"critic": state.critic, "critic_adam.m": state.critic_adam.m, "critic_adam.v": state.critic_adam.v}
    return lists


def _depth(arrays: dict, name: str) -> int:
    return sum(key.startswith(f"{name}.W") for key in arrays)
