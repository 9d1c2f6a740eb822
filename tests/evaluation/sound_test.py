"""Sound on other data, by classes, and through the codecs of libsndfile."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import vqjax
from tests import tiny
from vqjax.cli.main import main
from vqjax.data import Digits, Tones
from vqjax.evaluation import codecs as module
from vqjax.evaluation.codecs import CodecEvaluator
from vqjax.media.audio import to_int16
from vqjax.media.codecs import CODECS, coded, ogg_packets
from vqjax.runs.evaluate import evaluate_run
from vqjax.training.mesh import make_mesh
from vqjax.types import UsageError

RATE = 8_000
CLIPS = 4


@dataclasses.dataclass(frozen=True)
class ShortTones(Tones):
    """Tones of about one length, so that few programs are compiled; of two classes."""

    def _open(self, part):
        split = super()._open(part)
        split._clips = dataclasses.replace(split._clips, lengths=split._clips.lengths % 300 + 900)
        split._arrays = {"label": split._arrays["label"] % 2}
        return split


DATA = ShortTones(samples=160, train_clips=4, eval_clips=CLIPS, loudness=tiny.sound().data.loudness)


def whole_clips(data=DATA):
    """Clips at the level that networks see, float32[n]."""
    lengths = data.clip_lengths("eval").tolist()
    batches = [data.clips("eval", np.array([i]), n) for i, n in enumerate(lengths)]
    return [b["audio"][0, :, 0] / np.float32(32768) * b["gain"][0] for b in batches]


def si_sdr(x, y):
    x, y = x - x.mean(), y - y.mean()
    target = (x @ y) / (x @ x) * x
    return 10 * np.log10((target @ target) / ((y - target) @ (y - target)))


@pytest.fixture(scope="module")
def path(make_run):
    return make_run(tiny.sound(data=DATA), name="codec")


TRUST = (__name__,)


def one_device():
    return make_mesh(jax.devices()[:1])


def page(*packets, ends=True):
    """An Ogg page of packets; the last one goes on in the next where not `ends`."""
    lacing = b""
    for i, packet in enumerate(packets):
        last = bytes([len(packet) % 255]) if ends or i + 1 < len(packets) else b""
        lacing += bytes([255]) * (len(packet) // 255) + last
    return b"OggS" + bytes(22) + bytes([len(lacing)]) + lacing + b"".join(packets)


def test_packets_of_ogg():
    data = page(b"a" * 19) + page(b"b" * 255, b"") + page(b"c" * 700, b"d" * 510, ends=False)
    assert ogg_packets(data + page(b"e" * 3)) == [19, 255, 0, 700, 513]
    for bad in (data, data[:-1], b"RIFF" + data, page(b"a" * 9)[:-1]):
        with pytest.raises(ValueError, match="page of Ogg|within a packet"):
            ogg_packets(bad)


@pytest.mark.parametrize("name", CODECS)
def test_as_many_samples_come_back_and_bits_are_those_of_the_sound(name):
    x = to_int16(np.concatenate(whole_clips()))
    short, whole = coded(x[:700], RATE, name), coded(x, RATE, name)
    for result, count in ((short, 700), (whole, len(x)), (coded(x[:1], RATE, name), 1)):
        assert result.samples.dtype == np.float32 and result.samples.shape == (count,)
    assert si_sdr(x / 32768.0, whole.samples.astype(float)) > 3
    headers = whole.file_bits - whole.bits
    assert 0 < headers < 8 * 1_500
    seconds = len(x) / RATE
    bounds = {"gsm_6.10": (12.9, 14), "mu_law": (64, 64)}.get(name, (4, 16))
    assert bounds[0] <= whole.bits / seconds / 1000 <= bounds[1]


def test_what_a_codec_does_not_take():
    with pytest.raises(UsageError, match="no codec 'opus'"):
        coded(np.zeros(9, np.int16), RATE, "opus")
    with pytest.raises(UsageError, match="gsm_6.10 has 8,000 Hz, not 16,000"):
        coded(np.zeros(9, np.int16), 16_000, "gsm_6.10")


def test_numbers_of_codecs_are_of_all_clips_in_one_file(monkeypatch):
    experiment, clips = tiny.sound(data=DATA), whole_clips()
    evaluation = CodecEvaluator(experiment, one_device())()
    numbers = evaluation.numbers
    kinds = ("si_sdr", "mel_distance", "stft_distance", "kbits_per_second", "file_kbits_per_second")
    assert set(numbers) == {f"{kind}/{name}" for kind in kinds for name in CODECS}
    pcm, ends = to_int16(np.concatenate(clips)), np.cumsum([len(x) for x in clips])
    seconds = ends[-1] / RATE
    for name in ("opus_0.99", "mu_law"):
        whole = coded(pcm, RATE, name)
        made = np.split(whole.samples.astype(float), ends[:-1])
        expected = np.mean([si_sdr(x.astype(float), y) for x, y in zip(clips, made, strict=True)])
        assert numbers[f"si_sdr/{name}"] == pytest.approx(expected, abs=1e-3)
        assert numbers[f"kbits_per_second/{name}"] == pytest.approx(whole.bits / seconds / 1000)
        files = sum(coded(to_int16(x), RATE, name).file_bits for x in clips)
        assert numbers[f"file_kbits_per_second/{name}"] == pytest.approx(files / seconds / 1000)
    levels = [numbers[f"mel_distance/{name}"] for name in ("opus_1.00", "opus_0.98", "mu_law")]
    assert levels == sorted(levels, reverse=True)
    assert "4 clips" in evaluation.protocol[0]
    # In several files, and smaller batches: what is exact stays, what has a memory nearly does.
    monkeypatch.setattr(module, "SECONDS", 0.2)
    monkeypatch.setattr(module, "BATCH_SAMPLES", 1)
    monkeypatch.setattr(module, "READ", 3)
    parts = CodecEvaluator(experiment, one_device())().numbers
    for kind in kinds:
        assert parts[f"{kind}/mu_law"] == pytest.approx(numbers[f"{kind}/mu_law"], rel=1e-5)
    assert parts["si_sdr/opus_0.97"] == pytest.approx(numbers["si_sdr/opus_0.97"], abs=2)


@pytest.mark.slow
def test_codecs_without_the_rate_are_left_out_and_pictures_refused():
    data = dataclasses.replace(DATA, rate=11_025)
    evaluation = CodecEvaluator(tiny.sound(data=data), one_device())()
    assert {name.partition("/")[2] for name in evaluation.numbers} == {"mu_law"}
    assert evaluation.protocol[1].startswith("left out, as they have no 11,025 Hz: opus_1.00, ")
    with pytest.raises(UsageError, match=r"the data has uint8 \[8, 8, 1\]"):
        CodecEvaluator(tiny.vqvae(data=Digits()), one_device())


@pytest.mark.slow
def test_classes_make_up_the_whole(path):
    _, evaluation = evaluate_run(path, by="label", trust=TRUST)
    numbers = evaluation.numbers
    classes = ("label=rise", "label=fall")
    assert [numbers[f"clips/{one}"] for one in classes] == [2, 2]
    for kind in ("si_sdr", "mel_distance", "stft_distance"):
        mean = np.mean([numbers[f"{kind}/{one}"] for one in classes])
        assert numbers[kind] == pytest.approx(mean, rel=1e-5)
    lengths = DATA.clip_lengths("eval")
    rates = [numbers[f"kbits_per_second/{one}"] for one in classes]
    bits = rates[0] * lengths[::2].sum() + rates[1] * lengths[1::2].sum()
    assert numbers["kbits_per_second"] == pytest.approx(bits / lengths.sum())
    with pytest.raises(UsageError, match=r"by='speaker': .*\(valid: label\)"):
        evaluate_run(path, by="speaker", trust=TRUST)


def test_other_data_from_python_and_as_typed(path, capsys):
    other = dataclasses.replace(DATA, eval_clips=2)
    _, evaluation = evaluate_run(path, data=other, trust=TRUST)
    opened = vqjax.load(path, data=other, trust=TRUST)
    assert opened.evaluate().numbers == pytest.approx(evaluation.numbers, rel=1e-5)
    words = ["evaluate", str(path), "--trust", __name__]
    assert main([*words, "data.eval_clips=2", "--by", "label", "--codecs", "--json"]) == 0
    typed = json.loads(capsys.readouterr().out)
    assert typed.pop("data") == ["data.eval_clips=2"] and typed["clips/label=rise"] == 1
    assert {name: typed[name] for name in evaluation.numbers} == pytest.approx(evaluation.numbers)
    assert typed["si_sdr/gsm_6.10"] > 3
    for word, line in (
        ("batch_size=2", "of a run only the data may be another: data.FIELD=VALUE"),
        ("data.clips=2", "data has no field 'clips': did you mean 'eval_clips'?"),
        ("data.samples=320", "the run was trained on"),
    ):
        assert main([*words, word]) == 2
        assert line in capsys.readouterr().err


def test_pictures_have_no_classes_of_sound(run_dir, trust, capsys):
    for option, line in (
        (["--by", "label"], "by: the evaluation of a tokenizer takes none"),
        (["--codecs"], "codecs are for sound of one channel"),
    ):
        assert main(["evaluate", str(run_dir), *option, "--trust", trust[0]]) == 2
        assert line in capsys.readouterr().err
