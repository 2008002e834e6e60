"""An answer once more, from its record and the stored texts: nothing else of it is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from knowledge_bases.knowledge_base import KnowledgeBase, RecordedAnswer
from knowledge_bases.recording import LOCAL
from knowledge_bases.replaying import recorded_passages
from knowledge_bases.sources import Sources
from knowledge_bases.store.log import Recorded
from knowledge_bases.tables import AuditRow
from rag.cite import cite
from rag.errors import NotFound
from rag.types import (
    Answer,
    Claim,
    Decision,
    Disagreement,
    Draft,
    Guard,
    Pointer,
    Token,
    Verdict,
)


def retold(kb: KnowledgeBase, record_id: str, *, actor: str = LOCAL) -> RecordedAnswer:
    """Return an answer as it was first given; that it was told again is in the log, too.

    Raises:
        NotFound: its payload, or a text that it rests on, was erased.
        RecordError: the log refused the record of that.
    """
    row = kb.store.log.get(record_id)
    receipt = kb.store.log.payload(row)
    if receipt is None:
        raise NotFound(f"the payload of record {record_id} was erased")
    answer = _answer(kb, receipt)
    kb.home.audit.read(row, how="retry", actor=actor)
    return RecordedAnswer(answer, _record(row))


def _answer(kb: KnowledgeBase, receipt: Mapping[str, Any]) -> Answer:
    passages = recorded_passages(kb, receipt["passages"])
    models = {name: digest for name, digest in receipt["models"].items() if name != "embedder"}
    draft = _draft(receipt["draft"], models["generator"])
    segments, citations = cite(draft, passages, Sources(kb.store, kb.row.id))
    decided = receipt["decision"]
    return Answer(
        question=receipt["question"],
        status=receipt["status"],
        text=receipt["text"],
        segments=segments,
        citations=citations,
        verdicts=tuple(_verdict(verdict) for verdict in receipt["verdicts"]),
        decision=Decision(
            receipt["status"], decided["probability"], decided["threshold"], receipt["reason"]
        ),
        passages=tuple(passages),
        draft=draft,
        models=models,
        timings_ms=receipt["timings_ms"],
    )


def _draft(draft: Mapping[str, Any], generator: str) -> Draft:
    return Draft(
        tuple(_token(token) for token in draft["tokens"]),
        draft["confidence"],
        generator,
        draft["features"],
        draft["read_as"],
    )


def _token(token: Sequence[Any]) -> Token:
    text, probability, copy_share, passage, start, end = token
    pointer = None if passage is None else Pointer(passage, start, end)
    return Token(text, float(probability), float(copy_share), pointer)


def _verdict(verdict: Mapping[str, Any]) -> Verdict:
    found = verdict["disagreement"]
    return Verdict(
        Claim(verdict["claim"], tuple(verdict["citations"])),
        verdict["label"],
        verdict["p_supported"],
        verdict["p_contradicted"],
        tuple(Guard(guard["name"], tuple(guard["missing"])) for guard in verdict["guards"]),
        None,
        verdict["relevance"],
        found and Disagreement(**found),
    )


def _record(row: AuditRow) -> Recorded:
    return Recorded(
        row.id,
        row.sequence,
        row.kind,
        row.kb_name,
        row.status,
        row.created_at,
        row.leaf_hash,
        row.leaf,
    )
