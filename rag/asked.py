"""What may be asked and judged: texts that hold words and nothing that can't be stored."""

import re
from collections.abc import Sequence

from rag.errors import QuestionError, TextError, UsageError

UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""NUL and halves of surrogate pairs: a database or UTF-8 can't hold them."""
BROKEN = "holds NUL or broken Unicode characters; remove them"
WORDLESS = "holds no words; write some"
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")


def has_words(text: str) -> bool:
    """Whether a text holds a letter or digit, of any script.

    >>> [has_words(text) for text in ("ภาษา", "7", "...!?", "😀")]
    [True, True, False, False]
    """
    return any(char.isalnum() for char in text)


def spaced(text: str) -> str:
    r"""Return a text with spaces for control characters that are no white space, as long as before.

    >>> spaced("a\x07b\n")
    'a b\n'
    """
    return _CONTROL.sub(" ", text)


def checked_question(question: str, max_chars: int, *, name: str = "the question") -> str:
    """Return the question without surrounding white space and control characters.

    Args:
        question: as it was asked.
        max_chars: longest one.
        name: what it is called.

    Raises:
        QuestionError: it holds no words, is too long, or holds characters that can't be stored.
    """
    _check(name, question, QuestionError)
    question = spaced(question).strip()
    if len(question) > max_chars:
        raise QuestionError(
            f"{name} has {len(question):,} characters; ask with at most {max_chars:,}"
        )
    return question


def check_claim(claim: str, question: str | None) -> None:
    """Refuse a claim that can't be judged, and a question that is none.

    Raises:
        TextError: it holds no words, or either holds characters that can't be stored.
        QuestionError: the question holds no words.
    """
    _check("the claim", claim, TextError)
    if question is not None:
        _check("the question", question, QuestionError)


def check_given(texts: Sequence[str], name: str, max_chars: int | None) -> None:
    """Refuse texts to read or to judge by that are more than can be read.

    Args:
        texts: that come with a question or claim.
        name: what they are called, such as "passages".
        max_chars: all together; None for any number.

    Raises:
        TextError: they are too long, or one holds characters that can't be stored.
    """
    chars = sum(map(len, texts))
    if max_chars is not None and chars > max_chars:
        raise TextError(f"there are {chars:,} characters of {name}; give at most {max_chars:,}")
    for index, text in enumerate(texts):
        if UNSTORABLE.search(text):
            raise TextError(f"{name}[{index}] {BROKEN}")


def _check(name: str, text: str, error: type[UsageError]) -> None:
    if UNSTORABLE.search(text):
        raise error(f"{name} {BROKEN}")
    if not has_words(text):
        raise error(f"{name} {WORDLESS}")
