"""Drawing streams of a joint prior against its exact probabilities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.priors.joint_test import IMAGE, TEXT, made, nats_of, rows_of
from tests.quickly import quick
from vqjax.priors.joint_drawing import (
    candidate_log_likelihoods,
    draw_others,
    draw_streams,
    log_likelihoods,
)
from vqjax.sampling import Guidance, StreamGuidance, TokenSampling, branches_of
from vqjax.types import UsageError

TEXTS, IMAGES = rows_of(TEXT), rows_of(IMAGE)
DRAWS = 6_000
PLAIN, UNGUIDED = TokenSampling(), Guidance()


def draw(targets, conditions, count, sampling=PLAIN, guidance=UNGUIDED):
    network, params, _ = made()
    keys = jax.random.split(jax.random.key(3), count)
    run = quick(
        lambda p, k, c: draw_streams(
            network, p, k, targets, c, sampling=sampling, guidance=guidance
        )
    )
    return {k: np.asarray(v) for k, v in run(params, keys, conditions).items()}


def shares(drawn, rows):
    """How often each of `rows` [N, T] was drawn: [N]."""
    equal = (drawn[:, None] == rows[None]).all(axis=2)
    assert equal.any(axis=1).all()
    return equal.mean(axis=0)


def test_streams_are_drawn_as_likely_as_they_are():
    drawn = draw(("text", "image"), {}, DRAWS)
    nats = nats_of(("text", "image"))
    both = np.exp(-np.asarray(nats["text"] + nats["image"], np.float64))  # [54], images outermost
    pairs = np.concatenate([np.repeat(IMAGES, len(TEXTS), 0), np.tile(TEXTS, (len(IMAGES), 1))], 1)
    share = shares(np.concatenate([drawn["image"], drawn["text"]], axis=1), pairs)
    chi2 = DRAWS * np.sum((share - both) ** 2 / both)
    assert chi2 < 53 + 5 * np.sqrt(2 * 53)


def test_an_example_depends_on_its_key_and_conditions_alone():
    conditions = {"image": jnp.asarray(IMAGES[:6]), "sound": made()[2]["sound"][:6]}
    whole = draw(("text",), conditions, 6)["text"]
    network, params, _ = made()
    keys = jax.random.split(jax.random.key(3), 6)[2:5]
    plain = {"sampling": PLAIN, "guidance": UNGUIDED}
    run = quick(lambda p, k, c: draw_streams(network, p, k, ("text",), c, **plain)["text"])
    part = run(params, keys, {name: ids[2:5] for name, ids in conditions.items()})
    np.testing.assert_array_equal(part, whole[2:5])


@pytest.mark.parametrize("guidance", [UNGUIDED, Guidance(2.0)], ids=["plain", "guided"])
def test_the_others_of_each_condition_are_what_it_gives_by_itself(guidance):
    network, params, ids = made()
    conditions = {name: ids[name][::9] for name in ("image", "text")}  # 6 of each
    keys, targets = jax.random.split(jax.random.key(3), 12), ("text", "image", "sound")
    how = {"sampling": PLAIN, "guidance": guidance}
    run = quick(lambda p, k, c: draw_others(network, p, k, targets, c, **how))
    drawn = {name: np.asarray(rows) for name, rows in run(params, keys, conditions).items()}
    for number, (name, rows) in enumerate(conditions.items()):
        others = tuple(target for target in targets if target != name)
        part = slice(6 * number, 6 * (number + 1))
        alone = quick(lambda p, k, c, o=others: draw_streams(network, p, k, o, c, **how))
        alone = alone(params, keys[part], {name: rows})
        for target in others:
            np.testing.assert_array_equal(drawn[target][part], alone[target])


def test_candidates_are_as_likely_as_the_whole_says():
    network, params, ids = made()
    some = {"sound": ids["sound"][::9], "image": ids["image"][::9]}
    run = quick(lambda p, c: candidate_log_likelihoods(network, p, "text", jnp.asarray(TEXTS), c))
    found = run(params, some)  # [6, 6]
    assert found.shape == (6, len(TEXTS))
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1.0, rtol=1e-5)
    score = quick(lambda p, t, c: log_likelihoods(network, p, t, c))
    for number in (0, 4):
        texts = jnp.asarray(np.tile(TEXTS[number], (6, 1)))
        expected = score(params, {"text": texts}, some)["text"]
        np.testing.assert_allclose(found[:, number], expected, rtol=1e-5)
    alone = candidate_log_likelihoods(network, params, "text", jnp.asarray(TEXTS), {})
    np.testing.assert_allclose(np.exp(alone).sum(), 1.0, rtol=1e-5)


def test_guidance_weighs_each_condition():
    conditions = {"image": jnp.asarray(IMAGES[:8]), "sound": made()[2]["sound"][:8]}
    best = TokenSampling(temperature=0.0)
    plain = draw(("text",), conditions, 8, best)["text"]
    for ones in (StreamGuidance((("image", 1.0),)), StreamGuidance({"image": 1, "sound": 1.0})):
        np.testing.assert_array_equal(draw(("text",), conditions, 8, best, ones)["text"], plain)
    one = {"image": conditions["image"]}
    by_scale = draw(("text",), one, 8, TokenSampling(), Guidance(3.0))["text"]
    by_name = draw(("text",), one, 8, TokenSampling(), StreamGuidance((("image", 3.0),)))["text"]
    np.testing.assert_array_equal(by_scale, by_name)
    # One step's logits, worked out: all, none, image alone, sound alone.
    branches, combine = branches_of(StreamGuidance({"image": 2.0, "sound": 1.5}), tuple(conditions))
    assert branches == (("image", "sound"), (), ("image",), ("sound",))
    logits = jnp.asarray([[1.0], [0.5], [2.0], [-1.0]])
    expected = 1.0 + (2.0 - 1.0) * (2.0 - 0.5) + (1.5 - 1.0) * (-1.0 - 0.5)
    np.testing.assert_allclose(combine(logits, 0.0), [[expected]], rtol=1e-6)


@pytest.mark.parametrize("guidance", [Guidance(3.0), StreamGuidance({"text": 2.0, "image": 1.5})])
def test_what_is_drawn_before_guides_too(guidance):
    whole = draw(("text", "image", "sound"), {}, 8, PLAIN, guidance)
    np.testing.assert_array_equal(whole["text"], draw(("text",), {}, 8)["text"])
    before = {"text": jnp.asarray(whole["text"])}
    towards = StreamGuidance({"text": 2.0}) if guidance != Guidance(3.0) else guidance
    image = draw(("image",), before, 8, PLAIN, towards)["image"]
    np.testing.assert_array_equal(whole["image"], image)
    before["image"] = jnp.asarray(image)
    np.testing.assert_array_equal(
        whole["sound"], draw(("sound",), before, 8, PLAIN, guidance)["sound"]
    )


def test_what_cannot_be_guided_is_refused():
    with pytest.raises(UsageError, match="no condition"):
        branches_of(Guidance(2.0), ())
    with pytest.raises(UsageError, match="guidance sond.*'sound'"):
        branches_of(StreamGuidance({"sond": 2.0}), ("sound",))
    with pytest.raises(UsageError, match="guidance sound"):
        StreamGuidance({"sound": -1.0})
