"""An answer to its claims, each with the citations that must support it."""

from collections.abc import Sequence

from rag.sentences import sentence_spans
from rag.types import Claim, Segment

SHORT_ANSWER_WORDS = 6
"""An answer with fewer words is no statement yet: it is judged together with its question."""


def claims_of(question: str, segments: Sequence[Segment]) -> tuple[Claim, ...]:
    """Split an answer into claims.

    A claim carries the citations of all segments it overlaps.

    Returns:
        One claim per sentence, in order.
    """
    text = "".join(segment.text for segment in segments)
    short = len(text.split()) < SHORT_ANSWER_WORDS
    claims = []
    for start, end in [(0, len(text))] if short else sentence_spans(text):
        citations: list[int] = []
        position = 0
        for segment in segments:
            overlaps = position < end and position + len(segment.text) > start
            if overlaps and segment.citation is not None and segment.citation not in citations:
                citations.append(segment.citation)
            position += len(segment.text)
        if text[start:end].strip():
            claims.append(Claim(text[start:end], tuple(citations), question if short else None))
    return tuple(claims)


def whole_answer(question: str, segments: Sequence[Segment]) -> Claim:
    """All of an answer as one claim: that this answers the question."""
    text = "".join(segment.text for segment in segments)
    cited = dict.fromkeys(s.citation for s in segments if s.citation is not None)
    return Claim(text, tuple(cited), question)
