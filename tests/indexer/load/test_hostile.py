"""Files made to hurt, and files of noise."""

import random
import time
import zipfile
from contextlib import suppress
from functools import cache
from io import BytesIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexer.load.dispatch import load_document
from indexer.load.limits import Limits
from indexer.load.loaded import Loaded, LoadFailure
from rag.errors import BrokenFile, LimitExceeded, LoadError

LAUGHS = (
    '<!DOCTYPE x [<!ENTITY a "ha">'
    + "".join(
        f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefghi", "bcdefghij", strict=True)
    )
    + "]>"
)
MAIN_PART = {
    "docx": "word/document.xml",
    "pptx": "ppt/slides/slide1.xml",
    "xlsx": "xl/worksheets/sheet1.xml",
}


def office(make, kind):
    return {"docx": make.docx("x"), "pptx": make.pptx("x"), "xlsx": make.xlsx(["x", "y"])}[kind]


def laughing(package, part, encoding="utf-8"):
    with zipfile.ZipFile(BytesIO(package)) as archive:
        xml = archive.read(part).decode()
    body = xml[xml.index("?>") + 2 :] if xml.startswith("<?xml") else xml
    return f'<?xml version="1.0" encoding="{encoding}"?>{LAUGHS}{body}'.encode(encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("kind", MAIN_PART)
def test_billion_laughs_in_an_office_document(load, make, kind, encoding):
    package = office(make, kind)
    bomb = laughing(package, MAIN_PART[kind], encoding)
    with pytest.raises(BrokenFile, match=rf"^a\.{kind}: declares XML entities"):
        load(make.with_part(package, MAIN_PART[kind], bomb), f"a.{kind}")


@pytest.mark.parametrize("part", ["docProps/core.xml", "[Content_Types].xml", "_rels/.rels"])
def test_billion_laughs_in_any_part(load, make, part):
    package = office(make, "docx")
    with pytest.raises(BrokenFile, match="declares XML entities"):
        load(make.with_part(package, part, laughing(package, part)), "a.docx")


def test_a_document_type_across_the_border_of_two_reads(load, make):
    for shift in range(12):
        part = b"<?xml version='1.0'?><!--".ljust(2**18 - shift, b"-") + b"--><!DOCTYPE x><x/>"
        with pytest.raises(BrokenFile, match="declares XML entities"):
            load(make.with_part(office(make, "docx"), "word/x.xml", part), "a.docx")


def test_a_picture_with_a_document_type_does_no_harm(load, make):
    part = f"<?xml version='1.0'?>{LAUGHS}<svg>&j;</svg>".encode()
    package = make.with_part(office(make, "docx"), "word/media/image1.svg", part)
    assert load(package, "a.docx").text == "x"


@pytest.mark.parametrize("name", ["a.svg", "a.xml", "a.html"])
def test_billion_laughs_elsewhere_stay_as_they_are_written(load, name):
    source = f"<?xml version='1.0'?>{LAUGHS}<svg xmlns='x'><text>&j; end</text></svg>"
    assert len(load(source, name).text) <= len(source)
    page = f"{LAUGHS}<html><body><p>&j; end</p></body></html>"
    assert load(page, name).text.endswith("end") or name != "a.html"


def test_external_entities_are_not_read(load, make, tmp_path):
    (tmp_path / "secret").write_text("the secret")
    entity = f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{tmp_path}/secret">]>'
    document = load(f"<?xml version='1.0'?>{entity}<html><body>&e; x</body></html>", "a.html")
    assert "the secret" not in document.text


@pytest.mark.parametrize("kind", MAIN_PART)
def test_zip_bomb_in_an_office_document(load, make, kind):
    package = make.with_part(office(make, kind), MAIN_PART[kind], b"<x>" + b" " * 5_000_000)
    with pytest.raises(LimitExceeded, match=rf"^a\.{kind}: expands to more than 4 MiB; "):
        load(package, f"a.{kind}", max_expanded_bytes=2**22)


def test_zip_bomb_that_declares_to_be_small(load, make):
    package = bytearray(
        make.with_part(office(make, "docx"), "word/x.xml", b"<x>" + b" " * 5_000_000)
    )
    start = package.rfind(b"PK\x01\x02")
    package[start + 24 : start + 28] = (10).to_bytes(4, "little")
    with pytest.raises(LoadError, match=r"^a\.docx: "):
        load(bytes(package), "a.docx", max_expanded_bytes=2**22)


def test_office_document_with_too_many_parts(load, make):
    package = office(make, "docx")
    stream = BytesIO(package)
    with zipfile.ZipFile(stream, "a") as archive:
        for n in range(100):
            archive.writestr(f"word/{n}.xml", "<x/>")
    with pytest.raises(LimitExceeded, match="more than 50 parts"):
        load(stream.getvalue(), "a.docx", max_members=50)


def test_office_document_compressed_by_another_method(load, make):
    stream = BytesIO(office(make, "docx"))
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("word/x.xml", "<x/>")
    with pytest.raises(BrokenFile, match="other than deflate"):
        load(stream.getvalue(), "a.docx")


def test_xlsx_with_an_absurd_row_number(load, make):
    package = make.xlsx(["a", "b"], ["c", "d"])
    with zipfile.ZipFile(BytesIO(package)) as archive:
        part = archive.read("xl/worksheets/sheet1.xml").decode()
    assert '<row r="2"' in part
    part = part.replace('<row r="2"', '<row r="99999999999"')
    with pytest.raises(BrokenFile, match=r"^a\.xlsx: numbers rows beyond"):
        load(make.with_part(package, "xl/worksheets/sheet1.xml", part.encode()), "a.xlsx")


def test_docx_nested_deeply(load, make):
    main = '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>'
    xml = main + "<w:tbl><w:tr><w:tc>" * 5_000
    with pytest.raises(LoadError, match=r"^a\.docx: "):
        load(make.with_part(make.docx("x"), "word/document.xml", xml.encode()), "a.docx")


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (">" * 50_000 + " x", "a.md"),
        ("- " * 5_000 + "x", "a.md"),
        ("[" * 20_000 + "x", "a.md"),
        ("# " + "*a" * 5_000, "a.md"),
        ("# " + "[a](" * 3_000, "a.md"),
        ("# " + "`" * 20_000 + "x", "a.md"),
        ("|a" * 20_000 + "\n" + "|-" * 20_000 + "\n", "a.md"),
        ("<table><tr><td>" * 1_000 + "x", "a.html"),
        ("<b><i><u><p>" * 1_000 + "x", "a.html"),
        ("<header>" * 300 + "x", "a.html"),
        ('"' * 100_001, "a.csv"),
        ("," * 100_000 + "\n" + "x," * 100_000, "a.csv"),
        ("a: b\n" * 30_000, "a.eml"),
        ("<!---->" * 5_000 + "x", "a.txt"),
        ("<!--" * 10_000 + "x", "a.html"),
        ("# a\n## b\n" + "[" * 60_000, "a.txt"),
        ("# a\n## b\n" + "[a](" * 15_000, "a.txt"),
        ("|" * 60_000 + "\n# a\n## b\n", "a.txt"),
        ("9" * 60_000 + ",a\n" + "1.,' " * 15_000 + ",b\n", "a.csv"),
        ("From: " + "=?utf-8?q?a?= " * 5_000 + "\n\nx", "a.eml"),
        ("From: a\nTo: " + "<(" * 20_000 + "\n\nx", "a.eml"),
        ("---\n" + "a: b\n" * 20_000 + "---\nx", "a.md"),
    ],
)
def test_texts_that_make_parsers_slow(source, name):
    started = time.process_time()
    with suppress(LoadError):
        list(load_document(source.encode(), name, Limits()))
    assert time.process_time() - started < 5


def check_outcome(content, name, storable):
    """Every document is storable, every failure a line; anything else is a bug."""
    reasons = []
    try:
        for document in load_document(content, name, Limits(max_expanded_bytes=2**24)):
            if isinstance(document, Loaded):
                storable(document)
            else:
                assert isinstance(document, LoadFailure)
                reasons.append(document.reason)
    except LoadError as error:
        reasons.append(str(error))
        named = str(error).startswith(f"{name}: ")
    else:
        named = True
    assert named
    assert not any("\n" in reason for reason in reasons)


NAMES = st.sampled_from(
    [f"a.{ending}" for ending in "txt md html pdf docx pptx xlsx csv json jsonl eml zip".split()]
)
STARTS = st.sampled_from(
    [
        *(b"", b"%PDF-1.7\n", b"PK\x03\x04", b"<html>", b"{", b"[", b'{"text":', b"# ", b"a,b\n"),
        *(b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"\x1b$B", b"---\n", b"\xd0\xcf\x11\xe0"),
        b"From: a\nTo: b\n\n",
    ]
)


@settings(max_examples=300, deadline=None)
@given(STARTS, st.binary(max_size=300), NAMES)
def test_noise(storable, start, noise, name):
    check_outcome(start + noise, name, storable)


@settings(max_examples=300, deadline=None)
@given(STARTS, st.text(st.characters(exclude_categories=()), max_size=100), NAMES)
def test_noise_of_characters(storable, start, noise, name):
    check_outcome(start + noise.encode("utf-8", "surrogatepass"), name, storable)


@cache
def real_files(make):
    mail = (
        b"From: a@b.c\nDate: Mon, 15 Jan 2024 10:00:00 +0100\nSubject: =?utf-8?q?x=C3=A4?=\n"
        b"Content-Type: multipart/mixed; boundary=B\n\n--B\nContent-Type: text/html; charset=utf-8"
        b"\n\n<p>body</p>\n--B\nContent-Disposition: attachment; filename=a.txt\n"
        b"Content-Transfer-Encoding: base64\n\naGVsbG8=\n--B--\n"
    )
    return {
        "a.pdf": make.pdf([["Some text", "and more"], ["Page"]], outline=[("Some", 0, 0)]),
        "a.docx": make.docx("One", "Two"),
        "a.pptx": make.pptx("One"),
        "a.xlsx": make.xlsx(["Drug", "Dose"], ["A", 1]),
        "a.zip": make.zip({"a.txt": b"text", "b.json": b'{"a": 1}'}),
        "a.eml": mail,
        "a.html": b"<html><body><h1>x</h1><table><tr><td>a<td>b</table><pre>x</pre></body></html>",
        "a.jsonl": b'{"text": "a", "tags": ["x"], "date": "2024-01-01"}\n{"text": "b"}\n',
    }


@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from(["a.pdf", "a.docx", "a.pptx", "a.xlsx", "a.zip", "a.eml", "a.html", "a.jsonl"]),
    st.randoms(use_true_random=False),
)
def test_real_files_with_damage(storable, make, name, chance: random.Random):
    content = bytearray(real_files(make)[name])
    for _ in range(chance.randint(1, 8)):
        place = chance.randrange(len(content))
        match chance.randrange(4):
            case 0:
                content[place] = chance.randrange(256)
            case 1:
                del content[place : place + chance.randrange(1, 50)]
            case 2:
                content[place:place] = chance.randbytes(chance.randrange(1, 9))
            case 3:
                content[place:place] = content[place : place + 200]
        if not content:
            return
    check_outcome(bytes(content), name, storable)
