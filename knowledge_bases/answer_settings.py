"""The settings that shape answers, and their digest, which every receipt names."""

import hashlib
import json
from typing import Any

from rag.settings import Settings

_SHAPING = (
    "candidates",
    "fusion",
    "passages",
    "generator",
    "fallback",
    "verifier",
    "reranker",
    "rerank_depth",
    "beams",
    "answer_tokens",
    "answer_threshold",
    "max_question_chars",
)


def answer_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings that shape answers, by name."""
    return {name: getattr(settings, name) for name in _SHAPING}


def settings_digest(settings: Settings) -> str:
    """Return the sha256 of the settings that shape answers."""
    shaping = json.dumps(answer_settings(settings), sort_keys=True)
    return hashlib.sha256(shaping.encode()).hexdigest()
