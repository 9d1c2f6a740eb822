"""Editing by tokens: what stays, what is drawn anew, and who cannot; with untrained priors."""

import dataclasses
import os
import pathlib
import types

import jax
import numpy as np
import pytest
from PIL import Image

import vqjax.priors
from tests import blank, tiny
from vqjax.cli import edit as verb
from vqjax.cli.drawing import Names
from vqjax.cli.main import main, parse
from vqjax.config import FrozenRun
from vqjax.data import Arrays, Digits
from vqjax.priors import GPT, ClassLabel, MaskGIT, Several
from vqjax.priors.base import EDITS
from vqjax.quantizers import FSQ, MultiScaleResidual, Residual
from vqjax.runs import editing, large
from vqjax.runs.drawn import slug
from vqjax.runs.prior import PriorRun
from vqjax.runs.token_editor import window_corners
from vqjax.sampling import MaskedDecoding
from vqjax.tasks import PriorTask
from vqjax.tasks.prior import FROZEN
from vqjax.training.experiment import Experiment
from vqjax.training.optim import AdamW
from vqjax.training.platform import COMPILE_QUICKLY
from vqjax.training.restore import OpenedRun
from vqjax.training.state import example_batch
from vqjax.types import UsageError

CODES = FSQ((3, 3), bound="clip")
QUANTIZERS = {
    "stack": Residual(CODES, stages=2),
    "scales": MultiScaleResidual(CODES, (1, 4), convolutions=0),
}
SEVERAL = Several((ClassLabel(10), ClassLabel(2, batch_key="writer", names=("ann", "bo"))))
PRIORS = {
    "maskgit": ("stack", MaskGIT(16, 1, 2, condition=ClassLabel(10), decoding=MaskedDecoding(2))),
    "gpt": ("stack", GPT(16, 1, 2)),
    "scales": ("scales", MaskGIT(16, 1, 2, decoding=MaskedDecoding(2))),
    "several": ("stack", MaskGIT(16, 1, 2, condition=SEVERAL, decoding=MaskedDecoding(2))),
}


def parsed(words):
    """The arguments of `vqjax edit RUN` with `words`."""
    return parse(["edit", "RUN", *words.split()])


def opened(experiment):
    """An experiment as if it had been trained and opened."""
    inputs, task = experiment.data.example_spec(), experiment.network_task()
    make = jax.jit(task.init, compiler_options=COMPILE_QUICKLY)
    params, collections = make(jax.random.key(0), example_batch(inputs))
    record = types.SimpleNamespace(experiment=experiment, inputs=inputs)
    return OpenedRun(pathlib.Path("RUN"), record, 1, params, collections, "raw", ())


def written_digits():
    """Pictures of a class and a writer."""
    splits = dataclasses.asdict(tiny.arrays())
    return Arrays(
        *(
            {**splits[name], **dict.fromkeys(("label", "writer"), np.zeros(count, np.int32))}
            for name, count in (("train_arrays", 64), ("eval_arrays", 21))
        )
    )


@pytest.fixture(scope="module")
def runs():
    """{name: a prior's run that learned nothing}, over 4 x 4 tokens of 8 x 8 digits."""
    made = {}
    tokenizers = {}
    for name, quantizer in QUANTIZERS.items():
        weights = {"l2": 1.0, **quantizer.loss_weights}
        networks = tiny.tokenizer(quantizer)
        task = dataclasses.replace(tiny.vqvae().task, tokenizer=networks, loss_weights=weights)
        tokenizers[name] = opened(tiny.vqvae(task=task, data=Digits()))
    for name, (below, prior) in PRIORS.items():
        under = tokenizers[below]
        plan = Experiment(
            task=PriorTask(
                prior=prior, tokenizer=FrozenRun("TOKENIZER", experiment=under.experiment)
            ),
            data=written_digits() if name == "several" else Digits(),
            optimizers={"prior": AdamW(1e-2)},
            batch_size=16,
            total_steps=1,
        )
        frozen = {FROZEN: {"params": under.params, "collections": under.collections}}
        made[name] = blank.opened(PriorRun, opened(plan), frozen)
    return made


@pytest.fixture(scope="module")
def images():
    return tiny.arrays().eval_arrays["image"][:6]


@pytest.fixture
def redrawn(monkeypatch):
    """The masks of all calls of the prior: a list of {level: bool[B, *grid]}."""
    calls = []
    draw = editing.Redrawer.draw

    def spy(self, tokens, redraw, *rest):
        made = draw(self, tokens, redraw, *rest)
        for name, mask in redraw.items():
            np.testing.assert_array_equal(made[name][~mask], tokens[name][~mask])
        calls.append({name: mask.copy() for name, mask in redraw.items()})
        return made

    monkeypatch.setattr(editing.Redrawer, "draw", spy)
    return calls


def test_a_cell_is_masked_where_any_of_its_positions_is():
    masks = np.zeros((2, 6, 6), bool)
    masks[0, 0, 5] = masks[1, 2, 2] = True
    np.testing.assert_array_equal(np.argwhere(editing.cells_under(masks, (3, 2))), CELLS)
    # Of 6 positions in 4 cells the second cell has half of position 1, position 2 alone.
    many = editing.cells_under(np.eye(6, dtype=bool)[None, 1:2].repeat(6, 1), (1, 4))
    np.testing.assert_array_equal(many[0, 0], [True, True, False, False])
    assert editing.cells_under(masks, (1, 1)).all()


CELLS = [[0, 0, 1], [1, 1, 0]]


def test_windows_go_outward_and_cover_everything():
    corners = window_corners((2, 0), (4, 4), (9, 4))
    assert corners == [(2, 0), (0, 0), (4, 0), (5, 0)]
    covered = np.zeros((9, 11), bool)
    for y, x in window_corners((3, 5), (4, 5), (9, 11)):
        assert 0 <= y <= 5 and 0 <= x <= 6
        covered[y : y + 4, x : x + 5] = True
    assert covered.all()


@pytest.mark.parametrize("sizes", [(99,), (0, 99)], ids=["encode", "decode"])
def test_what_memory_has_no_room_for_is_refused_before_the_drawing(
    runs, images, redrawn, monkeypatch, sizes
):
    of_programs = iter(sizes)
    monkeypatch.setattr(large, "LARGE_VALUES", 0)
    monkeypatch.setattr(large, "_bytes_of", lambda compiled: next(of_programs))
    monkeypatch.setattr(large.LargePrograms, "_free", lambda self: 10)
    monkeypatch.setattr(runs["maskgit"]._redrawer, "_large", large.LargePrograms(None))
    with pytest.raises(UsageError, match="an example of 16 x 16 takes .* make it smaller"):
        runs["maskgit"].upscale(images[:1])
    assert redrawn == []


@pytest.mark.parametrize("name", ["maskgit", "scales"])
def test_inpainting_changes_the_mask_alone(runs, images, redrawn, name):
    masks = np.zeros(images.shape[:3], bool)
    masks[:, 3:, 5:] = True
    run = runs[name]
    made = run.inpaint(images, masks, seed=1)
    assert made.dtype == np.uint8 and (made != images)[masks].any()
    np.testing.assert_array_equal(made[~masks], images[~masks])
    assert [redrawn[0][level.name][0].mean() for level in run.token_layout()] == (
        [6 / 16] * 2 if name == "maskgit" else [1.0, 6 / 16]
    )
    np.testing.assert_array_equal(run.inpaint(images[:2], masks[:2], seed=1), made[:2])
    assert (run.inpaint(images, masks, seed=2) != made).any()
    np.testing.assert_array_equal(run.inpaint(images, np.zeros_like(masks)), images)
    assert run.inpaint(images[:0], masks[:0]).shape == (0, 8, 8, 1)


def test_variations_draw_a_share_of_the_places(runs, images, redrawn):
    run = runs["maskgit"]
    made = run.variations(images, seed=3, strength=0.25, classes=[3])
    assert made.shape == images.shape and made.dtype == np.uint8
    first, second = redrawn[0].values()
    np.testing.assert_array_equal(first, second)  # levels of one grid
    assert (first.sum((1, 2)) == 4).all() and (first != first[:1]).any()
    np.testing.assert_array_equal(
        run.variations(images[:2], 3, strength=0.25, classes=[3]), made[:2]
    )
    same = run.variations(images, strength=0.0)
    tokens = run._redrawer.encode(images)
    np.testing.assert_array_equal(same, run._redrawer.decode(tokens))


@pytest.mark.slow
def test_under_several_conditions(runs, images, redrawn, monkeypatch):
    run, seen = runs["several"], []
    made = run.variations(images, strength=0.5, classes=[3], conditions={"writer": ["bo"]})
    assert made.shape == images.shape and redrawn
    monkeypatch.setattr(run, "_redrawn", lambda images, redraw, options: seen.append(options.cond))
    run.variations(images[:2], conditions={"writer": ["bo", 0]})
    np.testing.assert_array_equal(seen[0]["writer"], [1, 0])
    np.testing.assert_array_equal(seen[0]["label"], [-1, -1])
    with pytest.raises(UsageError, match="did you mean 'bo'"):
        run.variations(images, conditions={"writer": ["boo"]})


def test_outpainting_adds_on_all_sides(runs, images, redrawn):
    run = runs["maskgit"]
    made = run.outpaint(images, (2, 0, 8, 4), seed=1)
    assert made.shape == (6, 12, 18, 1)
    np.testing.assert_array_equal(made[:, :8, 2:10], images)
    assert all(next(iter(call.values()))[0].any() for call in redrawn)
    # Every new token is drawn once: 6 x 9 of them less 4 x 4.
    assert sum(next(iter(call.values()))[0].sum() for call in redrawn) == 6 * 9 - 16
    np.testing.assert_array_equal(
        run.outpaint(images[4:5], (2, 0, 8, 4), seed=1).shape[1:3], (12, 18)
    )
    np.testing.assert_array_equal(run.outpaint(images[:1], (2, 0, 8, 4), seed=1), made[:1])


def test_row_by_row_adds_below(runs, images, redrawn):
    made = runs["gpt"].outpaint(images, (0, 0, 0, 6))
    assert made.shape == (6, 14, 8, 1)
    np.testing.assert_array_equal(made[:, :8], images)
    for call in redrawn:  # never a known token after an unknown one
        for mask in call.values():
            flat = mask[0].reshape(-1)
            assert flat.any() and (np.diff(flat.astype(int)) >= 0).all()


def test_upscaling_doubles(runs, images, redrawn):
    run = runs["maskgit"]
    made = run.upscale(images, seed=1, strength=0.5)
    assert made.shape == (6, 16, 16, 1)
    assert sum(next(iter(call.values()))[0].sum() for call in redrawn) == 32  # of 8 x 8
    np.testing.assert_array_equal(run.upscale(images[:2], seed=1, strength=0.5), made[:2])
    small = images[:, ::2, ::2]
    assert run.upscale(small).shape == images.shape
    flat = np.full((3, 2, 1), 77, np.uint8)
    np.testing.assert_array_equal(editing.doubled(flat), np.full((6, 4, 1), 77))


def test_the_table_is_what_the_priors_declare(capsys, monkeypatch):
    kinds = [getattr(vqjax.priors, name) for name in vqjax.priors.__all__]
    kinds = [kind for kind in kinds if hasattr(kind, "edits")]
    assert all(kind.edits <= set(EDITS) for kind in kinds)
    assert main(["edit", "--help"]) == 0
    shown = capsys.readouterr().out
    listed = shown.partition("The priors of vqjax:\n\n")[2].partition("\n\n")[0]
    assert [line.strip() for line in listed.splitlines()] == editing.edits_table().splitlines()
    assert "GPT: outpaint below\n" in editing.edits_table()
    monkeypatch.setattr(GPT, "edits", frozenset({"variations"}))
    assert "GPT: variations" in editing.edits_table()


NOT = np.zeros((1, 8, 8, 1), np.uint8)
MASK = np.ones((1, 8, 8), bool)


@pytest.mark.parametrize(
    ("name", "call", "words"),
    [
        ("gpt", lambda r: r.inpaint(NOT, MASK), r"cannot \(GPT: outpaint below\)"),
        ("gpt", lambda r: r.variations(NOT), "variations: this prior cannot"),
        ("gpt", lambda r: r.upscale(NOT), "upscale: this prior cannot"),
        ("gpt", lambda r: r.outpaint(NOT, (2, 0, 0, 0)), "outpaint: this prior cannot"),
        ("gpt", lambda r: r.outpaint(NOT, (0, 0, 0, 2), classes=[1]), "not class-conditional"),
        ("scales", lambda r: r.outpaint(NOT, (2, 0, 0, 0)), "are on 1x1, 4x4"),
        ("scales", lambda r: r.upscale(NOT), "tokens have one grid"),
        ("maskgit", lambda r: r.inpaint(NOT, MASK[:, 1:]), r"wanted bool \[1, 8, 8\]"),
        ("maskgit", lambda r: r.inpaint(NOT, MASK * 1), "masks: int64"),
        ("maskgit", lambda r: r.inpaint(NOT[0], MASK), r"wanted \[B, 8, 8, 1\]"),
        ("maskgit", lambda r: r.inpaint(NOT * 1.0, MASK), "float64 values, wanted uint8"),
        ("maskgit", lambda r: r.inpaint(NOT, MASK, classes=[10]), r"classes\[0\]=10: .* -1 to 9"),
        ("maskgit", lambda r: r.inpaint(NOT, MASK, -1), "seed=-1"),
        ("maskgit", lambda r: r.variations(NOT, strength=1.5), "strength=1.5"),
        ("maskgit", lambda r: r.outpaint(NOT, (0, 5, 0, 0)), "top=5.*nearest are 4 and 6"),
        ("maskgit", lambda r: r.outpaint(NOT, (0, 0, -2, 0)), "right=-2.*nearest are 0 and 2"),
        ("maskgit", lambda r: r.outpaint(NOT, (0, 0, 0, 0)), "nothing to add"),
        ("maskgit", lambda r: r.upscale(NOT[:, :3]), "16 x 6 pixels when doubled: .* 8 x 8"),
    ],
)
def test_what_cannot_be_is_refused(runs, name, call, words):
    with pytest.raises(UsageError, match=words):
        call(runs[name])


def test_without_a_class_only_where_it_learned_to_do_without(runs, monkeypatch):
    task = types.SimpleNamespace(prior=MaskGIT(16, 1, 2, condition=ClassLabel(10, dropout=0.0)))
    monkeypatch.setattr(runs["maskgit"], "task", task)
    with pytest.raises(UsageError, match="dropout=0 the prior never learned"):
        runs["maskgit"].variations(NOT)


@pytest.fixture
def files(images, tmp_path, monkeypatch):
    """Pictures in the folder of the test, where commands are typed."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(images[0, ..., 0]).save("digit.png")
    Image.fromarray(images[0, ..., 0]).convert("RGB").resize((24, 16)).save("wide.png")
    mask = np.zeros((8, 8), np.uint8)
    mask[4:] = 255
    Image.fromarray(mask).save("mask.png")
    (tmp_path / "text.png").write_text("no picture")


def test_the_verb_writes_a_sheet_and_the_results(
    images, files, runs, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(verb, "load_run", lambda args: runs["maskgit"])
    run, out = "RUN", tmp_path / "out"
    words = ["edit", run, "digit.png", "--mask", "mask.png", "-n", "3", "--out", str(out)]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert "no --classes and no --prompt: unconditional" in captured.err
    sheet = out / "edit-inpaint_00000001_seed0_RUN_digit_mask.png"
    assert captured.out.strip() == str(sheet)
    assert Image.open(sheet).size == (5 * 66 + 2, 68)
    assert sheet.stat().st_mtime_ns == max(p.stat().st_mtime_ns for p in out.iterdir())  # the last
    masks = np.zeros((3, 8, 8), bool)
    masks[:, 4:] = True
    made = runs["maskgit"].inpaint(images[:1].repeat(3, 0), masks)
    for number in range(3):
        path = out / f"edit-inpaint_00000001_seed0-000{number}_RUN_digit_mask.png"
        np.testing.assert_array_equal(Image.open(path), made[number, ..., 0])
    # A half by its name, of a held-out example.
    monkeypatch.setattr(runs["maskgit"], "held_out", lambda count: images[:count])
    assert main(["edit", run, "--mask", "bottom", "-n", "3", "--out", str(tmp_path / "half")]) == 0
    for number in range(3):
        path = tmp_path / "half" / f"edit-inpaint_00000001_seed0-000{number}_RUN_bottom.png"
        np.testing.assert_array_equal(Image.open(path), made[number, ..., 0])
    for edit, name, size in (
        (["--outpaint", "2,0,8,4"], "outpaint", (18, 12)),
        (["--upscale", "2", "--strength", "0.3"], "upscale", (16, 16)),
        (["--variations", "2", "--classes", "3,7"], "variations", (8, 8)),
        (["--mask", "wide.png", "--fit"], "inpaint", (8, 8)),
    ):
        image = "wide.png" if "--fit" in edit else "digit.png"
        assert main(["edit", run, image, *edit, "--out", str(tmp_path / name)]) == 0
        (single,) = (tmp_path / name).glob(f"edit-{name}_00000001_seed0-0001_*.png")
        assert Image.open(single).size == size
        assert len(list((tmp_path / name).glob(f"edit-{name}_00000001_seed0_*.png"))) == 1


def test_a_mask_of_ones_own_is_not_named_like_a_half():
    words = ["--mask bottom", "--mask bottom.png", "--mask ./bottom", "bottom.png --mask top"]
    names = [verb._input_names(parsed(line)) for line in words]
    assert names == [("bottom",), ("./bottom",), ("./bottom",), ("bottom", "top")]
    assert slug("./bottom") != slug("bottom")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--outpaint 0,8,0,8", "outpaint=0,8,0,8"),
        ("--upscale 2 --strength 0.3 --params raw", "strength=0.3_params=raw"),
        ("--mask m.png --classes 3 --guidance 3 --top-k 4", "top-k=4_guidance=3"),
        ("--variations 2 --temperature 1.0 --top-p 0.9", "temperature=1_top-p=0.9"),
    ],
)
def test_names_hold_the_options_that_are_set(words, expected):
    run = types.SimpleNamespace(path="RUN", step=7)
    name = Names(parsed(words), run, "edit", 0).path().name
    assert name == f"edit_00000007_seed0_{expected}.png"


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        ("digit.png", 2, "one of the arguments --mask --outpaint --upscale --variations"),
        ("digit.png --mask mask.png --upscale 2", 2, "not allowed with"),
        ("digit.png --upscale 3", 2, "choose from"),
        ("no.png --upscale 2", 2, "no.png: no such file"),
        ("digit.png --mask no.png", 2, "no.png: no such file"),
        ("text.png --upscale 2", 3, "text.png: cannot identify"),
        ("wide.png --variations 2", 2, "wide.png: 24 x 16 pixels, the prior was trained on 8 x 8"),
        ("digit.png --mask wide.png", 2, "wide.png: 24 x 16 pixels, digit.png has 8 x 8"),
        ("digit.png --outpaint 1,2", 2, "give LEFT,TOP,RIGHT,BOTTOM"),
        ("digit.png --outpaint 0,0,3,0", 2, "right=3: wanted whole cells of 2 pixels"),
        ("digit.png --mask mask.png --strength 0.5", 2, "--strength is for --variations"),
        ("digit.png --upscale 2 --fit", 2, "nothing to --upscale"),
        ("digit.png --variations 2 -n 2", 2, "-n: --variations N says how many"),
        ("digit.png --variations 0", 2, "--variations 0: wanted 1 to 1,000"),
        ("digit.png --upscale 2 --guidance 2", 2, "--guidance needs --classes"),
        ("digit.png --upscale 2 --top-p 2", 2, "top_p=2.0"),
    ],
)
def test_mistakes_are_one_line(runs, files, monkeypatch, capsys, words, code, line):
    monkeypatch.setattr(verb, "load_run", lambda args: runs["maskgit"])
    assert main(["edit", "RUN", *words.split()]) == code
    captured = capsys.readouterr()
    *before, last = captured.err.splitlines()
    assert captured.out == "" and last.startswith("vqjax: error: ") and line in last
    assert before in ([], ["no --classes and no --prompt: unconditional"])


def test_it_takes_priors_and_never_writes_over_what_it_reads(runs, files, monkeypatch, capsys):
    tokenizer = blank.blank_runs()["codes"]
    monkeypatch.setattr(verb, "load_run", lambda args: tokenizer)
    assert main(["edit", "RUN", "digit.png", "--upscale", "2"]) == 2
    assert (
        "RUN is a tokenizer: it cannot edit (it can: encode, decode, reconstruct, evaluate)"
        in capsys.readouterr().err
    )
    monkeypatch.setattr(verb, "load_run", lambda args: runs["maskgit"])
    target = "edit-upscale_00000001_seed0-0001_RUN_digit.png"
    Image.open("digit.png").save(target)
    words = ["edit", "RUN", "digit.png", "--upscale", "2", "--out", "."]
    assert main(words) == 2
    assert f"{target} is there and carries no mark of vqjax" in capsys.readouterr().err
    os.remove(target)
    os.symlink("digit.png", target)
    assert main([*words, "--overwrite"]) == 2
    assert f"{target} would be written over digit.png" in capsys.readouterr().err
