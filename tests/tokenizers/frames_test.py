"""The frame codec: what its frames depend on, and that pieces of a stream give what the whole
does.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tests.quickly import quick
from vqjax.quantizers import FSQ, Gaussian, Identity
from vqjax.tokenizers import FrameDecoder, FrameEncoder, MelHead
from vqjax.types import UsageError

HOP, HOPS = 20, 6


@functools.cache
def made(padding="causal"):
    """(tokenizer, its variables, sound [2, T, 1])."""
    network = tiny.sound_tokenizer(hop=HOP, padding=padding)
    x = 0.1 * jax.random.normal(jax.random.key(0), (2, HOPS * HOP, 1))
    keys = {"params": jax.random.key(1), "quantizer": jax.random.key(2)}
    variables = quick(lambda x: network.init(keys, x, train=False, step=0))(x)
    # A decoder as it is initialised has gains of 1 for all: make them depend on its input.
    gain = variables["params"]["decoder"]["to_output"]["gain"]["kernel"]
    noise = 0.3 * jax.random.normal(jax.random.key(3), gain.shape)
    variables["params"]["decoder"]["to_output"]["gain"]["kernel"] = noise
    return network, variables, x


def dependence(outputs, inputs, call, x):
    """bool[outputs, inputs]: whether output group i changes with input j, by the gradient."""
    rows = []
    for i in range(outputs):
        gradient = jax.grad(lambda x, i=i: jnp.sum(jnp.sin(call(x)[:, i])))(x)
        rows.append(np.abs(np.asarray(gradient)).max(axis=(0, 2)) > 0)
    return np.stack(rows)[:, :inputs]


def test_a_latent_of_a_causal_codec_depends_on_no_later_sample():
    network, variables, x = made()
    found = quick(jax.jacrev(lambda x: network.apply(variables, x, method="latents").sum((0, 2))))(
        x
    )  # [F, B, T, 1]
    found = np.abs(np.asarray(found)).max(axis=(1, 3)) > 0  # [F, T]
    assert found.shape == (HOPS + 1, HOPS * HOP)
    for i, row in enumerate(found):
        assert not row[(i + 1) * HOP :].any()
        # The window's last sample has a weight of nearly zero, the one before has not.
        assert row[max(0, (i + 1) * HOP - 25) : min((i + 1) * HOP - 2, HOPS * HOP)].all()


def test_a_sample_of_a_causal_codec_depends_on_the_frames_up_to_the_one_after_its_own():
    network, variables, _ = made()
    z = jax.random.normal(jax.random.key(4), (1, HOPS + 1, 4))
    found = quick(jax.jacrev(lambda z: network.apply(variables, z, method="decode")[0, :, 0]))(z)
    found = np.abs(np.asarray(found)).max(axis=(1, 3)) > 0  # [T, F]
    for t, row in enumerate(found):
        assert not row[t // HOP + 2 :].any()
        assert row[t // HOP] and (t % HOP < 1 or row[t // HOP + 1])


def test_the_look_ahead_is_what_gradients_say():
    network, variables, x = made(None)
    encoder, decoder = network.encoder, network.decoder
    assert encoder.look_ahead == decoder.look_ahead == 1 and not encoder.streams
    found = quick(jax.jacrev(lambda x: network.apply(variables, x, method="latents")[0].sum(-1)))(
        x
    )  # [F, B, T, 1]
    row = np.abs(np.asarray(found)[2, 0, :, 0]) > 0
    assert row[: 4 * HOP - 2][-10:].all() and not row[4 * HOP :].any()


@pytest.mark.parametrize(
    "size", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow)]
)
def test_pieces_of_a_stream_give_what_the_whole_gives(size):
    network, variables, x = made()
    whole = network.apply(variables, x, method="latents")
    later = jnp.pad(x, ((0, 0), (0, HOP * (-(HOPS + 1) % size + 1)), (0, 0)))
    state, pieces = {}, []
    for start in range(0, later.shape[1], size * HOP):
        piece = later[:, start : start + size * HOP]
        z, state = network.apply(
            {**variables, **state}, piece, method="latents", mutable=["stream"]
        )
        pieces.append(z)
    z = jnp.concatenate(pieces, 1)[:, : HOPS + 1]
    np.testing.assert_allclose(z, whole, atol=1e-5 * float(jnp.abs(whole).max()))
    expected = network.apply(variables, whole, method="decode")
    state, pieces = {}, []
    for start in range(0, HOPS + 1, size):
        y, state = network.apply(
            {**variables, **state}, whole[:, start : start + size], method="decode",
            mutable=["stream"],
        )  # fmt: skip
        pieces.append(y)
    y = jnp.concatenate(pieces, 1)[:, HOP:]
    np.testing.assert_allclose(y, expected, atol=1e-5 * float(jnp.abs(expected).max()))


def test_no_collection_of_streams_is_left_by_init():
    _, variables, _ = made()
    assert set(variables) == {"params", "codebook"}


@pytest.mark.parametrize("quantizer", [Gaussian(codebook_dim=4), Identity(4), FSQ((5, 5))])
def test_other_bottlenecks_work(quantizer):
    network = tiny.sound_tokenizer(hop=HOP, quantizer=quantizer)
    keys = {"params": jax.random.key(1), "quantizer": jax.random.key(2)}
    x = jnp.zeros((1, 40, 1))
    y, _ = jax.eval_shape(lambda: network.init_with_output(keys, x, train=True, step=0))
    assert y.shape == x.shape


def test_any_window_of_at_least_a_hop():
    for window in (20, 33, 64):
        encoder = FrameEncoder(hop=20, window=window, width=8, blocks=0, latent_dim=4)
        made = (jax.random.key(0), jnp.zeros((1, 60, 2)))
        z = jax.eval_shape(lambda e=encoder, made=made: e.init_with_output(*made)[0])
        assert z.shape == (1, 4, 4)
    with pytest.raises(UsageError, match="window=10: at least hop=20"):
        FrameEncoder(hop=20, window=10)


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(UsageError, match="hop=0"):
        FrameDecoder(hop=0)
    with pytest.raises(UsageError, match="padding='casual'.*did you mean 'causal'"):
        FrameDecoder(padding="casual")
    with pytest.raises(UsageError, match="one axis T"):
        FrameEncoder().grid((8, 8))
    with pytest.raises(UsageError, match="161 samples.*160 or 320"):
        FrameEncoder().grid((161,))
    with pytest.raises(UsageError, match="a window of at least the hop"):
        MelHead(8000, hop=160, window=100)


def test_the_head_predicts_the_bands_of_the_frame_that_ends_with_its_hop():
    head = MelHead(8000, hop=20, window=40, mels=8)
    x = jnp.zeros((1, 100, 1)).at[:, 50].set(0.5)
    target = head.target(x)
    assert target.shape == (1, 6, 8)
    heard = np.asarray(target[0].max(-1)) > float(target.min())
    # Sample 50 is within frames that end at 60 (hop 2) and, begun at 40, at 80 (hop 3).
    assert heard.tolist() == [False, False, True, True, False, False]
