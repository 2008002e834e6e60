"""Words of a text as evidence: folded, stemmed, stop words dropped."""

import re
from functools import lru_cache

import tantivy

SURROGATE = re.compile("[\ud800-\udfff]")

STOP_WORDS = (
    "a an the this that these those of in on at by for with about against between into through "
    "during before after above below to from up down out off over under again then once here there "
    "all any both each few more most other some such no nor not only own same so than too very can "
    "will just should now is are was were be been being have has had having do does did doing am "
    "and but if or because as until while it its he him his she her hers they them their i me my "
    "we us our you your what which who whom whose when where why how much many long often would "
    "could may might must shall"
).split()


@lru_cache(maxsize=1)
def _analyzer() -> tantivy.TextAnalyzer:
    return (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.regex(r"[\p{L}\p{M}\p{N}]+(?:[.,]\p{N}+)*"))
        .filter(tantivy.Filter.lowercase())
        .filter(tantivy.Filter.ascii_fold())
        .filter(tantivy.Filter.custom_stopword(STOP_WORDS))
        .filter(tantivy.Filter.stemmer("english"))
        .build()
    )


def content_words(text: str) -> list[str]:
    """Return a text's words in order, stemmed, without stop words.

    >>> content_words("Which doses were given?")
    ['dose', 'given']
    """
    words: list[str] = _analyzer().analyze(whole(text))
    return words


def whole(text: str) -> str:
    """Return a text without halves of surrogate pairs, which have no UTF-8; as long as before.

    >>> len(whole("a" + chr(0xD800) + "b"))
    3
    """
    return SURROGATE.sub("\ufffd", text)
