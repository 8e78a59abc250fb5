"""Training: a function of its seed, whatever interrupts it; each batch is the method's, step by step."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from calculus import leaves

from reference.by_hand import steps as by_hand
from reference.data import Digits, Split
from reference.errors import DivergenceError, InputError
from reference.experiment.state import checksum as state_checksum
from reference.experiment.state import load_checkpoint
from reference.experiment.train import check_data, start, train
from reference.method import critic, network, objectives, steps
from reference.method.adam import Adam, adam_step, decayed
from reference.method.numerics import pick, predict, softmax
from reference.method.settings import (
    AdversarialTraining,
    AdversaryCritic,
    Generator,
    Margin,
    MultiStep,
    Training,
    Undefended,
    VirtualAdversarial,
)
from reference.plumbing.files import load_npz, save_npz

CRITIC = AdversaryCritic(hidden=(8,), critic_steps=2)
DEFENCES = [
    Undefended(),
    AdversarialTraining(epsilon=0.05),
    VirtualAdversarial(epsilon=0.3),
    MultiStep(epsilon=0.2, steps=3),
    Margin(epsilon=0.1),
    CRITIC,
]
TINY = Training(hidden=(7, 6), batch=8, pretrain_epochs=1, epochs=3, learning_rate=0.01, halve_every=1)
by_name = pytest.mark.parametrize("defence", DEFENCES, ids=lambda d: d.name)


def blobs(n=36, k=3, d=4, dtype=np.float32, seed=0, noise=0.05):
    """k classes around k corners of the box: separable.  n is no multiple of the batch."""
    rng = np.random.default_rng(seed)

    def split(n):
        y = np.arange(n) % k
        x = 0.2 + 0.6 * np.eye(k, d)[y] + noise * rng.standard_normal((n, d))
        return Split(np.clip(x, 0, 1).astype(dtype), y)

    return Digits(split(n), split(n), split(n), 2, "blobs")


DATA, DATA64 = blobs(), blobs(dtype=np.float64)


def assert_equal(state, other):
    """To the bit: parameters, optimisers, running confidence, generator, history."""
    for name in ("params", "adam", "critic", "critic_adam", "running"):
        a, b = getattr(state, name), getattr(other, name)
        a, b = (vars(v) if isinstance(v, Adam) or name == "running" else {"": v} for v in (a, b))
        for key in a:
            for p, q in zip(leaves(a[key]), leaves(b[key]), strict=True):
                assert np.array_equal(p, q) and getattr(p, "dtype", 0) == getattr(q, "dtype", 0), (name, key)
    assert state.rng.bit_generator.state == other.rng.bit_generator.state
    assert (state.epoch, state.history) == (other.epoch, other.history)


@by_name
def test_a_run_is_a_function_of_its_seed_and_an_interrupt_changes_no_bit(defence, tmp_path):
    epochs = TINY.pretrain_epochs + TINY.epochs
    whole = train(DATA, defence, TINY, seed=1)
    assert_equal(train(DATA, defence, TINY, seed=1), whole)
    other = train(DATA, defence, TINY, seed=2)
    assert not np.array_equal(other.params[0][0], whole.params[0][0])
    assert other.history != whole.history

    def interrupt(at):
        def progress(epoch, total, record):
            assert total == epochs and record["epoch"] == epoch
            if epoch == at:
                raise KeyboardInterrupt

        return progress

    for at in range(1, epochs + 1):
        file = tmp_path / f"{at}.npz"
        with pytest.raises(KeyboardInterrupt):
            train(DATA, defence, TINY, 1, interrupt(at), file)
        assert load_checkpoint(file).epoch == at
        assert_equal(train(DATA, defence, TINY, 1, checkpoint=file, resume=True), whole)
        assert_equal(load_checkpoint(file), whole)
        # Without `resume` the file is overwritten.
        with pytest.raises(KeyboardInterrupt):
            train(DATA, defence, TINY, 1, interrupt(1), file)
        assert load_checkpoint(file).epoch == 1


def test_a_resumed_run_trains_only_the_epochs_that_are_left(tmp_path):
    seen = []
    for _ in range(2):
        train(DATA, Undefended(), TINY, progress=lambda *args: seen.append(args[:2]), checkpoint=tmp_path / "c.npz")
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)] * 2
    train(DATA, Undefended(), TINY, progress=lambda *_: 1 / 0, checkpoint=tmp_path / "c.npz", resume=True)


def test_an_interrupt_within_an_epoch_leaves_the_last_one(tmp_path, monkeypatch):
    whole = train(DATA, CRITIC, TINY)
    calls, real = [], by_hand.ClassifierStep.gradient

    def gradient(*args):
        calls.append(1)
        if len(calls) == 8:  # the third batch of the second epoch with the critic
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(by_hand.ClassifierStep, "gradient", gradient)
    with pytest.raises(KeyboardInterrupt):
        train(DATA, CRITIC, TINY, checkpoint=tmp_path / "c.npz")
    assert load_checkpoint(tmp_path / "c.npz").epoch == 2
    assert [path.name for path in tmp_path.iterdir()] == ["c.npz"]
    assert_equal(train(DATA, CRITIC, TINY, checkpoint=tmp_path / "c.npz", resume=True), whole)


@pytest.mark.parametrize(
    "change, named",
    [
        ({"seed": 1}, r"\(seed\)"),
        ({"defence": replace(CRITIC, cycle_weight=0.02)}, r"\(cycle_weight\)"),
        ({"defence": replace(CRITIC, generator=Generator(iterations=4))}, r"\(generator\)"),
        ({"defence": Margin()}, "defence.*epsilon"),
        ({"training": replace(TINY, epochs=4)}, r"\(training.epochs\)"),
        ({"training": replace(TINY, hidden=(9,), beta1=0.9)}, r"\(training.beta1, training.hidden\)"),
        ({"data": DATA64}, r"\(data\)"),
        ({"data": blobs(seed=1)}, r"\(data\)"),
        ({"data": DATA._replace(source="others")}, r"\(data\)"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused_by_name(change, named, tmp_path):
    file = tmp_path / "c.npz"
    run = {"data": DATA, "defence": CRITIC, "training": TINY, "seed": 0}
    train(**run, checkpoint=file)
    before = file.read_bytes()
    with pytest.raises(InputError, match=f"{file}.*other settings.*{named}"):
        train(**run | change, checkpoint=file, resume=True)
    assert file.read_bytes() == before


def test_a_damaged_or_foreign_checkpoint_is_refused(tmp_path):
    file = tmp_path / "c.npz"
    state = train(DATA, CRITIC, TINY, checkpoint=file)
    whole = file.read_bytes()
    for damaged in (whole[:-100], whole[: len(whole) // 2], b"", b"not an npz", whole[:400] + b"\0" * 99 + whole[499:]):
        file.write_bytes(damaged)
        with pytest.raises(InputError, match=str(file)):
            train(DATA, CRITIC, TINY, checkpoint=file, resume=True)
    for foreign in ({"x": np.ones(3)}, {"about": np.array("{}")}, {"about": np.array("[1]")}, {"about": np.ones(2)}):
        save_npz(file, foreign)
        with pytest.raises(InputError, match="not a checkpoint"):
            load_checkpoint(file)
    file.write_bytes(whole)
    assert_equal(load_checkpoint(file), state)
    file.unlink()
    assert_equal(train(DATA, CRITIC, TINY, checkpoint=file, resume=True), state)  # none there: from the beginning


def tampered(file, about=lambda about: None, arrays=lambda arrays: None):
    """Change what a checkpoint says, with a checksum that fits."""
    found = load_npz(file)
    said = json.loads(str(found.pop("about")))
    about(said)
    arrays(found)
    del said["checksum"]
    said["checksum"] = state_checksum(found, said)
    save_npz(file, found | {"about": np.array(json.dumps(said))})


def put(**values):
    return lambda content: content.update(values)


@pytest.mark.parametrize(
    "about",
    [put(epoch=1e30), put(epoch=-1), put(epoch=True), put(epoch=10**400), put(epoch=1), put(history=None)]
    + [put(history=[{}, 3]), put(history=[{"a": "x"}] * 2), put(history=[{"a": float("nan")}] * 2)]
    + [put(steps=[1, 2]), put(steps=[1, 2, -3]), put(steps=7), put(rng={}), put(rng=None), put(run=3), put(run=[["a"]])]
    + [lambda about: about["rng"]["state"].update(state="x"), lambda about: about.pop("steps")],
)
def test_a_checkpoint_that_says_nonsense_is_refused(about, finished, tmp_path):
    file = tmp_path / "c.npz"
    file.write_bytes(finished)
    tampered(file, about)
    with pytest.raises(InputError, match=r"c\.npz .*(train again|another folder)"):
        train(DATA, CRITIC, TINY, checkpoint=file, resume=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The bytes of a finished training's checkpoint."""
    file = tmp_path_factory.mktemp("finished") / "c.npz"
    train(DATA, CRITIC, TINY, checkpoint=file)
    return file.read_bytes()


@pytest.mark.parametrize(
    "name", ["params.W0", "adam.m.b0", "adam.v.W0", "critic.W0", "critic_adam.m.b0", "running.value"]
)
@pytest.mark.parametrize("change", [lambda a: a[:-1], lambda a: a.astype(np.float16), lambda a: a + np.nan, None])
def test_a_checkpoint_with_other_arrays_is_refused(name, change, finished, tmp_path):
    """Each is whole, and its checksum fits: another shape, dtype, nan, or missing."""
    file = tmp_path / "c.npz"
    file.write_bytes(finished)
    tampered(file, arrays=lambda found: found.update({name: change(found[name])}) if change else found.pop(name))
    with pytest.raises(InputError, match=r"c\.npz .*train again"):
        train(DATA, CRITIC, TINY, checkpoint=file, resume=True)


def test_a_checkpoint_of_a_wider_network_or_an_unknown_content_is_refused(finished, tmp_path):
    file = tmp_path / "c.npz"
    wider = replace(TINY, hidden=(9,))
    train(DATA, CRITIC, wider, checkpoint=file)
    run = json.loads(str(load_npz(file)["about"]))["run"]
    file.write_bytes(finished)
    tampered(file, lambda about: about.update(run=run))
    with pytest.raises(InputError, match="arrays of other shapes"):
        train(DATA, CRITIC, wider, checkpoint=file, resume=True)
    file.write_bytes(finished)
    arrays = load_npz(file)
    arrays["params.W0"][0, 0] += 1
    for about in (arrays["about"], np.array(str(arrays["about"]).replace('"checksum"', '"other"'))):
        save_npz(file, arrays | {"about": about})
        with pytest.raises(InputError, match="damaged or not a checkpoint.*(checksum)"):
            load_checkpoint(file)


def replay_pretraining(state, x, y, training, rate):
    z = network.logits(state.params, x)
    state.running = state.running.update(pick(softmax(z), predict(z)), predict(z))
    terms, gradient = objectives.differentiate(
        lambda p: objectives.pretraining(p, x, y, training.weight_decay), state.params
    )
    state.params, state.adam = adam_step(state.params, gradient, state.adam, rate, training.beta1, training.beta2)
    return terms


def close(got, expected, tolerance=1e-10):
    for g, e in zip(leaves(got), leaves(expected), strict=True):
        np.testing.assert_allclose(g, e, rtol=tolerance, atol=tolerance * np.abs(e).max())


def test_pretraining_is_replayed_with_weight_decay_and_running_confidence():
    """For every defence alike; with the decay so strong that it decides the step."""
    training = replace(TINY, epochs=0, pretrain_epochs=1, weight_decay=5.0)
    state = start(DATA64, Undefended(), training, 3, np.float64)
    order = state.rng.permutation(len(DATA64.train.y))
    for rows in (order[i : i + 8] for i in range(0, 36, 8)):
        replay_pretraining(state, DATA64.train.x[rows], DATA64.train.y[rows], training, training.learning_rate)
    for defence in DEFENCES[:-1]:
        got = train(DATA64, defence, training, 3)
        close(got.params, state.params)
        close([got.running.value, got.running.biased], [state.running.value, state.running.biased])
        assert got.running.steps == got.adam.t == 5
        assert got.history[0]["pretraining"] and set(got.history[0]) >= {"cross_entropy", "weight_decay"}
    with_critic = train(DATA64, CRITIC, training, 3)  # the critic's weights are drawn after the classifier's
    assert with_critic.running.steps == 5 and with_critic.critic_adam.t == 0
    without = train(DATA64, Undefended(), replace(training, weight_decay=0.0), 3)
    norm = [sum(np.sum(W**2) for W, _ in s.params[:-1]) for s in (state, without)]
    assert norm[0] < norm[1]


VARIANTS = [
    CRITIC,
    replace(CRITIC, critic_steps=1, generator=Generator(gradient="full", confidence="own")),
    replace(CRITIC, generator=Generator(targets="uniform", confidence=0.7)),
    replace(CRITIC, generator=Generator(targets="softmax", geometry="linf", gradient="detached")),
]


@pytest.mark.parametrize("module", [by_hand, steps], ids=["by_hand", "plain"])
@pytest.mark.parametrize("s", VARIANTS, ids=["default", "full", "uniform", "detached"])
def test_a_batch_is_running_confidence_attack_critic_step_classifier_step(s, module):
    """One batch after pre-training, replayed with the plain objectives, whole: the classifier's gradient is that of
    `adversary_critic` at the θ and C of the attack, with the critic already updated."""
    s = replace(s, critic_weight=3.0, cycle_weight=0.5)
    training = replace(TINY, batch=36, epochs=1, pretrain_epochs=2)
    got = train(DATA64, s, training, 5, steps=module)
    assert got.history[-1]["attack_success"] > 0, "nothing to replay"

    state, (x, y) = start(DATA64, s, training, 5, np.float64), DATA64.train
    for _ in range(2):
        order = state.rng.permutation(len(y))
        replay_pretraining(state, x[order], y[order], training, training.learning_rate)
    order = state.rng.permutation(len(y))
    x, y, theta = x[order], y[order], state.params

    z = network.logits(theta, x)
    own = pick(softmax(z), predict(z))
    running = state.running.update(own, predict(z))
    targets = objectives.choose_targets(theta, x, s.generator, state.rng)
    _, _, x_hat, C = objectives.generate(theta, x, targets, running, s.generator)
    y_hat = predict(network.logits(theta, x_hat))

    def noise():
        return critic.draw_noise(state.rng, state.critic, len(x), s.input_noise, s.hidden_noise)

    for _ in range(s.critic_steps):
        real, fake = noise(), noise()
        judged, gradient = objectives.differentiate(
            lambda D, *n: objectives.critic_objective(D, x, y, x_hat, y_hat, *(n or (real, fake)), s),  # noqa: B023
            state.critic,
        )
        state.critic, state.critic_adam = adam_step(
            state.critic, gradient, state.critic_adam, s.critic_learning_rate, 0.5, 0.999
        )
    final = noise()
    terms, gradient = objectives.differentiate(
        lambda p: objectives.adversary_critic(p, x, y, targets, running, state.critic, final, s), theta
    )
    params, adam = adam_step(theta, gradient, state.adam, training.learning_rate, 0.5, 0.999)

    close(got.critic, state.critic)
    close(got.params, params)
    close([got.adam.m, got.adam.v], [adam.m, adam.v])
    close([got.running.value], [running.value])
    assert (adam.t, got.adam.t, got.critic_adam.t) == (3, 3, s.critic_steps)  # Adam goes on from pre-training
    record = got.history[-1]
    for name, (_, value) in (terms | judged).items():
        np.testing.assert_allclose(record[name], value, rtol=1e-10, err_msg=name)
    np.testing.assert_allclose(record["attack_success"], np.mean(y_hat != predict(z)))
    expected = {"running": running.value[targets], "own": own}.get(s.generator.confidence, s.generator.confidence)
    np.testing.assert_allclose(record["target_confidence"], np.mean(expected))
    np.testing.assert_allclose(C, expected * np.ones(len(x)))
    np.testing.assert_allclose(record["mean_r"], np.mean(np.linalg.norm(x_hat - x, axis=1)))
    np.testing.assert_allclose(record["train_error"], np.mean(predict(network.logits(params, x)) != y))
    assert got.rng.bit_generator.state == state.rng.bit_generator.state


def test_the_staged_gradient_is_not_that_of_a_detached_attack():
    """What makes the replay above sharp: the gradient through the attack is a visible part of the whole."""
    training = replace(TINY, batch=36, epochs=1, pretrain_epochs=2)
    s = replace(CRITIC, critic_weight=3.0)
    whole, detached = (
        train(DATA64, replace(s, generator=Generator(gradient=g)), training, 5).adam.m[0][0]
        for g in ("truncated", "detached")
    )
    assert np.linalg.norm(whole - detached) > 1e-3 * np.linalg.norm(whole)


@by_name
def test_both_learning_rates_halve_at_the_epochs_told(defence, monkeypatch):
    rates = []

    def recorded(params, gradient, state, rate, *betas):
        rates.append((len(params), rate))
        assert betas == (TINY.beta1, TINY.beta2)
        return adam_step(params, gradient, state, rate, *betas)

    monkeypatch.setattr(by_hand, "adam_step", recorded)
    training = replace(TINY, batch=36, pretrain_epochs=2, epochs=5, halve_every=2)
    state = train(DATA, defence, training)
    own = [0.01, 0.01, 0.01, 0.01, 0.005, 0.005, 0.0025]  # pre-training does not count
    assert [rate for depth, rate in rates if depth == 3] == own
    assert [record["learning_rate"] for record in state.history] == own
    if defence is CRITIC:
        steps = [decayed(1e-3, epoch, 2) for epoch in range(5) for _ in range(2)]
        assert [rate for depth, rate in rates if depth == 2] == steps


def test_a_smaller_last_batch_counts_by_its_size():
    """At rate 1e-12 nothing moves: the record is the mean over the examples, whatever the batches."""
    still = replace(TINY, pretrain_epochs=0, epochs=1, learning_rate=1e-12)
    records = [train(DATA64, Undefended(), replace(still, batch=b), 4).history[0] for b in (36, 35, 8)]
    for record in records[1:]:
        np.testing.assert_allclose(record["cross_entropy"], records[0]["cross_entropy"], rtol=1e-8)
    critics = [
        train(DATA64, replace(CRITIC, critic_learning_rate=1e-12), replace(still, batch=b), 4).history[0]
        for b in (36, 35)
    ]
    # C is the running mean of each batch: what does not hang on it.
    np.testing.assert_allclose(critics[0]["cross_entropy"], critics[1]["cross_entropy"], rtol=1e-8)


@by_name
def test_divergence_names_the_term_and_the_epoch(defence, tmp_path):
    file, diverging = tmp_path / "c.npz", replace(TINY, batch=36, learning_rate=1e30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no list of overflows beside it
        with pytest.raises(DivergenceError, match="(weight_decay|cross_entropy) became (inf|nan) in epoch 2 of "):
            train(DATA, Undefended(), replace(diverging, pretrain_epochs=2), checkpoint=file)
        with pytest.raises(DivergenceError, match=rf"\w+ became (inf|nan) in epoch \d of {defence.name}: lower"):
            train(DATA, defence, diverging)
    # What is kept is the last epoch that was sound.
    kept = load_checkpoint(file)
    assert kept.epoch == 1 and all(np.isfinite(leaf).all() for leaf in leaves(kept.params))


def test_a_last_step_that_overflows_is_not_passed_over():
    once = replace(TINY, batch=36, pretrain_epochs=0, epochs=1, learning_rate=1e39)
    with pytest.raises(DivergenceError, match="weights became .* in epoch 1"):
        train(DATA, Undefended(), once)


TERMS = {
    "undefended": {"cross_entropy"},
    "adversarial training": {"cross_entropy", "attacked"},
    "virtual adversarial": {"cross_entropy", "smoothness"},
    "multi-step adversarial": {"attacked"},
    "margin": {"margin"},
    "adversary critic": {
        *("cross_entropy", "critic", "cycle", "real", "fake", "penalty_real", "penalty_fake"),
        *("attack_success", "target_confidence", "mean_r"),
    },
}
ALWAYS = {"epoch", "pretraining", "learning_rate", "train_error", "validation_error"}


@by_name
def test_records_hold_every_term(defence):
    state = train(DATA, defence, TINY)
    first, *rest = state.history
    assert set(first) == ALWAYS | {"cross_entropy", "weight_decay"} and first["pretraining"] is True
    assert [record["epoch"] for record in state.history] == [1, 2, 3, 4]
    for record in rest:
        assert set(record) == ALWAYS | TERMS[defence.name] and record["pretraining"] is False
        assert all(np.isfinite(value) for value in record.values())
    x, y = DATA.validation
    assert state.history[-1]["validation_error"] == np.mean(predict(network.logits(state.params, x)) != y)


@by_name
@pytest.mark.parametrize("k", [2, 3])
def test_the_definitions_and_the_steps_by_hand_train_alike(defence, k):
    data = blobs(18, k, dtype=np.float64)
    hand, plain = (train(data, defence, TINY, steps=module) for module in (by_hand, steps))
    close(hand.params, plain.params, 1e-10)
    close([(hand.running.value, hand.running.biased)], [(plain.running.value, plain.running.biased)], 1e-10)
    if defence is CRITIC:
        close(hand.critic, plain.critic, 1e-10)
    assert hand.params[-1][1].shape == (k,) and hand.params[0][0].dtype == np.float64


@by_name
def test_float32_stays_float32(defence):
    state = train(DATA, defence, replace(TINY, epochs=1))
    arrays = leaves([state.params, state.adam.m, state.adam.v, state.running.value, state.critic or []])
    assert {a.dtype for a in arrays} == {np.dtype(np.float32)}


@by_name
def test_training_learns_a_separable_problem(defence):
    data, training = blobs(60), Training(hidden=(16,), batch=6, epochs=10, learning_rate=0.01)
    state = train(data, defence, training)
    before = start(data, defence, training, 0)
    x, y = data.train
    assert np.mean(predict(network.logits(before.params, x)) != y) > 0.2
    assert state.history[-1]["train_error"] == state.history[-1]["validation_error"] == 0


def test_linear_classifier_and_linear_critic_and_no_critic_step():
    training = replace(TINY, hidden=())
    state = train(DATA, replace(CRITIC, hidden=(), critic_steps=0), training)
    assert len(state.params) == len(state.critic) == 1 and state.critic_adam.t == 0
    assert "real" not in state.history[-1] and "critic" in state.history[-1]


def changed(split="train", x=None, y=None):
    old = getattr(DATA, split)
    return DATA._replace(**{split: Split(old.x if x is None else x, old.y if y is None else y)})


@pytest.mark.parametrize(
    "data, says",
    [
        (changed(x=np.where(DATA.train.x > 0.7, np.nan, DATA.train.x)), "train.x: .* nan"),
        (changed("validation", x=DATA.validation.x * 255), r"validation.x must lie in \[0, 1\]"),
        (changed(x=DATA.train.x.reshape(-1, 2, 2)), "train.x must be a matrix"),
        (changed(y=DATA.train.y[:-1]), "expected 36 labels.*got 35"),
        (changed(y=DATA.train.y - 1), "labels must be in 0.*got -1"),
        (changed(y=DATA.train.y.astype(float)), "labels must be integers"),
        (changed(x=DATA.train.x[:0], y=DATA.train.y[:0]), "train.x must be a matrix"),
        (changed(y=0 * DATA.train.y), "single class"),
        (changed(y=0 * DATA.train.y + 2), "single class"),
        (changed("validation", y=DATA.validation.y + 1), r"in 0\.\.2, got 1\.\.3"),
        (changed("validation", x=DATA.validation.x[:, :3]), r"validation.x is float32 \(n, 3\)"),
        (changed("validation", x=DATA64.validation.x), "validation.x is float64"),
    ],
)
def test_unfit_data_is_refused(data, says):
    with pytest.raises(InputError, match=says):
        train(data, Undefended(), TINY)


def test_fit_data_names_its_dtype():
    assert check_data(DATA) == np.float32 and check_data(DATA64) == np.float64


def test_unknown_defence_is_refused():
    for defence in (other_defence(), "critic", None):
        with pytest.raises(InputError, match="no objective"):
            train(DATA, defence, TINY)


def other_defence():
    from dataclasses import make_dataclass

    return make_dataclass("Other", [], namespace={"name": "other"})()
