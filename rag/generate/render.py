"""Traced tokens to text: copied words as the source has them, the rest from the vocabulary."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from rag.generate.provenance import Trace
from rag.types import Pointer, Token

CLOSING = frozenset(".,;:!?)]}%…”")  # no space before these
OPENING = frozenset("([{“$€£#")  # none after these
LINKING = frozenset("-–/'’")  # and none on either side of these
STARTS = ("▁", "Ġ")  # how SentencePiece and byte-level vocabularies mark the start of a word
CONTINUES = "##"  # how WordPiece marks what is not the start of one


@dataclass(frozen=True)
class _Word:
    """Tokens [first, last] of an answer that make a word; `source` where all of it was copied."""

    first: int
    last: int
    source: Pointer | None


def render(
    tokens: Sequence[int],
    traced: Trace,
    places: Sequence[Pointer | None],
    texts: Sequence[str],
    tokenizer: Tokenizer,
) -> tuple[Token, ...]:
    """Write an answer out, a token a word.

    Words copied from neighbouring places become the source's own characters with what stands
    between them, so that case, accents and digits are exact. A word counts as copied only if
    all its pieces were, in a row, and the source has no longer word there.

    Args:
        tokens: the answer.
        traced: its pointers and probabilities.
        places: for each source position its characters; None for framing tokens.
        texts: the passages.
        tokenizer: the generator's.

    Returns:
        tokens whose texts join to the answer. White space between words belongs to the word
        after it, except before a new run, where it is a written token of its own.
    """
    pieces = [tokenizer.id_to_token(token) or "" for token in tokens]
    written: list[Token] = []
    before: _Word | None = None
    ending = ""  # last character so far
    for first, last in _spans(pieces):
        word = _Word(first, last, _source(first, last, traced, places, texts))
        log_prob = sum(traced.log_probs[first : last + 1])
        share = min(traced.copy_shares[first : last + 1])
        pointer = word.source
        goes_on = before is not None and _continues(before, word, traced)
        if pointer is None:
            text = tokenizer.decode(list(tokens[first : last + 1])).strip()
            text = text.removeprefix(CONTINUES)
        else:
            if goes_on and before is not None and before.source is not None:
                pointer = Pointer(pointer.passage, before.source.end, pointer.end)
            text = texts[pointer.passage][pointer.start : pointer.end]
        if not text:
            continue
        if ending and not goes_on and _apart(ending, text[0], pieces[first]):
            if pointer is not None:
                written.append(Token(" ", 1.0, 0.0, None))
            else:
                text = " " + text
        written.append(Token(text, math.exp(min(0.0, log_prob)), share, pointer))
        before, ending = word, text[-1]
    return tuple(written)


def _spans(pieces: Sequence[str]) -> list[tuple[int, int]]:
    """First and last token of each word."""
    spans: list[tuple[int, int]] = []
    for i, piece in enumerate(pieces):
        goes_on = piece.startswith(CONTINUES) or (
            i > 0
            and _marks(pieces)
            and not piece.startswith(STARTS)
            and piece[:1].isalnum()
            and pieces[i - 1][-1:].isalnum()
        )
        if goes_on and spans:
            spans[-1] = (spans[-1][0], i)
        else:
            spans.append((i, i))
    return spans


def _marks(pieces: Sequence[str]) -> bool:
    """Whether the vocabulary marks the starts of words."""
    return any(piece.startswith(STARTS) for piece in pieces)


def _source(
    first: int,
    last: int,
    traced: Trace,
    places: Sequence[Pointer | None],
    texts: Sequence[str],
) -> Pointer | None:
    """Characters that a word was copied from; None if not all of it was."""
    begin = traced.pointers[first]
    if begin is None or traced.pointers[first : last + 1] != tuple(
        range(begin, begin + last + 1 - first)
    ):
        return None
    start, end = places[begin], places[begin + last - first]
    if start is None or end is None or start.passage != end.passage:
        return None
    text = texts[start.passage]
    inside = (start.start > 0 and _same_word(text[start.start - 1], text[start.start])) or (
        end.end < len(text) and end.end > 0 and _same_word(text[end.end - 1], text[end.end])
    )
    return None if inside else Pointer(start.passage, start.start, end.end)


def _same_word(left: str, right: str) -> bool:
    """Whether no word ends between two characters; wide scripts write words without spaces."""
    return all(
        (letter.isalnum() or unicodedata.combining(letter))
        and unicodedata.east_asian_width(letter) not in "WF"
        for letter in (left, right)
    )


def _continues(before: _Word, word: _Word, traced: Trace) -> bool:
    """Whether a copied word follows the one before it, in the source as in the answer."""
    last, first = traced.pointers[before.last], traced.pointers[word.first]
    return (
        before.source is not None
        and word.source is not None
        and before.last + 1 == word.first
        and last is not None
        and first == last + 1
    )


def _apart(left: str, right: str, piece: str) -> bool:
    """Whether a space belongs between two characters that no source text joins."""
    if left.isspace() or right.isspace() or piece.startswith(CONTINUES):
        return False
    if left in OPENING or right in CLOSING:
        return False
    return left not in LINKING and right not in LINKING
