"""Denoisers from training to samples: of pictures, and of the latents of a tokenizer."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import vqjax
from tests import tiny
from tests.quickly import quick
from vqjax.cli.main import main
from vqjax.config import FrozenRun
from vqjax.data import Digits, Paired
from vqjax.denoisers import DiT, RotaryDiT
from vqjax.evaluation.flow import FlowEvaluator
from vqjax.media.sound_writing import write_sound
from vqjax.ops.diffusion import DDPMPath, UniformTimes
from vqjax.priors import ClassLabel, Tokens
from vqjax.quantizers import EMAVectorQuantizer, Gaussian
from vqjax.runs.denoiser_editing import arc
from vqjax.sampling import Ancestral, DPMSolver, Euler, Guidance, Heun
from vqjax.tasks import DiffusionTask, TokenStream
from vqjax.tasks.diffusion import DENOISER
from vqjax.tasks.frozen_latents import STATISTICS
from vqjax.training.loop import train
from vqjax.training.state import create_state
from vqjax.types import Context, UsageError


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("denoiser")
    train(tiny.denoiser(), folder / "pixels")
    return folder


@pytest.fixture(scope="module")
def pixels(trained):
    return vqjax.load(trained / "pixels", data=tiny.denoiser().data)


def test_samples_depend_on_seed_number_and_class_alone(pixels):
    whole = pixels.sample(5, 3, classes=[2, 0])
    assert whole.shape == (5, 8, 8, 1) and whole.dtype == np.uint8
    np.testing.assert_array_equal(pixels.sample(2, 3, classes=[2, 0]), whole[:2])
    assert (pixels.sample(5, 4, classes=[2, 0]) != whole).any(axis=(1, 2, 3)).all()
    assert (pixels.sample(5, 3, classes=[1, 0])[0] != whole[0]).any()
    assert pixels.sample(0).shape == (0, 8, 8, 1)
    assert pixels.sample(1, 2**32 - 1).shape == (1, 8, 8, 1)


def test_guidance_acts_in_its_interval_alone(pixels):
    plain = pixels.sample(3, classes=[1])
    guided = pixels.sample(3, classes=[1], guidance=Guidance(3.0))
    assert (plain != guided).any()
    everywhere = {"guidance": Guidance(3.0), "guidance_interval": (0.0, 1.0)}
    np.testing.assert_array_equal(pixels.sample(3, classes=[1], **everywhere), guided)
    nowhere = {"guidance": Guidance(3.0), "guidance_interval": (0.0, 0.01)}
    np.testing.assert_array_equal(pixels.sample(3, classes=[1], **nowhere), plain)
    first = {"guidance": Guidance(3.0), "guidance_interval": (0.7, 1.0)}
    partly = pixels.sample(3, classes=[1], **first)
    assert (partly != plain).any() and (partly != guided).any()


def test_evaluations_are_counted(pixels):
    count = pixels.network_evaluations
    assert count({}) == 5  # Heun, 3 steps: the last one asks once
    guided = {"guidance": Guidance(2.0), "solver": Euler(10)}
    assert count(guided) == 20 and count(guided | {"guidance_interval": (0.0, 0.55)}) == 15
    assert count({"solver": DPMSolver(7)}) == 7


def test_step_by_step_is_the_program_of_the_evaluation(pixels):
    task, frozen = pixels.task, {}
    cond = np.array([0, 1, 2], np.int32)
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(0), i))(jnp.arange(3))
    params, collections, _ = pixels._variables
    for solver in (Heun(3), DPMSolver(4), Ancestral(4), Euler(2)):
        drawn = task.draw(params, collections, frozen, keys, cond, (8, 8, 1), solver)
        levels = np.rint((np.clip(drawn, -1, 1) + 1) * 127.5)
        stepped = pixels.sample(3, classes=[0, 1, 2], solver=solver)
        assert np.abs(stepped - levels).max() <= 1


def test_its_evaluation_depends_on_no_batch_size(trained, pixels):
    numbers = pixels.evaluate().numbers
    quarters = [numbers[f"denoising/q{i}"] for i in range(1, 5)]
    assert numbers["denoising"] == pytest.approx(np.mean(quarters), rel=1e-6)
    experiment = dataclasses.replace(pixels.experiment, eval_batch_size=5)
    evaluator = type(pixels).evaluator(experiment, pixels._mesh, {})
    again = evaluator(*pixels._variables[:2])
    assert again.numbers == pytest.approx(numbers, rel=1e-5)
    assert again.gallery.rows["samples"].shape == (64, 8, 8, 1)


def test_a_perfect_denoiser_has_no_error():
    """What it compares is what it says that it compares, whatever the network predicts."""
    x0, noise = jax.random.normal(jax.random.key(0), (2, 4, 8, 8, 1))
    t = jnp.array([0.2, 0.4, 0.6, 0.8])
    for predicts, perfect in {
        "x0": x0,
        "noise": noise,
        "velocity": noise - x0,
    }.items():
        for compares in ("x0", "noise", "velocity"):
            task = tiny.denoiser({"predicts": predicts, "compares": compares}).task
            object.__setattr__(task, "predict", lambda *_, out=perfect: (out, None))
            errors = task.errors({}, x0, noise, t, None)["denoising"]
            assert float(jnp.abs(errors).max()) < 1e-9
            object.__setattr__(task, "predict", lambda *_, out=perfect: (out + 1.0, None))
            assert float(task.errors({}, x0, noise, t, None)["denoising"].min()) > 1e-3


def test_a_variance_is_learned_by_its_own_term():
    network = DiT(16, 1, 2, patch=4, condition=ClassLabel(3), variance="learned")
    how = {"path": DDPMPath(20, 1e-3, 0.3), "predicts": "noise", "compares": "noise"}
    how |= {"solver": Ancestral(4), "times": UniformTimes(steps=20)}
    weights = {"denoising": 1.0, "variational": 1.0}
    task = DiffusionTask(network, **how, loss_weights=weights)
    images = tiny.denoiser().data.train_arrays
    batch = {name: array[:8] for name, array in images.items()}
    params, collections = quick(task.init)(jax.random.key(0), batch)
    params = jax.tree.map(lambda p: p + 0.1, params)

    def losses(params, *active):
        context = Context(jax.random.key(1), 0, active, train=True)
        return task(params, collections, {}, batch, context).losses

    both = quick(lambda p: losses(p, "denoising", "variational"))(params)
    assert all(np.isfinite(loss) and loss > 0 for loss in both.values())
    for term, halves in (("denoising", (True, False)), ("variational", (False, True))):
        gradient = quick(jax.grad(lambda p, term=term: losses(p, term)[term]))(params)
        head = gradient["denoiser"]["head"]["kernel"].reshape(16, 16, 2)  # of noise, of variance
        assert tuple(bool(np.abs(half).max() > 0) for half in np.moveaxis(head, -1, 0)) == halves
    keys = jax.random.split(jax.random.key(0), 2)
    draw = quick(lambda p, k: task.draw(p, collections, {}, k, np.array([0, 1]), (8, 8, 1)))
    drawn = draw(params, keys)
    assert drawn.shape == (2, 8, 8, 1) and np.isfinite(drawn).all()
    with pytest.raises(UsageError, match="one step for each beta"):
        DiffusionTask(network, **how | {"times": UniformTimes()}, loss_weights=weights)


@pytest.mark.parametrize("kind", ["codes", "gaussian"])
def test_latents_are_measured_and_come_back(kind):
    quantizer = EMAVectorQuantizer(16, 4) if kind == "codes" else Gaussian(4)
    weights = {"l2": 1.0} | ({"commitment": 0.25} if kind == "codes" else {"kl": 1e-4})
    base = tiny.vqvae()
    below = dataclasses.replace(
        base.task, tokenizer=tiny.tokenizer(quantizer), loss_weights=weights
    )
    below = dataclasses.replace(base, task=below)
    state = quick(lambda: create_state(below, below.data.example_spec()))()
    arrays = {"params": state.params, "collections": state.collections}
    frozen, tokenizer = {"task.tokenizer": arrays}, below.network_task()
    network = RotaryDiT(16, 1, 2, condition=ClassLabel(3))
    run = FrozenRun("nowhere", experiment=below)
    task = DiffusionTask(network, tokenizer=run, latents="draw")
    batch = tiny.denoiser().data.train_arrays
    params, collections = quick(task.init)(jax.random.key(0), batch)
    half = {**batch, "mask": np.arange(64) < 32}  # what is repeated does not count
    batches = iter([half, {name: array[32:] for name, array in batch.items()}])
    _, collections = task.start(params, collections, frozen, batches, jax.random.key(1))
    x = batch["image"]
    data = task.data_of(collections, frozen, batch)
    assert data.shape == (64, 4, 4, 4) and set(collections[DENOISER][STATISTICS]) == {
        "mean", "deviation",
    }  # fmt: skip
    drawn = task.data_of(collections, frozen, batch, jax.random.key(2))
    for latents in (drawn, data)[: 1 if kind == "gaussian" else 2]:  # draws were measured
        np.testing.assert_allclose(latents.mean(axis=(0, 1, 2)), 0, atol=0.1)
        np.testing.assert_allclose(latents.std(axis=(0, 1, 2)), 1, atol=0.05)
    z_q = tokenizer.encode(*arrays.values(), x).z_q
    expected = tokenizer.decode_latents(*arrays.values(), z_q)
    np.testing.assert_allclose(task.decode(collections, frozen, data), expected, atol=1e-4)


@pytest.mark.slow  # a codec, a denoiser, and a verb that opens both
def test_it_draws_what_a_sound_says(tmp_path, capsys, make_run):
    below = tiny.sound()
    below_path, tones = make_run(below), below.data
    source = TokenStream(FrozenRun(str(below_path), experiment=below), 2, ends=True)
    condition = Tokens(codebooks=2, positions=9, width=8, layers=1, heads=2)
    task = DiffusionTask(
        RotaryDiT(16, 1, 2, patch=4, condition=condition),
        solver=Heun(2),
        array="image.image",
        source=source,
    )
    data = Paired({"image": Digits(), "audio": tones})
    plan = tiny.denoiser(total_steps=6, save_every=6, data=data)
    plan = dataclasses.replace(plan, task=task)
    train(plan, tmp_path / "run")
    run = vqjax.load(tmp_path / "run")
    waves = np.sin(np.arange(160)[None] * np.array([[0.1], [0.2], [0.4]]))
    clips = [*(8_000 * waves).astype(np.int16)]
    clips[1] = clips[1][:50]
    tokens = run.source_tokens(clips)
    assert tokens.shape == (3, 9, 2) and (tokens[1, 5:] == -1).all() and (tokens[0] >= 0).all()
    codec = vqjax.load(below_path)
    np.testing.assert_array_equal(tokens[0, :, 1], codec.encode(clips[0])["tokens_1"])
    drawn = run.sample(4, source=clips)
    assert drawn.shape == (4, 8, 8, 1)
    np.testing.assert_array_equal(run.sample(1, source=clips[:1]), drawn[:1])
    assert (run.sample(1)[0] != drawn[0]).any()  # unconditional
    write_sound(tmp_path / "a.wav", clips[0], 8_000)
    verb = ["sample", str(tmp_path / "run"), "-n", "2", "--out", str(tmp_path / "out")]
    assert main([*verb, "--condition", f"audio={tmp_path / 'a.wav'}"]) == 0
    singles = sorted((tmp_path / "out").glob("*seed0-*.png"))
    np.testing.assert_array_equal(Image.open(singles[0]), drawn[0][..., 0])
    for wrong, words in (("image=a.png", "give audio=FILE"), ("audio=none.wav", "no such file")):
        capsys.readouterr()
        assert main([*verb, "--condition", wrong]) == 2 and words in capsys.readouterr().err
    with pytest.raises(UsageError, match="need each other"):
        dataclasses.replace(task, source=None)
    small = task.denoiser.clone(condition=condition.clone(positions=7))
    with pytest.raises(UsageError, match="positions=7, codebooks=2: the tokens"):
        dataclasses.replace(task, denoiser=small).check(data.example_spec())
    other = task.denoiser.clone(condition=condition.clone(codebook_size=9))
    with pytest.raises(UsageError, match="codebook_size=9: the source has 16"):
        dataclasses.replace(task, denoiser=other).check(data.example_spec())


def test_only_such_a_run_takes_a_source(pixels):
    with pytest.raises(UsageError, match="is conditioned on no tokens"):
        pixels.sample(1, source=[np.zeros(50, np.int16)])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--steps", "0"], "steps=0: wanted a whole number from 1"),
        (["--guidance-interval", "0.8,0.1"], "wanted the smaller time first"),
        (["--guidance-interval", "0.1"], "wanted two"),
        (["--guidance-interval", "a,b"], "give two times, as 0.1,0.8"),
        (["--guidance-interval", "0,2"], "wanted a finite number from 0 to 1"),
        (["--temperature", "0.5"], "--temperature is not for this run"),
        (["--classes", "7"], "classes"),
        (["--prompt", "a"], "--prompt is not for this run"),
    ],
)
def test_what_cannot_be_is_one_line(trained, capsys, options, words):
    assert main(["sample", str(trained / "pixels"), *options]) == 2
    error = capsys.readouterr().err
    assert words in error and len(error.splitlines()) == 1


def test_the_verb_draws(trained, tmp_path, capsys):
    run = str(trained / "pixels")
    options = [
        "--sampler",
        "dpm",
        "--steps",
        "4",
        "--guidance",
        "2",
        "--guidance-interval",
        "0,0.8",
    ]
    assert (
        main(["sample", run, "--classes", "1,2", "-n", "4", *options, "--out", str(tmp_path)]) == 0
    )
    assert len(list(tmp_path.glob("*.png"))) == 5
    assert main(["report", run]) == 0 and main(["inspect", run]) == 0
    assert "denoiser" in capsys.readouterr().out


def test_the_verb_edits(trained, tmp_path, capsys):
    run, image = str(trained / "pixels"), str(tmp_path / "a.png")
    Image.fromarray(np.full((8, 8), 90, np.uint8)).save(image)
    out = ["--out", str(tmp_path)]
    assert main(["edit", run, image, "--mask", "top", "--classes", "1", "--steps", "2", *out]) == 0
    assert main(["edit", run, image, "--variations", "3", "--strength", "0.3", *out]) == 0
    assert len(list(tmp_path.glob("edit-*"))) == 2 + 4 + 3
    capsys.readouterr()
    assert main(["edit", run, image, "--upscale", "2"]) == 2
    assert "it cannot upscale" in capsys.readouterr().err


def test_it_draws_what_is_around(pixels, tmp_path):
    images = pixels.experiment.data.eval_arrays["image"][:3]
    large = pixels.outpaint(images, (2, 0, 5, 6), 3, classes=[1])
    assert large.shape == (3, 14, 15, 1)
    np.testing.assert_array_equal(large[:, :8, 2:10], images)
    np.testing.assert_array_equal(
        pixels.outpaint(images[:2], (2, 0, 5, 6), 3, classes=[1]), large[:2]
    )
    other = pixels.outpaint(images, (2, 0, 5, 6), 4, classes=[1])
    for drawn in (np.s_[:, :, :2], np.s_[:, :8, 10:], np.s_[:, 8:]):
        assert (other[drawn] != large[drawn]).any()
    Image.fromarray(images[0, ..., 0]).save(tmp_path / "a.png")
    verb = ["edit", pixels.path, str(tmp_path / "a.png"), "--outpaint", "2,0,5,6", "-n", "2"]
    assert main([*verb, "--out", str(tmp_path / "out")]) == 0
    assert len(list((tmp_path / "out").glob("*.png"))) == 3


def test_it_draws_what_is_between(pixels):
    a, b = np.split(pixels.experiment.data.eval_arrays["image"][:6], 2)
    between = pixels.interpolate(a, b, 4, classes=[0, 1, 2], solver=Heun(60))
    assert between.shape == (3, 4, 8, 8, 1)
    for end, images in ((0, a), (-1, b)):
        errors = np.abs(between[:, end].astype(int) - images)
        assert errors.mean() < 3 and (between[:, 1] != between[:, end]).any()


def test_arcs_keep_the_length_of_noise():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 3, 8, 8, 4))
    np.testing.assert_allclose(arc(a, b, 0.0), a, atol=1e-6)
    np.testing.assert_allclose(arc(a, b, 1.0), b, atol=1e-6)
    np.testing.assert_allclose(arc(a, a, 0.3), a, atol=1e-6)
    lengths = [np.linalg.norm(x.reshape(3, -1), axis=1) for x in (a, arc(a, b, 0.5), b)]
    assert (np.abs(lengths[1] / np.mean(lengths[::2], axis=0) - 1) < 0.02).all()


def test_a_flow_that_stands_still_is_the_density_of_noise(pixels, capsys):
    """At its beginning a network says no velocity, so data are noise to it."""
    plan = tiny.denoiser()
    state = quick(lambda: create_state(plan, plan.data.example_spec()))()
    images = plan.data.eval_arrays["image"]
    batch = {name: array[:4] for name, array in plan.data.eval_arrays.items()}
    keys = jax.random.split(jax.random.key(0), 4)
    nats = quick(lambda p, b: plan.task.flow_nats(p, state.collections, {}, b, keys, steps=2))(
        state.params, batch
    )
    x0 = images[:4] / 127.5 - 1.0
    expected = 0.5 * (x0**2 + np.log(2 * np.pi)).sum(axis=(1, 2, 3)) + 64 * np.log(127.5)
    np.testing.assert_allclose(nats, expected, rtol=2e-3)  # of the noise within a level
    evaluators = [
        FlowEvaluator(dataclasses.replace(plan, eval_batch_size=size), pixels._mesh, 5)
        for size in (16, 3)
    ]
    found = [evaluator(*pixels._variables)["flow_nats"] for evaluator in evaluators]
    assert found[1] == pytest.approx(found[0], rel=1e-5) and np.isfinite(found[0])
    assert main(["evaluate", pixels.path, "--flow-nats", "0"]) == 2
    assert "flow_nats=0" in capsys.readouterr().err


def test_a_solver_that_the_path_does_not_allow_is_refused():
    with pytest.raises(UsageError, match="wanted Ancestral or DPMSolver"):
        tiny.denoiser({"path": DDPMPath()})


def test_settings_that_do_not_fit_the_data_are_refused():
    plan = tiny.denoiser()
    network = plan.task.denoiser.clone(patch=3)
    task = dataclasses.replace(plan.task, denoiser=network)
    with pytest.raises(UsageError, match="patches of 3 do not divide 8 x 8"):
        task.check(plan.data.example_spec())
    with pytest.raises(UsageError, match="denoiser.condition reads 'label'"):
        plan.task.check({"image": plan.data.example_spec()["image"]})
