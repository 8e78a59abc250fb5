"""Every quantity that the authors' code computed on two small networks, to 1e-10 relative.

Source: github.com/aam-at/adversary_critic, commit 31e4878, run in float64; tests/data/README.md says how, and what
each key is.  `computed` gives this library's value for every key of the file; a key without one is a failure.
"""

from functools import cache, partial
from pathlib import Path

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import make_vjp

from reference.attacks import deepfool, high_confidence
from reference.attacks.nearest import nearest_class
from reference.method import critic, network
from reference.method import objectives as O
from reference.method.generator import unrolled
from reference.method.numerics import absolute, masked_mean, pick, predict, softmax
from reference.method.settings import AdversaryCritic, Generator
from reference.method.targets import RunningConfidence

VALUES = dict(np.load(Path(__file__).parent / "authors_values.npz"))
NETWORKS = ("toy", "toy_third")
WEIGHTS = [kind + i for i in "012" for kind in "Wb"]
INPUTS = {"x", "y", "cvec", "G", *WEIGHTS, *("C" + name for name in WEIGHTS)}
NOT_COMPARED = dict.fromkeys(INPUTS, "what the others are computed from")
CONFIDENCES = {"crm": "running", "same": "own", "c08": 0.8}


@cache
def given(name):
    """-> (every key of one network without its prefix, θ, ω)"""
    z = {key.removeprefix(name + "/"): v for key, v in VALUES.items() if key.startswith(name + "/")}
    return z, *([(z[f"{p}W{i}"], z[f"{p}b{i}"]) for i in range(3)] for p in ("", "C"))


def gradients(prefix, gradient):
    """{prefix.W0: …, prefix.b0: …} of a list of layers."""
    return {f"{prefix}.{name}": g for name, g in zip(WEIGHTS, [g for layer in gradient for g in layer], strict=True)}


def gradient(f, params):
    pull, value = make_vjp(f)(params)
    return value, pull(1.0)


@cache
def computed(name):
    """This library's value for every key."""
    z, params, _ = given(name)
    f, x = partial(network.logits, params), z["x"]
    z0, pred = f(x), predict(f(x))
    p, t = softmax(z0), nearest_class(f, x, pred)
    ours = {
        "logits": z0,
        "prob": p,
        "conf": pick(p, pred),
        "pred": pred,
        "jac": network.class_gradients(f, x),
        "targets": t,
        "targets_linf": nearest_class(f, x, pred, "linf"),
        "targets_from_y": nearest_class(f, x, z["y"]),
        "ur5_c08_notargets": unrolled(params, x, t, 0.8),
        "ur5_c08_ordinf": unrolled(params, x, t, 0.8, geometry="linf"),
    }
    for steps in (1, 2, 5):
        for confidence in ("c08", "cvec", "cown"):
            ours |= unrolled_keys(f"ur{steps}_{confidence}", z, params, t, confidence, steps)
    ours |= evaluation_keys(z, f, t)
    running = RunningConfidence.start(5, np.float64)
    n = len(x)
    for step, part in enumerate((slice(n // 2), slice(n // 2, n), slice(n // 3)), 1):
        running = running.update(ours["conf"][part], pred[part])
        ours[f"crm.running_mean_step{step}"] = running.value
    for prefix in CONFIDENCES:
        ours |= {f"{prefix}.{key}": v for key, v in batch_keys(name, prefix, t).items()}
    return ours


def unrolled_keys(key, z, params, t, confidence, steps):
    def attack(params, vector):
        own = softmax(network.logits(params, z["x"])).max(axis=1) if confidence == "cown" else None
        C = {"c08": 0.8, "cvec": vector, "cown": own}[confidence]
        return unrolled(params, z["x"], t, C, steps)

    pull, x_hat = make_vjp(lambda p: attack(p, z["cvec"]))(params)
    ours = {key: x_hat, **gradients(key + ".vjp", pull(z["G"]))}
    if confidence == "cvec":
        ours[key + ".vjp.conf"] = make_vjp(lambda c: attack(params, c))(z["cvec"])[0](z["G"])
    return ours


def evaluation_keys(z, f, t):
    runs = {"hc_nobox_c08": (high_confidence, {"confidence": 0.8, "box": None})}
    runs["df_nobox_targeted"] = deepfool, {"targets": t, "box": None}
    runs["df_nobox_labels_y"] = deepfool, {"labels": z["y"], "box": None}
    for box, limits in (("box", (0, 1)), ("nobox", None)):
        for suffix, iterations in (("", 500), ("_it1", 1), ("_it3", 3)):
            options = {"box": limits, "iterations": iterations}
            runs[f"hc_{box}{suffix}"] = high_confidence, options
            runs[f"df_{box}{suffix}"] = deepfool, options
    ours = {}
    for key, (attack, options) in runs.items():
        result = attack(f, z["x"], **options)
        # Their loop counts passes, of which the last only finds that all have arrived; ours counts steps.
        passes = min(result.iterations.max() + 1, options.get("iterations", 500))
        ours |= {key: result.last, key + ".logits": f(result.last), key + ".iters": passes}
    return ours


def batch_keys(name, prefix, t):
    """One training batch.  Authors' names: nll, gan and rec are our terms cross_entropy, critic and cycle."""
    z, params, omega = given(name)
    x, y, pred = z["x"], z["y"], predict(z["logits"])
    running = RunningConfidence.start(5, np.float64).update(z["conf"], pred)
    s = AdversaryCritic(generator=Generator(confidence=CONFIDENCES[prefix]))
    z0, own, x_hat, _ = O.generate(params, x, t, running, s.generator)
    y_hat = predict(network.logits(params, x_hat))
    kept = y_hat != pred
    x_rec = unrolled(params, x_hat, pred, own)
    D, D_hat = critic.scores(omega, x, 0.2), critic.scores(omega, x_hat, 0.2)
    ours = {
        "target_conf": running.value[t] if prefix == "crm" else own,
        "X_hat": x_hat,
        "X_hat_h": x_hat,
        "y_adv": y_hat,
        "X_hat_filter": kept,
        "y_adv_f": y_hat[kept],
        "X_rec": x_rec,
        "z_data": pick(D, y),
        "z_adv_h": pick(D_hat, y_hat),
        "z_adv": pick(D_hat, y_hat)[kept],
        "conf": own,
        "pred": predict(z0),
        "logits_rec": network.logits(params, x_rec),
        "logits_hat": network.logits(params, x_hat),
    }

    def objective(p):
        return O.adversary_critic(p, x, y, t, running, omega, None, s)

    def cycle_l1(p):  # which the paper does not have: it prints the Euclidean norm
        own = pick(softmax(network.logits(p, x)), pred)
        return masked_mean(anp.sum(absolute(x - unrolled(p, x_hat, pred, own)), axis=1), kept)

    def critic_objective(p):
        return O.critic_objective(p, x, y, x_hat, y_hat, None, None, AdversaryCritic())

    def part(objective, *names):
        return lambda p: sum(objective(p)[name][1] for name in names)

    scalars = {
        "nll": (part(objective, "cross_entropy"), params),
        "gan": (part(objective, "critic"), params),
        "rec_l2": (part(objective, "cycle"), params),
        "rec_l1": (cycle_l1, params),
        "loss": (lambda p: O.total(objective(p)), params),
        "critic_gan": (part(critic_objective, "real", "fake"), omega),
        "critic_grad_penalty": (part(critic_objective, "penalty_real", "penalty_fake"), omega),
        "critic_loss": (lambda p: O.total(critic_objective(p)), omega),
        "critic_gan_data": (part(critic_objective, "real"), omega),
        "critic_gan_adv": (part(critic_objective, "fake"), omega),
    }
    for key, (f, at) in scalars.items():
        ours[key], g = gradient(f, at)
        ours |= gradients("g_" + key, g)
    return ours


@pytest.mark.parametrize("key", sorted({key.split("/")[1] for key in VALUES} - set(NOT_COMPARED)))
@pytest.mark.parametrize("name", NETWORKS)
def test_value(name, key):
    expected, ours = given(name)[0][key], computed(name)[key]
    assert np.shape(ours) == expected.shape
    if expected.dtype.kind in "iub":
        np.testing.assert_array_equal(ours, expected)
    else:
        assert np.linalg.norm(ours - expected) <= 1e-10 * np.linalg.norm(expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_key_is_compared_or_listed(name):
    keys = set(given(name)[0])
    assert keys == {key.split("/")[1] for key in VALUES}
    assert keys - set(computed(name)) == set(NOT_COMPARED)
    assert not set(NOT_COMPARED) & set(computed(name))


def test_the_second_network_tells_predicted_from_target():
    """Only where a kept example lands in a third class do ŷ and t give different losses."""
    third = {name: given(name)[0]["crm.y_adv"] != given(name)[0]["targets"] for name in NETWORKS}
    kept = {name: given(name)[0]["crm.X_hat_filter"] for name in NETWORKS}
    assert (third["toy_third"] & kept["toy_third"]).any()
    assert not kept["toy"].all(), "and in the first, S is not everything"
