"""Takes pictures of every page on the sample collection, in both themes, at two widths.

    python -m eval.screenshots FOLDER [--home DIR] [--chromium PATH]

A server of its own is started on a free port; what it serves is ingested first unless it is there.
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from knowledge_bases.home import Home
from knowledge_bases.samples import DOCUMENTS
from rag.settings import Settings

NAME = "demo"
ANSWERED = "Over how many minutes is gentamicin infused?"
ABSTAINED = "What is the target pre-dose level for teicoplanin?"
THEMES = ("light", "dark")
WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}
_ANSWER_MS = 120_000
_TALLEST = 1_700
"""Pixels; what is below is cut off."""


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--home", type=Path, help="a home that may hold the samples already")
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    asked = parser.parse_args()
    if asked.chromium is None:
        parser.error("there is no chromium: apt-get install chromium")
    asked.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        settings = Settings(home=asked.home or Path(temporary))
        with Home(settings) as home:
            if NAME not in {row.name for row in home.store.kbs.all()}:
                home.create(NAME).ingest([DOCUMENTS])
        with served(settings.home) as url, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=asked.chromium)
            page = browser.new_page(base_url=url)
            paths = visited(page)
            for name, path in paths.items():
                for theme in THEMES:
                    for device, (width, height) in WIDTHS.items():
                        page.set_viewport_size({"width": width, "height": height})
                        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
                        page.goto(path)
                        page.wait_for_load_state("networkidle")
                        file = asked.folder / f"{name}-{theme}-{device}.png"
                        file.write_bytes(picture(page, height, whole=name != "source"))
                        print(f"{file} {file.stat().st_size // 1024} kB", flush=True)
            browser.close()


def visited(page: Page) -> dict[str, str]:
    """Ask two questions, and return the address of every page by name."""
    paths = {"ask": "/", "log": "/log?kind="}  # The log before it is full of readings.
    for name, question in (("answer", ANSWERED), ("abstention", ABSTAINED)):
        page.goto("/")
        page.get_by_role("textbox", name="Question").fill(question)
        page.get_by_role("button", name="Ask").click()
        page.wait_for_url(re.compile("/answers/"), timeout=_ANSWER_MS)
        paths[name] = page.url
    page.goto(paths["answer"])
    cited = page.locator(".answer a.words").first.get_attribute("href")
    paths["source"] = cited or "/"
    paths["why"] = f"{paths['answer']}/why"
    paths["record"] = paths["answer"].replace("/answers/", "/log/")
    paths["operate"] = "/operate"
    paths["collections"] = "/collections"
    paths["collection"] = f"/collections/{NAME}"
    return paths


def picture(page: Page, height: int, *, whole: bool) -> bytes:
    """Return a picture of a page as a small PNG: 256 colours are enough for text."""
    full = Image.open(io.BytesIO(page.screenshot(full_page=whole)))
    cut = full.crop((0, 0, full.width, min(full.height, max(height, _TALLEST))))
    small = cut.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    content = io.BytesIO()
    small.save(content, "PNG", optimize=True)
    return content.getvalue()


@contextmanager
def served(home: Path) -> Iterator[str]:
    """Serve a home on a free port of this machine while inside."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "api.cli", "serve", "--json", "--port", str(port)]
    server = subprocess.Popen([*command, "--home", str(home)], stdout=subprocess.DEVNULL)
    try:
        while not is_up(url):
            if server.poll() is not None:
                raise SystemExit("the server did not start")
            time.sleep(0.2)
        yield url
    finally:
        server.terminate()
        server.wait()


def is_up(url: str) -> bool:
    """Say whether a server answers."""
    try:
        with urllib.request.urlopen(f"{url}/healthz"):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    main()
