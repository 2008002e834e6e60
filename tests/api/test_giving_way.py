"""Uploads step back while questions are answered, and are taken in all the same."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.giving_way import GivingWay, step_back
from knowledge_bases.knowledge_base import KnowledgeBase


def test_it_waits_until_nobody_is_answered() -> None:
    answered = threading.Event()
    threading.Timer(0.2, answered.set).start()
    started = time.monotonic()
    assert not GivingWay(lambda: not answered.is_set(), threading.Event(), 60)()
    assert 0.2 <= time.monotonic() - started < 30


def test_it_waits_no_longer_than_it_may() -> None:
    started = time.monotonic()
    assert GivingWay(lambda: True, threading.Event(), 0.2)(), "the batch is to be small"
    assert 0.2 <= time.monotonic() - started < 30


def test_it_does_not_keep_the_server_from_stopping() -> None:
    stopping = threading.Event()
    stopping.set()
    started = time.monotonic()
    GivingWay(lambda: True, stopping, 60)()
    assert time.monotonic() - started < 30


@pytest.mark.skipif(sys.platform != "linux", reason="niceness is the process's elsewhere")
def test_only_the_thread_that_steps_back_yields() -> None:
    before, seen = os.getpriority(os.PRIO_PROCESS, 0), []

    def nice() -> None:
        step_back()
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    thread = threading.Thread(target=nice)
    thread.start()
    thread.join()
    assert seen[0] > before
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_batches_are_small_while_it_is_busy(
    kb: KnowledgeBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded: list[int] = []
    embed: Callable[..., Any] = type(kb.home.embedder).embed

    def noted(embedder: Any, texts: list[str]) -> Any:
        embedded.append(len(texts))
        return embed(embedder, texts)

    monkeypatch.setattr(type(kb.home.embedder), "embed", noted)
    text = tmp_path / "text.txt"
    text.write_text(" ".join(f"Cupboard {n} holds item {n * n}." for n in range(500)))
    busy = iter([True] * 5)
    kb.ingest([text], give_way=lambda: next(busy, False))
    assert len(embedded) > 5
    assert max(embedded[:5]) <= 8
    assert max(embedded) > 32
    found = kb.search("Cupboard 321 holds item 103041", k=1)[0]
    assert "103041" in found.text, "each chunk got its own vector"


def test_a_server_gives_way_to_its_questions(
    client: TestClient, wards: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    ask = KnowledgeBase.ask

    def noted(base: KnowledgeBase, *given: Any, **more: Any) -> Any:
        seen.append(client.app.state.jobs.busy())  # type: ignore[attr-defined]
        return ask(base, *given, **more)

    monkeypatch.setattr(KnowledgeBase, "ask", noted)
    client.post(f"{wards}/answers", json={"question": "When must the stock be moved?"})
    assert seen == [True]
    assert not client.app.state.jobs.busy()  # type: ignore[attr-defined]
