"""Passages of texts that come with a question, from no knowledge base."""

import hashlib
from collections.abc import Sequence

from rag.types import Document, Passage
from rag.words import whole


def given_passages(texts: Sequence[str]) -> list[Passage]:
    """Make passages of given texts; each is a document of its own, named by its index.

    Halves of surrogate pairs, which have no UTF-8, become U+FFFD.
    """
    return [
        Passage(
            chunk_id=index,
            document=Document(str(index), f"passage:{index}", f"Passage {index}"),
            version=1,
            version_id=index,
            start=0,
            end=len(text),
            text=text,
            before="",
            after="",
            section=None,
            page=None,
            text_sha256=hashlib.sha256(text.encode()).hexdigest(),
            score=0.0,
        )
        for index, text in enumerate(map(whole, texts))
    ]
