"""DOCX, PPTX, XLSX."""

import re
import zipfile
from copy import deepcopy
from datetime import UTC, date, datetime, time
from io import BytesIO

import docx
import openpyxl
import pptx
import pytest
from docx.oxml import parse_xml
from pptx.enum.shapes import PP_PLACEHOLDER
from pptx.util import Inches

from indexer.load.loaded import Mark
from rag.errors import BrokenFile, LimitExceeded, UnsupportedFormat

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def test_docx_in_body_order(load, make):
    document = docx.Document()
    document.core_properties.title = "SOP 7"
    document.core_properties.created = datetime(2024, 2, 3, 4, 5)
    document.add_heading("Handling", 0)
    document.add_paragraph("Before  the\ttable.")
    table = document.add_table(2, 2)
    for row, cells in enumerate([("Drug", "Dose"), ("Paracetamol", "4 g\nper day")]):
        for column, text in enumerate(cells):
            table.cell(row, column).text = text
    document.add_heading("Steps", 2)
    document.add_paragraph("Wash hands", style="List Bullet")
    document.add_paragraph("Open", style="List Number")
    document.add_paragraph("After")
    loaded = load(make.saved(document), "a.docx")
    assert loaded.text == (
        "Handling\n\nBefore  the\ttable.\n\nDrug | Dose\nParacetamol | 4 g per day\n\n"
        "Steps\n\n- Wash hands\n- Open\n\nAfter"
    )
    assert loaded.marks == (
        Mark("heading", 0, "Handling", 1),
        Mark("heading", loaded.text.index("Steps"), "Steps", 2),
    )
    assert (loaded.title, loaded.date, loaded.format) == ("SOP 7", date(2024, 2, 3), "docx")


def test_docx_title_from_its_title_paragraph(load, make):
    document = docx.Document()
    document.core_properties.title = ""
    document.add_heading("The name", 0)
    assert load(make.saved(document), "a.docx").title == "The name"


def test_docx_tracked_changes_links_fields_and_controls(load, make):
    document = docx.Document()
    paragraph = document.add_paragraph("Dose: ")
    for xml in (
        f"<w:del {W}><w:r><w:delText>3 g</w:delText><w:tab/></w:r></w:del>",
        f"<w:ins {W}><w:r><w:t>4 g</w:t></w:r></w:ins>",
        f'<w:hyperlink {W}><w:r><w:t xml:space="preserve"> daily</w:t></w:r></w:hyperlink>',
        f"<w:r {W}><w:instrText>PAGE</w:instrText><w:noBreakHyphen/><w:t>x</w:t></w:r>",
        f"<w:sdt {W}><w:sdtContent><w:r><w:t>!</w:t></w:r></w:sdtContent></w:sdt>",
        f"<w:moveFrom {W}><w:r><w:t>gone</w:t></w:r></w:moveFrom>",
    ):
        paragraph._p.append(parse_xml(xml))
    body = document.element.body
    inner = "<w:p><w:r><w:t>In a control</w:t></w:r></w:p>"
    body.insert(1, parse_xml(f"<w:sdt {W}><w:sdtContent>{inner}</w:sdtContent></w:sdt>"))
    assert load(make.saved(document), "a.docx").text == "Dose: 4 g daily-x!\n\nIn a control"


def test_docx_headers_and_footers_come_once_at_the_end(load, make):
    document = docx.Document()
    document.add_paragraph("Body")
    for section in (document.sections[0], document.add_section()):
        section.header.is_linked_to_previous = False
        section.footer.is_linked_to_previous = False
        section.header.paragraphs[0].text = "SOP 7, valid from 2024-01-01"
        section.footer.paragraphs[0].text = "12"
    assert load(make.saved(document), "a.docx").text == "Body\n\nSOP 7, valid from 2024-01-01"


def test_docx_footnotes_stand_below_their_paragraph(load, make):
    document = docx.Document()
    first = document.add_paragraph("Dose is 4 g.")
    document.add_paragraph("Next")
    first._p.append(parse_xml(f'<w:r {W}><w:footnoteReference w:id="2"/></w:r>'))
    notes = (
        f'<w:footnotes {W}><w:footnote w:id="0" w:type="separator"><w:p/></w:footnote>'
        '<w:footnote w:id="2"><w:p><w:r><w:t>Adults only.</w:t></w:r></w:p></w:footnote>'
        "</w:footnotes>"
    )
    package = make.with_part(make.saved(document), "word/footnotes.xml", notes.encode())
    with zipfile.ZipFile(BytesIO(package)) as archive:
        relations = archive.read("word/_rels/document.xml.rels").decode()
        types = archive.read("[Content_Types].xml").decode()
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/footnotes"
    relation = f'<Relationship Id="rId99" Type="{kind}" Target="footnotes.xml"/></Relationships>'
    package = make.with_part(
        package,
        "word/_rels/document.xml.rels",
        relations.replace("</Relationships>", relation).encode(),
    )
    override = (
        '<Override PartName="/word/footnotes.xml" ContentType="application/vnd.openxmlformats-'
        'officedocument.wordprocessingml.footnotes+xml"/></Types>'
    )
    package = make.with_part(
        package, "[Content_Types].xml", types.replace("</Types>", override).encode()
    )
    assert load(package, "a.docx").text == "Dose is 4 g.\n[Note: Adults only.]\n\nNext"


def test_docx_with_macros_is_read(load, make):
    package = make.docx("Macro document")
    with zipfile.ZipFile(BytesIO(package)) as archive:
        types = archive.read("[Content_Types].xml").decode()
    plain = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    macro = "application/vnd.ms-word.document.macroEnabled.main+xml"
    assert plain in types
    package = make.with_part(package, "[Content_Types].xml", types.replace(plain, macro).encode())
    assert load(package, "a.docm").text == "Macro document"


def test_docx_nested_tables(load, make):
    document = docx.Document()
    outer = document.add_table(1, 2)
    outer.cell(0, 0).text = "left"
    inner = outer.cell(0, 1).add_table(1, 2)
    inner.cell(0, 0).text = "in"
    inner.cell(0, 1).text = "ner"
    assert load(make.saved(document), "a.docx").text == "left | in ner"


def test_pptx_slides_titles_tables_groups_and_notes(load, make):
    presentation = pptx.Presentation()
    presentation.core_properties.title = "Training"
    first = presentation.slides.add_slide(presentation.slide_layouts[1])
    first.shapes.title.text = "Hand hygiene"
    first.placeholders[1].text = "Wash\nDry"
    table = first.shapes.add_table(2, 2, 0, 0, Inches(2), Inches(1)).table
    for row, cells in enumerate([("Step", "Seconds"), ("Rub", "30")]):
        for column, text in enumerate(cells):
            table.cell(row, column).text = text
    first.notes_slide.notes_text_frame.text = "Show the film."
    presentation.slides.add_slide(presentation.slide_layouts[6])
    third = presentation.slides.add_slide(presentation.slide_layouts[6])
    group = third.shapes.add_group_shape().shapes.add_group_shape()
    group.shapes.add_textbox(0, 0, Inches(1), Inches(1)).text_frame.text = "Grouped"
    loaded = load(make.saved(presentation), "a.pptx")
    assert loaded.text == (
        "Hand hygiene\n\nWash\nDry\n\nStep | Seconds\nRub | 30\n\nNotes: Show the film.\n\nGrouped"
    )
    assert loaded.marks == (
        Mark("slide", 0, "1"),
        Mark("heading", 0, "Hand hygiene", 1),
        Mark("slide", loaded.text.index("Grouped"), "3"),
    )
    assert loaded.title == "Training"


def test_pptx_footers_come_once_and_slide_numbers_never(load, make):
    presentation = pptx.Presentation()
    for number in (1, 2):
        slide = presentation.slides.add_slide(presentation.slide_layouts[5])
        slide.shapes.title.text = f"Slide {number}"
        for layout_shape in slide.slide_layout.placeholders:
            kind = layout_shape.placeholder_format.type
            if kind in (PP_PLACEHOLDER.FOOTER, PP_PLACEHOLDER.SLIDE_NUMBER):
                slide.shapes._spTree.append(deepcopy(layout_shape._element))
                shape = slide.shapes[-1]
                shape.text_frame.text = "For staff" if kind == PP_PLACEHOLDER.FOOTER else "9"
    assert load(make.saved(presentation), "a.pptx").text == "Slide 1\n\nFor staff\n\nSlide 2"


def test_pptx_with_too_many_slides(load, make):
    with pytest.raises(LimitExceeded, match="more than 2 slides"):
        load(make.pptx("a", "b", "c"), "a.pptx", max_pages=2)


def test_xlsx_names_cells_by_their_columns(load, make):
    workbook = openpyxl.Workbook()
    doses = workbook.active
    doses.title = "Doses"
    doses.append(["Valid 2024"])
    doses.append([])
    doses.append(["Drug", "Max daily dose", "Since", "Share", 2024])
    doses.append(["Paracetamol", "4 g", date(2024, 1, 2), 0.125, 3.0])
    doses.append(["Ibu\nprofen", None, datetime(2024, 1, 2, 13, 30), 1, 0.1 + 0.2])
    doses.append([True, "x", time(8, 15), -2, 123456789012345])
    for row in (4, 5):
        doses.cell(row, 4).number_format = "0.0%"
    hidden = workbook.create_sheet("Old")
    hidden.sheet_state = "hidden"
    hidden.append(["only", "one row"])
    workbook.create_sheet("Empty")
    workbook.properties.title = "Formulary"
    loaded = load(make.saved(workbook), "a.xlsx")
    assert loaded.text == (
        "Valid 2024\n"
        "Drug: Paracetamol | Max daily dose: 4 g | Since: 2024-01-02 | Share: 12.5% | 2024: 3\n"
        "Drug: Ibu profen | Since: 2024-01-02 13:30 | Share: 100% | 2024: 0.3\n"
        "Drug: TRUE | Max daily dose: x | Since: 08:15:00 | Share: -2 | 2024: 123456789012345\n"
        "\nonly | one row"
    )
    assert loaded.marks == (
        Mark("sheet", 0, "Doses"),
        Mark("sheet", loaded.text.index("only"), "Old (hidden)"),
    )
    assert loaded.title == "Formulary"


def test_xlsx_formulas_stand_with_their_cached_value(load, make):
    sheet = make.xlsx(["Item", "Price"], ["Bed", 7])
    with zipfile.ZipFile(BytesIO(sheet)) as archive:
        part = archive.read("xl/worksheets/sheet1.xml").decode()
    assert "<v>7</v>" in part
    part = part.replace("<v>7</v>", "<f>3+4</f><v>7</v>")
    package = make.with_part(sheet, "xl/worksheets/sheet1.xml", part.encode())
    assert load(package, "a.xlsx").text == "Item: Bed | Price: 7"


@pytest.mark.parametrize("dimensions", ["A1", "A1:XFD1048576"])
def test_xlsx_with_wrong_dimensions(load, make, dimensions):
    sheet = make.xlsx(["Item", "Price"], ["Bed", 7])
    with zipfile.ZipFile(BytesIO(sheet)) as archive:
        part = archive.read("xl/worksheets/sheet1.xml").decode()
    assert 'ref="A1:B2"' in part
    part = part.replace('ref="A1:B2"', f'ref="{dimensions}"')
    package = make.with_part(sheet, "xl/worksheets/sheet1.xml", part.encode())
    assert load(package, "a.xlsx").text == "Item: Bed | Price: 7"


@pytest.mark.parametrize("kind", ["docx", "pptx", "xlsx"])
def test_truncated(load, make, kind):
    content = {"docx": make.docx("a"), "pptx": make.pptx("a"), "xlsx": make.xlsx(["a", "b"])}[kind]
    with pytest.raises(BrokenFile, match=rf"^a\.{kind}: is a damaged or truncated"):
        load(content[: len(content) // 2], f"a.{kind}")


@pytest.mark.parametrize("kind", ["docx", "pptx", "xlsx"])
def test_a_damaged_part(load, make, kind):
    content = {"docx": make.docx("a"), "pptx": make.pptx("a"), "xlsx": make.xlsx(["a", "b"])}[kind]
    part = {"docx": "word/document.xml", "pptx": "ppt/presentation.xml", "xlsx": "xl/workbook.xml"}
    with pytest.raises(BrokenFile, match=rf"^a\.{kind}: is damaged and could not be read"):
        load(make.with_part(content, part[kind], b"<broken"), f"a.{kind}")


@pytest.mark.parametrize("kind", ["docx", "pptx", "xlsx"])
def test_without_any_text(load, make, kind):
    content = {"docx": make.docx(), "pptx": make.pptx(), "xlsx": make.xlsx()}[kind]
    with pytest.raises(BrokenFile, match=rf"^a\.{kind}: contains no text"):
        load(content, f"a.{kind}")


def test_password_protected_office_document(load):
    ole = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 500 + "EncryptedPackage".encode("utf-16-le")
    with pytest.raises(BrokenFile, match=r"^a\.docx: is encrypted"):
        load(ole, "a.docx")


def test_office_97_document(load):
    with pytest.raises(UnsupportedFormat, match=r"^a\.doc: is a document of Office 97-2003"):
        load(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 500, "a.doc")


def test_opendocument(load, make):
    content = make.zip({"mimetype": b"application/vnd.oasis", "content.xml": b"<x/>"})
    with pytest.raises(UnsupportedFormat, match=r"^a\.odt: is an OpenDocument"):
        load(content, "a.odt")


def test_what_a_librarys_template_says_is_not_what_the_document_says(load, make):
    document = docx.Document()
    document.add_paragraph("Text.")
    presentation = pptx.Presentation()
    slide = presentation.slides.add_slide(presentation.slide_layouts[5])
    slide.shapes.title.text = "Text."
    workbook = openpyxl.Workbook()
    workbook.active.append(["Text."])
    for made, name in ((document, "a.docx"), (presentation, "a.pptx"), (workbook, "a.xlsx")):
        content = make.saved(made)
        assert load(content, name).date == (datetime.now(UTC).date() if name == "a.xlsx" else None)
        bare = without_part(content, "docProps/core.xml")
        assert (load(bare, name).date, load(bare, name).title) == (None, None), name


def without_part(content, part):
    """The package without a part and what leads to it."""
    stream = BytesIO()
    with zipfile.ZipFile(BytesIO(content)) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            if name != part:
                kept = re.sub(
                    rb"<(Override|Relationship)\b[^>]*docProps/core.xml[^>]*/>", b"", old.read(name)
                )
                new.writestr(name, kept)
    return stream.getvalue()
