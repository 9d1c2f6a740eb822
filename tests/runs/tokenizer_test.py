"""`vqjax.load`: numpy in, numpy out, the same bits at any batch size."""

import numpy as np
import pytest

import vqjax
from tests.small_source import SmallSource, small_experiment
from vqjax.runs import tokenizer as module
from vqjax.types import DataError, UsageError


@pytest.fixture(scope="module")
def run(run_dir, trust):
    return vqjax.load(run_dir, trust=trust)


@pytest.fixture(scope="module")
def images():
    return np.stack([SmallSource().example(i) for i in range(7)])


def test_tokens_are_int32_on_the_grid_and_decode_to_the_trained_dtype(run, images):
    tokens = run.encode(images)
    assert tokens.dtype == np.int32 and tokens.shape == (7, 4, 4)
    assert len(np.unique(tokens)) > 1
    decoded = run.decode(tokens)
    assert decoded.dtype == np.uint8 and decoded.shape == images.shape
    assert run.step == 4 and run.params_kind == "raw"
    assert run.token_layout()[0].codebook_size == 8


def test_results_do_not_depend_on_the_batch(run, images, monkeypatch):
    whole = run.reconstruct(images)
    np.testing.assert_array_equal(whole, run.decode(run.encode(images)))
    for i in range(len(images)):
        np.testing.assert_array_equal(run.reconstruct(images[i : i + 1])[0], whole[i])
    many = np.concatenate([images] * 6)  # more than one part of 32
    np.testing.assert_array_equal(run.reconstruct(many), np.concatenate([whole] * 6))


def test_one_program_per_shape_whatever_the_batch(run, images):
    before = run._encode._cache_size()
    for n in (1, 3, 7):
        run.encode(images[:n])
    run.encode(np.concatenate([images] * 6))
    assert run._encode._cache_size() <= max(before, 1)


def test_floats_stay_floats_and_keep_their_bits_at_any_batch_size(make_run, trust):
    source = SmallSource(dtype="float32")
    trained = vqjax.load(make_run(small_experiment(source), name="floats"), trust=trust)
    x = np.stack([source.example(i) for i in range(5)])
    whole = trained.reconstruct(x)
    assert whole.dtype == np.float32 and np.abs(whole).max() <= 1.0
    np.testing.assert_array_equal(trained.reconstruct(x.astype(np.float64)), whole)
    for i in range(5):
        np.testing.assert_array_equal(trained.reconstruct(x[i : i + 1])[0], whole[i])
    with pytest.raises(UsageError, match="trained on float32"):
        trained.encode((x * 127 + 128).astype(np.uint8))


def test_an_empty_batch_works(run):
    tokens = run.encode(np.zeros((0, 8, 8, 1), np.uint8))
    assert tokens.shape == (0, 4, 4) and tokens.dtype == np.int32
    assert run.decode(tokens).shape == (0, 8, 8, 1)


def test_other_sizes_that_the_factor_divides_work(run):
    wide = np.zeros((2, 6, 10, 1), np.uint8)
    assert run.encode(wide).shape == (2, 3, 5)
    assert run.reconstruct(wide).shape == wide.shape


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [
        ((8, 8, 1), np.uint8, r"without a batch axis: pass x\[None\]"),
        ((8, 8), np.uint8, "2 axes"),
        ((1, 8, 8, 3), np.uint8, "3 channels .* trained on 1"),
        ((1, 8, 8, 1), np.float32, "trained on uint8, 0 to 255"),
        ((1, 9, 8, 1), np.uint8, "9.*8"),
    ],
)
def test_wrong_images_are_refused_with_the_reason(run, shape, dtype, words):
    with pytest.raises(UsageError, match=words):
        run.encode(np.zeros(shape, dtype))


@pytest.mark.parametrize(
    ("indices", "words"),
    [
        (np.full((1, 4, 4), 8), "wanted 0 to 7"),
        (np.full((1, 4, 4), -1), "wanted 0 to 7"),
        (np.zeros((1, 4, 4)), "float64"),
        (np.zeros((4, 4), np.int32), r"\[4, 4\]: wanted int32 \[B, 4, 4\]"),
        ({"other": np.zeros((1, 4, 4), np.int32)}, "wanted a dict with 'tokens'"),
    ],
)
def test_wrong_indices_are_refused_with_the_reason(run, indices, words):
    with pytest.raises(UsageError, match=words):
        run.decode(indices)


def test_a_dict_of_the_one_level_is_taken_too(run, images):
    tokens = run.encode(images)
    np.testing.assert_array_equal(run.decode({"tokens": tokens}), run.decode(tokens))


@pytest.mark.parametrize("shape", [(16, 2), (4, 4, 4, 1)])
def test_signals_and_clips_go_the_same_way(make_run, trust, shape):
    source = SmallSource(shape=shape, dtype="float32")
    trained = vqjax.load(make_run(small_experiment(source), name="ranks"), trust=trust)
    x = np.stack([source.example(i) for i in range(2)])
    assert trained.encode(x).shape == (2, *(n // 2 for n in shape[:-1]))
    assert trained.reconstruct(x).shape == x.shape


def test_large_examples_go_through_in_smaller_parts(run):
    assert run._batch_size((8, 8, 1)) == module.CALL_BATCH
    assert run._batch_size((512, 512, 3)) == 8
    assert run._batch_size((8192, 8192, 3)) == 1


def test_no_run_and_no_such_step_are_data_errors(tmp_path, run_dir, trust):
    with pytest.raises(DataError, match="not a run"):
        vqjax.load(tmp_path)
    with pytest.raises(DataError, match="no sealed step 3"):
        vqjax.load(run_dir, step=3, trust=trust)
    with pytest.raises(DataError, match="--trust"):
        vqjax.load(run_dir)
    with pytest.raises(UsageError, match="keeps no averaged parameters"):
        vqjax.load(run_dir, params="ema", trust=trust)
