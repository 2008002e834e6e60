"""How near a question is to the place that its answer was copied from."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer

from rag.generate.subjects import missing, subjects
from rag.protocols import Embedder
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


def nearness(
    question: str,
    texts: Sequence[str],
    tokens: Sequence[Token],
    *,
    headings: Sequence[str],
    tokenizer: Tokenizer,
    embedder: Embedder | None,
) -> dict[str, float]:
    """All evidence of this module; "similarity" only with an embedder."""
    found = overlap(question, texts, tokens, headings)
    found["subjects_missing"] = subjects_missing(question, texts, tokens, tokenizer, headings)
    if embedder is not None:
        found["similarity"] = similarity(question, texts, tokens, embedder)
    return found


def overlap(
    question: str, texts: Sequence[str], tokens: Sequence[Token], headings: Sequence[str] = ()
) -> dict[str, float]:
    """Evidence that a draft answers the question asked, from words alone.

    Questions that sound as if a text answered them often share fewer words with the sentence
    that the answer comes from than with another.

    Args:
        question: as it is read.
        texts: the passages.
        tokens: the draft.
        headings: what stands above each passage; none, or one for each.

    Returns:
        coverage: share of the question's content words in the passage of the first copied word,
        its heading included;
        sentence_coverage: in the sentence of that word; sentence_lag: how far that is behind
        the passage's best sentence; missing, sentence_missing: how many words are not there;
        low_coverage: how far coverage is below `LOW`. Zeros where nothing was copied.
    """
    wanted = set(content_words(question))
    first = _first(tokens)
    if first is None or not wanted:
        return dict.fromkeys(NAMES, 0.0)
    text = texts[first.passage]
    shares = {
        span: len(wanted & set(content_words(text[slice(*span)]))) / len(wanted)
        for span in sentence_spans(text)
    }
    own = max((share for span, share in shares.items() if _overlaps(span, first)), default=0.0)
    around = set(content_words(_around(first, texts, headings)))
    coverage = len(wanted & around) / len(wanted)
    return {
        "coverage": coverage,
        "sentence_coverage": own,
        "sentence_lag": max(shares.values(), default=own) - own,
        "missing": (1 - coverage) * len(wanted),
        "sentence_missing": (1 - own) * len(wanted),
        "low_coverage": max(0.0, LOW - coverage),
    }


def similarity(
    question: str, texts: Sequence[str], tokens: Sequence[Token], embedder: Embedder
) -> float:
    """Cosine of the question and the sentence of the draft's first copied word; 0 without one."""
    first = _first(tokens)
    if first is None:
        return 0.0
    text = texts[first.passage]
    sentence = [text[slice(*span)] for span in sentence_spans(text) if _overlaps(span, first)]
    if not sentence:
        return 0.0
    vectors = embedder.embed([question, sentence[0]])  # (2, d)
    return float(vectors[0] @ vectors[1])


def subjects_missing(
    question: str,
    texts: Sequence[str],
    tokens: Sequence[Token],
    tokenizer: Tokenizer,
    headings: Sequence[str] = (),
) -> float:
    """How many names, codes and rare words of the question are not where the answer was copied.

    Neither in the passage of the first copied word nor in its heading; 0 if nothing was copied.
    """
    first = _first(tokens)
    if first is None:
        return 0.0
    return float(missing(subjects(question, tokenizer), _around(first, texts, headings)))


def _around(place: Pointer, texts: Sequence[str], headings: Sequence[str]) -> str:
    """The passage of a place with its heading."""
    text = texts[place.passage]
    return f"{headings[place.passage]}\n{text}" if headings else text


def _first(tokens: Sequence[Token]) -> Pointer | None:
    return next((token.pointer for token in tokens if token.pointer is not None), None)


def _overlaps(span: tuple[int, int], pointer: Pointer) -> bool:
    return span[0] < pointer.end and pointer.start < span[1]
