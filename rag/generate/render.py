"""Traced tokens to text: copied words as the source has them, the rest from the vocabulary."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from rag.generate.provenance import Trace
from rag.types import Pointer, Token

CLOSING = frozenset(".,;:!?)]}%…”")  # no space before these
OPENING = frozenset("([{“$€£#")  # none after these
LINKING = frozenset("-–/'’")  # and none on either side of these
STARTS = ("▁", "Ġ")  # how SentencePiece and byte-level vocabularies mark the start of a word
CONTINUES = "##"  # how WordPiece marks what is not the start of one


def render(
    tokens: Sequence[int],
    traced: Trace,
    places: Sequence[Pointer | None],
    texts: Sequence[str],
    tokenizer: Tokenizer,
) -> tuple[Token, ...]:
    """Write an answer out, a token a word.

    Tokens copied from neighbouring places are a run, which becomes the source's own characters
    with what stands between them, so that case, accents and digits are exact. A run begins and
    ends where words do, in the source and in the answer: pieces of longer words count as written.

    Args:
        tokens: the answer.
        traced: its pointers and probabilities.
        places: for each source position its characters; None for framing tokens.
        texts: the passages.
        tokenizer: the generator's.

    Returns:
        tokens whose texts join to the answer. White space between the words of a run belongs to
        the word after it; before a new run it is a written token of its own.
    """
    spelling = _Spelling(tokenizer, tokens)
    sources = [None if p is None else places[p] for p in traced.pointers]
    for first, last in list(_runs(traced, sources)):
        _trim(first, last, sources, texts, spelling)
    written: list[Token] = []
    ending = ""  # last character so far
    for first, last in _stretches(traced, sources):
        if sources[first] is None:
            words = spelling.words(first, last, ending)
        else:
            words = _quoted(first, last, sources, texts)
            shown = words[0].text[:1] if words else ""
            if ending and shown and _apart(ending, shown):
                written.append(Token(" ", 1.0, 0.0, None))
        for word in words:
            chosen = slice(word.first, word.last + 1)
            probability = math.exp(min(0.0, sum(traced.log_probs[chosen])))
            share = min(traced.copy_shares[chosen])
            written.append(Token(word.text, probability, share, word.source))
            ending = word.text[-1]
    return tuple(written)


def whole_words(tokens: Sequence[int], tokenizer: Tokenizer) -> int:
    """Count the tokens of an unfinished answer whose words no later token can go on with.

    The last token's word is never among them.
    """
    spelling = _Spelling(tokenizer, tokens)
    last = len(tokens) - 1
    while last > 0 and spelling.goes_on(last):
        last -= 1
    return max(0, last)


@dataclass(frozen=True)
class _Word:
    """What tokens [first, last] of an answer say; `source` where it was copied."""

    first: int
    last: int
    text: str
    source: Pointer | None


class _Spelling:
    """How an answer's tokens make words, by the kind of vocabulary."""

    def __init__(self, tokenizer: Tokenizer, tokens: Sequence[int]) -> None:
        self.tokenizer = tokenizer
        self.tokens = tokens
        self.pieces = [tokenizer.id_to_token(token) or "" for token in tokens]
        self.marked = type(tokenizer.model).__name__ in ("BPE", "Unigram")

    def goes_on(self, i: int) -> bool:
        """Whether token i continues the word of the token before it."""
        piece = self.pieces[i]
        if not self.marked:
            return piece.startswith(CONTINUES) and piece != CONTINUES
        return not piece.startswith(STARTS)

    def words(self, first: int, last: int, ending: str) -> list[_Word]:
        """The words of written tokens, each with the space before it; empty ones left out."""
        found: list[_Word] = []
        i = first
        while i <= last:
            j = i
            while j < last and self.goes_on(j + 1):
                j += 1
            text = self.tokenizer.decode(list(self.tokens[i : j + 1])).strip()
            if not self.marked:
                text = text.removeprefix(CONTINUES) if self.goes_on(i) else text
            if text:
                if ending and not self.goes_on(i) and (self.marked or _apart(ending, text[0])):
                    text = " " + text
                found.append(_Word(i, j, text, None))
                ending = text[-1]
            i = j + 1
        return found


def _runs(traced: Trace, sources: Sequence[Pointer | None]) -> Iterator[tuple[int, int]]:
    """First and last token of each run: copied from one source position after the other."""
    for first, last in _stretches(traced, sources):
        if sources[first] is not None:
            yield first, last


def _stretches(traced: Trace, sources: Sequence[Pointer | None]) -> Iterator[tuple[int, int]]:
    """First and last token of each run, and of each stretch of written tokens."""
    first = 0
    for i in range(1, len(sources) + 1):
        if i < len(sources) and _together(i, traced, sources):
            continue
        if sources:
            yield first, i - 1
        first = i


def _together(i: int, traced: Trace, sources: Sequence[Pointer | None]) -> bool:
    """Whether token i belongs to the run, or to the written stretch, of the one before it."""
    before, after = sources[i - 1], sources[i]
    if before is None or after is None:
        return before is after
    last, own = traced.pointers[i - 1], traced.pointers[i]
    return last is not None and own == last + 1 and before.passage == after.passage


def _trim(
    first: int,
    last: int,
    sources: list[Pointer | None],
    texts: Sequence[str],
    spelling: _Spelling,
) -> None:
    """Count pieces of longer words at a run's ends as written, in place."""

    def cut(i: int, *, at_start: bool) -> bool:
        place = sources[i]
        if place is None:
            return False
        offset = place.start if at_start else place.end
        return place.start == place.end or _inside_word(texts[place.passage], offset)

    begin, end = first, last
    while begin <= end and cut(begin, at_start=True):
        begin += 1
    written_on = end + 1 < len(sources) and sources[end + 1] is None and spelling.goes_on(end + 1)
    joins = written_on and spelling.pieces[end + 1].removeprefix(CONTINUES)[:1].isalnum()
    while end >= begin and (joins or cut(end, at_start=False)):
        # A word that goes on in the answer takes all of its own pieces along.
        place = sources[end]
        joins = joins and place is not None and _inside_word(texts[place.passage], place.start)
        end -= 1
    for i in [*range(first, begin), *range(end + 1, last + 1)]:
        sources[i] = None


def _quoted(
    first: int, last: int, sources: Sequence[Pointer | None], texts: Sequence[str]
) -> list[_Word]:
    """A run's words, each with the characters between it and the one before."""
    words: list[_Word] = []
    done: int | None = None  # characters up to here are written
    i = first
    while i <= last:
        j, place = i, sources[i]
        assert place is not None
        text, stop = texts[place.passage], place.end
        while j < last:
            following = sources[j + 1]
            assert following is not None
            if following.start >= stop and not _inside_word(text, stop):
                break
            stop = max(stop, following.end)
            j += 1
        start = place.start if done is None else done
        if stop > start:
            words.append(_Word(i, j, text[start:stop], Pointer(place.passage, start, stop)))
            done = stop
        i = j + 1
    return words


def _inside_word(text: str, offset: int) -> bool:
    """Whether an offset is inside a word or a number, not at its border.

    Wide scripts write words without spaces, so every character is one there.
    """
    if not 0 < offset < len(text):
        return False
    left, right = text[offset - 1], text[offset]
    if left.isdigit() and right in ".,":
        return text[offset + 1 : offset + 2].isdigit()
    if left in ".," and right.isdigit():
        return text[max(0, offset - 2) : offset - 1].isdigit()
    return all(
        (letter.isalnum() or unicodedata.combining(letter))
        and unicodedata.east_asian_width(letter) not in "WF"
        for letter in (left, right)
    )


def _apart(left: str, right: str) -> bool:
    """Whether a space belongs between two characters that no source text joins."""
    if left.isspace() or right.isspace():
        return False
    if left in OPENING or right in CLOSING:
        return False
    return left not in LINKING and right not in LINKING
