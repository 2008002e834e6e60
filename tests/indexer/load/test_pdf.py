import re
from datetime import date
from io import BytesIO

import pytest
from reportlab.pdfgen.canvas import Canvas

from indexer.load.loaded import Mark
from rag.errors import BrokenFile, LimitExceeded


def test_pages_title_date_and_outline(load, make):
    content = make.pdf(
        [["Formulary", "Paracetamol 4 g"], [], ["Second  long", "heading of it", "Ibuprofen"]],
        title="Hospital formulary",
        outline=[("Formulary", 0, 0), ("Second long heading of it", 2, 1), ("Not there", 2, 1)],
    )
    document = load(content, "a.pdf")
    assert document.text.replace(" \n", "\n") == (
        "Formulary\nParacetamol 4 g\n\nSecond long\nheading of it\nIbuprofen"
    )
    second = document.text.index("Second")
    assert document.marks == (
        Mark("page", 0, "1"),
        Mark("heading", 0, "Formulary", 1),
        Mark("page", second, "3"),
        Mark("heading", second, "Second long heading of it", 2),
        Mark("heading", second, "Not there", 2),
    )
    assert document.title == "Hospital formulary"
    assert isinstance(document.date, date)


def test_a_heading_and_a_paragraph_end_with_a_blank_line(load):
    stream = BytesIO()
    canvas = Canvas(stream)
    y = 780
    for drop, size, line in (
        (0, 10, "Page header"),
        (30, 10, "3. Dose"),  # As large as its text, but farther away from it than lines are.
        (20, 10, "Give 4 g and"),
        (14, 10, "never more than that."),
        (24, 10, "The second paragraph is"),
        (14, 10, "Short."),
        (14, 16, "Storage"),  # As near as a line, but larger.
        (14, 10, "Keep it dry, in a"),
        (40, 10, "cold place."),  # Goes on below a figure.
    ):
        y -= drop
        canvas.setFont("Helvetica", size)
        canvas.drawString(72, y, line)
    canvas.showPage()
    canvas.save()
    assert load(stream.getvalue(), "a.pdf").text.replace(" \n", "\n").split("\n\n") == [
        "Page header",
        "3. Dose",
        "Give 4 g and\nnever more than that.",
        "The second paragraph is\nShort.",
        "Storage",
        "Keep it dry, in a\ncold place.",
    ]


@pytest.mark.parametrize("moment", ["20000101000000+00'00'", "19700101000000Z"])
def test_a_date_that_only_makes_bytes_repeatable_is_none(load, make, moment):
    content = make.pdf([["x"]])
    written = re.search(rb"/CreationDate \(D:([^)]*)\)", content)[1]
    content = content.replace(written, moment.encode().ljust(len(written))[: len(written)])
    assert load(content, "a.pdf").date is None


def test_nobodys_title(load, make):
    assert load(make.pdf([["x"]]), "a.pdf").title is None


def test_hyphens_at_line_ends_are_as_printed(load, make):
    content = make.pdf([["The dose of infor-", "mation is 10-", "20 mg. A dash -", "and more"]])
    assert load(content, "a.pdf").text == (
        "The dose of infor-\nmation is 10-\n20 mg. A dash -\nand more"
    )


def test_filled_form_fields_are_read(load):
    stream = BytesIO()
    canvas = Canvas(stream)
    canvas.drawString(72, 700, "Name:")
    canvas.acroForm.textfield(name="n", value="Jane Doe", x=120, y=690, width=200, height=20)
    canvas.showPage()
    canvas.save()
    assert "Jane Doe" in load(stream.getvalue(), "form.pdf").text


def test_a_scan_asks_for_ocr(load, make):
    with pytest.raises(BrokenFile, match=r"^scan\.pdf: has no text layer \(scanned\?\): run OCR"):
        load(make.pdf([[], []]), "scan.pdf")


def test_encrypted(load, make):
    with pytest.raises(BrokenFile, match=r"^a\.pdf: is encrypted; save a copy without a password"):
        load(make.pdf([["secret"]], password="p"), "a.pdf")


def test_encrypted_against_editing_only_is_read(load, make):
    assert load(make.pdf([["open to read"]], password=""), "a.pdf").text == "open to read"


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_truncated(load, make, share):
    content = make.pdf([[f"line {n}"] * 30 for n in range(5)])
    with pytest.raises(BrokenFile, match=r"^a\.pdf: is cut off"):
        load(content[: int(len(content) * share)], "a.pdf")


def test_damaged_in_the_middle(load, make):
    content = bytearray(make.pdf([["text"]]))
    content[20:-200] = b"\x00" * (len(content) - 220)
    with pytest.raises(BrokenFile, match=r"^a\.pdf: "):
        load(bytes(content), "a.pdf")


def test_no_pages(sandbox, tmp_path):
    catalog = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
    pages = b"2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n"
    start = len(catalog + pages)
    content = (
        catalog
        + pages
        + b"xref\n0 3\n0000000000 65535 f \n0000000009 00000 n \n%010d 00000 n \n" % len(catalog)
        + b"trailer<</Size 3/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % start
    )
    (tmp_path / "a.pdf").write_bytes(content)
    with pytest.raises(BrokenFile, match=r"^a\.pdf: has no pages"):
        sandbox.load(tmp_path / "a.pdf", "a.pdf")


def test_too_many_pages(load, make):
    with pytest.raises(LimitExceeded, match=r"has 3 pages, more than 2; .*RAG_LOAD_MAX_PAGES"):
        load(make.pdf([["x"]] * 3), "a.pdf", max_pages=2)
