"""Quotations of a claim, and whether they stand in the evidence."""

import re
from collections.abc import Sequence

from rag.verify.plain_text import plain

_QUOTATION = re.compile(
    r"[“„\"]([^“”„\"]{2,}?)[”“\"](?!\w)|«([^«»]{2,}?)»|(?<!\w)‘([^‘]{2,}?)’(?!\w)"
)
_DOUBLE = re.compile("[“”„«»]")
_ELLIPSIS = re.compile(r"\s*(?:\[?(?:\.\.\.|…)\]?|\[[^\]]{1,40}\])\s*")
_ENDS = " .,;:!?'\""


def quotations(text: str) -> list[str]:
    """Return what stands in quotation marks, white space folded.

    >>> quotations("It says “as  soon as possible”.")
    ['as soon as possible']
    """
    found = (" ".join(next(filter(None, groups)).split()) for groups in _QUOTATION.findall(text))
    return [quotation for quotation in found if quotation.strip(_ENDS)]


def missing_quotations(claim: str, evidence: Sequence[str]) -> list[str]:
    """Return the quotations of a claim that its evidence lacks.

    White space, typographic quotes, the first letter's case and the punctuation at either end don't
    count; what is left out (…) or put in [brackets] may be anything.
    """
    wanted = quotations(claim)
    if not wanted:
        return []
    there = _flat(" ".join(evidence))
    return sorted({quotation for quotation in wanted if not _stands(_flat(quotation), there)})


def _stands(quotation: str, text: str) -> bool:
    position = 0
    for i, piece in enumerate(_ELLIPSIS.split(quotation)):
        words = piece.strip(_ENDS)
        if not words:
            continue
        first = re.escape(words[0])
        if i == 0 and words[0].swapcase() != words[0] and len(words[0].swapcase()) == 1:
            first = f"[{first}{re.escape(words[0].swapcase())}]"
        found = re.compile(rf"(?<!\w){first}{re.escape(words[1:])}(?!\w)").search(text, position)
        if found is None:
            return False
        position = found.end()
    return True


def _flat(text: str) -> str:
    return " ".join(_DOUBLE.sub('"', plain(text)).split())
