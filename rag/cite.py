"""A draft's pointers to segments and citations, each checked against the stored text."""

from collections.abc import Sequence
from itertools import groupby
from typing import Protocol

from rag.errors import CitationError
from rag.types import CONTEXT_CHARS, Citation, Draft, Passage, Segment, Token

_Place = tuple[int | None, str | None]


class SourceText(Protocol):
    """The texts that passages were cut from."""

    def slice(self, passage: Passage, start: int, end: int) -> str:
        """Return characters ``[start, end)`` of the passage's document version (clipped)."""

    def place(self, passage: Passage, offset: int) -> _Place:
        """Return (page, section) at an offset into the passage's document version."""


class PassageText:
    """Source text for passages that are all there is, as in ``rag read``."""

    def slice(self, passage: Passage, start: int, end: int) -> str:
        """Return characters of the passage itself."""
        return passage.text[max(0, start - passage.start) : max(0, end - passage.start)]

    def place(self, passage: Passage, offset: int) -> _Place:
        """Return the passage's own page and section."""
        return passage.page, passage.section


def cite(
    draft: Draft, passages: Sequence[Passage], source: SourceText
) -> tuple[tuple[Segment, ...], tuple[Citation, ...]]:
    """Turn a draft into segments and citations.

    Tokens whose pointers follow on each other in one passage become one copied segment with one
    citation; equal quotes of the same place share a citation.

    Raises:
        CitationError: a quote is not what the document version holds at its offsets.
    """
    segments: list[Segment] = []
    citations: dict[tuple[int, int, int], Citation] = {}
    for tokens in _runs(draft.tokens):
        text = "".join(token.text for token in tokens)
        probability = min(token.probability for token in tokens)
        first, last = tokens[0].pointer, tokens[-1].pointer
        if first is None or last is None:
            segments.append(Segment(text, "generated", probability, None))
            continue
        passage = passages[first.passage]
        start, end = passage.start + first.start, passage.start + last.end
        key = (passage.version_id, start, end)
        if key not in citations:
            citations[key] = _citation(
                len(citations) + 1, passage, first.passage, start, end, text, source
            )
        segments.append(Segment(text, "copied", probability, citations[key].index))
    return tuple(segments), tuple(citations.values())


def segments_so_far(draft: Draft) -> tuple[Segment, ...]:
    """Return the segments of an unfinished draft; what they were copied from is not checked yet."""
    return tuple(
        Segment(
            "".join(token.text for token in tokens),
            "generated" if tokens[0].pointer is None else "copied",
            min(token.probability for token in tokens),
            None,
        )
        for tokens in _runs(draft.tokens)
    )


def _runs(tokens: Sequence[Token]) -> list[list[Token]]:
    """Group tokens into runs: generated ones, and copied ones whose pointers are contiguous."""
    run_number = 0
    previous: Token | None = None
    numbered = []
    for token in tokens:
        if previous is not None and not _continues(previous, token):
            run_number += 1
        numbered.append((run_number, token))
        previous = token
    return [[token for _, token in run] for _, run in groupby(numbered, key=lambda item: item[0])]


def _continues(previous: Token, token: Token) -> bool:
    before, after = previous.pointer, token.pointer
    if before is None or after is None:
        return before is after
    return before.passage == after.passage and before.end == after.start


def _citation(
    index: int,
    passage: Passage,
    passage_index: int,
    start: int,
    end: int,
    quote: str,
    source: SourceText,
) -> Citation:
    stored = source.slice(passage, start, end)
    if stored != quote:
        raise CitationError(
            f"{passage.document.uri} version {passage.version} does not hold the quoted text at "
            f"{start}–{end}; run `rag doctor`"
        )
    page, section = source.place(passage, start)
    return Citation(
        index=index,
        document=passage.document,
        version=passage.version,
        version_id=passage.version_id,
        text_sha256=passage.text_sha256,
        start=start,
        end=end,
        quote=quote,
        before=source.slice(passage, max(0, start - CONTEXT_CHARS), start),
        after=source.slice(passage, end, end + CONTEXT_CHARS),
        page=page,
        section=section,
        passage=passage_index,
    )
