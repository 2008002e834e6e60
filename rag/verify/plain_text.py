"""One spelling for characters that mean the same: digits of any script, spaces, dashes, quotes."""

import re
import unicodedata
from functools import lru_cache

GROUP = "\u202f"
"""Stands for every space that groups digits: thin, narrow and no-break ones."""
_SAME = {
    **dict.fromkeys("\u00a0\u2007\u2009\u200a", GROUP),
    **dict.fromkeys("\u2010\u2011\u2212\ufe63\uff0d", "-"),
    **dict.fromkeys("\u2018\u2019\u02bc\u2032\uff07", "'"),
    **dict.fromkeys("\u2012\u2014\u2015", "\u2013"),
    "\u03bc": "µ",
    "\u066b": ".",
    "\u066c": ",",
    "\uff05": "%",
    "\u066a": "%",
}


class _Plain(dict[int, str]):
    """Looks a character up once and remembers it, as `str.translate` asks."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        if char in _SAME:
            found = _SAME[char]
        elif unicodedata.category(char) == "Nd":
            found = str(unicodedata.decimal(char))
        elif unicodedata.category(char) == "Cs":
            found = "\ufffd"
        else:
            found = char
        self[code] = found
        return found


_PLAIN = _Plain()
_LATIN = re.compile("[a-z]+")


def plain(text: str) -> str:
    """Return a text with one spelling of digits, dashes, spaces and apostrophes, as long as before.

    >>> plain("٣ −5 Zoë’s")
    "3 -5 Zoë's"
    """
    return text if text.isascii() else text.translate(_PLAIN)


@lru_cache(maxsize=512)
def small_words(text: str) -> frozenset[str]:
    """Return the words of a text in small Latin letters: a quick look before a slow pattern."""
    return frozenset(_LATIN.findall(text.lower()))


def fold(text: str) -> str:
    """Return a text without case and accents.

    >>> fold("Müller")
    'muller'
    """
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(char for char in decomposed if not unicodedata.combining(char))
