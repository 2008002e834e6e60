"""The pages in a real browser: script, keyboard, focus, the proof checked by WebCrypto."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from knowledge_bases.audit import merkle

CHROMIUM = shutil.which("chromium")
QUESTION = "Within how many minutes must the stock be moved after an alarm?"
PAGES = ("/", "/collections", "/collections/wards", "/log", "/sources/wards/storage/fridges.md")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM)
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Any, live: str) -> Iterator[Any]:
    """A tab whose console must stay free of errors, refused scripts and styles among them."""
    context = browser.new_context(base_url=live)
    opened = context.new_page()
    troubles: list[str] = []
    opened.on("pageerror", lambda error: troubles.append(str(error)))
    opened.on(
        "console",
        lambda message: troubles.append(message.text) if message.type == "error" else None,
    )
    opened.on(
        "request",
        lambda request: troubles.append(request.url) if live not in request.url else None,
    )
    yield opened
    context.close()
    assert troubles == []


def asked(page: Any, question: str = QUESTION) -> None:
    page.goto("/")
    page.get_by_label("Collection").select_option("wards")
    page.get_by_role("textbox", name="Question").fill(question)
    page.get_by_role("button", name="Ask").click()
    page.wait_for_url(re.compile("/answers/"))


def test_a_citation_leads_to_the_highlighted_words(page):
    asked(page)
    words = page.locator(".answer a.words").first
    quote = words.text_content()
    assert "30 minutes" in quote
    assert page.locator(".sources mark").text_content() == quote
    words.click()
    page.wait_for_url(re.compile("/sources/"))
    assert "".join(page.locator("main mark").all_text_contents()) == quote
    box = page.locator("#span").bounding_box()
    assert 0 <= box["y"] < page.viewport_size["height"]
    page.go_back()
    page.wait_for_url(re.compile("/answers/"))
    assert page.locator(".answer a.words").first.text_content() == quote


def test_hovering_a_word_shows_its_probability_and_verdict(page):
    asked(page)
    tip = page.get_by_role("tooltip").first
    assert not tip.is_visible()
    page.locator(".answer .words").first.hover()
    assert tip.is_visible()
    assert re.search(r"Copied from source 1 · probability .*%", tip.text_content())
    page.keyboard.press("Escape")
    assert not tip.is_visible()


def test_asking_and_reading_the_source_by_keyboard_alone(page):
    page.goto("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert page.locator(".skip").bounding_box()["y"] >= 0
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "kb"
    page.keyboard.type("wards")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "question"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert outline == "3px"
    page.keyboard.type(QUESTION)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/answers/"))
    assert page.locator("#answer[aria-live=polite] .answer").count() == 1
    for _ in range(5):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "words":
            break
    assert page.get_by_role("tooltip").first.is_visible()
    quote = page.evaluate("document.activeElement.textContent")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/sources/"))
    assert "".join(page.locator("main mark").all_text_contents()) == quote


def test_asking_without_script(browser, live):
    context = browser.new_context(base_url=live, java_script_enabled=False)
    page = context.new_page()
    page.goto("/")
    page.get_by_role("textbox", name="Question").fill(QUESTION)
    page.get_by_role("button", name="Ask").click()
    page.locator(".answer a.words").first.wait_for()
    assert not page.locator("[data-theme-toggle]").is_visible()
    quote = page.locator(".answer a.words").first.text_content()
    page.locator(".answer a.words").first.click()
    assert "".join(page.locator("main mark").all_text_contents()) == quote
    context.close()


def test_what_documents_hold_is_never_run(page):
    page.on("dialog", lambda dialog: pytest.fail(f"a script of a document ran: {dialog.message}"))
    asked(page, "Every how many years are zebra crossings painted <script>alert(1)</script>?")
    assert page.locator("main script, main img, main b").count() == 0
    page.locator(".answer a.words").first.click()
    page.wait_for_url(re.compile("/sources/"))
    assert page.locator("main script, main img, main b").count() == 0
    assert "<b>white</b>" in page.locator(".text").text_content()


def test_an_error_is_told_where_the_answer_would_be(page, web_home, live, browser):
    context = browser.new_context(base_url=live)
    page = context.new_page()
    web_home.create("gone")
    page.goto("/")
    page.get_by_label("Collection").select_option("gone")
    web_home.delete("gone")
    page.get_by_role("textbox", name="Question").fill(QUESTION)
    page.get_by_role("button", name="Ask").click()
    page.get_by_role("alert").wait_for()
    assert "there is no knowledge base 'gone'" in page.get_by_role("alert").text_content()
    context.close()


def test_documents_are_uploaded_with_progress_and_failures_with_reasons(page, web_home, tmp_path):
    web_home.create("uploads")
    good, bad = tmp_path / "ladders.txt", tmp_path / "broken <i>.pdf"
    good.write_text("Ladders are inspected every 6 months.")
    bad.write_bytes(b"%PDF-1.4 broken")
    page.goto("/collections/uploads")
    page.get_by_label("Add documents").set_input_files([good, bad])
    page.get_by_role("button", name="Upload").click()
    page.locator(".job .state", has_text="Done").wait_for()
    job = page.locator(".job")
    assert "2 of 2 documents: 1 added" in job.text_content()
    assert "broken <i>.pdf" in job.locator(".guard").text_content()
    page.locator("table.documents").get_by_role("link", name="ladders", exact=True).wait_for()
    page.get_by_role("link", name="Delete ladders.txt").click()
    page.get_by_role("button", name="Delete this document").click()
    page.wait_for_url(re.compile("/collections/uploads$"))
    assert page.locator("table.documents").count() == 0


def test_documents_are_uploaded_by_dropping_them(page, web_home):
    web_home.create("drops")
    page.goto("/collections/drops")
    page.evaluate(
        """() => {
            const carried = new DataTransfer();
            carried.items.add(new File(["Ropes are replaced every 2 years."], "ropes.txt"));
            const how = {dataTransfer: carried, bubbles: true, cancelable: true};
            document.getElementById("upload").dispatchEvent(new DragEvent("drop", how));
        }"""
    )
    page.locator(".job .state", has_text="Done").wait_for()
    page.locator("table.documents").get_by_role("link", name="ropes", exact=True).wait_for()
    assert web_home.open("drops").counts()["documents"] == 1


def test_a_refused_upload_says_why(browser, live, web_home):
    web_home.create("vanishing")
    context = browser.new_context(base_url=live)
    page = context.new_page()
    page.goto("/collections/vanishing")
    web_home.delete("vanishing")
    page.get_by_label("Add documents").set_input_files(
        [{"name": "a.txt", "mimeType": "text/plain", "buffer": b"text"}]
    )
    page.get_by_role("button", name="Upload").click()
    page.locator(".job .guard").wait_for()
    assert "there is no knowledge base 'vanishing'" in page.locator(".job .guard").text_content()
    context.close()


def test_a_record_is_verified_in_the_browser_and_replayed(page):
    asked(page)
    page.get_by_role("link", name="Receipt and proof").click()
    badge = page.locator("#verdict")
    page.locator(".seal.good").wait_for()
    assert badge.text_content() == "verified against checkpoint"
    assert page.locator("#checks li").count() == 5
    page.get_by_role("button", name="Replay this answer").click()
    page.locator("#replay .badge").wait_for()
    assert page.locator("#replay .badge").text_content() in ("identical", "same verdict")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download bundle").click()
    assert Path(download.value.path()).read_bytes()[:2] == b"PK"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("leaf", "answered", "abstained"), "the leaf has the hash shown"),
        (("payload", "minutes", "seconds"), "the payload is what the leaf commits to"),
        (("note", "\n\n", "\nmore\n\n"), "the checkpoint is signed"),
    ],
)
def test_a_record_that_was_tampered_with_does_not_verify(page, change, words):
    element, old, new = change
    asked(page)
    record = page.url.replace("/answers/", "/log/")

    def tamper(route: Any) -> None:
        response = route.fetch()
        at = f'id="{element}" tabindex="0">'
        before, _, after = response.text().partition(at)
        assert old in after
        route.fulfill(response=response, body=before + at + after.replace(old, new, 1))

    page.route("**/log/*", tamper)
    page.goto(record)
    page.locator(".seal.bad").wait_for()
    assert page.locator("#verdict").text_content() == "does not verify"
    failed = [line for line in page.locator("#checks li").all_text_contents() if "NOT" in line]
    assert any(words in line for line in failed), failed


def test_the_browsers_proofs_are_those_of_the_log(page):
    leaves = [bytes.fromhex(merkle.leaf_hash(b"%d" % n)) for n in range(21)]

    def node(level: int, position: int) -> bytes:
        return merkle.root(leaves[position << level : (position + 1) << level])

    cases = [
        [index, size, [one.hex() for one in merkle.inclusion_proof(index, size, node)]]
        for size in range(1, 22)
        for index in range(size)
    ]
    page.goto("/")
    found = page.evaluate(
        """async ([leaves, cases]) => {
            const {rootOf, fromHex, toHex} = await import("/static/proof.js");
            const roots = [];
            for (const [index, size, hashes] of cases) {
                const root = await rootOf(fromHex(leaves[index]), index, size, hashes.map(fromHex));
                roots.push(root && toHex(root));
            }
            return roots;
        }""",
        [[leaf.hex() for leaf in leaves], cases],
    )
    assert found == [merkle.root(leaves[:size]).hex() for _, size, _ in cases]
    wrong = page.evaluate(
        """async (hash) => {
            const {rootOf, fromHex} = await import("/static/proof.js");
            const sibling = fromHex(hash);
            return [
                await rootOf(sibling, 0, 1, [sibling]),
                await rootOf(sibling, 2, 2, []),
                await rootOf(sibling, 0, 4, [sibling]),
                await rootOf(sibling, 0, 2, [sibling.slice(1)]),
            ];
        }""",
        hashlib.sha256(b"x").hexdigest(),
    )
    assert wrong == [None] * 4


def test_the_theme_is_kept(page):
    page.emulate_media(color_scheme="light")
    page.goto("/")
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    toggle = page.get_by_role("button", name=re.compile("Theme"))
    toggle.click()
    assert page.evaluate(paper) == light
    toggle.click()
    dark = page.evaluate(paper)
    assert dark != light
    page.goto("/log")
    assert page.evaluate(paper) == dark
    toggle.click()
    assert page.evaluate(paper) == light
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(paper) == dark


def test_no_page_is_wider_than_a_phone(page):
    page.set_viewport_size({"width": 390, "height": 844})
    asked(page, "Every how many years are zebra crossings painted?")
    answer = page.url
    source = page.locator(".answer a.words").first.get_attribute("href")
    for path in (*PAGES, answer, f"{answer}/why", answer.replace("/answers/", "/log/"), source):
        page.goto(path)
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 390, path
