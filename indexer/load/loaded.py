"""What a loader returns: the text of a document and the map of pages and headings over it."""

import datetime
from dataclasses import dataclass
from typing import Literal

MarkKind = Literal["page", "slide", "sheet", "heading"]


@dataclass(frozen=True, slots=True)
class Mark:
    """From ``start`` on (until the next mark of its kind) the text belongs to this page or heading.

    Attributes:
        start: offset into the text, in code points.
        label: page or slide number as text, sheet name, or the heading's words.
        level: depth of a heading, from 1; 0 for the others.
    """

    kind: MarkKind
    start: int
    label: str
    level: int = 0


@dataclass(frozen=True, slots=True)
class Loaded:
    r"""One document's text, ready to be stored.

    Attributes:
        text: NFC, "\n" line ends, no NUL; all offsets point into it.
        marks: sorted by start.
        format: "pdf", "docx", …: by content, not by name.
        content_sha256: of the original bytes (of one row's bytes, for rows of a JSONL corpus).
        uri: its own name, where one file holds several documents: a JSONL row's ``uri`` or ``id``
            (else "file#row number"), "mail.eml/attachment.pdf", "archive.zip/member"; None for the
            document that is the file.
        body_start: where its text begins; what is before is metadata, and in no chunk.
    """

    text: str
    marks: tuple[Mark, ...]
    title: str | None
    format: str
    content_sha256: str
    uri: str | None = None
    date: datetime.date | None = None
    tags: tuple[str, ...] = ()
    body_start: int = 0


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """Something that could not be loaded while the rest of its file or folder could.

    Attributes:
        uri: of the file, archive member, attachment or row.
        reason: one line that says what is wrong and what to do; does not repeat the uri.
    """

    uri: str
    reason: str
