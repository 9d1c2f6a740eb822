"""Texts that a stranger named."""

from vqjax.format import LINE, printable, reason


def test_nothing_that_a_terminal_obeys_is_left():
    assert printable("a\x1b[2Jb\n\udc80\u202e") == "a\\x1b[2Jb\\n\\udc80\\u202e"
    assert printable("a grüne Katze 猫 🐈") == "a grüne Katze 猫 🐈"


def test_what_is_long_loses_its_middle():
    text = printable("a" * 9_000 + "end", LINE)
    assert len(text) == LINE and text.startswith("aaa") and text.endswith("end") and "..." in text


def test_a_reason_is_one_line_and_never_empty():
    assert reason(ValueError("a\n  b")) == "a b" and reason(MemoryError()) == "MemoryError"
