"""Tells a file's format from its content, with its name as a hint only."""

import codecs
import csv
import json
import re
import zipfile
from collections import Counter
from io import BytesIO
from itertools import islice
from pathlib import PurePosixPath

from indexer.load.delimited import records
from indexer.load.encoding import decode
from indexer.load.formats import Format
from indexer.load.signatures import is_old_office_encrypted, name_of_binary
from rag.errors import BrokenFile, UnsupportedFormat

_HEAD_CHARS = 64 * 1024
_HINTS: dict[str, Format] = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".mdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".eml": "eml",
}
# Other text formats, whose lines must not be taken for Markdown or a table.
_PLAIN_SUFFIXES = frozenset(
    [
        *(".log", ".py", ".sh", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".conf", ".tex", ".rst"),
        *(".sql", ".xml"),
    ]
)

_HTML_START = re.compile(
    # The group of comments is atomic: it could be taken apart in exponentially many ways.
    r"\s*(?:<\?xml[^>]*>\s*)?(?>(?:<!--.*?-->\s*)*)<(?:!doctype\s+html|html|head|body)\b",
    re.I | re.S,
)
_HTML_TAG = re.compile(r"</(?:p|div|table|body|html|h[1-6]|ul|ol|span|a)\s*>", re.I)
_MAIL_FIELD = re.compile(r"([!-9;-~]+):[ \t]|([!-9;-~]+):$")
_MAIL_FIELDS = frozenset(
    [
        *("from", "to", "cc", "subject", "date", "sender", "reply-to", "content-type", "x-mailer"),
        *(_MAIL_MACHINE_FIELDS := ("message-id", "mime-version", "received", "return-path")),
    ]
)
_MARKDOWN_HEADING = re.compile(r"^#{1,6} \S", re.MULTILINE)
_MARKDOWN_OTHER = re.compile(
    r"^```|^\|.*\|[ \t]*$\n^\|[ :|-]+\|[ \t]*$|^[-*] \S|\[[^\[\]\n]+\]\([^()\n]+\)|\*\*\S",
    re.MULTILINE,
)


def detect(content: bytes, name: str) -> Format:
    """Return the format of a file.

    Args:
        content: all of its bytes.
        name: its name; decides only between readings of the same text.

    Raises:
        BrokenFile: it is empty, or an encrypted office document.
        UnsupportedFormat: no loader reads it.
    """
    if not content.strip(b"\x00 \t\r\n"):
        if b"\x00" in content:
            raise BrokenFile(f"{name}: is a binary file of zeros only; nothing to read")
        raise BrokenFile(f"{name}: is empty; nothing to read")
    if is_zip(content):
        return _detect_zip(content, name)
    if _is_pdf(content):
        return "pdf"
    if is_old_office_encrypted(content):
        raise BrokenFile(f"{name}: is encrypted; save a copy without a password and add that")
    binary = name_of_binary(content)
    if binary:
        raise UnsupportedFormat(f"{name}: is {binary}; convert it to PDF or text")
    hint = _hint(name)
    # Each part of a message may have an encoding of its own, so the whole need not have one.
    head = content[:_HEAD_CHARS].removeprefix(codecs.BOM_UTF8).decode("latin-1")
    if hint in (None, "eml") and _is_mail(head, hint):
        return "eml"
    return _detect_text(decode(content, name), name, hint)


def _hint(name: str) -> Format | None:
    return _HINTS.get(PurePosixPath(name).suffix.lower())


def _is_pdf(content: bytes) -> bool:
    # Readers accept the header anywhere in the first kilobyte; so may a text about PDF have it.
    return content.startswith(b"%PDF-") or (
        b"%PDF-" in content[:1024] and b"startxref" in content[-4096:]
    )


def is_zip(head: bytes) -> bool:
    """Tell a ZIP archive by its first four bytes."""
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def _detect_zip(content: bytes, name: str) -> Format:
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            return format_of_archive(archive, name)
    # zipfile raises the last one for compressions and versions that it does not know.
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise BrokenFile(
            f"{name}: is a damaged or truncated ZIP archive or office document; get a complete copy"
        ) from None


def format_of_archive(archive: zipfile.ZipFile, name: str) -> Format:
    """Return which office format the parts make, else "zip".

    Raises:
        UnsupportedFormat: an office format or e-book that no loader reads.
    """
    parts = set(archive.namelist())
    if "[Content_Types].xml" in parts:
        if any(part.startswith("word/document") for part in parts):
            return "docx"
        if "ppt/presentation.xml" in parts:
            return "pptx"
        if "xl/workbook.xml" in parts:
            return "xlsx"
        if "xl/workbook.bin" in parts:
            raise UnsupportedFormat(f"{name}: is a binary workbook; save it as .xlsx")
    if "mimetype" in parts and ("content.xml" in parts or "META-INF/container.xml" in parts):
        raise UnsupportedFormat(
            f"{name}: is an OpenDocument file or e-book; save it as .docx, .xlsx, .pptx or PDF"
        )
    return "zip"


def _detect_text(text: str, name: str, hint: Format | None) -> Format:
    head = text[:_HEAD_CHARS].lstrip("\ufeff \t\r\n")
    if _HTML_START.match(head) or (hint == "html" and _HTML_TAG.search(head)):
        return "html"
    if head[:1] in ("{", "["):
        structured = _detect_json(text, hint)
        if structured:
            return structured
    elif hint in ("json", "jsonl"):
        # Rows of plain values, or something that only its name calls JSON.
        return "jsonl" if hint == "jsonl" else _json_or_text(text)
    if hint in ("csv", "markdown"):
        return hint
    if hint is None and PurePosixPath(name).suffix.lower() not in _PLAIN_SUFFIXES:
        if _is_table(head):
            return "csv"
        if len(_MARKDOWN_HEADING.findall(head)) > 1 and _MARKDOWN_OTHER.search(head):
            return "markdown"
    return "text"


def _detect_json(text: str, hint: Format | None) -> Format | None:
    if hint == "jsonl":
        return "jsonl"
    lines = [line for line in islice(_lines(text), 50) if line.strip()]
    parsed = [_is_json(line, only_containers=True) for line in lines]
    if len(lines) > 1 and parsed[0] and sum(parsed) * 2 > len(lines):
        return "jsonl"
    if hint == "json" or _is_json(text):
        return "json"
    return None


def _json_or_text(text: str) -> Format:
    return "json" if _is_json(text) else "text"


def _is_json(text: str, *, only_containers: bool = False) -> bool:
    try:
        value = json.loads(text, parse_float=str, parse_int=str, parse_constant=str, strict=False)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict | list) or not only_containers


def _is_mail(head: str, hint: Format | None) -> bool:
    fields = set()
    for line in islice(head.split("\n"), 200):
        line = line.rstrip("\r")
        if line.startswith((" ", "\t")) or line.startswith("From "):
            continue
        found = _MAIL_FIELD.match(line)
        if not found:
            break
        fields.add((found[1] or found[2]).lower())
    known = fields & _MAIL_FIELDS
    if hint == "eml":
        return bool(known)
    return len(known) >= 3 and not fields.isdisjoint(_MAIL_MACHINE_FIELDS)


def _is_table(head: str) -> bool:
    """Tell a table without a telling name: every line has the same three or more short cells."""
    sample = head if len(head) < _HEAD_CHARS else head[: head.rfind("\n")]
    for delimiter in "\t;,":
        if delimiter not in sample:
            continue
        try:
            rows = [row for row in islice(records(sample, delimiter), 100) if row]
        except csv.Error:
            continue
        widths = Counter(map(len, rows))
        if len(rows) >= 4 and len(widths) == 1 and next(iter(widths)) >= 3:
            cells = [cell for row in rows for cell in row]
            return sum(map(len, cells)) < 40 * len(cells)
    return False


def _lines(text: str) -> list[str]:
    return text[: _HEAD_CHARS * 4].split("\n")
