"""Names of drawn pictures: each says what made it, and no two things share one."""

import itertools

from vqjax.runs.drawn import (
    conditions_in_names,
    newest_samples,
    picture_name,
    sheets_of,
    slug,
    title_of,
)


def test_a_name_says_verb_step_seed_number_and_what_it_is_of():
    of = ["gpt", *conditions_in_names(["a red circle"])]
    assert picture_name("sample", 400, 0, None, of) == "sample_00000400_seed0_gpt_a-red-circle.png"
    assert picture_name("sample", 400, 3, 12, conditions_in_names([3, -1])) == (
        "sample_00000400_seed3-0012_class-3-none.png"
    )
    assert picture_name("reconstruct", 400) == "reconstruct_00000400.png"
    guided = picture_name("sample", 400, 0, None, ["gpt"], {"guidance": "3", "top-p": "0.9"})
    assert guided == "sample_00000400_seed0_guidance=3_top-p=0.9_gpt.png"
    longest = ["x" * 300, "ü" * 300, "猫" * 300, "a " * 300]
    names = []
    for value in ("0.30000000000000004", "0.3000000000000001"):
        options = dict.fromkeys(("guidance", "temperature", "top-p", "strength"), value)
        names.append(
            picture_name("sample-interpolation", 10**9, 2**32 - 1, 9_999, longest, options)
        )
    assert all(200 < len(name.encode()) <= 255 for name in names) and len(set(names)) == 2


def test_other_prompts_have_other_names():
    kinds = [["red circle"], ["red", "circle"], ["red + circle"], ["red-circle"], ["guidance=3"]]
    names = {picture_name("sample", 1, 0, None, conditions_in_names(prompts)) for prompts in kinds}
    assert len(names | {picture_name("sample", 1, 0, options={"guidance": "3"})}) == 6


def test_other_texts_have_other_slugs():
    texts = ["a cat", "A cat", "a-cat", "a cat!", "a  cat", "a/cat", "../a cat", "-", "--", "", " ",
             "猫", "\x1b[2J", "\ud800", "x" * 48, "x" * 50, "class 3", "nul\0"]  # fmt: skip
    slugs = {text: slug(text) for text in texts}
    assert slugs["a cat"] == "a-cat" and slugs["猫"] == "猫" and slugs["x" * 48] == "x" * 48
    for a, b in itertools.combinations(texts, 2):
        assert slugs[a] != slugs[b], (a, b)
    assert all(s.replace("-", "").replace("_", "").isalnum() for s in slugs.values() if s)


def test_sheets_are_told_from_single_pictures_and_from_those_of_the_training(tmp_path):
    sheets = ["prior_00000300.png", "inpaint_00000001.png", "mine.png"]
    sheets += [picture_name("sample", 400, 0, None, of) for of in ([], ["1234"], ["seed0-0001"])]
    sheets += [picture_name("sample", 20, 1), picture_name("edit-inpaint", 9, 0, None, ["digit"])]
    sheets += [picture_name("reconstruct", 9)]
    others = ["00000400.png", picture_name("sample", 400, 0, 3), "notes.txt"]
    others += [picture_name("edit-upscale", 9, 0, 1, ["a"]), "reconstruct_00000009_a.jpg.png"]
    for name in (*sheets, *others):
        (tmp_path / name).touch()
    assert [p.name for p in sheets_of(tmp_path)] == sorted(sheets)
    newest = [path.name for path in newest_samples(tmp_path, 4)]
    assert newest == ["prior_00000300.png", *sorted(sheets[3:6])]
    titles = {name: title_of(tmp_path / name) for name in sheets}
    assert titles["mine.png"] == "mine" and titles["prior_00000300.png"] == "Samples"
    assert titles["inpaint_00000001.png"] == titles[sheets[7]] == "Inpainting"
    assert sheets_of(tmp_path / "nothing") == []
