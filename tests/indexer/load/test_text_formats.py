"""Plain text, Markdown, HTML."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.load import html, markdown
from indexer.load.compose import clean
from indexer.load.limits import Limits
from rag.errors import BrokenFile


def headings(document):
    return [(m.level, m.label, document.text[m.start :].split("\n")[0]) for m in document.marks]


def test_text_keeps_its_characters(load):
    document = load("\ufeff A\tb\r\n\r\n  indented\r\n".encode(), "a.txt")
    assert document.text == " A\tb\n\n  indented\n"
    assert (document.format, document.marks, document.title) == ("text", (), None)


def test_text_with_nuls(load):
    assert load(b"Dose\x00 is 4 g\x00", "a.txt").text == "Dose is 4 g"


@pytest.mark.parametrize("content", [b"", b" \n\t\n", b"\x00\x00", b"\xef\xbb\xbf"])
def test_nothing_to_read(load, content):
    with pytest.raises(BrokenFile, match=r"^a\.txt: .*nothing to read"):
        load(content, "a.txt")


MARKDOWN = """---
title: "Pain: a guide"
date: 2024-03-01
tags:
  - pain
  - 'dose'
---
# Pain *guide*

```
# no heading
```

Setext `x`
---------

> ## In a quote

| # a | b |
|---|---|
| # c | d |
"""


def test_markdown_is_stored_as_written_with_its_headings(load):
    document = load(MARKDOWN, "a.md")
    assert document.text == MARKDOWN
    assert headings(document) == [
        (1, "Pain guide", "# Pain *guide*"),
        (2, "Setext x", "Setext `x`"),
        (2, "In a quote", "> ## In a quote"),
    ]
    assert document.title == "Pain: a guide"
    assert document.date == date(2024, 3, 1)
    assert document.tags == ("pain", "dose")


def test_markdown_without_front_matter(load):
    document = load("## Sub\n\n# Main\n\ntext\n\n---\n\nend\n---\n", "a.md")
    assert document.title == "Main"
    assert [label for _, label, _ in headings(document)] == ["Sub", "Main", "end"]
    assert (document.date, document.tags) == (None, ())


def test_markdown_front_matter_forms(load):
    document = load('---\ntags: [a, "b c"]\ndate: soon\ntitle:\n---\nx', "a.md")
    assert (document.tags, document.date, document.title) == (("a", "b c"), None, None)


LINES = st.sampled_from(
    [
        *("# A", "## B\u0301 c", "text", "", "```", "~~~", "> # q", "- # item", "===", "---"),
        *("#none", "e\u0301", "\u0301", "\r", "\x0c", "\u2028x", "| a |", "<!--", "\t# code"),
        "# *b* `c` [d](e)",
    ]
)


@given(st.lists(LINES, max_size=20).map("\n".join))
def test_markdown_marks_stand_on_lines_that_hold_their_words(source):
    document = markdown.load(source.encode(), "a.md", Limits())
    assert document.text == clean(source)
    for mark in document.marks:
        line_start = document.text[: mark.start].rpartition("\n")[2]
        assert line_start == ""
        # The mark's block of at most a few lines holds every word of the label.
        block = document.text[mark.start : mark.start + 400]
        assert all(word in block for word in mark.label.split())


PAGE = """<!doctype html><html><head><title>Safe  use</title>
<meta name="date" content="2024-05-06T10:00:00Z"><style>p{}</style></head><body>
<header><a href=/>Home</a> <a href=/x>Drugs</a></header>
<nav><ul><li>Menu</ul></nav>
<main><h1>Paracetamol <small>tablets</small></h1>
<p>The maximum
   daily dose is <b>4&nbsp;g</b>.<br>Not more.</p>
<script>var hidden = 1</script><p hidden>secret</p><p style="display: NONE">ghost</p>
<h2>Doses</h2>
<table><caption>By age</caption><tr><th>Age</th><th>Dose</th></tr>
<tr><td>Adult</td><td><p>4 g</p><p>daily</p></td></tr><tr><td>Child</td><td></td></tr></table>
<ul><li>One<li>Two <ul><li>Inner</ul></ul>
<pre>a  b
   c</pre>
<aside>Warning: <a href=#>liver</a> damage is possible with high doses.</aside>
</main><footer>Approved by the pharmacy board.</footer>
<footer><a href=/imprint>Imprint</a></footer></body></html>"""


def test_html_reads_like_the_page(load):
    document = load(PAGE, "a.html")
    assert document.text == (
        "Paracetamol tablets\n\n"
        "The maximum daily dose is 4\xa0g.\nNot more.\n\n"
        "Doses\n\nBy age\nAge | Dose\nAdult | 4 g daily\nChild\n\n"
        "- One\n- Two\n- Inner\n\n"
        "a  b\n   c\n\n"
        "Warning: liver damage is possible with high doses.\n"
        "Approved by the pharmacy board."
    )
    assert headings(document) == [
        (1, "Paracetamol tablets", "Paracetamol tablets"),
        (2, "Doses", "Doses"),
    ]
    assert (document.title, document.date) == ("Safe use", date(2024, 5, 6))


def test_html_that_is_all_navigation_is_still_read(load):
    assert load("<html><body><nav><a>Only</a> this</nav></body></html>", "a.html").text == (
        "Only this"
    )


def test_html_header_with_a_heading_is_kept(load):
    page = "<html><body><header><h1><a href=x>SOP 7</a></h1></header><p>Text</p></body></html>"
    document = load(page, "a.html")
    assert document.text == "SOP 7\n\nText"
    assert document.title == "SOP 7"


def test_html_tables_that_lay_out_a_page_are_no_rows(load):
    page = (
        "<html><body><table><tr><td><table><tr><th>a<th>b<tr><td>1<td>2</table><td>"
        "<h2>News</h2><p>First.</p><p>Second.</p></table></body></html>"
    )
    document = load(page, "a.html")
    assert document.text == "a | b\n1 | 2\n\nNews\n\nFirst.\n\nSecond."
    assert [mark.label for mark in document.marks] == ["News"]


@pytest.mark.parametrize(
    "head",
    [
        b'<meta charset="iso-8859-2">',
        b"<meta http-equiv=Content-Type content='text/html; charset=ISO-8859-2'>",
    ],
)
def test_html_declared_charset(load, head):
    page = b"<!doctype html>" + head + "<p>Předpis: ž ř ě</p>".encode("iso8859-2")
    assert load(page, "a.html").text == "Předpis: ž ř ě"


def test_xhtml_declared_encoding(load):
    page = '<?xml version="1.0" encoding="cp1251"?><html><body><p>Доза 4 г</p></body></html>'
    assert load(page.encode("cp1251"), "a.xhtml").text == "Доза 4 г"


TAGS = st.sampled_from(
    "<p> </p> <h1> </h1> <h2> </h2> <table> </table> <tr> </tr> <td> </td> <th> <ul> <li> </ul> "
    "<pre> </pre> <br> <nav> </nav> <div> </div> <script> </script> <b> </b> <svg> </svg> "
    "<select> <template> </template> <header> <a> &#xD800; &amp; &#0; &lt;".split()
)


@given(st.lists(st.one_of(TAGS, st.text(max_size=3)), max_size=30).map("".join))
def test_html_of_any_shape(storable, source):
    document = html.load_source(f"<html><body>x{source}", b"", "a.html", Limits())
    storable(document)
    for mark in document.marks:
        assert document.text[mark.start :].split()[0].removeprefix("-") in (*mark.label.split(), "")


def test_html_nested_deeper_than_calls_can_be(load):
    page = "<html><body>" + "<div>" * 20_000 + "deep" + "</div>" * 20_000
    assert load(page, "a.html").text == "deep"


@pytest.mark.parametrize(
    ("source", "body", "title", "day", "tags"),
    [
        (
            "---\ntitle: A\ndate: 2024-03-01\ntags: [x]\n---\nText",
            "Text",
            "A",
            "2024-03-01",
            ("x",),
        ),
        (
            '+++\ntitle = "A"\ndate = 2024-03-01\ntags = ["x"]\n+++\nText',
            "Text",
            "A",
            "2024-03-01",
            ("x",),
        ),
        ("---\n# note\nauthor-2: B\nlist:\n- a\n  more: c\n...\nText", "Text", None, None, ()),
        ("---\nNot metadata: it is prose.\n---\nText", None, None, None, ()),
        ("---\n\n# Dose\n\nDose: 4 g\n---\nText", None, "Dose", None, ()),
        ("+++\nnot toml\n+++\nText", None, None, None, ()),
        ("---\n---\nText", None, None, None, ()),
    ],
)
def test_front_matter_is_metadata_and_not_body(load, source, body, title, day, tags):
    document = load(source, "a.md")
    assert document.text == source
    assert document.text[document.body_start :] == (source if body is None else body)
    assert (document.title, document.tags) == (title, tags)
    assert document.date == (date.fromisoformat(day) if day else None)
