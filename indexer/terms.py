"""The terms a text is indexed under and a question is looked up by."""

import re
import unicodedata
from threading import Lock

from tantivy import Filter, TextAnalyzer, TextAnalyzerBuilder, Tokenizer

_TOKEN = (
    # Scripts written without spaces, and Hangul, whose words carry their particles: by character.
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
    # A number with at most one decimal point, apart from its unit: "2.5mg" is "2.5" and "mg".
    r"|\p{N}+(?:\.\p{N}+)?"
    # A word or identifier: "HbA1c", "patient's", "max_chars".
    r"|[\p{L}_][\p{L}\p{M}\p{N}_]*(?:'\p{L}+)*"
)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
# Soft hyphens, zero-width characters, and lone surrogates, which Rust has no strings for.
_INVISIBLE = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff\ud800-\udfff]")
_LIGHT_WORDS = (
    "what who whom whose which when where why how "
    "a an the of to in on at by for with from and or as that this these those it its "
    "is are was were be been being do does did has have had"
)


def plain(text: str) -> str:
    """Return a text in which equal words are written equally.

    One Unicode form (NFKC: ligatures and full-width digits resolved), no invisible characters,
    straight apostrophes, no thousands separators.
    """
    if not text.isascii():
        text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).replace("\u2019", "'")
    return _THOUSANDS.sub("", text)


def analyzer() -> TextAnalyzer:
    """Return tantivy's analyzer for texts that went through `plain`.

    Lower case, no accents, English stems; nothing is dropped for its length or its frequency.
    """
    builder = TextAnalyzerBuilder(Tokenizer.regex(_TOKEN))
    for step in (Filter.lowercase(), Filter.ascii_fold(), Filter.stemmer("english")):
        builder = builder.filter(step)
    return builder.build()


_ANALYZER = analyzer()
_ANALYZER_LOCK = Lock()  # analysing mutates the analyzer


def terms_of(text: str) -> list[str]:
    """Return a text's terms in order.

    >>> terms_of("2.5mg for the patient\u2019s HbA1c")
    ['2.5', 'mg', 'for', 'the', 'patient', 'hba1c']
    """
    with _ANALYZER_LOCK:
        return _ANALYZER.analyze(plain(text))


LIGHT_TERMS = frozenset(terms_of(_LIGHT_WORDS))
"""Terms that ask or join and say little of what a question is about."""
