"""Bounds on the likelihood: exact on a model whose integral is known, and over a split."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from tests import tiny
from tests.quickly import quick
from vqjax.evaluation import likelihood as module
from vqjax.evaluation.likelihood import ImportanceEvaluator, log_mean_exp, noise_of, protocol
from vqjax.evaluation.reconstruction import ReconstructionEvaluator
from vqjax.losses import L2, BernoulliLikelihood, GaussianLikelihood
from vqjax.quantizers import Gaussian
from vqjax.tasks import TokenizerTask
from vqjax.tasks.likelihood import check_bound, elbo, has_bound, log_weights
from vqjax.tokenizers import Tokenizer
from vqjax.training.mesh import make_mesh
from vqjax.training.state import create_state
from vqjax.types import Context, UsageError

SCALE = 0.7  # of the toy's likelihood


def elbo_of(task):
    return quick(functools.partial(elbo, task))


def weights_of(task):
    return quick(functools.partial(log_weights, task))


class Plain(nn.Module):
    """An encoder and a decoder that do nothing: all of the toy is in the projections."""

    latent_dim: int = 3
    channels: int = 3

    def setup(self):
        self.to_output = nn.Dense(self.channels)

    def grid(self, shape):
        return shape

    def to_features(self, z):
        return z

    def __call__(self, z):
        return self.to_output(z)


class PlainEncoder(nn.Module):
    latent_dim: int = 3

    def grid(self, shape):
        return shape

    def __call__(self, x):
        return x


@pytest.fixture
def toy(x64):
    """x = W z + b + SCALE noise, with orthogonal columns of W: the posterior is diagonal.

    (task, x [5, 1, 3], W [2, 3], b [3], make): make(exact) gives the parameters, with the true
    posterior as q(z | x) or with another one.
    """
    w = np.array([1.5 * np.array([1.0, 2.0, 2.0]) / 3, 0.8 * np.array([2.0, 1.0, -2.0]) / 3])
    b = np.array([0.2, -0.1, 0.4])
    x = np.random.default_rng(0).normal(size=(5, 1, 3))
    task = TokenizerTask(
        Tokenizer(PlainEncoder(), Gaussian(2), Plain()),
        losses=(GaussianLikelihood(SCALE),),
        loss_weights={"nll": 1.0},
    )

    def make(exact):
        variance = 1.0 / (1.0 + (w**2).sum(1) / SCALE**2)
        to_mean = w.T / SCALE**2 * variance
        if not exact:
            variance, to_mean = (
                np.array([0.5, 0.9]),
                np.array([[0.3, -0.2], [0.1, 0.4], [0.0, 0.2]]),
            )
        kernel = np.concatenate([to_mean, np.zeros((3, 2))], 1)
        bias = np.concatenate([-b @ to_mean, np.log(variance)])
        tokenizer = {
            "pre_quant": {"kernel": jnp.array(kernel), "bias": jnp.array(bias)},
            "post_quant": {"kernel": jnp.array(w), "bias": jnp.array(b)},
            "decoder": {"to_output": {"kernel": jnp.eye(3), "bias": jnp.zeros(3)}},
        }
        return {"tokenizer": tokenizer}, {"tokenizer": {}}

    return task, jnp.array(x), w, b, make


def log_normal(x, mean, deviation):
    return -0.5 * ((x - mean) / deviation) ** 2 - np.log(deviation) - 0.5 * math.log(2 * math.pi)


def log_evidence(x, w, b):
    """log N(x; b, W^T W + SCALE^2 I) of x [B, 3]."""
    covariance = w.T @ w + SCALE**2 * np.eye(3)
    centred = x - b
    square = np.einsum("bi,ij,bj->b", centred, np.linalg.inv(covariance), centred)
    return -0.5 * (square + np.linalg.slogdet(covariance)[1] + 3 * math.log(2 * math.pi))


def posterior(params, x):
    """Mean [B, 2] and deviation [2] of the toy's q(z | x)."""
    made = {k: np.asarray(v) for k, v in params["tokenizer"]["pre_quant"].items()}
    both = np.asarray(x)[:, 0] @ made["kernel"] + made["bias"]
    return both[:, :2], np.exp(0.5 * both[0, 2:])


def test_elbo_is_the_integral_over_the_posterior(toy):
    task, x, w, b, make = toy
    params, collections = make(exact=False)
    latents = quick(task.encode)(params, collections, x).z
    # Four points with the mean and the covariance of the noise: exact for what is quadratic in z.
    points = math.sqrt(2.0) * np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    values = [
        elbo_of(task)(params, collections, x, latents, jnp.broadcast_to(p, (5, 1, 2)))
        for p in points
    ]
    mean, deviation = posterior(params, x)
    error = ((np.asarray(x)[:, 0] - b - mean @ w) ** 2).sum(1)
    error += ((w**2).sum(1) * deviation**2).sum()
    log_prob = -0.5 * error / SCALE**2 - 3 * (math.log(SCALE) + 0.5 * math.log(2 * math.pi))
    kl = 0.5 * (mean**2 + deviation**2 - 2 * np.log(deviation) - 1).sum(1)
    np.testing.assert_allclose(np.mean(values, 0), log_prob - kl, rtol=1e-9)
    assert (np.mean(values, 0) < log_evidence(np.asarray(x)[:, 0], w, b)).all()


def test_weights_of_given_noise_are_those_of_the_formula(toy):
    task, x, w, b, make = toy
    params, collections = make(exact=False)
    latents = quick(task.encode)(params, collections, x).z
    noise = np.random.default_rng(1).normal(size=(5, 7, 1, 2))
    weights = weights_of(task)(params, collections, x, latents, jnp.array(noise))
    mean, deviation = posterior(params, x)
    z = mean[:, None] + deviation * noise[:, :, 0]  # [B, K, 2]
    wanted = log_normal(np.asarray(x), z @ w + b, SCALE).sum(-1)
    wanted += log_normal(z, 0.0, 1.0).sum(-1)
    wanted -= log_normal(z, mean[:, None], deviation).sum(-1)
    np.testing.assert_allclose(weights, wanted, rtol=1e-12)
    bound = log_mean_exp([np.logaddexp.reduce(wanted[:, i], axis=1) for i in PARTS], 7)
    np.testing.assert_allclose(bound, np.log(np.exp(wanted).mean(1)), rtol=1e-12)


PARTS = (slice(0, 3), slice(3, 6), slice(6, 7))


def test_with_the_true_posterior_every_weight_is_the_evidence(toy):
    task, x, w, b, make = toy
    params, collections = make(exact=True)
    latents = quick(task.encode)(params, collections, x).z
    noise = jax.random.normal(jax.random.key(0), (5, 4, 1, 2))
    weights = weights_of(task)(params, collections, x, latents, noise)
    evidence = log_evidence(np.asarray(x)[:, 0], w, b)
    np.testing.assert_allclose(weights, np.broadcast_to(evidence[:, None], (5, 4)), rtol=1e-9)


def test_the_losses_are_the_negative_elbo():
    task = tiny.vae().task
    raw = np.where(np.random.default_rng(0).random((6, 8, 8, 1)) < 0.5, 0, 255).astype(np.uint8)
    params, collections = quick(task.init)(jax.random.key(0), {"image": raw})
    context = Context(jax.random.key(1), jnp.int32(0), ("kl", "nll", "tokenizer"), train=False)
    out = quick(lambda *arrays: task(*arrays, context))(params, collections, {}, {"image": raw})
    latents = quick(task.encode)(params, collections, raw).z
    bound = elbo_of(task)(params, collections, raw, latents, jnp.zeros((6, 1, 1, 3)))
    total = sum(task.weights[name] * loss for name, loss in out.losses.items())
    np.testing.assert_allclose(total, -bound.mean(), rtol=1e-6)


def evaluate(experiment, samples=7, devices=1):
    mesh = make_mesh(jax.devices()[:devices])
    state = jax.device_get(
        quick(lambda: create_state(experiment, experiment.data.example_spec()))()
    )
    state = state.replace(params=jax.tree.map(lambda p: 2 * p, state.params))  # draws matter more
    numbers = ReconstructionEvaluator(experiment, mesh)(state.params, state.collections).numbers
    weighted = ImportanceEvaluator(experiment, mesh, samples)(state.params, state.collections)
    return state, numbers["nll_bound"], weighted[f"nll_bound_{samples}"]


def test_numbers_equal_those_of_the_whole_split_at_once():
    experiment = tiny.vae(eval_batch_size=5)
    state, bound, weighted = evaluate(experiment)
    batch = next(experiment.data.eval(21, np.arange(21)))
    task, variables = experiment.network_task(), (state.params, state.collections)
    latents = quick(task.encode)(*variables, batch["image"]).z
    positions = jnp.arange(21)
    noise = noise_of(positions, module.ELBO_DRAW, (1, 1, 3))
    wanted = elbo_of(task)(*variables, batch["image"], latents, noise)
    np.testing.assert_allclose(bound, -wanted.mean(), rtol=1e-5)
    noise = jnp.stack([noise_of(positions, draw, (1, 1, 3)) for draw in range(7)], 1)
    weights = weights_of(task)(*variables, batch["image"], latents, noise)
    each = jax.nn.logsumexp(weights, axis=1) - math.log(7)
    np.testing.assert_allclose(weighted, -each.mean(), rtol=1e-5)
    assert weighted < bound


def test_batch_size_chunks_and_devices_do_not_change_the_numbers(monkeypatch):
    _, bound, weighted = evaluate(tiny.vae(eval_batch_size=21))
    others = [evaluate(tiny.vae(eval_batch_size=4), devices=8)[1:]]
    monkeypatch.setattr(module, "CHUNK_VALUES", 3 * 21 * 64)  # three chunks of three, for seven
    others.append(evaluate(tiny.vae(eval_batch_size=21))[1:])
    for other in others:
        np.testing.assert_allclose(other, (bound, weighted), rtol=1e-5)


def test_noise_is_standard_normal_and_apart_for_every_place_and_draw():
    noise = np.asarray(jax.vmap(lambda d: noise_of(jnp.arange(50), d, (4, 5)))(jnp.arange(40)))
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02
    assert len(np.unique(noise[..., 0, 0])) == 40 * 50


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tiny.vqvae().task, "the bottleneck EMAVectorQuantizer has no prior"),
        (lambda: tiny.ae().task, "the bottleneck Identity has no prior"),
        (
            lambda: TokenizerTask(tiny.vae().task.tokenizer, losses=(L2(),), loss_weights={}),
            "task.losses has 0 likelihoods",
        ),
    ],
)
def test_what_has_no_bound_says_why(make, message):
    assert not has_bound(make())
    with pytest.raises(UsageError, match=message):
        check_bound(make())


@pytest.mark.parametrize("samples", [0, -3, 10**9])
def test_a_number_of_samples_that_cannot_be_is_refused(samples):
    with pytest.raises(UsageError, match=f"{samples} importance samples"):
        ImportanceEvaluator(tiny.vae(), make_mesh(jax.devices()[:1]), samples)


def test_the_protocol_names_likelihood_and_binarisation():
    lines = protocol(tiny.vae())
    assert BernoulliLikelihood.__name__ in lines[0] and "probability v / 255" in lines[1]
    assert len(protocol(tiny.vae(binarised=False))) == 1
