"""PDF: the text layer page by page, with the outline's headings."""

import re
from collections.abc import Iterator

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from indexer.load.compose import TextBuilder, clean
from indexer.load.dates import parse_pdf_date
from indexer.load.limits import Limits
from indexer.load.loaded import Loaded
from indexer.load.pdf_lines import with_blank_lines
from rag.errors import BrokenFile, LimitExceeded

_TAIL_BYTES = 4096
"""A complete file ends with %%EOF; readers tolerate about a kilobyte of rubbish behind it."""

_MAX_HEADINGS = 20_000

# Where a hyphen ends a line between two letters, pdfium puts one marker for hyphen and line end.
_HYPHEN_MARKERS = str.maketrans({"\x02": "-\n", "\ufffe": "-\n"})


def load(content: bytes, name: str, limits: Limits) -> Loaded:
    """Return the text of all pages, a mark for each page that has text.

    Raises:
        BrokenFile: it is truncated, encrypted or has no text layer.
        LimitExceeded: it has too many pages or too long a text.
    """
    document = _open(content, name)
    try:
        if len(document) > limits.max_pages:
            raise LimitExceeded(
                f"{name}: has {len(document):,} pages, more than {limits.max_pages:,}; "
                "split it or raise RAG_LOAD_MAX_PAGES"
            )
        if document.get_formtype() != pdfium_c.FORMTYPE_NONE:
            document.init_forms()
        builder = TextBuilder(name, limits)
        page_spans = []
        for index in range(len(document)):
            builder.mark("page", str(index + 1))
            before = builder.length
            builder.add(_page_text(document, index, name), gap=2)
            page_spans.append((before, builder.length))
        if not builder.length:
            raise BrokenFile(f"{name}: has no text layer (scanned?): run OCR first")
        metadata = document.get_metadata_dict(skip_empty=True)
        outline = list(_outline(document))
    finally:
        document.close()
    text = builder.text
    for level, title, page in outline:
        start, end = page_spans[page]
        start = _find_heading(text, title, start, end)
        builder.mark_at("heading", title, start, level)
    return builder.loaded(
        content,
        "pdf",
        title=_title(metadata.get("Title")),
        date=parse_pdf_date(metadata.get("CreationDate", "")),
    )


def _open(content: bytes, name: str) -> pdfium.PdfDocument:
    if b"%%EOF" not in content[-_TAIL_BYTES:]:
        raise BrokenFile(f"{name}: is cut off (its end is missing); get a complete copy")
    try:
        return pdfium.PdfDocument(content)
    except pdfium.PdfiumError as error:
        if error.err_code == pdfium_c.FPDF_ERR_PASSWORD:
            raise BrokenFile(
                f"{name}: is encrypted; save a copy without a password and add that"
            ) from None
        if error.err_code == pdfium_c.FPDF_ERR_SECURITY:
            raise BrokenFile(
                f"{name}: is encrypted in a way that can't be read; save an unprotected copy"
            ) from None
        if error.err_code == pdfium_c.FPDF_ERR_SUCCESS:
            raise BrokenFile(f"{name}: has no pages; get a complete copy") from None
        raise BrokenFile(f"{name}: is a damaged or truncated PDF; get a complete copy") from None


def _page_text(document: pdfium.PdfDocument, index: int, name: str) -> str:
    try:
        page = document[index]
        if document.formenv is not None:
            # What people filled in is text of the page only after this.
            page.flatten()
            page.close()
            page = document[index]
        text_page = page.get_textpage()
        # get_text_range knows only the first 65,536 code points, but also text outside the page.
        bounded: str = text_page.get_text_bounded() or text_page.get_text_range()
        text = with_blank_lines(text_page, bounded)
        text_page.close()
        page.close()
    except pdfium.PdfiumError:
        raise BrokenFile(f"{name}: page {index + 1} is damaged; get a complete copy") from None
    return clean(text.translate(_HYPHEN_MARKERS)).strip()


def _outline(document: pdfium.PdfDocument) -> Iterator[tuple[int, str, int]]:
    for count, bookmark in enumerate(document.get_toc()):
        if count >= _MAX_HEADINGS:
            return
        destination = bookmark.get_dest()
        page = destination.get_index() if destination else None
        title = bookmark.get_title()
        if title and page is not None and 0 <= page < len(document):
            yield bookmark.level + 1, title, page


def _find_heading(text: str, title: str, start: int, end: int) -> int:
    """Return where the page holds the heading's words, else the page's start."""
    while start < end and text[start].isspace():
        start += 1
    # A heading may be wrapped on the page.
    words = r"\s+".join(map(re.escape, clean(title).split()))
    found = re.compile(words).search(text, start, end)
    return found.start() if found else start


def _title(title: str | None) -> str | None:
    # What writers of PDF files put there when nobody gave a title.
    return None if title is None or title.strip().lower() in ("untitled", "(anonymous)") else title
