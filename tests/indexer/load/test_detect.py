import pytest

from indexer.load.detect import detect
from rag.errors import BrokenFile, UnsupportedFormat

PAGE = b"<!-- made by x -->\n<!DOCTYPE html><html><body>x</body></html>"
MAIL = b"Return-Path: <a@b.c>\nFrom: a@b.c\nTo: d@e.f\nSubject: x\n\nHello"
TABLE = b"Drug;Dose;Unit\nA;1;g\nB;2;g\nC;3;g\n"
MARKDOWN = b"# Title\n\nSome [link](x) here.\n\n## Sub\n\n- item\n"
PROSE = b"Dear all,\n\nplease note, as said, that this is text.\nBye, bye, all\n"
ROWS = b'{"a": 1}\n{"a": 2}\n'


@pytest.mark.parametrize("name", ["right", "a.txt", "a.pdf", "a.docx", "a.jpg", "a", "a.html"])
@pytest.mark.parametrize("kind", ["pdf", "docx", "pptx", "xlsx", "zip"])
def test_binary_formats_by_content_whatever_the_name(make, kind, name):
    content = {
        "pdf": make.pdf([["x"]]),
        "docx": make.docx("x"),
        "pptx": make.pptx("x"),
        "xlsx": make.xlsx(["x"]),
        "zip": make.zip({"a.txt": b"x"}),
    }[kind]
    assert detect(content, name.replace("right", f"a.{kind}")) == kind


@pytest.mark.parametrize(
    ("content", "name", "format_"),
    [
        (PAGE, "a.txt", "html"),
        (PAGE, "a.pdf", "html"),
        (b"\xef\xbb\xbf" + PAGE, "a", "html"),
        ("<html><p>x".encode("utf-16"), "a.txt", "html"),
        (b'<?xml version="1.0"?>\n<html xmlns="x"><body/></html>', "a.xml", "html"),
        (b"<p>fragment</p>", "a.html", "html"),
        (b"<p>fragment</p>", "a.txt", "text"),
        (b"<svg><text>x</text></svg>", "a.svg", "text"),
        (MAIL, "a.eml", "eml"),
        (MAIL, "a.txt", "eml"),
        (b"Subject: only\n\nx", "a.eml", "eml"),
        (b"no header at all", "a.eml", "text"),
        (b"From: me\nTo: you\nSubject: a memo\n\nHello", "memo.txt", "text"),
        (TABLE, "a.csv", "csv"),
        (TABLE, "a.dat", "csv"),
        (TABLE, "a.txt", "csv"),
        (TABLE, "a.md", "markdown"),
        (TABLE, "a.log", "text"),
        (PROSE, "a.txt", "text"),
        (PROSE, "a.csv", "csv"),
        (PROSE, "a.pdf", "text"),
        (MARKDOWN, "a.md", "markdown"),
        (MARKDOWN, "README", "markdown"),
        (MARKDOWN, "a.txt", "markdown"),
        (MARKDOWN, "a.py", "text"),
        (b"# comment\n# comment\nkey = value\n", "a.txt", "text"),
        (b'{"a": [1, 2]}', "a.json", "json"),
        (b'{"a": [1, 2]}', "a.txt", "json"),
        (b'{\n  "a": 1\n}\n', "a", "json"),
        (b'[\n{"a": 1},\n{"a": 2}\n]', "a.txt", "json"),
        (b'{"a": ', "a.json", "json"),
        (b'"just a string"', "a.json", "json"),
        (b"not json", "a.json", "text"),
        (b"[1] Smith et al., 2020\n[2] Jones, 2021\n", "a.txt", "text"),
        (b"{curly} braces begin this", "a.txt", "text"),
        (ROWS, "a.jsonl", "jsonl"),
        (ROWS, "a.json", "jsonl"),
        (ROWS, "a.txt", "jsonl"),
        (b'{"text": "one row"}', "a.jsonl", "jsonl"),
        (b'{"a": 1}\n{"a": \n{"a": 3}\n', "a", "jsonl"),
        (b"BM is a unit, MZ another", "a.txt", "text"),
        (b"The header %PDF-1.4 begins a PDF file.", "a.txt", "text"),
    ],
)
def test_text_formats(content, name, format_):
    assert detect(content, name) == format_


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\x89PNG\r\n\x1a\n....", "a PNG image"),
        (b"\xff\xd8\xff\xe0....", "a JPEG image"),
        (b"BM\x00\x00\x00\x00", "a bitmap image"),
        (b"\x7fELF\x02\x01", "a program"),
        (b"\x1f\x8b\x08\x00....", "a gzip archive"),
        (b"{\\rtf1 text}", "a rich text file"),
        (b"\x00\x00\x00\x18ftypmp42", "a video or HEIC image"),
        (bytes(range(256)) * 9, "a binary file"),
    ],
)
def test_what_no_loader_reads_is_named(content, what):
    with pytest.raises(UnsupportedFormat, match=rf"^a\.pdf: is {what}.*; convert it"):
        detect(content, "a.pdf")


@pytest.mark.parametrize("content", [b"", b" \r\n"])
def test_empty(content):
    with pytest.raises(BrokenFile, match=r"^a\.pdf: is empty"):
        detect(content, "a.pdf")


@pytest.mark.parametrize("content", [b"\x00" * 5_000, b"\x00\n"])
def test_a_file_of_zeros_is_binary(content):
    with pytest.raises(BrokenFile, match=r"^a\.pdf: is a binary file of zeros only"):
        detect(content, "a.pdf")
