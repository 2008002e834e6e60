"""PPTX: slide by slide, with titles, tables and speaker notes."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any, cast

from pptx.enum.shapes import PP_PLACEHOLDER
from pptx.package import Package

from indexer.load.compose import TextBuilder
from indexer.load.dates import created_on, given_title
from indexer.load.limits import Limits
from indexer.load.loaded import Loaded
from indexer.load.office_package import check_package
from indexer.load.rows import join_cells
from rag.errors import LimitExceeded


def load(content: bytes, name: str, limits: Limits) -> Loaded:
    """Return the text of all slides; a slide's mark is its number, its title a heading.

    Raises:
        BrokenFile: it is damaged.
        LimitExceeded: it expands to too much or has too many slides.
    """
    check_package(content, name, limits)
    # The library's own entry point refuses slide shows and templates, which differ in name only.
    presentation = cast(Any, Package.open(BytesIO(content))).main_document_part.presentation
    if len(presentation.slides) > limits.max_pages:
        raise LimitExceeded(
            f"{name}: has more than {limits.max_pages:,} slides; "
            "split it or raise RAG_LOAD_MAX_PAGES"
        )
    builder = TextBuilder(name, limits)
    footers: set[str] = set()
    for number, slide in enumerate(presentation.slides, start=1):
        builder.mark("slide", str(number))
        _write_slide(builder, slide, footers)
    properties = presentation.core_properties
    return builder.loaded(
        content,
        "pptx",
        title=given_title(properties.title),
        date=created_on(properties.created),
    )


def _write_slide(builder: TextBuilder, slide: Any, footers: set[str]) -> None:
    title = slide.shapes.title
    if title is not None and title.text_frame.text.strip():
        builder.mark("heading", title.text_frame.text, 1)
        builder.add(title.text_frame.text, gap=2)
    for shape in _shapes(slide.shapes):
        if title is not None and shape.shape_id == title.shape_id:
            continue
        if _is_repeated(shape, footers):
            continue
        if shape.has_text_frame:
            builder.add(_paragraphs(shape.text_frame), gap=2)
        elif getattr(shape, "has_table", False):
            rows = (join_cells(cell.text for cell in row.cells) for row in shape.table.rows)
            builder.add("\n".join(filter(None, rows)), gap=2)
        elif getattr(shape, "has_chart", False):
            builder.add(_chart(shape.chart), gap=2)
    if slide.has_notes_slide:
        notes = slide.notes_slide.notes_text_frame
        if notes is not None and notes.text.strip():
            builder.add(f"Notes: {_paragraphs(notes)}", gap=2)


def _is_repeated(shape: Any, footers: set[str]) -> bool:
    """Tell slide numbers, and dates and footers that an earlier slide had."""
    kind = shape.placeholder_format.type if shape.is_placeholder else None
    if kind == PP_PLACEHOLDER.SLIDE_NUMBER:
        return True
    if kind not in (PP_PLACEHOLDER.DATE, PP_PLACEHOLDER.FOOTER):
        return False
    repeated = shape.text_frame.text in footers
    footers.add(shape.text_frame.text)
    return repeated


def _shapes(shapes: Any) -> Iterator[Any]:
    """Return shapes, those of groups in the group's place."""
    for shape in shapes:
        if hasattr(shape, "shapes"):
            yield from _shapes(shape.shapes)
        else:
            yield shape


def _paragraphs(frame: Any) -> str:
    lines = []
    for paragraph in frame.paragraphs:
        # A vertical tab is python-pptx's word for a line break inside a paragraph.
        text = paragraph.text.replace("\v", "\n")
        lines.append(f"- {text}" if paragraph.level and text.strip() else text)
    return "\n".join(line for line in lines if line.strip())


def _chart(chart: Any) -> str:
    """Return a chart's title and the names of its series."""
    lines = []
    if chart.has_title and chart.chart_title.has_text_frame:
        lines.append(chart.chart_title.text_frame.text)
    lines.extend(series.name for plot in chart.plots for series in plot.series)
    return "\n".join(filter(None, lines))
