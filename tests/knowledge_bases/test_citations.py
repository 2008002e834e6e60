"""On every format: what is cited is exactly what the stored version holds at its offsets."""

import csv
import email.message
import itertools
import json
import zipfile

import docx
import openpyxl
import pptx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reportlab.pdfgen.canvas import Canvas

from knowledge_bases.home import Home

WORDS = st.sampled_from(
    (
        "dose of paracetamol is 4 g 2.5 mg Zoë Müller e\u0301tude 10 µg ≥ 8 °C naïve 😀 投与量 ﬁne "
        "Å"
    ).split()
)
SENTENCES = st.lists(
    st.lists(WORDS, min_size=3, max_size=12).map(lambda words: " ".join(words).capitalize() + "."),
    min_size=1,
    max_size=6,
)


def write_text(path, sentences):
    path.write_text("\r\n".join(sentences), encoding="utf-8")


def write_utf16(path, sentences):
    path.write_bytes("\n".join(sentences).encode("utf-16"))


def write_markdown(path, sentences):
    path.write_text("# Title\n\n" + "\n\n".join(sentences), encoding="utf-8")


def write_html(path, sentences):
    paragraphs = "".join(f"<p>{sentence}</p>" for sentence in sentences)
    path.write_text(f"<html><body><h1>Title</h1>{paragraphs}</body></html>", encoding="utf-8")


def write_pdf(path, sentences):
    canvas = Canvas(str(path), invariant=True)
    for sentence in sentences:
        # The standard fonts know Latin-1 only.
        canvas.drawString(40, 700, sentence.encode("latin-1", "ignore").decode("latin-1"))
        canvas.showPage()
    canvas.save()


def write_docx(path, sentences):
    document = docx.Document()
    document.add_heading("Title", 1)
    for sentence in sentences:
        document.add_paragraph(sentence)
    document.save(str(path))


def write_pptx(path, sentences):
    deck = pptx.Presentation()
    for sentence in sentences:
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text = "Title"
        slide.placeholders[1].text = sentence
    deck.save(str(path))


def write_xlsx(path, sentences):
    book = openpyxl.Workbook()
    book.active.append(["Number", "Text"])
    for number, sentence in enumerate(sentences):
        book.active.append([number, sentence])
    book.save(path)


def write_csv(path, sentences):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["number", "text"], *enumerate(sentences)])


def write_json(path, sentences):
    path.write_text(json.dumps({"items": sentences}), encoding="utf-8")


def write_jsonl(path, sentences):
    path.write_text("".join(json.dumps({"text": s}) + "\n" for s in sentences), encoding="utf-8")


def write_eml(path, sentences):
    message = email.message.EmailMessage()
    message["Subject"], message["From"] = "Title", "a@example.org"
    message.set_content("\n\n".join(sentences))
    path.write_bytes(bytes(message))


def write_zip(path, sentences):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inside.txt", "\n".join(sentences))


WRITERS = {
    "a.txt": write_text,
    "b.txt": write_utf16,
    "c.md": write_markdown,
    "d.html": write_html,
    "e.pdf": write_pdf,
    "f.docx": write_docx,
    "g.pptx": write_pptx,
    "h.xlsx": write_xlsx,
    "i.csv": write_csv,
    "j.json": write_json,
    "k.jsonl": write_jsonl,
    "l.eml": write_eml,
    "m.zip": write_zip,
}


@pytest.fixture
def always(settings, embedder):
    with Home(settings.model_copy(update={"answer_threshold": 0.0}), embedder=embedder) as home:
        yield home


NAMES = itertools.count()


@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(SENTENCES)
def test_citations_are_exact_on_every_format(always, tmp_path, sentences):
    number = next(NAMES)
    folder = tmp_path / str(number)
    folder.mkdir()
    for name, write in WRITERS.items():
        write(folder / name, sentences)
    base = always.create(f"kb-{number}")
    summary = base.ingest([folder])
    # A PDF whose sentences are all in other scripts has no text.
    assert {uri for uri, _ in summary.failed} <= {"e.pdf"}
    formats = set()
    for state in base.documents():
        _, text = base.document_at(state.document.uri)
        formats.add(state.format)
        for passage in base.search(sentences[0], k=50):
            if passage.document.uri == state.document.uri:
                assert text[passage.start : passage.end] == passage.text
                assert text[: passage.start].endswith(passage.before)
                assert text[passage.end :].startswith(passage.after)
    assert len(formats) >= 10
    for question in (sentences[0], sentences[-1] + "?"):
        answer = base.ask(question).answer
        for citation in answer.citations:
            _, text = base.document_at(citation.document.uri, citation.version)
            assert text[citation.start : citation.end] == citation.quote
        quotes = {citation.index: citation.quote for citation in answer.citations}
        assert all(s.text == quotes[s.citation] for s in answer.segments if s.citation)
    always.delete(f"kb-{number}")
