"""What a question is about: the words that must stand where its answer does."""

from __future__ import annotations

import re
from collections.abc import Collection

from tokenizers import Tokenizer

from rag.words import STOP_WORDS, content_words, whole

WORD = re.compile(r"[^\W_][\w'’-]*")
RARE = 3  # vocabulary pieces; words in so many are seldom everyday ones


def subjects(question: str, tokenizer: Tokenizer) -> list[str]:
    """Names, codes and rare words of a question, in lower case.

    A word counts that has a digit, or a capital and is not the first (in a question that is not all
    capitals), or that the vocabulary knows only in `RARE` pieces or more.
    """
    found = []
    for number, match in enumerate(WORD.finditer(question)):
        word = match.group()
        named = number > 0 and word[0].isupper() and not question.isupper()
        coded = any(letter.isdigit() for letter in word)
        if word.lower() not in STOP_WORDS and (named or coded or pieces(word, tokenizer) >= RARE):
            found.append(re.sub(r"['’]s?$", "", word.lower()))
    return found


def missing(wanted: Collection[str], text: str) -> int:
    """How many of the words a text does not hold, whole, in any inflection.

    >>> missing(["bridges", "aachen"], "A bridge in Hamm.")
    1
    """
    there = set(content_words(text))
    return sum(not there.issuperset(content_words(word)) for word in wanted)


def pieces(word: str, tokenizer: Tokenizer) -> int:
    """Vocabulary pieces that a word consists of."""
    return len(tokenizer.encode(whole(word), add_special_tokens=False).ids)
