"""The bundled samples through the real model: what `rag demo` shows must hold."""

import json
from pathlib import Path

import pytest

from knowledge_bases.doctor import examine
from knowledge_bases.home import Home
from knowledge_bases.samples import DEMO, DOCUMENTS, QUESTIONS
from rag.settings import Settings


@pytest.fixture(scope="module")
def samples(tmp_path_factory, minilm):
    with Home(Settings(home=tmp_path_factory.mktemp("samples")), embedder=minilm) as home:
        base = home.create("samples")
        summary = base.ingest([DOCUMENTS])
        assert summary.failed == []
        yield home, base


def test_every_document_is_taken_in(samples):
    _, base = samples
    files = [path.name for path in DOCUMENTS.iterdir()]
    assert sorted(state.document.uri for state in base.documents()) == sorted(files)
    assert len({Path(name).suffix for name in files}) >= 5


def test_every_gold_quote_is_in_its_stored_text(samples):
    _, base = samples
    rows = [json.loads(line) for line in QUESTIONS.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        for place in row["gold"]:
            assert place["quote"] in base.document_at(place["uri"])[1], row["id"]


def test_the_demo_answers_two_questions_and_withholds_the_third(samples):
    _, base = samples
    rows = json.loads(DEMO.read_text(encoding="utf-8"))
    answers = [base.ask(row["question"]).answer for row in rows]
    assert [answer.status for answer in answers] == ["answered", "answered", "abstained"]
    assert "4 hours" in answers[0].text
    assert answers[0].citations[0].document.uri == "anticoagulation-guideline.pdf"
    assert answers[0].citations[0].page == 3
    assert answers[1].text == "7 years"
    assert answers[1].citations[0].document.uri == "controlled-drugs-procedure.docx"


def test_documents_that_disagree_are_shown_beside_each_other(samples):
    _, base = samples
    answer = base.ask("Over how many minutes is gentamicin infused?").answer
    assert answer.status == "answered"
    assert answer.citations[0].document.uri == "gentamicin-vancomycin-policy.md"
    (verdict,) = answer.verdicts
    found = verdict.disagreement
    assert found is not None
    other = answer.passages[found.passage]
    assert other.document.uri == "memo-gentamicin-2021.txt"
    assert found.text == "Give gentamicin 7 mg/kg once daily by infusion over 60 minutes."
    assert other.text[found.start : found.end] == found.text


def test_every_citation_slices_to_its_quote(samples):
    home, base = samples
    rows = [json.loads(line) for line in QUESTIONS.read_text(encoding="utf-8").splitlines()]
    cited = 0
    for row in rows:
        answer = base.ask(row["question"]).answer
        for citation in answer.citations:
            text = base.document_at(citation.document.uri, citation.version)[1]
            assert text[citation.start : citation.end] == citation.quote
            assert text[: citation.start].endswith(citation.before)
            assert text[citation.end :].startswith(citation.after)
            cited += 1
        for segment in answer.segments:
            if segment.citation:
                assert segment.text == answer.citations[segment.citation - 1].quote
    assert cited >= len(rows) // 2
    assert [finding for finding in examine(home) if finding.state == "problem"] == []
