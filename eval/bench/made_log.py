"""Makes logs of small answers, to be verified and tampered with."""

from __future__ import annotations

import hashlib
from typing import Any

from knowledge_bases.audit.checkpoint import ORIGIN, Checkpoint
from knowledge_bases.audit.keys import KeyRing
from knowledge_bases.audit.receipt import rests_on
from knowledge_bases.store.log import Log, NewRecord

DIGEST = hashlib.sha256(b"").hexdigest()
_AT_ONCE = 2_000


def answer(
    number: int,
    *,
    asker: str = "someone",
    uri: str = "a.txt",
    text: str = "4 g.",
    label: str = "supported",
) -> NewRecord:
    """Return the record of an answer with one citation."""
    version = {"document": uri, "document_id": "7", "version": 1}
    receipt: dict[str, Any] = {
        "schema": "grounded-rag/receipt/1",
        "software": "grounded-rag 0.1.0",
        "kind": "answer",
        "knowledge_base": "docs",
        "asker": asker,
        "question": f"What is dose {number}?",
        "filters": {"documents": [], "tags": [], "since": None, "until": None},
        "status": "answered",
        "text": text,
        "reason": None,
        "settings": {"passages": 5},
        "settings_sha256": DIGEST,
        "runtime": {"torch": "2.13.0", "threads": 2, "cpu": "AVX2", "device": "cpu"},
        "models": {"generator": "extractive"},
        "index": {"generation": 1, "manifest_sha256": DIGEST},
        "passages": [
            {
                **version,
                "chunk_id": 1,
                "title": "A",
                "start": 0,
                "end": 4,
                "score": 1.0,
                "scores": {},
                "context": "",
                "version_text_sha256": DIGEST,
                "text_sha256": DIGEST,
            }
        ],
        "draft": {"confidence": 1.0, "features": {}, "read_as": None, "tokens": []},
        "citations": [
            {
                **version,
                "index": 1,
                "text_sha256": DIGEST,
                "start": 0,
                "end": 4,
                "quote": text,
            }
        ],
        "verdicts": [
            {
                "claim": text,
                "as_answer": True,
                "question": None,
                "citations": [1],
                "label": label,
                "p_supported": 0.9,
                "p_contradicted": 0.0,
                "guards": [],
                "evidence_span": text,
                "relevance": None,
                "disagreement": None,
            }
        ],
        "decision": {"probability": 1.0, "threshold": 0.5},
        "attempts": [],
        "timings_ms": {},
    }
    return NewRecord("answer", "docs", "answered", receipt, rests_on(receipt), asker)


def sign(log: Log, keys: KeyRing, size: int | None = None) -> str:
    """Sign and keep a checkpoint of the log at a size."""
    size = log.size() if size is None else size
    root = log.root(size)
    note = keys.sign(Checkpoint(ORIGIN + log.state().log_id, size, root))
    log.add_checkpoint(size, root, note)
    return note


def fill(log: Log, records: int) -> None:
    """Append that many answers, many in a transaction."""
    for start in range(0, records, _AT_ONCE):
        stop = min(start + _AT_ONCE, records)
        log.append_all([answer(number) for number in range(start, stop)])
