"""Markup is made in one place, and nothing gets into it unescaped."""

import pathlib
import re

import pytest

import vqjax
from vqjax.media.markup import Markup, element, fragment, style

PACKAGE = pathlib.Path(vqjax.__file__).parent
HOSTILE = "<img src=x onerror=alert(1)> & \" '\x1b]0;\u202e\ud800"
SHOWN = "&lt;img src=x onerror=alert(1)&gt; &amp; &quot; '\\x1b]0;\\u202e\\ud800"


def test_text_and_attributes_are_escaped_wherever_they_are_put():
    markup = element("p", {"title": HOSTILE, "class": None}, HOSTILE, [1, None, (HOSTILE,)])
    assert markup == f'<p title="{SHOWN}">{SHOWN}1{SHOWN}</p>'
    # What is put together outside of this file is text again, whatever it was made of.
    bold = element("b", {}, "x")
    assert fragment(bold, "\n") == "<b>x</b>\n" and not fragment()
    assert fragment(f"{bold}") == fragment("".join([bold])) == "&lt;b&gt;x&lt;/b&gt;"
    assert fragment(bold + "<i>") == "&lt;b&gt;x&lt;/b&gt;&lt;i&gt;"


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("script", {}),
        ("SCRIPT", {}),
        ("p><b", {}),
        ("p", {"onclick": "x"}),
        ("p", {'a"b': "x"}),
        ("a", {"href": "javascript:alert(1)"}),
        ("a", {"href": "https://example.org"}),
        ("img", {"src": "x.png"}),
        ("img", {"src": "data:text/html,x"}),
    ],
)
def test_what_runs_or_leads_elsewhere_cannot_be_made(name, attributes):
    with pytest.raises(ValueError):
        element(name, attributes)
    with pytest.raises(ValueError):
        style("a{}</style>")


def test_no_other_file_makes_markup():
    tags = re.compile(r"</[a-z]|<[a-z]+ [a-z-]+=|<(p|b|i|div|span|svg|img)>")
    for path in sorted(PACKAGE.rglob("*.py")):
        code = path.read_text()
        if path != PACKAGE / "media" / "markup.py":
            assert "Markup(" not in code, path
            assert not re.search(r"^(import|from) html\b", code, re.MULTILINE), path
        if path.name not in ("markup.py", "files.py"):  # the latter knows pages again
            assert not tags.search(code), (path, tags.search(code))
    assert issubclass(Markup, str)
