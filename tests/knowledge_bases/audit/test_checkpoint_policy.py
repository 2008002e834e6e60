"""When a checkpoint is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from knowledge_bases.audit.checkpoint_policy import CheckpointPolicy
from rag.settings import Settings

THEN = datetime(2026, 1, 2, tzinfo=UTC)
POLICY = CheckpointPolicy(leaves=100, seconds=60)


@pytest.mark.parametrize(
    ("size", "signed_size", "signed_at", "seconds", "due"),
    [
        (0, 0, None, 0, False),
        (1, 0, None, 0, True),
        (50, 50, THEN, 10_000, False),
        (51, 50, THEN, 59, False),
        (51, 50, THEN, 60, True),
        (149, 50, THEN, 0, False),
        (150, 50, THEN, 0, True),
        (51, 50, THEN, -3600, True),
    ],
)
def test_due(size, signed_size, signed_at, seconds, due) -> None:
    now = THEN + timedelta(seconds=seconds)
    found = POLICY.due(size=size, signed_size=signed_size, signed_at=signed_at, now=now)
    assert found is due


@pytest.mark.parametrize(("seconds", "left"), [(0, 60), (45, 15), (61, 0), (-3600, 60)])
def test_a_timer_sleeps_until_it_may_be_due(seconds, left) -> None:
    now = THEN + timedelta(seconds=seconds)
    assert POLICY.seconds_left(signed_at=THEN, now=now) == left


def test_the_settings(monkeypatch) -> None:
    assert CheckpointPolicy.of(Settings()) == CheckpointPolicy(1000, 3600)
    monkeypatch.setenv("RAG_CHECKPOINT_LEAVES", "5")
    monkeypatch.setenv("RAG_CHECKPOINT_SECONDS", "1.5")
    assert CheckpointPolicy.of(Settings()) == CheckpointPolicy(5, 1.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LEAVES", "0"),
        ("SECONDS", "0"),
        ("URL", "file:///etc/passwd"),
        ("URL", "ftp://host/x"),
        ("URL", "https://"),
        ("URL", "https://user:secret@host/x"),
        ("URL", "https://host/a b"),
    ],
)
def test_wrong_settings_are_refused(monkeypatch, name, value) -> None:
    monkeypatch.setenv(f"RAG_CHECKPOINT_{name}", value)
    with pytest.raises(ValidationError):
        Settings()


@pytest.mark.parametrize("url", ["https://host", "http://127.0.0.1:80/a?token=1", "https://h:1/x"])
def test_right_urls_are_taken(monkeypatch, url) -> None:
    monkeypatch.setenv("RAG_CHECKPOINT_URL", url)
    assert Settings().checkpoint_url == url
