"""Passages to token windows that fit the encoder, each token with its characters."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from rag.words import whole

OVERLAP = 64  # tokens that neighbouring windows share, so that no answer is cut by both
LONGEST_HEADING = 48  # tokens


@dataclass(frozen=True)
class Window:
    """Tokens of a stretch of one passage.

    Attributes:
        passage: index of the passage.
        ids: vocabulary ids.
        offsets: for each token, its characters [start, end) in the passage's text.
        heading: vocabulary ids of the headings above the passage, which the encoder reads before
            it; nothing is copied from there.
    """

    passage: int
    ids: list[int]
    offsets: list[tuple[int, int]]
    heading: tuple[int, ...] = ()


def windows(
    tokenizer: Tokenizer,
    texts: Sequence[str],
    room: int,
    *,
    headings: Sequence[str] = (),
    hidden: Collection[int] = (),
) -> list[Window]:
    """Tokenise passages; what is longer than `room` tokens becomes several windows.

    Args:
        tokenizer: without truncation.
        texts: the passages; one without any tokens gets no window.
        room: longest window, in tokens, its heading included.
        headings: one for each text, or none at all; of a long one the end is kept, which is
            nearest to the text.
        hidden: tokens that are left out: a text may spell out "[SEP]", but must not frame.

    Raises:
        ValueError: there is no room for a window beyond the overlap.
    """
    if room <= OVERLAP:
        raise ValueError(f"a window needs room for more than {OVERLAP} tokens, got {room}")
    found = []
    encodings = tokenizer.encode_batch([whole(text) for text in texts], add_special_tokens=False)
    above = _headings(tokenizer, headings or [""] * len(texts), (room - OVERLAP) // 2, hidden)
    for passage, encoding in enumerate(encodings):
        heading = above[passage]
        own = room - len(heading)
        # Each look at an encoding's ids or offsets copies all of them.
        kept = [
            (token, _without_space(texts[passage], *place))
            for token, place in zip(encoding.ids, encoding.offsets, strict=True)
            if token not in hidden
        ]
        ids = [token for token, _ in kept]
        offsets = [place for _, place in kept]
        count = len(ids)
        for begin in range(0, max(1, count - OVERLAP), own - OVERLAP):
            stop = min(count, begin + own)
            if stop > begin:
                found.append(Window(passage, ids[begin:stop], offsets[begin:stop], heading))
    return found


def _headings(
    tokenizer: Tokenizer, headings: Sequence[str], most: int, hidden: Collection[int]
) -> list[tuple[int, ...]]:
    encodings = tokenizer.encode_batch([whole(h) for h in headings], add_special_tokens=False)
    longest = min(LONGEST_HEADING, most)
    kept = [[token for token in encoding.ids if token not in hidden] for encoding in encodings]
    return [tuple(ids[max(0, len(ids) - longest) :]) for ids in kept]


def _without_space(text: str, start: int, end: int) -> tuple[int, int]:
    """Some tokenizers count the space before a word as the word's."""
    while start < end and text[start].isspace():
        start += 1
    return start, end
