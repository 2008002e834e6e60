"""Receipts: everything an answer came from, as one canonical JSON object (RFC 8785)."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import rag
from knowledge_bases.audit import canonical_json
from rag.types import Answer, Draft, Filters, Passage, Token, Verdict

SCHEMA = "grounded-rag/receipt/1"


@dataclass(frozen=True, slots=True)
class Cited:
    """A document version that a record rests on.

    Attributes:
        document_id: empty where the record names the document by its URI alone.
        version: its version's number.
        cited: whether the record cites it; else it was only read.
    """

    document_uri: str
    version: int
    document_id: str = ""
    cited: bool = True


def answer_receipt(
    answer: Answer,
    *,
    kb_name: str,
    settings: Mapping[str, Any],
    settings_digest: str,
    runtime: Mapping[str, Any],
    embedder: str,
    generation: int,
    generation_digest: str,
    asker: str,
    filters: Filters,
    conversation: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the receipt of an answer or abstention; its leaf adds id, place in the log and time.

    Args:
        answer: as the pipeline returned it, the draft of an abstention included.
        kb_name: the knowledge base asked.
        settings: those that shape answers, by name.
        settings_digest: their sha256.
        runtime: what it was computed with; see `knowledge_bases.runtime`.
        embedder: reference and digest of the bi-encoder.
        generation: number of the index generation searched.
        generation_digest: sha256 of its manifest.
        asker: who asked.
        filters: what the search was limited to.
        conversation: how the question was completed from earlier ones, where there were any.
    """
    said = {} if conversation is None else {"conversation": dict(conversation)}
    return {
        **said,
        "schema": SCHEMA,
        "software": f"grounded-rag {rag.__version__}",
        "kind": "answer",
        "knowledge_base": kb_name,
        "asker": asker,
        "question": answer.question,
        "filters": limits(filters),
        "status": answer.status,
        "text": answer.text,
        "reason": answer.decision.reason,
        "settings": dict(settings),
        "settings_sha256": settings_digest,
        "runtime": dict(runtime),
        "models": {**answer.models, "embedder": embedder},
        "index": {"generation": generation, "manifest_sha256": generation_digest},
        "passages": [_passage(passage) for passage in answer.passages],
        "draft": _draft(answer.draft),
        "citations": [
            {
                "index": citation.index,
                "document": citation.document.uri,
                "document_id": citation.document.id,
                "version": citation.version,
                "text_sha256": citation.text_sha256,
                "start": citation.start,
                "end": citation.end,
                "quote": citation.quote,
            }
            for citation in answer.citations
        ],
        "verdicts": [judged(verdict, answer.question) for verdict in answer.verdicts],
        "decision": {
            "probability": answer.decision.probability,
            "threshold": answer.decision.threshold,
        },
        "attempts": [
            {
                "models": dict(attempt.models),
                "draft": _draft(attempt.draft),
                "verdicts": [judged(verdict, answer.question) for verdict in attempt.verdicts],
                "decision": {
                    "probability": attempt.decision.probability,
                    "threshold": attempt.decision.threshold,
                    "reason": attempt.decision.reason,
                },
            }
            for attempt in answer.attempts
        ],
        "timings_ms": dict(answer.timings_ms),
    }


def limits(filters: Filters) -> dict[str, Any]:
    """Return what is kept of what a search was limited to."""
    return {
        "documents": list(filters.documents),
        "tags": list(filters.tags),
        "since": filters.since.isoformat() if filters.since else None,
        "until": filters.until.isoformat() if filters.until else None,
    }


def rests_on(receipt: Mapping[str, Any]) -> tuple[Cited, ...]:
    """Return the document versions that a receipt's answer cites, then those it only read."""
    found: dict[tuple[str, int], Cited] = {}
    for kind in ("citations", "passages"):
        for place in receipt[kind]:
            uri, version = place["document"], place["version"]
            found.setdefault(
                (uri, version),
                Cited(uri, version, place.get("document_id", ""), kind == "citations"),
            )
    return tuple(found.values())


def canonical(payload: Mapping[str, Any]) -> bytes:
    """Return the canonical JSON bytes of a receipt or another payload (RFC 8785).

    Raises:
        ValueError: it holds what JSON can't: NaN, an integer beyond 2**53, broken Unicode.
    """
    return canonical_json.dumps(dict(payload))


def _passage(passage: Passage) -> dict[str, Any]:
    return {
        "chunk_id": passage.chunk_id,
        "document": passage.document.uri,
        "document_id": passage.document.id,
        "title": passage.document.title,
        "version": passage.version,
        "start": passage.start,
        "end": passage.end,
        "score": passage.score,
        "scores": dict(passage.scores),
        "context": passage.context,
        "version_text_sha256": passage.text_sha256,
        "text_sha256": hashlib.sha256(passage.text.encode()).hexdigest(),
    }


def _draft(draft: Draft) -> dict[str, Any]:
    return {
        "confidence": draft.confidence,
        "features": dict(draft.features),
        "read_as": draft.read_as,
        "tokens": [_token(token) for token in draft.tokens],
    }


def judged(verdict: Verdict, asked: str | None) -> dict[str, Any]:
    """Return what is kept of a verdict.

    Args:
        verdict: what the verifier said.
        asked: the question that the record names already.
    """
    question = verdict.claim.question
    return {
        "claim": verdict.claim.text,
        "as_answer": question is not None,
        "question": None if question == asked else question,
        "citations": list(verdict.claim.citations),
        "label": verdict.label,
        "p_supported": verdict.p_supported,
        "p_contradicted": verdict.p_contradicted,
        "guards": [
            {"name": guard.name, "missing": list(guard.missing)} for guard in verdict.guards
        ],
        "evidence_span": verdict.evidence_span and verdict.evidence_span.text,
        "relevance": verdict.relevance,
        "disagreement": verdict.disagreement and asdict(verdict.disagreement),
    }


def _token(token: Token) -> list[Any]:
    """Return [text, probability, copy share, passage, start, end], null where it is generated."""
    pointer = token.pointer
    place = [pointer.passage, pointer.start, pointer.end] if pointer else [None, None, None]
    return [token.text, token.probability, token.copy_share, *place]
