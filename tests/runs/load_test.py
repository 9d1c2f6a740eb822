"""What an opened run holds: its network, its arrays, its data, and the run below it."""

import functools

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import vqjax
from tests import tiny
from tests.blank import maskgit_over
from tests.small_source import SmallSource
from vqjax.config import FrozenRun
from vqjax.data import Arrays, Digits
from vqjax.files import is_ours
from vqjax.priors import GPT
from vqjax.runs.load import run_class
from vqjax.runs.prior import PriorRun
from vqjax.tasks import PriorTask, normalize
from vqjax.types import DataError, UsageError

X = np.stack([SmallSource().example(i) for i in range(7)])


@pytest.fixture(scope="module")
def run(run_dir, trust):
    return vqjax.load(run_dir, trust=trust)


def encoded(run, params, x):
    return run.apply(params, normalize(x), train=False, step=0, method="encode").quantized


def test_ones_own_jit_and_gradient_over_a_runs_weights(run):
    def loss(params):
        encoding = encoded(run, params, X)
        return jnp.sum(run.apply(params, encoding.z_q, method="decode") ** 2), encoding.indices[0]

    own = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (value, tokens), slope = own(run.params)
    np.testing.assert_array_equal(tokens, run.encode(X))
    assert jax.tree.map(jnp.shape, slope) == jax.tree.map(jnp.shape, run.params)
    assert jnp.abs(slope["decoder"]["to_output"]["kernel"]).max() > 0
    moved = jax.tree.map(lambda p, g: p - 1e-3 * g / (1 + jnp.abs(g).max()), run.params, slope)
    assert own(moved)[0][0] < value


@pytest.fixture(scope="module")
def runs(make_run, run):
    """One of each kind; the prior's tokenizer is at hand."""
    below = make_run(tiny.vqvae(data=Digits()), name="below")
    made = {
        "vae": tiny.vae(),
        "classifier": tiny.classifier(),
        "prior": maskgit_over(tiny.vqvae(data=Digits()), str(below)),
    }
    opened = {name: vqjax.load(make_run(plan, name=name)) for name, plan in made.items()}
    return {"codes": run, **opened}


def test_a_priors_tokenizer_is_the_step_it_learned_from(runs):
    prior = runs["prior"]
    images = prior.tokenizer.held_out(2)
    assert prior.tokenizer is prior.tokenizer  # opened once
    assert prior.tokenizer.step == 4
    tokens = prior.tokenizer.encode(images)
    assert tokens.shape[1:] == prior.token_layout()[0].grid
    ids = jnp.asarray(tokens.reshape(2, -1))
    rngs = {"mask": jax.random.key(0)}
    labels = jnp.zeros(2, jnp.int32)
    objective = jax.jit(functools.partial(prior.apply, method="objective"))
    nats, counts = objective(prior.params, ids, labels, None, rngs=rngs)
    assert nats.shape == counts.shape == (2, 16)


@pytest.mark.parametrize("name", ["codes", "vae", "prior", "classifier"])
def test_saved_weights_are_what_the_module_takes(runs, name, tmp_path):
    run = runs[name]
    file = tmp_path / "deep" / "weights.safetensors"
    run.save_weights(file)
    flat = safetensors.numpy.load_file(file)
    variables = flax.traverse_util.unflatten_dict(flat, sep="/")
    jax.tree.map(np.testing.assert_array_equal, variables["params"], run.params)
    assert set(variables) == {"params", *(k for k, v in run.collections.items() if v)}
    if name == "codes":
        encode = jax.jit(functools.partial(run.module.apply, train=False, step=0, method="encode"))
        expected = encode(variables, normalize(jnp.asarray(X)))
        np.testing.assert_array_equal(expected.quantized.indices[0], run.encode(X))
    assert is_ours(file)
    run.save_weights(file)  # again
    file.write_bytes(safetensors.numpy.save({"somebody": np.zeros(3)}, {"generator": "else"}))
    with pytest.raises(UsageError, match="carries no mark"):
        run.save_weights(file)
    run.save_weights(file, overwrite=True)


def test_arrays_are_passed_again(make_run):
    arrays = Arrays({"image": X}, {"image": X[:3]})
    path = make_run(tiny.vqvae(data=arrays), name="arrays")
    with pytest.raises(DataError, match=r"vqjax.load\(RUN, data=Arrays"):
        vqjax.load(path).held_out(2)
    opened = vqjax.load(path, data=arrays)
    np.testing.assert_array_equal(opened.held_out(2), X[:2])
    assert opened.experiment.data is arrays
    for wrong, line in (
        (Arrays({"image": X.astype(np.float32)}, {"image": X}), "the run was trained on"),
        (Arrays({"sound": X}, {"sound": X}), "'image' is missing"),
        ("data", "data"),
    ):
        with pytest.raises(UsageError, match=line):
            vqjax.load(path, data=wrong)


def test_the_package_gives_the_function_however_often_it_is_asked():
    import vqjax.evaluation

    for name, home in vqjax.evaluation._HOMES.items():
        assert name != home  # an imported module takes its name in the package
    assert vqjax.evaluation.load is vqjax.evaluation.load is vqjax.load


def test_a_task_whose_frozen_run_has_no_stand_in_has_its_run_class_before_that_is_opened():
    task = PriorTask(GPT(16, 1, 2), FrozenRun("runs/not_opened"))
    assert run_class(task) is PriorRun
    with pytest.raises(UsageError, match="names no stand-in"):
        _ = task.inputs
