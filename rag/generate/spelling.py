"""Question words with a slip of the finger in them, read as the passages spell them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from rapidfuzz.distance import OSA
from tokenizers import Tokenizer

from rag.generate.subjects import RARE, pieces
from rag.words import STOP_WORDS

WORD = re.compile(r"[^\W\d_]+")
SHORTEST = 4  # letters; shorter words are near too many others


def mended(question: str, texts: Sequence[str], tokenizer: Tokenizer) -> str:
    """Put right what is surely a slip.

    A word that neither the passages hold nor the vocabulary as a whole becomes the one word of
    theirs from which it differs by a letter too many, a letter too few, or two neighbours
    exchanged. A replaced letter is left alone, as are the first letter, names, which are never
    written small, and rare words: those make other words of words (nitrite and nitrate,
    asymptomatic and symptomatic, Jansen and Janssen, one drug and another).

    Args:
        question: as asked.
        texts: the passages, with their headings.
        tokenizer: of the generator; its whole words are taken for well spelt.

    Returns:
        the question as it is to be read; as asked where nothing, or more than one word, is near.
    """
    words = {word for text in texts for word in WORD.findall(text)} | {*STOP_WORDS}
    known = {word.lower() for word in words}
    by_start: dict[tuple[str, int], list[str]] = defaultdict(list)
    for word in words:
        if word.islower():
            by_start[word[0], len(word)].append(word)

    def nearest(match: re.Match[str]) -> str:
        word = match.group()
        first = match.start() == 0
        if len(word) < SHORTEST or word.lower() in known or not (first or word.islower()):
            return word
        if pieces(word, tokenizer) == 1:
            return word
        low = word.lower()
        around = [
            other
            for length in (len(low) - 1, len(low), len(low) + 1)
            for other in by_start.get((low[0], length), ())
            if length >= SHORTEST and _one_slip(low, other)
        ]
        sure = len(around) == 1 and pieces(around[0], tokenizer) < RARE
        return around[0] if sure else word

    return WORD.sub(nearest, question)


def _one_slip(word: str, other: str) -> bool:
    """Whether a letter is too many or too few, or two neighbours are exchanged."""
    if len(word) == len(other) and sorted(word) != sorted(other):
        return False
    return OSA.distance(word, other, score_cutoff=1) <= 1
