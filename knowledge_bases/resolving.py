"""Finds what an answer cites in the current versions of its documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from knowledge_bases.audit.anchors import Nearest, Quoted, State, reanchor
from knowledge_bases.home import Home
from knowledge_bases.knowledge_base import KnowledgeBase
from rag.errors import NotFound, UsageError


@dataclass(frozen=True, slots=True)
class Resolved:
    """A citation and where it stands now.

    Attributes:
        index: number of the citation in the answer.
        document: its URI.
        version: that was cited.
        start, end: the quote in that version, code points.
        state: as `knowledge_bases.audit.anchors.State`; "withdrawn" where the document is gone.
        current_version: where it was looked for; None where the document is gone.
        current_start, current_end: the quote in it; None unless it is resolved or moved.
        occurrences: how often the quote stands in it.
        nearest: for a lost quote, the passage most like it, if one is.
    """

    index: int
    document: str
    version: int
    start: int
    end: int
    quote: str
    state: State | Literal["withdrawn"]
    current_version: int | None = None
    current_start: int | None = None
    current_end: int | None = None
    occurrences: int = 0
    nearest: Nearest | None = None


def resolve(home: Home, answer_id: str, receipt: Mapping[str, Any]) -> list[Resolved]:
    """Find each citation of an answer in its document as it is now.

    Args:
        home: whose documents.
        answer_id: of the record.
        receipt: its payload.

    Raises:
        UsageError: the record is of no answer.
    """
    if receipt.get("kind") != "answer":
        raise UsageError(
            f"record {answer_id} is of kind {receipt.get('kind')!r}; only answers cite documents"
        )
    try:
        base = home.open(receipt["knowledge_base"])
    except NotFound:
        base = None
    return [_resolved(base, citation) for citation in receipt["citations"]]


def _resolved(base: KnowledgeBase | None, citation: Mapping[str, Any]) -> Resolved:
    index, uri, version, start, end, quote = (
        citation[name] for name in ("index", "document", "version", "start", "end", "quote")
    )
    try:
        if base is None:
            raise NotFound(uri)
        state, text = base.document_at(uri)
    except NotFound:
        return Resolved(index, uri, version, start, end, quote, "withdrawn")
    stored = base.store.documents.stored(base.row.id, [(uri, version)]).get((uri, version))
    old = stored.text if stored else None
    quoted = Quoted(start, end, quote, "", "")
    if old is not None and old[start:end] == quote:
        quoted = Quoted.of(old, start, end)
    anchor = reanchor(quoted, text, old_text=old)
    return Resolved(
        index,
        uri,
        version,
        start,
        end,
        quote,
        anchor.state,
        state.version,
        anchor.start,
        anchor.end,
        anchor.occurrences,
        anchor.nearest,
    )
