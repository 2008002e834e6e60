"""The pages over HTTP, without a browser: what they say, and that nothing breaks out of them."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest

from api.web.links import source_link
from knowledge_bases.audit.verify_bundle import verify

QUESTION = "Within how many minutes must the stock be moved after an alarm?"


def ask(web: Any, question: str = QUESTION, **headers: str) -> Any:
    return web.post("/", data={"kb": "wards", "question": question}, headers=headers)


@pytest.fixture(scope="session")
def answer_id(web: Any) -> str:
    given = ask(web)
    assert given.status_code == 200, given.text
    return str(re.search(r'href="/answers/([0-9a-f-]{36})/why"', given.text)[1])


def check_markup(page: Any, html: str) -> None:
    """No script or style but our files, every control named, every id once, one h1."""
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag
        assert tag not in ("style", "iframe", "object", "base")
        for name in ("href", "src", "action"):
            assert not (attributes.get(name) or "").lower().startswith(("javascript:", "data:"))
    for script in page.all("script"):
        assert (script.get("src") or "").startswith("/static/")
    ids = [a["id"] for _, a in page.elements if a.get("id")]
    assert len(ids) == len(set(ids))
    labels = {label.get("for") for label in page.all("label")}
    for tag in ("input", "select", "textarea"):
        for control in page.all(tag):
            assert control.get("type") == "hidden" or control.get("id") in labels, control
    if "<!doctype html>" in html.lower():
        assert len(page.all("h1")) == 1
        assert page.all("main")
        assert page.all("html") == [{"lang": "en"}]
        assert "#main" in page.links()
    for svg in page.all("svg"):
        assert svg.get("aria-hidden") == "true"


def test_every_page_that_links_lead_to_is_there_and_well_made(web, read, answer_id):
    waiting, seen = ["/", "/log?kind="], set()
    while waiting:
        path = waiting.pop().partition("#")[0]
        if path in seen or not path:
            continue
        assert path.startswith("/"), path
        seen.add(path)
        assert len(seen) < 200
        got = web.get(path)
        if got.status_code == 303:
            waiting.append(got.headers["location"])
            continue
        assert got.status_code == 200, path
        if not got.headers["content-type"].startswith("text/html"):
            continue
        policy = got.headers["content-security-policy"]
        assert "script-src 'self'; style-src 'self'" in policy
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert got.headers["cache-control"] == "no-store"
        page = read(got.text)
        check_markup(page, got.text)
        waiting += [link for link in page.links() if not link.startswith("/log/")]
        waiting += [link["href"] for link in page.all("link")]
        waiting += [script["src"] for script in page.all("script")]
    kinds = {re.sub(r"[0-9a-f-]{36}", "ID", path).partition("?")[0] for path in seen}
    assert {"/", "/log", "/collections", "/collections/wards", "/collections/wards/delete"} <= kinds
    assert any(kind.startswith("/sources/wards/storage") for kind in kinds)


def test_a_question_by_plain_form_is_answered_and_its_citation_leads_to_the_words(web, read):
    given = ask(web)
    assert given.status_code == 200
    page = read(given.text)
    (cited,) = {a["href"] for a in page.all("a") if a.get("class") == "words"}
    words = page.marked
    assert "30 minutes" in words
    source = web.get(cited.partition("#")[0])
    assert read(source.text).marked == words
    assert cited.endswith("#span")
    assert 'id="span"' in source.text
    assert "Fridges 🧊" in read(source.text).text


def test_a_part_of_the_page_is_sent_to_a_page_that_is_open(web, read):
    part = ask(web, **{"HX-Request": "true"})
    assert "<html" not in part.text
    assert "30 minutes" in part.text
    pushed = part.headers["hx-push-url"]
    again = web.get(pushed)
    assert "<html" in again.text
    assert read(again.text).marked == read(part.text).marked


def test_reading_an_answer_again_is_recorded(web, web_home, answer_id):
    before = web_home.store.log.size()
    assert web.get(f"/answers/{answer_id}").status_code == 200
    assert web_home.store.log.size() == before + 1
    newest = next(iter(web_home.store.log.all()))
    assert newest.kind == "read"
    assert web_home.store.log.payload(newest)["records"] == [answer_id]


def test_an_abstention_says_why_and_shows_what_was_nearest(web, read):
    page = ask(web, "What does the moon weigh in tonnes?").text
    assert "No answer" in page
    assert re.search(r"\d+ % likely to be right; answers are given from \d+ %", page)
    assert "Nearest passages" in page
    assert 'class="words"' not in page


@pytest.mark.parametrize("text", ["", "   ", "x" * 5000, "a\0b"])
def test_a_question_that_cannot_be_asked_is_refused_in_one_line(web, read, text):
    whole = ask(web, text)
    assert whole.status_code == 422
    assert 'role="alert"' in whole.text
    part = ask(web, text, **{"HX-Request": "true"})
    assert part.status_code == 422
    assert "<html" not in part.text


def test_a_page_of_another_site_cannot_ask(web):
    sent = web.post(
        "/", data={"kb": "wards", "question": QUESTION}, headers={"Origin": "http://evil.example"}
    )
    assert sent.status_code == 403


def test_documents_cannot_break_out_of_pages(web, read, web_home):
    question = "Every how many years are zebra crossings painted? <script>alert(2)</script>"
    html = ask(web, question).text
    page = read(html)
    check_markup(page, html)
    assert "<script>alert(2)</script>" in page.text
    assert "<img src=x onerror=alert(1)>" in page.text
    assert "stripes" in page.marked
    cited = next(a["href"] for a in page.all("a") if a.get("class") == "words")
    source = web.get(cited.partition("#")[0])
    check_markup(read(source.text), source.text)
    assert read(source.text).marked == page.marked
    assert "{{ 7 * 7 }}" in read(source.text).text
    record = re.search(r"/log/([0-9a-f-]{36})", html)[1]
    for path in (f"/log/{record}", f"/answers/{record}/why", "/collections/wards"):
        got = web.get(path)
        assert got.status_code == 200
        check_markup(read(got.text), got.text)
    deletion = next(
        link for link in read(got.text).links() if "script" in link and "delete" in link
    )
    check_markup(read(web.get(deletion).text), deletion)


@pytest.mark.parametrize(
    "path",
    [
        "/sources/wards/%3Cscript%3E",
        "/log/%3Cscript%3Ealert(1)",
        "/answers/%22onload=%22",
        "/collections/%3Cb%3E",
        "/collections/wards/delete?uri=%3Cscript%3E",
        "/collections/wards?job=%3Cscript%3E",
        "/sources/wards/storage/fridges.md?version=9",
    ],
)
def test_what_is_not_there_is_a_page_that_says_so(web, read, path):
    got = web.get(path)
    assert got.status_code == 404
    page = read(got.text)
    check_markup(page, got.text)
    assert page.all("script")
    assert "there is no" in page.text


@pytest.mark.parametrize(
    "query",
    ["start=5", "start=9&end=4", "start=0&end=999999", "start=-1&end=4", "version=0", "version=x"],
)
def test_a_span_that_cannot_be_is_refused(web, query):
    got = web.get(f"/sources/wards/storage/fridges.md?{query}")
    assert got.status_code == 422
    assert 'role="alert"' in got.text


def test_a_uri_that_browsers_would_shorten_is_still_reached(web):
    link = source_link("wards", "https://intranet.example/../zoo?a=1#b")
    got = web.get(link)
    assert got.status_code == 200
    assert "Lions eat at noon." in got.text


def test_the_answer_of_a_deleted_collection_keeps_its_words_but_not_its_sources(
    web, read, web_home, put_document
):
    web_home.create("closed")
    put_document(web, "closed", "a.txt", "The cellar key hangs behind the oak door since 1999.")
    given = web.post("/", data={"kb": "closed", "question": "Where does the cellar key hang?"})
    answer = re.search(r"/answers/([0-9a-f-]{36})/why", given.text)[1]
    words = read(given.text).marked
    web_home.delete("closed")
    for path in (f"/answers/{answer}", f"/answers/{answer}/why", f"/log/{answer}"):
        assert web.get(path).status_code == 200
    page = read(web.get(f"/answers/{answer}").text)
    assert page.marked == words
    assert "no longer stored" in page.text
    assert not [link for link in page.links() if link.startswith("/sources/closed")]


def test_why_shows_scores_timings_and_where_each_word_came_from(web, read, answer_id):
    html = web.get(f"/answers/{answer_id}/why").text
    page = read(html)
    for words in ("Meaning", "Words", "Together", "retrieve", "generate", "Where the words came"):
        assert words in page.text
    strip = [a for a in page.all("rect") if re.fullmatch(r"f\d", a["class"] or "") and "x" in a]
    assert sum(float(a["width"]) for a in strip) == pytest.approx(100, abs=0.1)
    assert next(a["x"] for a in strip) == "0.0"
    shaded = [a for a in page.all("td") if a.get("class") == "h10"]
    assert len(shaded) >= 5


def test_the_log_is_filtered(web, read, answer_id, web_home):
    def listed(query: str) -> str:
        got = web.get(f"/log?{query}")
        assert got.status_code == 200
        return str(got.text)

    short = answer_id[:8]
    day = web_home.store.log.get(answer_id).created_at.date()
    assert short in listed("")
    assert short in listed("kind=answer&status=answered&kb=wards&asker=local")
    assert short in listed("document=storage/fridges.md")
    assert short in listed(f"since={day}&until={day}")
    assert short in listed("verdict=supported")
    assert short not in listed("verdict=contradicted")
    assert short not in listed("verdict=disputed")
    assert short not in listed("status=abstained")
    assert short not in listed("kind=read")
    assert short not in listed("kb=elsewhere")
    assert short not in listed("document=storage/other.md")
    assert short not in listed("asker=somebody")
    assert short not in listed("until=2001-01-01")
    assert "No record passes" in listed("since=2999-01-01")
    for wrong in ("since=yesterday", "until=9999-12-31", "before=x", "verdict=x"):
        assert web.get(f"/log?{wrong}").status_code == 422


def test_the_log_has_pages(web, read, web_home, answer_id):
    while web_home.store.log.size() < 120:
        web.get(f"/answers/{answer_id}")
    seen: list[str] = []
    path = "/log?kind="
    while path:
        page = read(web.get(path).text)
        numbers = [link for link in page.links() if link.startswith("/log/")]
        seen += numbers
        path = next((a["hx-get"] for a in page.all("a") if "hx-get" in a), "")
    assert len(seen) == len(set(seen)) == web_home.store.log.size()


def test_a_record_is_shown_with_its_proof_replayed_and_bundled(web, read, web_home, answer_id):
    page = web.get(f"/log/{answer_id}")
    row = web_home.store.log.get(answer_id)
    assert row.leaf_hash in page.text
    assert "grounded-rag/receipt/1" in read(page.text).text
    replayed = web.post(f"/log/{answer_id}/replay")
    assert replayed.status_code == 200
    assert "came out as recorded" in replayed.text
    bundle = web.get(f"/log/{answer_id}/bundle")
    assert bundle.headers["content-disposition"] == f'attachment; filename="record-{answer_id}.zip"'
    assert verify(bundle.content).kind == "answer"
    hows = [
        web_home.store.log.payload(one)["how"]
        for one in web_home.store.log.all(kinds=("read",), limit=3)
    ]
    assert hows == ["bundle", "replay", "show"]


def test_only_answers_are_replayed(web, web_home):
    other = next(iter(web_home.store.log.all(kinds=("read",))))
    got = web.post(f"/log/{other.id}/replay")
    assert got.status_code == 422
    assert "only answers can be replayed" in got.text
    assert web.post(f"/log/{uuid.uuid4()}/replay").status_code == 404


def test_an_erased_record_keeps_its_proof(web, read, web_home):
    given = ask(web, "Who keeps a log?")
    answer = re.search(r"/log/([0-9a-f-]{36})", given.text)[1]
    web_home.audit.eraser.erase_record(answer, actor="tests")
    record = web.get(f"/log/{answer}")
    assert "The payload was erased" in record.text
    assert "data-hashes=" in record.text
    assert "bundle" not in record.text.partition("<section")[0].partition("<dl")[2]
    gone = web.get(f"/answers/{answer}")
    assert (gone.status_code, gone.headers["location"]) == (303, f"/log/{answer}")
    assert web.post(f"/log/{answer}/replay").status_code == 404


def test_a_collection_is_made_filled_and_emptied_without_script(web, read, web_home):
    made = web.post("/collections", data={"name": "by-hand"})
    assert (made.status_code, made.headers["location"]) == (303, "/collections/by-hand")
    assert web.post("/collections", data={"name": "by-hand"}).status_code == 409
    assert web.post("/collections", data={"name": "../x"}).status_code == 422
    sent = web.post(
        "/collections/by-hand/documents",
        files=[
            ("files", ("good.txt", b"The lift is serviced each spring.")),
            ("files", ("<b>bad</b>.pdf", b"%PDF-1.4 broken")),
        ],
    )
    assert sent.status_code == 303
    job = sent.headers["location"].rpartition("=")[2]
    web.get(f"/v1/jobs/{job}/events")
    page = web.get(sent.headers["location"])
    check_markup(read(page.text), page.text)
    assert "1 added" in page.text
    assert "<b>bad</b>.pdf" in read(page.text).text
    asked = web.get("/collections/by-hand/delete?uri=good.txt")
    assert "Delete this document" in asked.text
    assert web_home.open("by-hand").counts()["documents"] == 1
    gone = web.post("/collections/by-hand/delete", data={"uri": "good.txt"})
    assert gone.status_code == 303
    assert web_home.open("by-hand").counts()["documents"] == 0
    assert "was withdrawn on" in web.get("/sources/by-hand/good.txt").text
    assert web.post("/collections/by-hand/delete", data={"name": "by-han"}).status_code == 422
    assert web.post("/collections/by-hand/delete", data={"name": "by-hand"}).status_code == 303
    assert web.get("/collections/by-hand").status_code == 404


def test_a_job_of_another_collection_is_not_shown(web, web_home):
    web_home.create("other")
    sent = web.post("/collections/wards/documents", files=[("files", ("n.txt", b"Nothing much."))])
    job = sent.headers["location"].rpartition("=")[2]
    web.get(f"/v1/jobs/{job}/events")
    assert web.get(f"/collections/wards?job={job}").status_code == 200
    assert web.get(f"/collections/other?job={job}").status_code == 404


def test_files_a_browser_loads_are_asked_about_again(web):
    got = web.get("/static/style.css")
    assert got.headers["cache-control"] == "no-cache"
    again = web.get("/static/style.css", headers={"If-None-Match": got.headers["etag"]})
    assert again.status_code == 304
    assert web.get("/static/../pages.py").status_code == 404
    assert web.get("/static/%2e%2e/shared.py").status_code == 404


def test_no_file_loads_anything_from_elsewhere(web):
    for name in ("style.css", "theme.js", "page.js", "proof.js", "upload.js"):
        text = web.get(f"/static/{name}").text
        assert not re.search(r"https?://|//[a-z]+\.[a-z]|@import|url\(", text), name
