"""The settings that shape answers, and their digest, which every receipt names."""

import hashlib
from typing import Any

from knowledge_bases.audit.receipt import canonical
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
    """Return the sha256 of the settings that shape answers, as canonical JSON.

    So whoever reads a receipt can compute it from the values there.
    """
    return hashlib.sha256(canonical(answer_settings(settings))).hexdigest()
