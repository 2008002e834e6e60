"""Whether what a question names stands where its answer was copied from."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag.sentences import sentence_spans
from rag.types import Passage, Token
from rag.words import STOP_WORDS, content_words

_WORD = re.compile(r"[^\W_](?:[\w'’/.-]*\w)?")
_YEAR = re.compile(r"[12]\d{3}")
_CELLS = " | "


def unmentioned(
    question: str, tokens: Sequence[Token], passages: Sequence[Passage], *, names: bool = False
) -> list[str]:
    """Codes of a question, and with `names` its names, that are not where an answer comes from.

    A code has letters and digits (TL-540); a year counts as one. It must be in the sentence copied
    from, or, if no code of the same shape is there in its place, in the passage or its headings. A
    name, a capitalised word but the first, must be in the passage or its headings.

    Returns:
        what is missing, as asked; nothing if nothing was copied.
    """
    cited = _cited(tokens, passages)
    if not cited:
        return []
    sentences = " ".join(sentence for _, sentence in cited)
    around = " ".join(f"{p.document.title} {p.context} {p.text}" for p, _ in cited)
    here, there = _codes(sentences), _codes(around)
    shapes = {_shape(code) for code in here}
    missing = [
        code
        for code in sorted(_codes(question))
        if code not in here and (_shape(code) in shapes or code not in there)
    ]
    if names:
        words = set(content_words(around))
        missing += [name for name in _names(question) if not words.issuperset(content_words(name))]
    return missing


def from_table(tokens: Sequence[Token], passages: Sequence[Passage]) -> bool:
    """Whether any of an answer was copied from a table's row."""
    return any(_CELLS in sentence for _, sentence in _cited(tokens, passages))


def _cited(tokens: Sequence[Token], passages: Sequence[Passage]) -> list[tuple[Passage, str]]:
    """Each sentence that something was copied from, with its passage."""
    pointers = [token.pointer for token in tokens if token.pointer is not None]
    found = []
    for index in sorted({pointer.passage for pointer in pointers}):
        passage = passages[index]
        own = [pointer for pointer in pointers if pointer.passage == index]
        for start, end in sentence_spans(passage.text):
            if any(pointer.start < end and start < pointer.end for pointer in own):
                found.append((passage, passage.text[start:end]))
    return found


def _codes(text: str) -> set[str]:
    words = {match.group().lower() for match in _WORD.finditer(text)}
    return {word for word in words if _YEAR.fullmatch(word) or _mixed(word)}


def _mixed(word: str) -> bool:
    """Whether a word begins with letters and has digits; "5mg" and "3rd" are quantities."""
    return word[0].isalpha() and any(letter.isdigit() for letter in word)


def _shape(code: str) -> str:
    """Letters and digits by kind: "TL-540" and "TL-450" are alike, "v2" is not like them."""
    return re.sub(r"\d+", "0", re.sub(r"[^\W\d_]+", "a", code))


def _names(question: str) -> list[str]:
    words = list(_WORD.finditer(question))[1:]
    if question.isupper():
        return []
    named = [word.group() for word in words if word.group()[0].isupper()]
    return [word for word in named if word.lower() not in STOP_WORDS and not _mixed(word)]
