"""Make the binary files of the sample collection from the sources in `eval/samples_content/`.

The text formats (Markdown, HTML, TXT, CSV, JSON) are written by hand in
`knowledge_bases/samples/documents/`. PDF, DOCX, PPTX, XLSX and EML are made here, with fixed dates
and no random ids, so the same sources and library versions give the same bytes:

    pip install reportlab python-docx python-pptx openpyxl
    python eval/build_samples.py
"""

from __future__ import annotations

import argparse
import io
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from email.message import EmailMessage
from email.policy import SMTP
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import docx
import openpyxl
import pptx
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from docx.shared import Cm as DocxCm
from docx.shared import Pt as DocxPt
from docx.shared import RGBColor as DocxRGB
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter
from pptx.dml.color import RGBColor
from pptx.util import Cm, Pt
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import KeepTogether, Paragraph, SimpleDocTemplate, Table

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "eval" / "samples_content"
DOCUMENTS = ROOT / "knowledge_bases" / "samples" / "documents"

NAVY = "1F3A5F"
PALE = "E8EEF5"
CONTROL_FIELDS = {  # shown in the table under the title, in this order
    "reference": "Reference",
    "version": "Version",
    "author": "Author",
    "approved": "Approved by",
    "effective": "Effective from",
    "review": "Review by",
    "replaces": "Replaces",
}


@dataclass(frozen=True)
class Block:
    """A heading, caption, paragraph, list or table; `widths` are relative column widths."""

    kind: str
    text: str = ""
    level: int = 0
    rows: list[list[str]] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Source:
    """One file of `samples_content/`: `key: value` lines, a blank line, then simple Markdown."""

    fields: dict[str, str]
    body: str

    @property
    def issued(self) -> datetime:
        """The date of issue, used for every timestamp in the file."""
        return datetime.fromisoformat(self.fields["date"])

    @property
    def control_rows(self) -> list[list[str]]:
        """Label and value of each document control field that the source has."""
        return [[label, self.fields[k]] for k, label in CONTROL_FIELDS.items() if k in self.fields]

    def blocks(self) -> list[Block]:
        """Split the body; a heading or caption may stand right above a table."""
        blocks: list[Block] = []
        for part in re.split(r"\n{2,}", self.body.strip()):
            lines = part.split("\n")
            if heading := re.match(r"(#{2,3}) (.+)", lines[0]):
                blocks.append(Block("heading", heading[2], level=len(heading[1])))
                lines = lines[1:]
            if len(lines) > 1 and lines[1].startswith("|") and not lines[0].startswith("|"):
                blocks.append(Block("caption", lines[0]))
                lines = lines[1:]
            if not lines:
                continue
            if lines[0].startswith("|"):
                rows = [[c.strip() for c in line.strip("|").split("|")] for line in lines]
                widths = [len(dashes) for dashes in rows.pop(1)]
                blocks.append(Block("table", rows=rows, widths=widths))
            elif lines[0].startswith("- "):
                blocks.append(Block("list", rows=[[line[2:]] for line in lines]))
            else:
                blocks.append(Block("paragraph", " ".join(lines)))
        return blocks

    def sections(self) -> list[tuple[str, list[Block]]]:
        """Each heading's text with the blocks below it."""
        sections: list[tuple[str, list[Block]]] = []
        for block in self.blocks():
            if block.kind == "heading":
                sections.append((block.text, []))
            else:
                sections[-1][1].append(block)
        return sections


def read_source(name: str) -> Source:
    """Read `samples_content/NAME.md`."""
    head, _, body = (SOURCES / f"{name}.md").read_text("utf-8").partition("\n\n")
    return Source(dict(line.split(": ", 1) for line in head.splitlines()), body)


# ---- PDF ----------------------------------------------------------------------------------------


def pdf_styles() -> dict[str, ParagraphStyle]:
    """Paragraph styles by block kind."""
    for suffix in ("", "Bd", "It"):  # Vera ships with reportlab: the same font on every machine
        pdfmetrics.registerFont(TTFont(f"Vera{suffix}", f"Vera{suffix}.ttf"))
    body = ParagraphStyle("body", fontName="Vera", fontSize=9, leading=13.5, spaceAfter=6)
    body.allowWidows = body.allowOrphans = 0
    bold = partial(ParagraphStyle, parent=body, fontName="VeraBd", textColor=f"#{NAVY}")
    return {
        "paragraph": body,
        "list": ParagraphStyle("list", body, leftIndent=14, bulletIndent=3, spaceAfter=3),
        "notice": ParagraphStyle("notice", body, fontName="VeraIt", fontSize=7.5, leading=10),
        "title": bold("title", fontSize=17, leading=22, spaceAfter=8),
        "heading2": bold("h2", fontSize=12, leading=15, spaceBefore=9, keepWithNext=1),
        "heading3": bold("h3", fontSize=10, leading=13, spaceBefore=5, keepWithNext=1),
        "caption": bold("caption", fontSize=8.5, spaceAfter=3, keepWithNext=1),
        "cell": ParagraphStyle("cell", body, fontSize=8, leading=10.5),
        "label": bold("label", fontSize=8, leading=10.5),
        "head": bold("head", fontSize=8, leading=10.5, textColor="#FFFFFF"),
    }


def pdf_table(rows: list[list[str]], widths: list[int], first: str, rest: str = "cell") -> Table:
    """A ruled table over the full text width; `first` styles the first row, or else column."""
    styles = pdf_styles()
    header_row = first == "head"
    cells = [
        [
            Paragraph(escape(text), styles[first if (r if header_row else c) == 0 else rest])
            for c, text in enumerate(row)
        ]
        for r, row in enumerate(rows)
    ]
    shade = (0, 0), (-1, 0) if header_row else (0, -1)
    table = Table(
        cells,
        colWidths=[170 * mm * w / sum(widths) for w in widths],
        repeatRows=1 if header_row else 0,
        style=[
            ("GRID", (0, 0), (-1, -1), 0.4, colors.HexColor("#9AA9BC")),
            ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
            ("TOPPADDING", (0, 0), (-1, -1), 2.5),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 3.5),
            ("BACKGROUND", *shade, colors.HexColor(f"#{NAVY if header_row else PALE}")),
        ],
    )
    table.spaceAfter = 10
    return table


class PolicyPdf(SimpleDocTemplate):
    """A4 pages with a running head, page numbers and an outline entry for each heading."""

    def __init__(self, target: io.BytesIO, source: Source, page_total: int) -> None:
        super().__init__(
            target,
            pagesize=A4,
            leftMargin=20 * mm - 6,  # the frame pads its text by 6 points
            rightMargin=20 * mm - 6,
            topMargin=25 * mm,
            bottomMargin=20 * mm,
            title=source.fields["title"],
            author=source.fields["author"],
            subject=f"{source.fields['reference']} version {source.fields['version']}",
            invariant=1,
        )
        self.source, self.page_total = source, page_total

    def draw_frame(self, canvas: Canvas, _document: Any) -> None:
        """Draw the head band and the page number of one page."""
        fields = self.source.fields
        reference = f"{fields['reference']} version {fields['version']}"
        width, height = A4
        canvas.saveState()
        canvas.setFillColor(colors.HexColor(f"#{NAVY}"))
        canvas.rect(0, height - 16 * mm, width, 16 * mm, stroke=0, fill=1)
        canvas.setFillColor(colors.white)
        canvas.setFont("VeraBd", 11)
        canvas.drawString(20 * mm, height - 10.5 * mm, fields["organisation"])
        canvas.setFont("Vera", 8)
        canvas.drawRightString(width - 20 * mm, height - 10.5 * mm, reference)
        canvas.setFillColor(colors.HexColor("#55606E"))
        canvas.drawString(20 * mm, 11 * mm, f"Effective from {fields['effective']}")
        page = f"Page {canvas.getPageNumber()} of {self.page_total}"
        canvas.drawRightString(width - 20 * mm, 11 * mm, page)
        canvas.restoreState()

    def afterFlowable(self, flowable: Any) -> None:  # noqa: N802 (named by reportlab)
        """Add an outline entry when a heading has been placed."""
        style = getattr(getattr(flowable, "style", None), "name", "")
        if style in ("h2", "h3"):
            text = flowable.getPlainText()
            self.canv.bookmarkPage(text)
            self.canv.addOutlineEntry(text, text, level=int(style[1]) - 2)


def build_pdf(source: Source) -> bytes:
    """Lay out a policy as PDF."""
    styles = pdf_styles()

    def story() -> list[Any]:
        flow: list[Any] = [
            Paragraph(escape(source.fields["title"]), styles["title"]),
            pdf_table(source.control_rows, [1, 4], first="label"),
            Paragraph(escape(source.fields["notice"]), styles["notice"]),
        ]
        for block in source.blocks():
            if block.kind == "table":
                kept = [pdf_table(block.rows, block.widths, "head")]
                while isinstance(flow[-1], Paragraph) and flow[-1].getKeepWithNext():
                    kept.insert(0, flow.pop())  # the caption and the heading above it
                flow.append(KeepTogether(kept))
            elif block.kind == "list":
                items = [escape(text) for [text] in block.rows]
                flow += [Paragraph(text, styles["list"], bulletText="•") for text in items]
            else:
                name = f"heading{block.level}" if block.kind == "heading" else block.kind
                flow.append(Paragraph(escape(block.text), styles[name]))
        return flow

    page_total = 0
    for _ in range(2):  # the first pass counts the pages for "Page 1 of 5"
        target = io.BytesIO()
        document = PolicyPdf(target, source, page_total)
        document.build(story(), onFirstPage=document.draw_frame, onLaterPages=document.draw_frame)
        page_total = document.page
    return target.getvalue()


# ---- Office files -------------------------------------------------------------------------------


def repack(archive: bytes, issued: datetime) -> bytes:
    """Write a zip archive again with fixed timestamps, also in its core properties."""
    stamp = f"{issued:%Y-%m-%dT00:00:00Z}".encode()
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(archive)) as old,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            content = old.read(name)
            if name == "docProps/core.xml":  # openpyxl writes the time of saving
                dates = rb"(<dcterms:(?:created|modified)[^>]*>)[^<]*"
                content = re.sub(dates, rb"\g<1>" + stamp, content)
            entry = zipfile.ZipInfo(name, (issued.year, issued.month, issued.day, 0, 0, 0))
            entry.compress_type, entry.create_system = zipfile.ZIP_DEFLATED, 0
            new.writestr(entry, content)
    return target.getvalue()


def save_office(document: Any, source: Source, properties: Any) -> bytes:
    """Set the core properties and return the file's bytes."""
    properties.title, properties.created = source.fields["title"], source.issued
    for name in ("author", "creator"):  # python-docx and python-pptx say author, openpyxl creator
        if hasattr(properties, name):
            setattr(properties, name, source.fields["author"])
    target = io.BytesIO()
    document.save(target)
    return repack(target.getvalue(), source.issued)


def build_docx(source: Source) -> bytes:
    """Lay out a procedure as DOCX, with heading styles and real tables."""
    document = docx.Document()
    section = document.sections[0]
    section.page_width, section.page_height = DocxCm(21), DocxCm(29.7)
    section.left_margin = section.right_margin = DocxCm(2.2)
    document.styles["Normal"].font.name, document.styles["Normal"].font.size = "Calibri", DocxPt(11)
    for style in ("Title", "Heading 1", "Heading 2"):
        document.styles[style].font.color.rgb = DocxRGB.from_string(NAVY)
    document.styles["Title"].font.size = DocxPt(22)

    def add_table(rows: list[list[str]], widths: list[int], header_row: bool) -> None:
        table = document.add_table(len(rows), len(rows[0]), style="Table Grid")
        table.autofit = False
        for r, row in enumerate(rows):
            for c, text in enumerate(row):
                cell = table.cell(r, c)
                cell.width = DocxCm(16.6 * widths[c] / sum(widths))
                run = cell.paragraphs[0].add_run(text)
                run.font.size = DocxPt(10)
                if (r if header_row else c) == 0:
                    run.bold = True
                    shading = f'<w:shd {nsdecls("w")} w:val="clear" w:fill="{PALE}"/>'
                    cell._tc.get_or_add_tcPr().append(parse_xml(shading))
        document.add_paragraph()

    fields = source.fields
    section.header.paragraphs[0].text = f"{fields['organisation']}\t\t{fields['reference']}"
    footer = section.footer.paragraphs[0]
    footer.add_run(f"Version {fields['version']}, effective from {fields['effective']}\t\tPage ")
    page_field = f'<w:fldSimple {nsdecls("w")} w:instr="PAGE"><w:r><w:t>1</w:t></w:r></w:fldSimple>'
    footer._p.append(parse_xml(page_field))

    document.add_heading(fields["title"], 0)
    add_table(source.control_rows, [1, 4], header_row=False)
    document.add_paragraph().add_run(fields["notice"]).italic = True
    for block in source.blocks():
        if block.kind == "heading":
            document.add_heading(block.text, block.level - 1)
        elif block.kind == "table":
            add_table(block.rows, block.widths, header_row=True)
        elif block.kind == "list":
            for [text] in block.rows:
                document.add_paragraph(text, style="List Bullet")
        else:
            document.add_paragraph(block.text, "Caption" if block.kind == "caption" else None)
    return save_office(document, source, document.core_properties)


def build_pptx(source: Source) -> bytes:
    """Make a cover slide and one slide for each heading."""
    deck = pptx.Presentation()
    deck.slide_width, deck.slide_height = Cm(33.87), Cm(19.05)
    navy = RGBColor.from_string(NAVY)

    def place(shape: Any, text: str, box: tuple[float, ...], size: int, bold: bool = False) -> Any:
        shape.left, shape.top, shape.width, shape.height = map(Cm, box)
        shape.text_frame.word_wrap = True
        shape.text_frame.text = text
        for paragraph in shape.text_frame.paragraphs:
            paragraph.font.size, paragraph.font.bold, paragraph.space_after = Pt(size), bold, Pt(8)
        return shape

    cover = deck.slides.add_slide(deck.slide_layouts[0])
    title = place(cover.shapes.title, source.fields["title"], (2, 5, 29.8, 3.5), 44, bold=True)
    title.text_frame.paragraphs[0].font.color.rgb = navy
    lines = [source.fields[key] for key in ("organisation", "subtitle", "notice")]
    place(cover.placeholders[1], "\n".join(lines), (3, 9, 27.8, 7), 18)

    for heading, blocks in source.sections():
        has_list = any(block.kind == "list" for block in blocks)
        slide = deck.slides.add_slide(deck.slide_layouts[1 if has_list else 5])
        title = place(slide.shapes.title, heading, (1.5, 0.8, 30.8, 2.2), 32, bold=True)
        title.text_frame.paragraphs[0].font.color.rgb = navy
        top = 3.6
        for block in blocks:
            if block.kind == "list":
                text = "\n".join(item for [item] in block.rows)
                place(slide.placeholders[1], text, (1.8, top, 30.2, 18 - top), 22)
                continue
            frame = (Cm(1.8), Cm(top), Cm(30.2), Cm(1.5 * len(block.rows)))
            table = slide.shapes.add_table(len(block.rows), len(block.rows[0]), *frame).table
            for column, width in zip(table.columns, block.widths, strict=True):
                column.width = Cm(30.2 * width / sum(block.widths))
            for r, row in enumerate(block.rows):
                for c, text in enumerate(row):
                    table.cell(r, c).text = text
                    table.cell(r, c).text_frame.paragraphs[0].font.size = Pt(16)
            top += 1.5 * len(block.rows) + 1
    return save_office(deck, source, deck.core_properties)


def build_xlsx(source: Source) -> bytes:
    """Make one sheet for each heading and the table below it; ISO dates become dates."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for heading, [table] in source.sections():
        sheet = book.create_sheet(heading)
        for row in table.rows:
            dated = [
                date.fromisoformat(c) if re.fullmatch(r"\d{4}-\d\d-\d\d", c) else c for c in row
            ]
            sheet.append(dated)
        for cell in sheet[1]:
            cell.font = Font(bold=True, color="FFFFFF")
            cell.fill = PatternFill("solid", start_color=NAVY)
        for column, width in enumerate(table.widths, start=1):
            sheet.column_dimensions[get_column_letter(column)].width = 7 * width
        for row in sheet.iter_rows():
            for cell in row:
                cell.alignment = Alignment(wrap_text=True, vertical="top")
        sheet.freeze_panes = "B2"
        sheet.cell(len(table.rows) + 2, 1, source.fields["notice"]).font = Font(italic=True)
    return save_office(book, source, book.properties)


# ---- E-mail -------------------------------------------------------------------------------------


def build_eml(source: Source) -> bytes:
    """Make a plain-text e-mail in UTF-8, quoted-printable."""
    fields = source.fields
    message = EmailMessage(policy=SMTP)
    message["Subject"], message["From"], message["To"] = (
        fields["title"],
        fields["from"],
        fields["to"],
    )
    message["Cc"] = fields["cc"]
    message["Date"] = source.issued
    message["Message-ID"] = f"<circular.{source.issued:%Y%m%d}@thornmere.example>"
    text = f"{source.body.strip()}\n\n--\n{fields['notice']}\n"
    message.set_content(text, cte="quoted-printable")
    return message.as_bytes()


FILES: dict[str, Callable[[Source], bytes]] = {
    "anticoagulation-guideline.pdf": build_pdf,
    "blood-transfusion-policy.pdf": build_pdf,
    "controlled-drugs-procedure.docx": build_docx,
    "sepsis-training.pptx": build_pptx,
    "formulary-extract.xlsx": build_xlsx,
    "circular-cd-balance-checks.eml": build_eml,
}


def main() -> None:
    """Write every file and print its size."""
    parser = argparse.ArgumentParser(description="Make the binary files of the sample collection.")
    parser.add_argument("--out", type=Path, default=DOCUMENTS, help="folder to write to")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for name, build in FILES.items():
        (out / name).write_bytes(build(read_source(Path(name).stem)))
        print(f"{name}: {(out / name).stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
