"""Answers that the small models of these tests don't give: written words, guards, dissent."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from api.web.answer_view import answer_view
from api.web.why_view import heat_maps, recorded_weights
from knowledge_bases.audit.receipt import rests_on
from knowledge_bases.store.log import NewRecord


@pytest.fixture
def receipt(web, web_home) -> dict[str, Any]:
    """A receipt of which two words are copied, one was written, and another passage disagrees."""
    recorded = web_home.open("wards").ask("Within how many minutes must stock be moved?")
    row = web_home.store.log.get(recorded.record.id)
    found = copy.deepcopy(web_home.store.log.payload(row))
    passage = found["passages"][0]
    text = web_home.open("wards").passages([passage["chunk_id"]])[passage["chunk_id"]].text
    at = text.index("30 minutes")
    start = passage["start"] + at
    found |= {
        "text": "In 30 minutes <b>sharp</b>",
        "citations": [
            {
                **found["citations"][0],
                "document": passage["document"],
                "version": passage["version"],
                "start": start,
                "end": start + 10,
                "quote": "30 minutes",
            }
        ],
        "verdicts": [
            {
                "claim": "In 30 minutes <b>sharp</b>",
                "citations": [1],
                "label": "unsupported",
                "as_answer": False,
                "question": None,
                "p_supported": 0.41,
                "p_contradicted": 0.07,
                "guards": [{"name": "number", "missing": ["<i>31</i>"]}],
                "evidence_span": None,
                "relevance": None,
                "disagreement": {
                    "passage": 0,
                    "start": 2,
                    "end": 9,
                    "text": text[2:9],
                    "p_contradicted": 0.88,
                },
            }
        ],
    }
    found["draft"]["tokens"] = [
        ["In ", 0.61, 0.02, None, None, None],
        ["30", 0.9, 0.97, 0, at, at + 2],
        [" minutes", 0.8, 0.55, 0, at + 2, at + 10],
        [" <b>sharp</b>", 0.3, 0.1, None, None, None],
    ]
    return found


def test_copied_and_written_words_are_told_apart(web, web_home, read, receipt):
    new = NewRecord("answer", "wards", "answered", receipt, rests_on(receipt), "local")
    record = web_home.audit.append(new)
    got = web.get(f"/answers/{record.id}")
    assert got.status_code == 200
    page = read(got.text)
    classes = [a["class"] for a in page.all("span") if (a.get("class") or "").startswith("run")]
    assert classes == ["run written", "run copied c1", "run written"]
    assert page.marked == "30 minutes"
    assert "Written by the model · probability 61\u202f% · unsupported" in page.text
    assert "Copied from source 1 · probability 80\u202f% · unsupported" in page.text
    assert "Not in the cited text: the number <i>31</i>" in page.text
    assert "Another document says otherwise" in page.text
    assert not page.all("i")
    assert not page.all("b")
    start = receipt["passages"][0]["start"] + 2
    (otherwise,) = [link for link in page.links() if f"start={start}&" in link]
    shown = read(web.get(otherwise.partition("#")[0]).text)
    assert shown.marked == receipt["verdicts"][0]["disagreement"]["text"]


def test_the_heat_map_has_each_words_copy_share_where_it_was_copied(web_home, receipt):
    kb = web_home.open("wards")
    row = next(iter(web_home.store.log.all(kinds=("answer",), limit=1)))
    view = answer_view(row, receipt, kb)
    (drawn,) = heat_maps(view, recorded_weights(receipt))
    assert [r.word for r in drawn.rows] == ["In", "30", "minutes", "<b>sharp</b>"]
    weights = {
        (r.word, word): cell.weight
        for r in drawn.rows
        for word, cell in zip(drawn.words, r.cells, strict=True)
        if cell.weight
    }
    assert weights == {("30", "30"): 0.97, ("minutes", "minutes."): 0.55}
    assert {cell.shade for r in drawn.rows for cell in r.cells} == {0, 6, 10}


def test_a_passage_that_is_not_as_recorded_is_not_shown_as_if_it_were(web_home, receipt):
    kb = web_home.open("wards")
    row = next(iter(web_home.store.log.all(kinds=("answer",), limit=1)))
    receipt["passages"][0]["text_sha256"] = "0" * 64
    view = answer_view(row, receipt, kb)
    assert view.passages[0].text is None
    assert view.sources[0].href is None
    assert view.sources[0].quote == "30 minutes"
