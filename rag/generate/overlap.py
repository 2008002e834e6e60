"""How much of a question stands where its answer was copied from."""

from __future__ import annotations

from collections.abc import Sequence

from rag.sentences import sentence_spans
from rag.types import Pointer, Token
from rag.words import content_words

NAMES = (
    "coverage",
    "sentence_coverage",
    "sentence_lag",
    "missing",
    "sentence_missing",
    "low_coverage",
)
LOW = 0.6  # of a question's content words; a passage with fewer is hardly about it


def overlap(question: str, texts: Sequence[str], tokens: Sequence[Token]) -> dict[str, float]:
    """Evidence that a draft answers the question asked, from words alone.

    Questions that sound as if a text answered them often share fewer words with the sentence
    that the answer comes from than with another.

    Args:
        question: as asked.
        texts: the passages.
        tokens: the draft.

    Returns:
        coverage: share of the question's content words in the passage of the first copied word;
        sentence_coverage: in the sentence of that word; sentence_lag: how far that is behind
        the passage's best sentence; missing, sentence_missing: how many words are not there;
        low_coverage: how far coverage is below `LOW`. Zeros where nothing was copied.
    """
    wanted = set(content_words(question))
    first = next((token.pointer for token in tokens if token.pointer is not None), None)
    if first is None or not wanted:
        return dict.fromkeys(NAMES, 0.0)
    text = texts[first.passage]
    shares = {
        span: len(wanted & set(content_words(text[slice(*span)]))) / len(wanted)
        for span in sentence_spans(text)
    }
    own = max((share for span, share in shares.items() if _overlaps(span, first)), default=0.0)
    coverage = len(wanted & set(content_words(text))) / len(wanted)
    return {
        "coverage": coverage,
        "sentence_coverage": own,
        "sentence_lag": max(shares.values(), default=own) - own,
        "missing": (1 - coverage) * len(wanted),
        "sentence_missing": (1 - own) * len(wanted),
        "low_coverage": max(0.0, LOW - coverage),
    }


def _overlaps(span: tuple[int, int], pointer: Pointer) -> bool:
    return span[0] < pointer.end and pointer.start < span[1]
