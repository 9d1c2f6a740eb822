"""A prior over sound tokens: several codebooks, clips that end, two conditions; to every verb."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vqjax
from tests import tiny
from tests.quickly import quick
from vqjax.cli.main import main
from vqjax.config import FrozenRun
from vqjax.data import Arrays
from vqjax.priors import GPT, ClassLabel, CodebookGPT, Several
from vqjax.priors.codebook_order import CodebookOrder
from vqjax.quantizers import FSQ, Product, Residual
from vqjax.runs.load import make_evaluator
from vqjax.sampling import Guidance
from vqjax.tasks import PriorTask, TokenizerTask
from vqjax.tasks.prior import FROZEN
from vqjax.training.experiment import Experiment
from vqjax.training.loop import train
from vqjax.training.optim import AdamW
from vqjax.types import ArraySpec, UsageError

HOP, SAMPLES = 2, 16
FRAMES = SAMPLES // HOP
NAMES = ("jackson", "theo")
CONDITION = Several((ClassLabel(2, batch_key="speaker", names=NAMES), ClassLabel(3)))
PRIOR = CodebookGPT(16, 1, 2, ends=True, condition=CONDITION)


@pytest.fixture(autouse=True, scope="module")
def hop():
    """What a task of a sound tokenizer offers."""
    with pytest.MonkeyPatch.context() as patch:
        frames_of = lambda self, length: -(-length // HOP) + 1  # noqa: E731
        patch.setattr(TokenizerTask, "frames_of", frames_of, raising=False)
        samples_of = lambda self, frames: (frames - 1) * HOP  # noqa: E731
        patch.setattr(TokenizerTask, "samples_of", samples_of, raising=False)
        yield


def sounds(count, seed):
    """Sound of a class and a speaker, zero after its length."""
    rng = np.random.default_rng(seed)
    label, speaker = rng.integers(0, 3, count), rng.integers(0, 2, count)
    length = rng.integers(3, SAMPLES - HOP + 1, count)
    time = np.arange(SAMPLES)[None]
    wave = np.sin(time * (1 + label[:, None])) * (0.4 + 0.5 * speaker[:, None])
    wave = np.where(time < length[:, None], wave, 0.0)
    return {
        "sound": wave[..., None].astype(np.float32),
        "label": label.astype(np.int32),
        "speaker": speaker.astype(np.int32),
        "length": length.astype(np.int32),
    }


DATA = Arrays(sounds(96, 0), sounds(30, 1))


def tokenizer_experiment(quantizer=None):
    networks = tiny.tokenizer(quantizer or Residual(FSQ((3, 3), bound="clip"), stages=3))
    task = TokenizerTask(networks, loss_weights={"l1": 1.0}, inputs="sound")
    return tiny.vqvae(task=task, data=DATA, total_steps=2)


def experiment(prior=PRIOR, path="nowhere", quantizer=None, codebooks=2, **settings):
    frozen = FrozenRun(str(path), experiment=tokenizer_experiment(quantizer))
    return Experiment(
        task=PriorTask(prior=prior, tokenizer=frozen, codebooks=codebooks),
        data=DATA,
        optimizers={"prior": AdamW(1e-2)},
        batch_size=16,
        total_steps=6,
        log_every=1,
        eval_every=6,
        **settings,
    )


@pytest.fixture(scope="module")
def path(make_run, tmp_path_factory):
    plan = experiment(path=make_run(tokenizer_experiment(), name="tokenizer"))
    path, one = tmp_path_factory.mktemp("clips") / "run", jax.devices()[:1]
    train(plan, path, make_evaluator=make_evaluator, devices=one)
    return path


@pytest.fixture(scope="module")
def run(path):
    return vqjax.load(path)


def test_it_learns_and_says_how_many_nats_a_clip_has(path):
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    nll = [line["nll"] for line in lines if line["kind"] == "train"]
    assert nll[-1] < nll[0]
    (numbers,) = [line for line in lines if line["kind"] == "eval"]
    length = DATA.eval_arrays["length"]
    frames = np.minimum(-(-length // HOP) + 1, FRAMES)
    tokens = np.mean(2 * frames + (frames < FRAMES))  # two codebooks, and the end
    assert numbers["nats_per_clip"] == pytest.approx(numbers["nats_per_token"] * tokens, rel=1e-5)
    bits = numbers["nats_per_clip"] / np.log(2) / length.mean()
    assert numbers["bits_per_dim"] == pytest.approx(bits, rel=1e-5)


def test_the_first_codebooks_alone_are_tokens_and_are_decoded(run):
    assert [v.name for v in run.token_layout()] == ["tokens_0", "tokens_1"]
    frozen = run._opening.frozen
    x = jnp.asarray(DATA.eval_arrays["sound"][:5])
    tokens = quick(run.task.tokens)(frozen, {"sound": x})
    assert list(tokens) == ["tokens_0", "tokens_1"]
    task, arrays = run.task.tokenizer_task, frozen[FROZEN]
    variables = {"params": arrays["params"]["tokenizer"], **arrays["collections"]["tokenizer"]}

    def by_stages(tokenizer):
        codes = tokenizer.quantizer.lookup(tuple(tokens.values()))
        return tokenizer.decode(codes)

    expected = quick(lambda v: task.tokenizer.apply(v, method=by_stages))(variables)
    made = quick(run.task.decode)(frozen, tokens)
    np.testing.assert_allclose(made, expected, atol=1e-6)


def test_samples_have_their_frames(run):
    how = {"sampling": vqjax.sampling.TokenSampling(), "guidance": Guidance()}
    cond = {name: np.zeros(40, np.int32) for name in ("label", "speaker")}
    examples, length = run._drawn(40, 0, cond, **how)
    assert examples.shape == (40, SAMPLES, 1) and length.shape == (40,)
    frames = length // HOP + 1
    assert frames.min() >= 1 and frames.max() <= FRAMES and len(set(frames)) > 2
    after = np.arange(SAMPLES)[None] >= length[:, None]
    assert after.any() and not examples[after].any() and examples[~after].any()
    again, same = run._drawn(3, 0, {k: v[:3] for k, v in cond.items()}, **how)
    np.testing.assert_array_equal(again, examples[:3])
    np.testing.assert_array_equal(same, length[:3])
    np.testing.assert_array_equal(run.sample(3, classes=[0], conditions={"speaker": [0]}), again)


def test_conditions_are_named_by_number_or_name_and_the_rest_comes_in_turn(run, monkeypatch):
    seen = []
    monkeypatch.setattr(run, "_drawn", lambda n, seed, cond, *how: (seen.append(cond), None))
    for options, labels, speakers in (
        ({}, [0, 1, 2, 0, 1, 2, 0], [0, 0, 0, 1, 1, 1, 0]),
        ({"classes": [2, -1]}, [2, -1, 2, -1, 2, -1, 2], [0, 1, 0, 1, 0, 1, 0]),
        ({"conditions": {"speaker": ["theo", 0, "-1"]}}, [0, 1, 2] * 2 + [0], [1, 0, -1] * 2 + [1]),
        ({"conditions": {"label": [1], "speaker": ["1"]}}, [1] * 7, [1] * 7),
    ):
        run.sample(7, **options)
        cond = seen.pop()
        np.testing.assert_array_equal(cond["label"], labels)
        np.testing.assert_array_equal(cond["speaker"], speakers)
    assert run.conditions == ("classes", "conditions") and run.classes == 3
    for options, words in (
        ({"conditions": {"speaker": ["jakson"]}}, "did you mean 'jackson'"),
        ({"conditions": {"speaker": [2]}}, r"conditions\['speaker'\]\[0\]=2: wanted .* -1 to 1"),
        ({"conditions": {"speker": [1]}}, "did you mean 'speaker'"),
        ({"conditions": {"label": [1]}, "classes": [1]}, "give one of the two"),
        ({"conditions": {"speaker": []}}, "'speaker' is empty"),
        ({"classes": []}, "classes are empty"),
        ({"prompts": ["one"]}, "not text-conditional"),
    ):
        with pytest.raises(UsageError, match=words):
            run.sample(1, **options)


@pytest.mark.slow
def test_every_verb(path, tmp_path, capsys):
    words = ["sample", str(path), "-n", "4", "--classes", "1,2", "--condition", "speaker=theo"]
    assert (
        main([*words, "--condition", "speaker=0", "--guidance", "2", "--out", str(tmp_path)]) == 0
    )
    (sheet,) = capsys.readouterr().out.split()
    assert sheet.endswith("sample_00000006_seed0_guidance=2_speaker=theo+0_run_class-1-2.png")
    singles = sorted(tmp_path.glob("sample_*_seed0-*"))
    assert [path.name.partition("guidance=2_")[2] for path in singles] == [
        f"speaker={speaker}_run_class-{label}.png" for speaker, label in [("theo", 1), (0, 2)] * 2
    ]
    for verb in ("inspect", "report"):
        assert main([verb, str(path)]) == 0, capsys.readouterr().err
    page = (path / "report.html").read_text()
    assert "conditioned on the speaker and the class" in page and "Nats per clip" in page
    capsys.readouterr()
    for options, line in (
        (["--condition", "speaker=jakson"], "did you mean 'jackson'"),
        (["--condition", "speaker"], "--condition speaker: give speaker=2"),
        (["--condition", "text=one"], "--condition text=one: give speaker=2"),
        (["--prompt", "one"], "--prompt is not for this run: it takes -n, --seed, --classes, "),
    ):
        assert main(["sample", str(path), *options]) == 2
        assert line in capsys.readouterr().err


def test_numbers_out_of_range_are_named_with_their_setting():
    bounds = experiment().task.bounds
    assert set(bounds) == {"tokens_0", "tokens_1", "label", "speaker"}
    assert bounds["speaker"].setting == "prior.condition.parts.0.classes=2"


SPECS = DATA.example_spec()


@pytest.mark.parametrize(
    ("make", "inputs", "words"),
    [
        (
            experiment,
            {k: v for k, v in SPECS.items() if k != "length"},
            "prior.ends: nothing says where clips end, the data has no 'length'",
        ),
        (
            experiment,
            {k: v for k, v in SPECS.items() if k != "speaker"},
            "prior.condition.parts.0 reads 'speaker': the data has",
        ),
        (lambda: experiment(codebooks=4), SPECS, "codebooks=4: nowhere has 3 levels"),
        (
            lambda: experiment(quantizer=Product(FSQ((3, 3)), groups=3)),
            SPECS,
            "codebooks=2: Product decodes from all 3 levels alone",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, inputs, words):
    with pytest.raises(UsageError, match=words):
        make().task.check(inputs)


def test_a_task_that_knows_no_frames_is_refused(monkeypatch):
    monkeypatch.delattr(TokenizerTask, "frames_of")
    with pytest.raises(UsageError, match="no 'frames_of'"):
        experiment().task.check(SPECS)


def test_fewer_codebooks_than_one_are_refused():
    with pytest.raises(UsageError, match="codebooks=0"):
        experiment(codebooks=0)


def test_what_comes_after_the_end_changes_no_loss():
    """Tokens of the padding count nowhere, whatever they are."""
    task = experiment().network_task()
    rng = np.random.default_rng(0)
    batch = {k: v[:8] for k, v in DATA.train_arrays.items() if k != "sound"}
    batch |= {f"tokens_{q}": rng.integers(0, 9, (8, FRAMES)).astype(np.int32) for q in range(2)}
    params, _ = quick(task.init)(jax.random.key(0), batch)
    params = jax.tree.map(lambda p: p + 0.1 * rng.normal(size=p.shape).astype(p.dtype), params)
    frames = np.minimum(-(-batch["length"] // HOP) + 1, FRAMES)
    after = np.arange(FRAMES) >= frames[:, None]
    objective = quick(lambda p, b: task.objective(p, {}, b, {}))
    nats, weights = objective(params, batch)
    other = {k: np.where(after, 0, batch[k]) for k in ("tokens_0", "tokens_1")}
    np.testing.assert_array_equal(nats, objective(params, {**batch, **other})[0])
    other = {k: np.where(after, batch[k], 0) for k in ("tokens_0", "tokens_1")}
    assert (np.asarray(nats) != objective(params, {**batch, **other})[0]).any()
    np.testing.assert_array_equal(weights.sum(1), 2 * frames + (frames < FRAMES))


def test_conditions_of_a_batch_without_data_are_named():
    assert experiment().task.conditions == {
        "speaker": ArraySpec((), "int32"),
        "label": ArraySpec((), "int32"),
        "length": ArraySpec((), "int32"),
    }
    plain = dataclasses.replace(experiment().task, prior=GPT(16, 1, 2))
    assert plain.conditions == {} and not plain.ends and not hasattr(plain.network(()).order, "cut")
    assert isinstance(experiment().task.network(()).order, CodebookOrder)
