"""Finds the answers that rest on a document of a home, for its current version to judge."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from knowledge_bases.audit.impact import Affected, Cited, Current, impact
from knowledge_bases.home import Home
from knowledge_bases.knowledge_base import KnowledgeBase
from knowledge_bases.recording import LOCAL
from rag.errors import NotFound, UsageError
from rag.types import Filters

_NEAREST = 5
"""Passages of the current version that a claim is judged by where its citation is lost."""


@dataclass(frozen=True, slots=True)
class Impact:
    """The answers that cite a document, to be judged again one after the other.

    Attributes:
        knowledge_base: that the document is or was in.
        document: its URI.
        version: of the citations; None for all.
        current_version: that judges; None where the document was withdrawn.
        total: how many answers there are, those left out counted.
        answers: them; claims are judged while these are taken.
    """

    knowledge_base: str
    document: str
    version: int | None
    current_version: int | None
    total: int
    answers: Iterator[Affected]


def impact_of(
    home: Home,
    uri: str,
    *,
    kb_name: str | None = None,
    version: int | None = None,
    skip: int = 0,
    most: int | None = None,
    actor: str = LOCAL,
) -> Impact:
    """Find the answers that cite a document; that they are read is in the log before.

    Args:
        home: whose log and documents.
        uri: the document's; it may be withdrawn, and its knowledge base deleted.
        kb_name: the knowledge base; None where the URI is in one only.
        version: only answers that cite this version.
        skip: leave out as many, the oldest.
        most: at most so many; None for all.
        actor: who reads them.

    Raises:
        NotFound: there is no such document, and no answer cites one.
        UsageError: several knowledge bases have it.
        RecordError: the log refused the record of the reading.
        ModelError: the verifier is not there or not usable.
        DigestMismatch: a record or the verifier is not what was recorded.
    """
    name = kb_name or _knowledge_base(home, uri)
    log = home.store.log
    sequences = [
        sequence for sequence in log.citing(name, uri, version) if log.at(sequence).kind == "answer"
    ]
    base = _opened(home, name)
    if base is None and not sequences:
        raise NotFound(f"there is no knowledge base {name!r}; `rag kb list` shows all")
    current = _current(base, uri)
    if current.version is None and not log.citing(name, uri) and not _was_there(base, uri):
        raise NotFound(f"there is no document {uri!r} in {name!r}, and no answer cites one")
    total = len(sequences)
    sequences = sequences[skip:][:most]
    verifier = home.verifier
    if sequences:
        ids = [log.at(sequence).id for sequence in sequences]
        home.audit.reading(ids, how="impact", kb_name=name, actor=actor)

    def records() -> Iterator[Cited]:
        for sequence in sequences:
            row = log.at(sequence)
            yield Cited(row.id, row.created_at.isoformat(), log.payload(row))

    def text_of(document: str, number: int) -> str | None:
        return None if base is None else _text(base, document, number)

    answers = impact(records(), current, verifier, texts=text_of)
    return Impact(name, uri, version, current.version, total, answers)


def _knowledge_base(home: Home, uri: str) -> str:
    """Return the one knowledge base that has or had a document."""
    names = [
        row.name
        for row in home.store.kbs.all()
        if home.store.log.citing(row.name, uri) or _was_there(home.open(row.name), uri)
    ]
    if len(names) > 1:
        raise UsageError(f"{uri!r} is in {', '.join(names)}; say which one with --kb NAME")
    if not names:
        raise NotFound(
            f"no knowledge base has a document {uri!r}; `rag doc list NAME` shows one's, and of a "
            "knowledge base that was deleted give the name with --kb"
        )
    return names[0]


def _opened(home: Home, name: str) -> KnowledgeBase | None:
    try:
        return home.open(name)
    except NotFound:
        return None


def _was_there(base: KnowledgeBase | None, uri: str) -> bool:
    """Say whether a document is there or was withdrawn; one that was erased leaves no trace."""
    if base is None:
        return False
    try:
        base.require_documents([uri])
    except NotFound:
        return base.store.changes.withdrawn(base.row.id, uri) is not None
    return True


def _current(base: KnowledgeBase | None, uri: str) -> Current:
    if base is None:
        return Current(uri, None, None)
    try:
        state, text = base.document_at(uri)
    except NotFound:
        return Current(uri, None, None)

    def nearest(sought: str) -> list[str]:
        words = sought.replace("\0", " ")[: base.home.settings.max_question_chars]
        found = base.search(words, k=_NEAREST, filters=Filters(documents=(uri,)))
        return [passage.text for passage in found]

    return Current(uri, state.version, text, nearest)


def _text(base: KnowledgeBase, uri: str, version: int) -> str | None:
    stored = base.store.documents.stored(base.row.id, [(uri, version)])
    return stored[uri, version].text if (uri, version) in stored else None
