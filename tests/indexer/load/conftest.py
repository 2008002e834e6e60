"""Makers of real files, and the promises that hold for every loaded text."""

import re
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from typing import Any

import docx
import openpyxl
import pptx
import pytest
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas

from indexer.load.dispatch import load_document
from indexer.load.limits import Limits
from indexer.load.loaded import Loaded, LoadFailure
from indexer.load.sandbox import Sandbox


def pdf_bytes(
    pages: Sequence[Sequence[str]],
    *,
    title: str | None = None,
    outline: Sequence[tuple[str, int, int]] = (),
    password: str | None = None,
) -> bytes:
    """Lines per page; outline entries are (title, page from 0, level from 0)."""
    stream = BytesIO()
    encryption = None if password is None else StandardEncryption(password)
    canvas = Canvas(stream, encrypt=encryption)
    if title:
        canvas.setTitle(title)
    for index, lines in enumerate(pages):
        for heading, page, level in outline:
            if page == index:
                canvas.bookmarkPage(f"{page}-{heading}")
                canvas.addOutlineEntry(heading, f"{page}-{heading}", level)
        for row, line in enumerate(lines):
            canvas.drawString(72, 780 - 14 * row, line)
        canvas.showPage()
    canvas.save()
    return stream.getvalue()


def saved(document: Any) -> bytes:
    """Bytes of a python-docx, python-pptx or openpyxl document."""
    stream = BytesIO()
    document.save(stream)
    return stream.getvalue()


def docx_bytes(*paragraphs: str) -> bytes:
    document = docx.Document()
    for paragraph in paragraphs:
        document.add_paragraph(paragraph)
    return saved(document)


def pptx_bytes(*titles: str) -> bytes:
    presentation = pptx.Presentation()
    for title in titles:
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = title
    return saved(presentation)


def xlsx_bytes(*rows: Sequence[Any]) -> bytes:
    workbook = openpyxl.Workbook()
    for row in rows:
        workbook.active.append(row)
    return saved(workbook)


def zip_bytes(members: Mapping[str, bytes] | Sequence[tuple[str, bytes]]) -> bytes:
    stream = BytesIO()
    pairs = members.items() if isinstance(members, Mapping) else members
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in pairs:
            archive.writestr(name, content)
    return stream.getvalue()


def with_part(package: bytes, name: str, content: bytes) -> bytes:
    """A zipped office document with one part replaced or added."""
    stream = BytesIO()
    with (
        zipfile.ZipFile(BytesIO(package)) as old,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for part in old.namelist():
            if part != name:
                new.writestr(part, old.read(part))
        new.writestr(name, content)
    return stream.getvalue()


class Make:
    """The makers above, as one fixture."""

    pdf = staticmethod(pdf_bytes)
    docx = staticmethod(docx_bytes)
    pptx = staticmethod(pptx_bytes)
    xlsx = staticmethod(xlsx_bytes)
    zip = staticmethod(zip_bytes)
    saved = staticmethod(saved)
    with_part = staticmethod(with_part)


def assert_storable(document: Loaded) -> None:
    """What every loader promises of its text and marks."""
    text = document.text
    assert text.strip()
    assert unicodedata.is_normalized("NFC", text)
    text.encode("utf-8")  # no lone surrogates
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)
    starts = [mark.start for mark in document.marks]
    assert starts == sorted(starts)
    assert all(0 <= start <= len(text) for start in starts)
    assert all(mark.label.strip() for mark in document.marks)
    assert len(document.content_sha256) == 64


@pytest.fixture(scope="session")
def make() -> Make:
    return Make()


@pytest.fixture(scope="session")
def storable() -> Callable[[Loaded], None]:
    return assert_storable


@pytest.fixture(scope="session")
def load_all() -> Callable[..., list[Loaded | LoadFailure]]:
    """Load bytes in this process and check what every loader promises."""

    def load(content: bytes, name: str, **limits: Any) -> list[Loaded | LoadFailure]:
        documents = list(load_document(content, name, Limits(**limits)))
        for document in documents:
            if isinstance(document, Loaded):
                assert_storable(document)
        return documents

    return load


@pytest.fixture(scope="session")
def load(load_all: Callable[..., list[Loaded | LoadFailure]]) -> Callable[..., Loaded]:
    """Load bytes that are one document."""

    def load_one(content: bytes | str, name: str, **limits: Any) -> Loaded:
        if isinstance(content, str):
            content = content.encode()
        [document] = load_all(content, name, **limits)
        assert isinstance(document, Loaded)
        return document

    return load_one


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Limits(seconds=20)) as sandbox:
        yield sandbox
