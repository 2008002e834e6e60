"""DOCX: paragraphs and tables in body order, heading styles as marks."""

import re
from collections.abc import Iterator
from io import BytesIO
from typing import Any, cast

from docx.document import Document
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.opc.part import PartFactory
from docx.oxml.ns import qn
from docx.oxml.parser import parse_xml
from docx.package import Package
from docx.parts.document import DocumentPart

from indexer.load.compose import TextBuilder
from indexer.load.dates import created_on, given_title
from indexer.load.limits import Limits
from indexer.load.loaded import Loaded
from indexer.load.office_package import check_package
from indexer.load.rows import join_cells

# The library's own entry point takes plain documents only; these differ in their content type.
for _kind in (
    "openxmlformats-officedocument.wordprocessingml.template",
    "ms-word.document.macroEnabled",
    "ms-word.template.macroEnabledTemplate",
):
    PartFactory.part_type_for[f"application/vnd.{_kind}.main+xml"] = DocumentPart

_HEADING_STYLE = re.compile(r"heading (\d)", re.IGNORECASE)

# Deleted and moved-away text, field codes, the copy of a drawing for old programs, ruby glosses.
_SKIPPED = frozenset(
    [qn(f"w:{tag}") for tag in ("del", "moveFrom", "instrText", "delText", "pPr", "rPr", "rt")]
    + ["{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"]
)
_MATH_TEXT = "{http://schemas.openxmlformats.org/officeDocument/2006/math}t"
_CHARACTERS = {
    qn("w:tab"): "\t",
    qn("w:br"): "\n",
    qn("w:cr"): "\n",
    qn("w:noBreakHyphen"): "-",
    qn("w:softHyphen"): "",
}
_PARAGRAPH, _TABLE, _ROW, _CELL = qn("w:p"), qn("w:tbl"), qn("w:tr"), qn("w:tc")
_TEXT, _BOX = qn("w:t"), qn("w:txbxContent")
_REFERENCE_OF = {
    RELATIONSHIP_TYPE.FOOTNOTES: qn("w:footnoteReference"),
    RELATIONSHIP_TYPE.ENDNOTES: qn("w:endnoteReference"),
}


def load(content: bytes, name: str, limits: Limits) -> Loaded:
    """Return the body in order, with footnotes below their paragraphs.

    Insertions of tracked changes are kept and deletions dropped. Headers and footers, which often
    hold number and validity of a document, come once at the end.

    Raises:
        BrokenFile: it is damaged.
        LimitExceeded: it expands to too much.
    """
    check_package(content, name, limits)
    document = cast(DocumentPart, Package.open(BytesIO(content)).main_document_part).document
    writer = _Writer(document, TextBuilder(name, limits))
    writer.write_blocks(document.element.body)
    writer.write_page_frames()
    properties = document.core_properties
    return writer.builder.loaded(
        content,
        "docx",
        title=given_title(properties.title) or writer.title,
        date=created_on(properties.created),
    )


class _Writer:
    def __init__(self, document: Document, builder: TextBuilder) -> None:
        self.builder = builder
        self.title: str | None = None
        self._document = document
        self._levels: dict[str | None, int] = {}
        self._notes = _notes(document)

    def write_blocks(self, parent: Any) -> None:
        in_list = False
        for block in _blocks(parent):
            if block.tag == _TABLE:
                self._write_table(block)
                in_list = False
            else:
                in_list = self._write_paragraph(block, in_list)

    def write_page_frames(self) -> None:
        seen = set()
        for section in self._document.sections:
            for frame in (
                *(section.first_page_header, section.header, section.even_page_header),
                *(section.first_page_footer, section.footer, section.even_page_footer),
            ):
                if frame.is_linked_to_previous:
                    continue
                for block in _blocks(frame._element):
                    words = " ".join(_text(block).split())
                    # A page number without its page says nothing.
                    if words not in seen and re.search(r"[^\W\d]", words):
                        seen.add(words)
                        self.builder.add(words, gap=1 if len(seen) > 1 else 2)

    def _write_paragraph(self, paragraph: Any, in_list: bool) -> bool:
        text = _text(paragraph)
        level = self._heading_level(paragraph)
        is_item = not level and self._is_list_item(paragraph)
        if level and text.strip():
            self.builder.mark("heading", text, level)
            if self._style_name(paragraph) == "Title" and self.title is None:
                self.title = text
        self.builder.add(
            f"- {text}" if is_item and text.strip() else text, gap=2 - (is_item and in_list)
        )
        for reference in paragraph.iter(*_REFERENCE_OF.values()):
            note = self._notes.get((reference.tag, reference.get(qn("w:id"))))
            if note:
                self.builder.add(f"[Note: {note}]")
        for box in paragraph.iter(_BOX):
            if not any(ancestor.tag in _SKIPPED for ancestor in box.iterancestors()):
                self.write_blocks(box)
        return is_item

    def _write_table(self, table: Any) -> None:
        for number, row in enumerate(_children(table, _ROW)):
            cells = (
                " ".join(_text(block) for block in _blocks(cell)) for cell in _children(row, _CELL)
            )
            self.builder.add(join_cells(cells), gap=1 if number else 2)

    def _style_id(self, paragraph: Any) -> str | None:
        style: str | None = paragraph.style
        return style

    def _style_name(self, paragraph: Any) -> str | None:
        style = self._document.styles.element.get_by_id(self._style_id(paragraph) or "")
        return style.name_val if style is not None else None

    def _heading_level(self, paragraph: Any) -> int:
        """Return a heading's depth from 1, or 0: by outline level, or by its style's name."""
        properties = paragraph.pPr
        own = properties.find(qn("w:outlineLvl")) if properties is not None else None
        if own is not None:
            return _outline_level(own)
        style_id = self._style_id(paragraph)
        if style_id not in self._levels:
            self._levels[style_id] = self._level_of_style(style_id)
        return self._levels[style_id]

    def _level_of_style(self, style_id: str | None) -> int:
        styles = self._document.styles.element
        for _ in range(10):  # styles are based on styles; damaged files make that a loop
            style = styles.get_by_id(style_id) if style_id else None
            if style is None:
                return 0
            named = _HEADING_STYLE.fullmatch(style.name_val or "")
            if named:
                return int(named[1])
            if style.name_val == "Title":
                return 1
            outline = style.find(f"{qn('w:pPr')}/{qn('w:outlineLvl')}")
            if outline is not None:
                return _outline_level(outline)
            base = style.find(qn("w:basedOn"))
            style_id = base.get(qn("w:val")) if base is not None else None
        return 0

    def _is_list_item(self, paragraph: Any) -> bool:
        properties = paragraph.pPr
        if properties is not None and properties.numPr is not None:
            return True
        return (self._style_name(paragraph) or "").startswith("List ")


def _outline_level(outline: Any) -> int:
    value = outline.get(qn("w:val"), "9")
    # 0-8 are headings, 9 is body text.
    return int(value) + 1 if value.isdigit() and int(value) < 9 else 0


def _children(parent: Any, tag: str) -> Iterator[Any]:
    """Return rows or cells, also those in content controls, not those of inner tables."""
    for child in parent:
        if child.tag == tag:
            yield child
        elif isinstance(child.tag, str) and child.tag not in _SKIPPED and child.tag != _TABLE:
            yield from _children(child, tag)


def _blocks(parent: Any) -> Iterator[Any]:
    """Return paragraphs and tables in order, also those in content controls and insertions."""
    for child in parent:
        if child.tag in (_PARAGRAPH, _TABLE):
            yield child
        elif isinstance(child.tag, str) and child.tag not in _SKIPPED:
            yield from _blocks(child)


def _text(block: Any) -> str:
    """Return the text of a paragraph, or of all cells of an inner table."""
    pieces = []
    stack = [block]
    while stack:
        element = stack.pop()
        if isinstance(element, str):
            pieces.append(element)
            continue
        if not isinstance(element.tag, str) or element.tag in _SKIPPED or element.tag == _BOX:
            continue
        if element.tag in (_TEXT, _MATH_TEXT):
            pieces.append(element.text or "")
        elif element.tag in _CHARACTERS:
            pieces.append(_CHARACTERS[element.tag])
        else:
            if element is not block and element.tag in (_PARAGRAPH, _CELL):
                stack.append(" ")
            stack.extend(reversed(element))
    return "".join(pieces)


def _notes(document: Document) -> dict[tuple[str, str], str]:
    """Return foot- and endnotes by the tag of their references and their id."""
    notes = {}
    for relation in document.part.rels.values():
        tag = _REFERENCE_OF.get(relation.reltype)
        if tag and not relation.is_external:
            for note in parse_xml(relation.target_part.blob):
                if note.get(qn("w:type")) is None:  # separators have one
                    notes[tag, note.get(qn("w:id"))] = " ".join(_text(note).split())
    return notes
