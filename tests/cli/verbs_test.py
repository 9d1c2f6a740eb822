"""`vqjax evaluate`, `reconstruct`, `inspect`, `report` and `compare` as a user types them."""

import json
import os
import pathlib

import numpy as np
import pytest
from PIL import Image

import vqjax
from vqjax.cli import reconstruct
from vqjax.cli.inputs import PICTURES, find_inputs, targets_of
from vqjax.cli.main import main
from vqjax.files import is_ours
from vqjax.media.gallery import png_file


@pytest.fixture
def cli(capsys, trust):
    """cli("verb", ...) -> (exit code, stdout, stderr), with the trust that the runs need."""

    def call(*words):
        code = main([*map(str, words), "--trust", trust[0]])
        return (code, *capsys.readouterr())

    return call


def _save(path: pathlib.Path, shape: tuple[int, ...], **options) -> np.ndarray:
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, shape).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return pixels


def test_evaluate_prints_a_table_or_one_json_object(cli, run_dir):
    code, out, _ = cli("evaluate", run_dir)
    assert code == 0 and "step 4, raw parameters" in out
    code, text, _ = cli("evaluate", run_dir, "--json", "--step", 4)
    numbers = json.loads(text)
    assert code == 0 and numbers["step"] == 4 and numbers["params"] == "raw"
    assert f"{numbers['psnr']:.4f}" in out and f"{numbers['perplexity']:.4f}" in out


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["evaluate", "nowhere"], 3, "nowhere"),
        (["evaluate", "RUN", "--params", "ema"], 2, "keeps no averaged parameters"),
        (["evaluate", "RUN", "--step", "7"], 3, "no sealed step 7"),
        (["reconstruct", "RUN"], 2, "--out"),
        (["reconstruct", "RUN", "no.png", "--out", "o"], 2, "no.png: no such file or folder"),
        (["inspect", "RUN", "batch_size=3"], 2, "is a run: overrides"),
        (["inspect", "nofile.py"], 2, "nofile.py does not exist"),
        (["inspect", "RUN", "--shape", "8,x"], 2, "--shape 8,x"),
        (["report", "nowhere"], 3, "nowhere is not a run directory"),
        (["compare", "nowhere"], 3, "nowhere is not a run directory"),
        (["compare"], 2, "RUN"),
        (["compare", "RUN", "--out", "."], 2, "is a directory: name a file"),
        (["compare", "RUN", "--json", "--markdown"], 2, "not allowed with"),
    ],
)
def test_mistakes_are_one_line(cli, run_dir, tmp_path, monkeypatch, words, code, line):
    monkeypatch.chdir(tmp_path)
    result, out, err = cli(*(run_dir if word == "RUN" else word for word in words))
    assert (result, out) == (code, "") and line in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_reconstruct_any_size_keeps_names_and_paths(cli, run_dir, trust, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    grey = _save(folder / "a.png", (7, 8))
    _save(folder / "deep" / "a.png", (8, 8, 3))
    _save(folder / "a.bmp", (8, 8))
    _save(folder / "grid.png", (8, 8, 4))
    (folder / "notes.txt").write_text("no picture")
    code, text, err = cli("reconstruct", run_dir, folder, "--out", out)
    assert code == 0, err
    assert "4 pictures" in text
    start = f"reconstruct_00000004_{run_dir.name}"
    names = sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())
    results = ["a.bmp.png", "a.png", "grid.png"]
    assert names == [f"deep/{start}_a.png", f"{start}.png", *(f"{start}_{n}" for n in results)]
    assert text.endswith(f"4 pictures and {start}.png in {out}\n")
    result = np.asarray(Image.open(out / f"{start}_a.png"))
    padded = np.pad(grey, [(0, 1), (0, 0)], mode="edge")[None, ..., None]
    expected = vqjax.load(run_dir, trust=trust).reconstruct(padded)[0, :7, :, 0]
    np.testing.assert_array_equal(result, expected)
    assert Image.open(out / f"{start}_grid.png").size == (8, 8)
    # Beside the sources, which stay.
    code, _, err = cli("reconstruct", run_dir, folder / "a.png", folder / "a.bmp", "--out", folder)
    assert code == 0 and len(list(folder.glob(f"{start}*"))) == 3, err
    assert np.array_equal(np.asarray(Image.open(folder / "a.png")), grey)


def test_odd_names_and_links_that_lead_nowhere(tmp_path):
    (tmp_path / "..png").touch()
    for name in ("loop", "loop.png"):
        (tmp_path / name).symlink_to(tmp_path / name)
    for out in ("out", "loop"):
        files = find_inputs([str(tmp_path)], str(tmp_path / out), PICTURES, "run")
        assert files == [(tmp_path / "..png", pathlib.Path("..png"))]
    (target,) = targets_of(tmp_path / "sheet.png", files, lambda file: ".png")
    assert target.parent == tmp_path and target.stem.removeprefix("sheet_").isalnum()


@pytest.mark.parametrize("how", ["own", "link", "hard link", "earlier"])
def test_reconstruct_never_writes_over_pictures(cli, run_dir, tmp_path, how):
    _save(tmp_path / "photo.png", (8, 8))
    target = tmp_path / "out" / f"reconstruct_00000004_{run_dir.name}_photo.png"
    inputs, words = [tmp_path / "photo.png"], []
    target.parent.mkdir()
    if how == "own":
        _save(target, (8, 8))
    elif how == "link":
        target.symlink_to(tmp_path / "photo.png")
    elif how == "hard link":
        os.link(tmp_path / "photo.png", target)
    else:  # what an earlier call wrote is replaced, but not while it is read
        target.write_bytes(png_file(np.zeros((8, 8, 1), np.uint8)))
        inputs, words = [*inputs, target], ["--overwrite"]
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.png")}
    code, text, err = cli("reconstruct", run_dir, *inputs, "--out", target.parent, *words)
    (line,) = [line for line in err.splitlines() if line.startswith("vqjax: error: ")]
    assert (code, text) == (2, "") and str(target) in line
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*.png")}
    if how == "own":
        words = ["--out", target.parent, "--overwrite"]
        assert cli("reconstruct", run_dir, *inputs, *words)[0] == 0 and is_ours(target)


def test_reconstruct_refuses_the_folder_of_the_pictures(cli, tmp_path):
    _save(tmp_path / "a.png", (8, 8))
    code, text, err = cli("reconstruct", "no_run_is_opened", tmp_path, "--out", tmp_path)
    assert (code, text) == (2, "") and "is the folder of the inputs" in err


def test_reconstruct_leaves_out_its_own_results(cli, run_dir, tmp_path):
    _save(tmp_path / "a.png", (8, 8))
    for _ in range(2):
        code, out, _ = cli("reconstruct", run_dir, tmp_path, "--out", tmp_path / "deep" / "out")
        assert code == 0 and out.startswith("step 4: 1 picture and")


def test_reconstruct_does_not_hold_a_folder_of_many_sizes(cli, run_dir, tmp_path, monkeypatch):
    for side in (6, 8, 10):
        _save(tmp_path / "in" / f"{side:02d}.png", (side, side))
    flushed = []
    flush = reconstruct._flush
    monkeypatch.setattr(reconstruct, "WAITING_PIXELS", 30)
    monkeypatch.setattr(
        reconstruct,
        "_flush",
        lambda *of: flushed.append(len(of[2])) or flush(*of),
    )
    words = ("reconstruct", run_dir, tmp_path / "in", "--out", tmp_path / "o", "--max-pixels", 64)
    code, out, err = cli(*words)
    assert code == 0 and "10.png: 100 pixels, more than --max-pixels 64" in err
    assert flushed == [1, 1] and "2 pictures" in out


def test_reconstruct_turns_pictures_upright(cli, run_dir, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    _save(tmp_path / "turned.jpg", (6, 10), exif=exif)
    assert cli("reconstruct", run_dir, tmp_path / "turned.jpg", "--out", tmp_path / "o")[0] == 0
    (result,) = (tmp_path / "o").glob("*_turned.jpg.png")
    assert Image.open(result).size == (6, 10)


def test_reconstruct_names_bad_files_and_goes_on(cli, run_dir, tmp_path):
    bad, good = tmp_path / "bad.png", tmp_path / "good.png"
    bad.write_bytes(b"\x89PNG torn")
    _save(good, (8, 8))
    code, out, err = cli("reconstruct", run_dir, bad, good, "--out", tmp_path / "o")
    assert code == 0 and "1 picture and" in out and f"skipped {bad}" in err
    code, out, err = cli("reconstruct", run_dir, bad, "--out", tmp_path / "o")
    assert code == 3 and "none of 1 picture can be reconstructed" in err


def test_reconstruct_without_inputs_takes_the_eval_split(cli, run_dir, tmp_path):
    code, out, _ = cli("reconstruct", run_dir, "--out", tmp_path / "o")
    name = f"reconstruct_00000004_{run_dir.name}"
    assert code == 0 and f"11 pictures and {name}.png" in out
    assert len(list((tmp_path / "o").glob("*_eval-00*.png"))) == 11
    assert Image.open(tmp_path / "o" / f"{name}_eval-0000.png").size == (8, 8)


def test_reconstruct_refuses_a_file_as_out(cli, run_dir, tmp_path):
    (tmp_path / "o").write_text("mine")
    code, _, err = cli("reconstruct", run_dir, "--out", tmp_path / "o")
    assert code == 2 and "is a file" in err and (tmp_path / "o").read_text() == "mine"


def test_inspect_a_run(cli, run_dir):
    code, out, _ = cli("inspect", run_dir)
    assert code == 0
    squeezed = " ".join(out.split())
    for words in (
        "quantizer: VectorQuantizer",
        "encoder ",
        "total ",
        "tokens 4 x 4 of 8 codes",
        "per example 16 tokens, 48 bits",
        "per token 3 bits",
        "per pixel 0.75 bits",
        "compression 10.67 times",
        "sealed steps 4 ",
    ):
        assert words in squeezed, words


FILE = """
from tests.small_source import SmallSource, small_experiment
from vqjax.types import DataError
import dataclasses

@dataclasses.dataclass(frozen=True)
class Unprepared(SmallSource):
    def example_spec(self):
        raise DataError("not prepared: vqjax prepare NAME")

def experiment(prepared: bool = True):
    return small_experiment(SmallSource() if prepared else Unprepared())
"""


def test_inspect_a_file_with_overrides(cli, tmp_path):
    file = tmp_path / "my_experiment.py"
    file.write_text(FILE)
    code, out, err = cli("inspect", file, "task.tokenizer.quantizer.codebook_size=16")
    assert code == 0, err
    assert "of 16 codes" in out and "sealed" not in out
    code, out, _ = cli("inspect", "batch_size=5", file)  # in whatever order
    assert code == 0 and "batch_size: 5" in out
    code, out, err = cli("inspect", file, "--arg", "prepared=false")
    assert code == 0 and "vqjax prepare NAME" in err and "parameters" not in out
    assert "VectorQuantizer" in out
    code, out, _ = cli("inspect", file, "--arg", "prepared=false", "--shape", "8,12,1")
    assert code == 0 and "4 x 6 of 8 codes" in out


def test_report_prints_the_page_s_path(cli, trained_records, tmp_path):
    code, out, _ = cli("report", trained_records)
    assert code == 0 and out.strip() == str(trained_records / "report.html")
    code, out, _ = cli("report", trained_records, trained_records, "--out", tmp_path / "p.html")
    assert code == 0 and "<h2>Side by side</h2>" in (tmp_path / "p.html").read_text()


@pytest.mark.parametrize("verb", ["report", "compare"])
def test_a_page_goes_over_pages_alone(cli, trained_records, tmp_path, verb):
    run, mine = trained_records, tmp_path / "mine.py"
    mine.write_text("print(1)")
    for path in (mine, run / "experiment.json", run / "metrics.jsonl", run / "log.txt"):
        before = path.read_bytes()
        code, out, err = cli(verb, run, "--out", path)
        assert (code, out) == (2, "") and path.read_bytes() == before
        assert f"{path} is there and carries no mark of vqjax" in err and err.count("\n") == 1
    for _ in range(2):
        assert cli(verb, run, "--out", mine, "--overwrite")[0] == 0 and is_ours(mine)
    assert cli(verb, run, "--out", mine)[0] == 0
    (run / "report.html").write_text("<p>mine</p>")  # but that of the run is vqjax's
    assert cli("report", run)[0] == 0 and is_ours(run / "report.html")


def test_names_obey_no_terminal(cli, run_dir, trained_records, tmp_path):
    odd = tmp_path / "a\x1b[2Jb"
    _save(odd / "c\x1b]0;d.png", (8, 8))
    (odd / "torn\x9b.png").write_bytes(b"\x89PNG")
    shown = [cli("reconstruct", run_dir, odd, "--out", odd / "out")]
    trained_records.rename(run := tmp_path / "run\x1b[31m\n")
    shown += [cli(verb, run) for verb in ("report", "compare", "inspect")]
    shown += [cli("compare", run, "--markdown"), cli("evaluate", run_dir, "--frozen", "\x1b=a")]
    for _, out, err in shown:
        assert not set(out + err) & {"\x1b", "\x9b"}, (out, err)
    assert [code for code, _, _ in shown] == [0, 0, 0, 0, 0, 2]
    assert "\\x1b" in shown[0][2] and "\\x1b" in shown[2][1]


def test_compare_prints_a_table_and_last_the_page_s_path(cli, trained_records):
    code, out, err = cli("compare", trained_records, trained_records)
    lines = out.splitlines()
    assert code == 0 and err == "" and lines[-1] == str(trained_records.parent / "compare.html")
    assert len(lines) == 6 and lines[3] == lines[4] and "VectorQuantizer(8, 3)" in lines[3]
    assert "<h1>2 runs</h1>" in pathlib.Path(lines[-1]).read_text()


def test_compare_prints_markdown_or_json_and_nothing_else(cli, trained_records, tmp_path):
    page = trained_records.parent / "compare.html"
    code, out, err = cli("compare", trained_records, "--markdown")
    assert code == 0 and err == "" and not page.exists()
    assert all(line.startswith("| ") for line in out.splitlines())
    code, out, err = cli("compare", "--json", trained_records, "--out", tmp_path / "p.html")
    (row,) = json.loads(out)
    assert code == 0 and err.strip() == str(tmp_path / "p.html") and (tmp_path / "p.html").exists()
    assert row["tokens"] == 16 and row["bits_per_pixel"] == 0.75 and row["step"] == 400
