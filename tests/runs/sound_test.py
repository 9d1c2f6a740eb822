"""A sound run from Python: any rate and length, levels, streams, and what is refused."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

import vqjax
from tests import tiny
from tests.runs import digit_probe
from vqjax.data import Tones
from vqjax.quantizers import Identity
from vqjax.runs.base import require
from vqjax.types import UsageError

HOP = 20
LENGTHS = (1, 2, 19, 20, 21, 40, 159, 160, 161, 1000, 3333, 5000)


@pytest.fixture(scope="module")
def runs(make_run):
    """runs(name) -> an opened run of initial parameters, made once."""

    @functools.cache
    def opened(name):
        experiment = tiny.sound()
        task = experiment.task
        networks = {
            "causal": task.tokenizer,
            "both ways": tiny.sound_tokenizer(padding=None),
            "latents": tiny.sound_tokenizer(quantizer=Identity(4)),
        }
        weights = dict(task.loss_weights)
        if name == "latents":
            del weights["first_codebook"]
        task = dataclasses.replace(
            task,
            tokenizer=networks[name],
            head=None if name == "latents" else task.head,
            loss_weights=weights,
        )
        run = vqjax.load(make_run(dataclasses.replace(experiment, task=task), name=name[:4]))
        # With weights spread out it is far too loud, and nothing may be clipped here.
        last = run._variables[0]["tokenizer"]["decoder"]["to_output"]
        for part in (last["spectrum"], last["gain"]):
            part["kernel"], part["bias"] = part["kernel"] * 0.002, part["bias"] * 0.002
        return run

    return opened


def clip(samples, seed=0, level=3000):
    rng = np.random.default_rng(seed)
    wave = np.sin(np.arange(samples) * 0.3) + 0.3 * rng.normal(size=samples)
    return np.rint(level * wave).astype(np.int16)


@pytest.mark.parametrize("name", ["causal", "both ways", "latents"])
def test_length_in_is_length_out(runs, name):
    run = runs(name)
    for samples in LENGTHS if name == "causal" else (1, 161, 333):
        x = clip(samples)
        y = run.reconstruct(x)
        assert y.shape == (samples,) and y.dtype == np.int16
        tokens = run.encode(x)
        first = tokens["tokens_0"] if isinstance(tokens, dict) else tokens
        assert len(first) == -(-samples // HOP) + 1


def test_every_length_has_the_frames_that_hold_it(runs):
    """By shapes alone, 1 to 5,000 samples: padded they go in, and as many come out."""
    hop = 250
    task = dataclasses.replace(
        runs("causal").task, tokenizer=tiny.sound_tokenizer(hop=hop), head=None
    )

    @functools.cache
    def shapes(samples):
        x = jax.ShapeDtypeStruct((1, samples, 1), np.float32)
        keys = {"params": jax.random.key(0), "quantizer": jax.random.key(1)}
        x_hat, variables = jax.eval_shape(
            lambda x: task.tokenizer.init_with_output(keys, x, train=False, step=0), x
        )
        z = jax.eval_shape(lambda v, x: task.tokenizer.apply(v, x, method="latents"), variables, x)
        return z.shape[1], x_hat.shape[1]

    for samples in range(1, 5_001):
        padded = task.padded(samples)
        assert padded >= samples > padded - hop
        assert shapes(padded) == (task.frames_of(samples), padded)
        assert task.samples_of(task.frames_of(samples)) == padded


def test_the_ladder_and_the_batch_change_no_token(runs):
    """Of networks that see both ways: a clip is followed by silence, however long."""
    run = runs("both ways")
    x = clip(300)
    alone = run.encode(x)
    batch = np.stack([clip(300, 1), x, clip(300, 2)])[..., None]
    for name, tokens in run.encode(batch).items():
        np.testing.assert_array_equal(tokens[1], alone[name])
    frames = len(alone["tokens_0"])
    levelled = (x / np.float32(32768) * run.gain_of(x)).astype(np.float32)
    longer = np.pad(levelled, (0, 3000))[None, :, None]
    tokens = run.task.encode(*run._variables, longer[:, : 3300 // HOP * HOP])
    for name, level in alone.items():
        np.testing.assert_array_equal(np.asarray(tokens.indices[name])[0, :frames], level)


def test_levels_are_taken_off_and_put_back(runs):
    run = runs("causal")
    loud, quiet = clip(400, level=12_000), clip(400, level=750)  # a sixteenth
    tokens, gain = run.encode(np.stack([loud, quiet])[..., None], return_gain=True)
    # The grid of gains has steps of half a decibel.
    assert gain.dtype == np.float32 and abs(20 * np.log10(gain[1] / gain[0]) - 24.08) < 0.51
    y = run.decode(tokens, gain=gain, length=400)
    assert y.shape == (2, 400, 1)
    level = run.decode(tokens, length=400).astype(np.float64)
    expected = np.clip(level / gain[:, None, None], -32768, 32767)
    np.testing.assert_allclose(y, expected, atol=0.6 + 0.5 / gain.min())  # rounded twice, or once
    floats = run.encode(loud / np.float32(32768.0))
    for name, level in run.encode(loud).items():
        np.testing.assert_array_equal(floats[name], level)


def test_other_rates_are_resampled(runs):
    run = runs("causal")
    assert run.rate == 8000
    x = clip(1600)
    assert run.reconstruct(x, rate=16_000).shape == (800,)
    assert run.resampled_length(1601, 16_000) == 801
    assert run.resampled_length(1601) == run.resampled_length(1601, 8000) == 1601
    with pytest.raises(UsageError, match="rate"):
        run.encode(x, rate=10)


def test_however_a_stream_is_cut_it_is_the_whole_bit_for_bit(runs):
    run = runs("causal")
    x = clip(1234)
    tokens, gain = run.encode(x, return_gain=True)
    sound = run.decode(tokens, gain=gain)
    rng = np.random.default_rng(0)
    for most in (1, HOP, 5 * HOP):
        stream = run.stream(gain=float(gain))
        for _ in range(2):  # another signal may follow
            cuts = np.cumsum(rng.integers(1, most + 1, len(x)))
            pieces = np.split(x, cuts[cuts < len(x)])
            came = [stream.encode(piece) for piece in pieces] + [stream.end_encoding()]
            for name, level in tokens.items():
                np.testing.assert_array_equal(np.concatenate([t[name] for t in came]), level)
            heard = [stream.decode(t) for t in came] + [stream.end_decoding()]
            np.testing.assert_array_equal(np.concatenate(heard), sound)
    assert len(stream.encode(x[:0])["tokens_0"]) == len(stream.end_encoding()["tokens_0"]) == 0


def test_the_stream_is_the_network_over_the_whole(runs):
    run = runs("causal")
    x = clip(960)
    tokens, gain = run.encode(x, return_gain=True)
    levelled = (x / np.float32(32768.0) * gain)[None, :, None]
    whole = run.task.encode(*run._variables, levelled)
    for name, level in tokens.items():
        np.testing.assert_array_equal(np.asarray(whole.indices[name])[0], level)
    x_hat = np.asarray(run.task.decode_indices(*run._variables, whole.indices))[0, :, 0]
    y = run.decode(tokens)
    np.testing.assert_allclose(y / 32768.0, np.clip(x_hat, -1, 1), atol=0.5001 / 32768 + 1e-6)


def test_the_first_codebooks_alone(runs):
    run = runs("causal")
    x = clip(200)
    tokens = run.encode(x)
    one = run.first(tokens, 1)
    assert list(one) == ["tokens_0"]
    assert run.decode(one).shape == run.decode(tokens).shape
    assert np.abs(run.decode(one) - run.decode(tokens)).max() > 0
    np.testing.assert_array_equal(
        run.reconstruct(x, codebooks=2),
        run.decode(run.first(tokens, 2), gain=run.gain_of(x), length=200),
    )
    with pytest.raises(UsageError, match="codebooks=4"):
        run.reconstruct(x, codebooks=4)
    with pytest.raises(UsageError, match="wanted a dict"):
        run.decode({"tokens_1": tokens["tokens_1"]})


def test_what_is_no_sound_is_refused_in_one_line(runs):
    run = runs("causal")
    for x, line in (
        (np.zeros((2, 8, 8, 1), np.uint8), r"uint8 \[2, 8, 8, 1\]"),
        (np.zeros(0, np.int16), "int16"),
        (np.zeros(9, np.int32), "int32 values"),
        (np.full(9, 2.0), "-1 to 1"),
        (np.full(9, np.nan), "-1 to 1"),
        ("hello", "sound"),
    ):
        with pytest.raises(UsageError, match=line):
            run.encode(x)
    tokens = run.encode(clip(100))
    with pytest.raises(UsageError, match="length=101"):
        run.decode(tokens, length=101)
    for gain in (0.0, -1.0, np.nan, "loud", [1.0, 2.0]):
        with pytest.raises(UsageError, match="gain"):
            run.decode(tokens, gain=gain)
    with pytest.raises(UsageError, match="gain=0"):
        run.stream(gain=0)
    with pytest.raises(UsageError, match=r"int16 \[2, 9, 1\], wanted samples \[n\]"):
        run.stream().encode(np.zeros((2, 9, 1), np.int16))


def test_only_causal_networks_stream(runs):
    run = runs("both ways")
    with pytest.raises(UsageError, match="not causal"):
        run.stream()
    assert type(run).abilities(run.experiment)["stream"] == "its networks are not causal"


def test_a_batch_of_none(runs):
    run = runs("causal")
    tokens = run.encode(np.zeros((0, 100, 1), np.int16))
    assert tokens["tokens_0"].shape == (0, 6)
    assert run.decode(tokens).shape == (0, 100, 1)


@pytest.mark.parametrize("name", ["causal", pytest.param("both ways", marks=pytest.mark.slow)])
def test_evaluation_counts_every_clip_once_with_each_number_of_codebooks(runs, name):
    run = runs(name)
    evaluation = run.evaluate()
    numbers = evaluation.numbers
    data: Tones = run.experiment.data
    lengths = data.clip_lengths("eval")
    bits = sum(run.task.frames_of(int(n)) * 3 * 4 + 8 for n in lengths)
    assert numbers["kbits_per_second"] == pytest.approx(bits / (lengths.sum() / 8000) / 1000)
    assert {"si_sdr", "si_sdr/first_1", "si_sdr/first_2"} <= set(numbers)
    assert "si_sdr/first_3" not in numbers and numbers["silent_clips"] == 0
    gallery, names = evaluation.gallery, data.class_names("label")
    assert gallery.is_sound and gallery.rate == 8_000
    assert [[len(x) for x in row] for row in gallery.rows.values()] == [lengths[:8].tolist()] * 2
    assert list(gallery.captions) == [f"label {name}" for name in names[:8]]
    ratios = []
    for i, n in enumerate(lengths.tolist()):
        batch = data.clips("eval", np.array([i]), n)
        x = batch["audio"][0, :, 0] / 32768.0 * batch["gain"][0]
        y = run.decode(run.encode(batch["audio"][0, :, 0]), length=n) / 32768.0
        x, y = x - x.mean(), y - y.mean()
        target = (x @ y) / (x @ x) * x
        ratios.append(10 * np.log10((target @ target) / ((y - target) @ (y - target))))
    # decode rounds and clips to int16, evaluation does not
    assert numbers["si_sdr"] == pytest.approx(np.mean(ratios), abs=0.02)


def test_require_names_what_it_can(runs):
    with pytest.raises(UsageError, match="is a sound codec: it cannot inpaint"):
        require(runs("causal"), "inpaint")


def test_the_probe_sees_shares_of_codes_by_quarter(runs):
    run = runs("causal")
    features, labels = digit_probe.histograms(run, run.experiment.data, "eval", 1)
    assert features.shape == (10, 4 * 16) and labels.tolist() == list(range(10))
    np.testing.assert_allclose((features**2).reshape(10, 4, 16).sum(-1), 1.0)
