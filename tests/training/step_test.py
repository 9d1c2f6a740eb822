"""The laws of the one training step."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests import tiny
from tests.quickly import QUICKLY, quick
from vqjax.discriminators import MultiPeriod
from vqjax.losses import LeastSquares, NonSaturating
from vqjax.training.mesh import make_mesh
from vqjax.training.optim import SGD, Adam
from vqjax.training.restore import initial_state
from vqjax.training.sharding import batch_sharding, local_rows, put_batch, replicated
from vqjax.training.step import (
    active_at,
    make_gradients,
    make_train_step,
    patterns,
    weighted_sum,
)

BOTH = ("commitment", "discriminator", "generator", "l1", "tokenizer")


def batch_of(experiment, mesh, step=0):
    rows = local_rows(experiment.batch_size, mesh)
    return put_batch(next(experiment.data.train(experiment.batch_size, 0, step, rows)), mesh)


def fresh(experiment, mesh):
    return initial_state(experiment, experiment.data.example_spec(), mesh)


def quick_step(experiment, state, batch, active, options=QUICKLY):
    """The step for such arrays and terms, compiled by `options`: (state, frozen, batch) -> both."""
    lowered = make_train_step(experiment).lower(state, {}, batch, active=active)
    return lowered.compile(compiler_options=options)


def plain_sgd(experiment):
    """Every update is minus the gradient, so that gradients can be read off the parameters."""
    return dataclasses.replace(
        experiment, optimizers={player: SGD(1.0) for player in experiment.task.players}
    )


def two_separate_gradients(experiment, state, batch):
    """What VQGAN's two players' gradients are, written down without the task's code."""
    task = experiment.network_task()
    d, tokenizer = task.discriminator, task.tokenizer
    x = batch["image"]
    params, books = state.params, state.collections["tokenizer"]

    def reconstruct(p):
        variables = {"params": p, **books}
        out = tokenizer.apply(variables, x, train=False, step=0, method="encode").quantized
        return tokenizer.apply(variables, out.z_q, method="decode"), out.losses["commitment"]

    def of_output_layer(p_out, term):
        p = params["tokenizer"]
        p = {**p, "decoder": {**p["decoder"], "to_output": p_out}}
        return term(reconstruct(p)[0])

    def l1(x_hat):
        return jnp.mean(jnp.abs(x - x_hat))

    def fool(x_hat):
        return task.adversarial.generator(d.apply({"params": params["discriminator"]}, x_hat))

    last = params["tokenizer"]["decoder"]["to_output"]
    a = optax.tree.norm(jax.grad(of_output_layer)(last, l1))
    b = optax.tree.norm(jax.grad(of_output_layer)(last, fool))
    adaptive = a / (b + 1e-4)

    def generator(p):
        x_hat, commitment = reconstruct(p)
        return l1(x_hat) + 0.25 * commitment + 0.125 * adaptive * fool(x_hat)

    def discriminator(p):
        fake = d.apply({"params": p}, reconstruct(params["tokenizer"])[0])
        return task.adversarial.discriminator(d.apply({"params": p}, x), fake)

    return {
        "tokenizer": jax.grad(generator)(params["tokenizer"]),
        "discriminator": jax.grad(discriminator)(params["discriminator"]),
    }


def relative_error(a, b):
    a, b = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(t)]) for t in (a, b))
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.mark.parametrize(
    "adversarial",
    [
        pytest.param(None, id="hinge"),
        pytest.param(NonSaturating(), id="non-saturating", marks=pytest.mark.slow),
    ],
)
def test_one_backward_is_both_gradients_in_float64(x64, one_device, adversarial):
    experiment = plain_sgd(
        tiny.vqgan(0.125, compute_dtype="float64", adversarial=adversarial, data=float_arrays())
    )
    mesh = make_mesh(one_device)
    state = fresh(experiment, mesh)
    state = state.replace(params=jax.tree.map(lambda p: p.astype(jnp.float64), state.params))
    batch = batch_of(experiment, mesh)
    expected = quick(functools.partial(two_separate_gradients, experiment))(state, batch)
    before = jax.device_get(state.params)
    after, _ = quick_step(experiment, state, batch, BOTH)(state, {}, batch)
    for player in experiment.task.players:
        step = jax.tree.map(jnp.subtract, before[player], after.params[player])
        assert relative_error(step, expected[player]) < 1e-9, player


@pytest.mark.slow
def test_one_backward_is_both_gradients_in_float32(one_device):
    experiment = plain_sgd(tiny.vqgan(0.125, data=float_arrays()))
    mesh = make_mesh(one_device)
    state, batch = fresh(experiment, mesh), batch_of(experiment, mesh)
    expected = quick(functools.partial(two_separate_gradients, experiment))(state, batch)
    # The momentum holds the gradient itself; read off float32 parameters it would be rounded.
    with_momentum = dataclasses.replace(
        experiment, optimizers={p: SGD(0.0, momentum=0.0) for p in experiment.task.players}
    )
    state = state.replace(optimizers=fresh(with_momentum, mesh).optimizers)
    after, _ = make_train_step(with_momentum)(state, {}, batch, active=BOTH)
    for player in experiment.task.players:
        gradient = after.optimizers[player].trace
        assert relative_error(gradient, expected[player]) < 1e-6, player


@pytest.mark.parametrize(
    "resting", [pytest.param("discriminator", marks=pytest.mark.slow), "tokenizer"]
)
def test_a_resting_player_stays_as_it_was_and_costs_less(one_device, resting):
    experiment = tiny.vqgan()
    mesh = make_mesh(one_device)
    state, batch = fresh(experiment, mesh), batch_of(experiment, mesh)
    train_step = make_train_step(experiment)
    moving = "tokenizer" if resting == "discriminator" else "discriminator"
    terms = {"tokenizer": ("commitment", "l1"), "discriminator": ()}[moving]
    active = tuple(sorted((moving, *terms)))
    before = jax.device_get({"p": state.params, "o": state.optimizers, "c": state.collections})
    flops = {
        a: train_step.lower(state, {}, batch, active=a).compile().cost_analysis()["flops"]
        for a in (BOTH, active)
    }
    assert flops[active] < 0.9 * flops[BOTH]
    after, metrics = train_step(state, {}, batch, active=active)
    now = {"p": after.params, "o": after.optimizers, "c": after.collections}
    for part in now:
        jax.tree.map(np.testing.assert_array_equal, now[part][resting], before[part][resting])
    assert relative_error(now["p"][moving], before["p"][moving]) > 0
    assert resting not in metrics and f"grad_norm/{resting}" not in metrics


def run_steps(experiment, devices, steps, options):
    """Losses of each step, from k-means start on, over the given devices."""
    mesh = make_mesh(devices)
    state = fresh(experiment, mesh)
    task = experiment.network_task()
    batches = (batch_of(experiment, mesh, n) for n in range(1000))
    key = jax.random.key(1)
    with jax.set_mesh(mesh):
        params, collections = task.start(state.params, state.collections, {}, batches, key)
    params, collections = jax.device_put((params, collections), replicated(mesh))
    state = state.replace(params=params, collections=collections)
    (active,) = patterns(experiment, 0, steps)  # one for all steps
    with jax.set_mesh(mesh):
        program = quick_step(experiment, state, batch_of(experiment, mesh), active, options)
    history = []
    for n in range(steps):
        batch = batch_of(experiment, mesh, n)
        assert batch[experiment.task.inputs].sharding == batch_sharding(mesh)
        state, metrics = program(state, {}, batch)
        history.append(jax.device_get(metrics))
    return history, jax.device_get(state)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(QUICKLY, id="quickly"),
        pytest.param(None, id="as_users", marks=pytest.mark.slow),
    ],
)
def test_eight_devices_are_one(options):
    from vqjax.quantizers import EMAVectorQuantizer, KMeans, Revival

    # So eager a revival that codes come back within these 20 steps. Codes start from each example
    # once: between centres that begin at one encoding, seen twice, rounding would choose.
    policies = {"start": KMeans(samples=16), "revival": Revival(below=0.5, share=0.6)}
    quantizer = EMAVectorQuantizer(64, 4, decay=0.8, **policies)
    experiment = tiny.vqgan(quantizer=quantizer, batch_size=16)
    one, _ = run_steps(experiment, jax.devices()[:1], 20, options)
    eight, state = run_steps(experiment, jax.devices(), 20, options)
    assert int(state.collections["tokenizer"]["codebook"]["quantizer"]["revived"]) > 0
    for name in ("l1", "commitment", "generator", "discriminator", "total"):
        assert eight[0][name] == pytest.approx(one[0][name], rel=1e-6), name
        assert eight[-1][name] == pytest.approx(one[-1][name], rel=1e-4), name
    assert eight[-1]["codebook_revived"] == one[-1]["codebook_revived"]


def codec_with_adversary():
    task = tiny.sound().task
    weights = {**task.loss_weights, "generator": 0.1, "feature_matching": 0.5, "discriminator": 1.0}
    task = dataclasses.replace(
        task,
        discriminator=MultiPeriod(width=2, layers=1, periods=(2, 3)),
        adversarial=LeastSquares(),
        loss_weights=weights,
    )
    players = {"tokenizer": Adam(1e-3), "discriminator": Adam(1e-3)}
    return tiny.sound(task=task, optimizers=players, batch_size=16)


@pytest.mark.slow
def test_eight_devices_are_one_for_a_codec():
    experiment = codec_with_adversary()
    one, _ = run_steps(experiment, jax.devices()[:1], 20, None)
    eight, _ = run_steps(experiment, jax.devices(), 20, None)
    assert set(experiment.task.terms) < set(one[0])
    for name in (*experiment.task.terms, "total"):
        assert eight[0][name] == pytest.approx(one[0][name], rel=2e-6), name
        assert eight[-1][name] == pytest.approx(one[-1][name], rel=1e-3), name


def test_one_backward_is_both_gradients_of_a_codec(one_device):
    experiment, mesh = codec_with_adversary(), make_mesh(one_device)
    state, batch = fresh(experiment, mesh), batch_of(experiment, mesh)
    terms, call = experiment.task.terms, make_gradients(experiment)

    def gradients(*players):
        active = tuple(sorted({*players, *(t for t, player in terms.items() if player in players)}))
        return quick(lambda s, b: call(s, {}, b, active=active)[0])(state, batch)

    both = gradients("tokenizer", "discriminator")
    for player in both:
        alone = gradients(player)
        assert set(alone) == {player}
        assert relative_error(both[player], alone[player]) < 1e-5, player


@pytest.mark.parametrize(
    ("prior", "options", "first"),
    [
        # Compiled quickly, sums are rounded more.
        pytest.param("gpt", QUICKLY, 1e-5, id="quickly"),
        *(
            pytest.param(name, None, 1e-6, id=name, marks=pytest.mark.slow)
            for name in ("gpt", "maskgit", "pixelcnn")
        ),
    ],
)
def test_eight_devices_are_one_for_a_prior(prior, options, first):
    """Over a data set of tokens: nothing is tokenized, and their tokenizer is not opened."""
    plan = tiny.token_prior(prior)
    one, eight = [], []
    for history, devices in ((one, jax.devices()[:1]), (eight, jax.devices())):
        mesh = make_mesh(devices)
        state, batch, active = fresh(plan, mesh), batch_of(plan, mesh), ("nll", "prior")
        with jax.set_mesh(mesh):
            program = quick_step(plan, state, batch, active, options)
            for n in range(20):
                state, metrics = program(state, {}, batch_of(plan, mesh, n))
                history.append((float(metrics["nll"]), jax.device_get(state.params)))
    assert eight[0][0] == pytest.approx(one[0][0], rel=first)
    assert relative_error(eight[0][1], one[0][1]) < 1e-6
    assert relative_error(eight[-1][1], one[-1][1]) < 1e-4
    assert relative_error(one[-1][1], one[0][1]) > 1e-2


def test_microbatches_add_up(one_device):
    mesh = make_mesh(one_device)
    results = []
    for parts in (1, 4):
        experiment = plain_sgd(tiny.vqvae(accumulate=parts))
        state, batch = fresh(experiment, mesh), batch_of(experiment, mesh)
        active = ("commitment", "l2", "tokenizer")
        after, metrics = quick_step(experiment, state, batch, active)(state, {}, batch)
        results.append((after, metrics))
    (one, a), (four, b) = results
    assert float(b["total"]) == pytest.approx(float(a["total"]), rel=1e-6)
    assert relative_error(four.params, one.params) < 1e-6
    book_one, book_four = (s.collections["tokenizer"]["codebook"]["quantizer"] for s in (one, four))
    np.testing.assert_allclose(book_one["counts"], book_four["counts"], rtol=1e-6)
    np.testing.assert_array_equal(book_one["age"], book_four["age"])


def test_a_step_without_finite_gradients_changes_nothing_but_the_count(one_device):
    experiment = tiny.vqvae(data=float_arrays())
    mesh = make_mesh(one_device)
    state = fresh(experiment, mesh)
    before = jax.device_get(state)
    poisoned = batch_of(experiment, mesh)["image"].at[0, 0, 0, 0].set(jnp.nan)
    train_step = quick_step(experiment, state, {"image": poisoned}, active_at(experiment, 0))
    state, metrics = train_step(state, {}, {"image": poisoned})
    assert int(state.step) == 1 and int(state.nonfinite) == 1 == int(metrics["nonfinite"])
    for part in ("params", "optimizers", "collections"):
        jax.tree.map(np.testing.assert_array_equal, getattr(state, part), getattr(before, part))
    state, _ = train_step(state, {}, batch_of(experiment, mesh))
    assert int(state.nonfinite) == 0
    assert relative_error(state.params, before.params) > 0


def float_arrays():
    from vqjax.data import Arrays

    x = np.random.default_rng(0).uniform(-1, 1, (16, 8, 8, 1)).astype(np.float32)
    return Arrays(train_arrays={"image": x}, eval_arrays={"image": x})


@pytest.mark.slow
def test_averages_follow_the_parameters(one_device):
    experiment = tiny.vqgan(ema_decay=0.9)
    mesh = make_mesh(one_device)
    state = fresh(experiment, mesh)
    before = jax.device_get(state)
    assert set(state.ema) == {"tokenizer"}
    after, _ = make_train_step(experiment)(state, {}, batch_of(experiment, mesh), active=BOTH)
    d = 0.1  # min(0.9, (1 + 0) / (10 + 0))
    for e, p, q in zip(
        *map(jax.tree.leaves, (after.ema, before.params["tokenizer"], after.params["tokenizer"])),
        strict=True,
    ):
        np.testing.assert_allclose(e, d * p + (1 - d) * q, atol=1e-6)


def test_the_average_of_a_revived_code_begins_where_the_code_was_put(one_device):
    from vqjax.quantizers import Revival, VectorQuantizer

    quantizer = VectorQuantizer(16, 4, revival=Revival())
    task = dataclasses.replace(tiny.vqvae().task, tokenizer=tiny.tokenizer(quantizer))
    experiment = tiny.vqvae(task=task, ema_decay=0.999)
    mesh = make_mesh(one_device)
    state = fresh(experiment, mesh)
    # Twelve codes are nobody's, overdue since long ago.
    away = state.params["tokenizer"]["quantizer"]["codes"].at[4:].set(1e3)
    book = state.collections["tokenizer"]["codebook"]["quantizer"]
    book |= {"counts": jnp.full(16, 1e-3), "age": jnp.full(16, 99, jnp.int32)}
    for tree in (state.params["tokenizer"], state.ema["tokenizer"]):
        tree["quantizer"]["codes"] = jnp.array(away)
    batch = batch_of(experiment, mesh)
    after, _ = quick_step(experiment, state, batch, active_at(experiment, 0))(state, {}, batch)
    codes = after.params["tokenizer"]["quantizer"]["codes"]
    averaged = after.ema["tokenizer"]["quantizer"]["codes"]
    assert int(after.collections["tokenizer"]["codebook"]["quantizer"]["revived"]) >= 12
    assert np.abs(codes).max() < 1e3
    np.testing.assert_array_equal(averaged[4:], codes[4:])
    assert (averaged[:4] != codes[:4]).any()  # moved by the optimizer alone


def test_turns_and_starts_are_settings():
    experiment = tiny.vqgan(
        optimizers={
            "tokenizer": Adam(1e-3, every=2, offset=0),
            "discriminator": Adam(1e-3, every=2, offset=1),
        }
    )
    tokenizer = ("commitment", "generator", "l1", "tokenizer")
    assert active_at(experiment, 0) == tokenizer
    assert active_at(experiment, 1) == ("discriminator",)
    assert patterns(experiment, 0, 10) == {tokenizer: 0, ("discriminator",): 1}
    assert patterns(experiment, 1, 2) == {("discriminator",): 1}
    late = tiny.vqgan(optimizers={"tokenizer": Adam(1e-3), "discriminator": Adam(1e-3, start=4)})
    assert patterns(late, 0, 10) == {tokenizer: 0, BOTH: 4}
    assert patterns(late, 7, 10) == {BOTH: 7}
    every = [active_at(late, n) for n in range(10)]
    assert set(every) == set(patterns(late, 0, 10))


def test_weighted_sum_by_hand_and_strict_about_names():
    losses = {"a": jnp.float32(2.0), "b": jnp.float32(3.0)}
    weights = {"a": 0.5, "b": 1.0}
    total = weighted_sum(losses, weights, {"b": jnp.float32(4.0)}, {"a", "b"}, jnp.int32(0))
    assert float(total) == 13.0
    for expected in ({"a"}, {"a", "b", "c"}):
        with pytest.raises(ValueError, match="expected"):
            weighted_sum(losses, weights, {}, expected, jnp.int32(0))


@pytest.mark.slow
def test_bfloat16_networks_keep_float32_losses_and_parameters(one_device):
    experiment = tiny.vqgan(compute_dtype="bfloat16")
    mesh = make_mesh(one_device)
    state, batch = fresh(experiment, mesh), batch_of(experiment, mesh)
    text = make_train_step(experiment).lower(state, {}, batch, active=BOTH).as_text()
    assert "bf16" in text
    after, metrics = make_train_step(experiment)(state, {}, batch, active=BOTH)
    losses = {name: metrics[name] for name in ("total", *experiment.task.terms)}
    for leaf in jax.tree.leaves((after.params, after.optimizers, losses)):
        assert leaf.dtype in (jnp.float32, jnp.int32)
    assert np.isfinite(metrics["total"])
