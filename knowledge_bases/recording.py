"""What goes into the log beside answers: refusals, checks, deletions, readings, keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import rag
from indexer.generation import Generation
from knowledge_bases.audit.receipt import Cited, judged, limits
from knowledge_bases.lifecycle import Lifecycle
from knowledge_bases.store import Store
from knowledge_bases.store.api_keys import ApiKey
from knowledge_bases.store.changes import Withdrawn
from knowledge_bases.store.log import NewRecord
from knowledge_bases.tables import KnowledgeBaseRow
from rag.errors import RagError, StorageError
from rag.types import Filters
from rag.verify.check import Checked

LOCAL = "local"
"""Who does what nobody signed in for."""


def refusal(
    error: RagError,
    *,
    kb_name: str,
    question: str,
    filters: Filters,
    asker: str,
    settings_digest: str,
    most_chars: int,
) -> NewRecord:
    """Return the record of a question that ended in an error.

    Args:
        error: its class is the record's status.
        kb_name: the knowledge base asked.
        question: kept up to ``most_chars``; characters that aren't Unicode are spelt out.
        filters: what the search was limited to.
        asker: who asked.
        settings_digest: sha256 of the settings that shape answers.
        most_chars: of a question that may be asked.
    """
    name = type(error).__name__
    content = {
        **_head("refusal", asker),
        "knowledge_base": kb_name,
        "question": _clean(question[:most_chars]),
        "question_chars": len(question),
        "filters": limits(filters),
        "settings_sha256": settings_digest,
        "error": {"type": name, "message": _clean(str(error))},
    }
    return NewRecord("refusal", kb_name, name, content, subject=asker)


def check(
    claim: str,
    evidence: Sequence[str],
    question: str | None,
    checked: Checked,
    *,
    verifier: str,
    actor: str,
) -> NewRecord:
    """Return the record of a claim that was judged by the evidence given with it.

    Args:
        claim: what was to be judged.
        evidence: by what.
        question: what a short claim answers.
        checked: what the verifier said.
        verifier: its name and digest.
        actor: who sent it.
    """
    label = checked.worst.label
    content = {
        **_head("check", actor),
        "claim": claim,
        "evidence": list(evidence),
        "question": question,
        "verdict": label,
        "verdicts": [judged(own, question) for own in checked.verdicts],
        "models": {"verifier": verifier},
    }
    return NewRecord("check", None, label, content, subject=actor)


def reading(
    records: Sequence[str],
    *,
    how: str,
    actor: str,
    kb_name: str | None = None,
    log_size: int | None = None,
) -> NewRecord:
    """Return the record that somebody opened records.

    Args:
        records: their ids; none where it was a whole log.
        how: e.g. "show", "export", "bundle", "replay".
        actor: who.
        kb_name: the knowledge base that they speak of, if of one.
        log_size: how many records the log had, where it was all of them.
    """
    content = {**_head("read", actor), "records": list(records), "how": how, "log_size": log_size}
    return NewRecord("read", kb_name, how, content, subject=actor)


def access(change: str, key: ApiKey, *, actor: str) -> NewRecord:
    """Return the record of a key of the service; nothing of its secret is known here.

    Args:
        change: "created" or "revoked".
        key: which.
        actor: who made or revoked it.
    """
    expires_at = key.expires_at and key.expires_at.isoformat(timespec="microseconds")
    content = {
        **_head("access", actor),
        "change": change,
        "key": key.id,
        "name": key.name,
        "scopes": list(key.scopes),
        "knowledge_bases": list(key.knowledge_bases),
        "expires_at": expires_at,
    }
    return NewRecord("access", None, change, content)


def settings_change(settings: Mapping[str, Any], digest: str, before: str) -> NewRecord:
    """Return the record that the settings that shape answers are no longer what they were.

    Args:
        settings: as they are now.
        digest: their sha256.
        before: the sha256 of those before.
    """
    content = {
        **_head("settings", LOCAL),
        "settings": dict(settings),
        "settings_sha256": digest,
        "before_sha256": before,
    }
    return NewRecord("settings", None, "changed", content)


def calibration(
    kb_name: str, *, file: str, sha256: str, report: Mapping[str, Any], questions: Mapping[str, Any]
) -> NewRecord:
    """Return the record of a calibration file.

    Args:
        kb_name: the knowledge base that it was fitted on.
        file: its name.
        sha256: of its content.
        report: what it was found to do.
        questions: name and digest of the file of questions.
    """
    content = {
        **_head("calibration", LOCAL),
        "knowledge_base": kb_name,
        "file": file,
        "sha256": sha256,
        "report": dict(report),
        "questions": dict(questions),
    }
    return NewRecord("calibration", kb_name, "fitted", content)


def document_deletion(
    store: Store, kb: KnowledgeBaseRow, lifecycle: Lifecycle, gone: Withdrawn, *, actor: str
) -> NewRecord:
    """Look for a deleted document wherever a search looks, and return the record of that.

    Every way to a passage ends in `Chunks.passages`, which reads the database: what it does not
    return for the document's chunks, no search in any process returns. The index generation that
    is searched from now on is asked for the same chunks, by id.

    Args:
        store: the database.
        kb: the knowledge base.
        lifecycle: caught up with the deletion.
        gone: the document.
        actor: who deleted it.

    Raises:
        StorageError: something of it is still found.
    """
    generation = lifecycle.catch_up()
    ids = gone.chunk_ids
    live = store.chunks.count_live_of(ids)
    found = len(store.chunks.passages(kb.id, ids))
    texts = len(generation.lexical.held(ids))
    vectors = _held(generation, ids)
    if live or found or texts or generation.manifest.revision < gone.revision:
        raise StorageError(
            f"of {gone.uri!r} {live} chunks, {found} passages and {texts} index entries are still "
            "there: it was taken in again meanwhile, or run `rag doctor`"
        )
    content = {
        **_head("deletion", actor),
        "what": "document",
        "knowledge_base": kb.name,
        "document": gone.uri,
        "document_id": str(gone.document_id),
        "versions_kept": gone.versions,
        "older_generations": lifecycle.older_than(generation),
        "checked": {
            "revision": gone.revision,
            "generation": generation.manifest.number,
            "manifest_sha256": generation.digest,
            "chunks": len(ids),
            "live_chunks": live,
            "found": found,
            "texts": texts,
            "vectors": vectors,
        },
    }
    cited = Cited(gone.uri, gone.newest_version, str(gone.document_id), cited=False)
    return NewRecord("deletion", kb.name, "deleted", content, (cited,))


def knowledge_base_deletion(
    store: Store,
    kb: KnowledgeBaseRow,
    counts: dict[str, int],
    *,
    folder_left: bool,
    open_here: bool,
    actor: str,
) -> NewRecord:
    """Look for a deleted knowledge base and return the record of that.

    Args:
        store: the database.
        kb: as it was.
        counts: of its documents, versions and chunks, as they were.
        folder_left: whether its index folder is still there.
        open_here: whether this process still searches in it.
        actor: who deleted it.

    Raises:
        StorageError: something of it is still there.
    """
    documents, chunks = store.kbs.remains(kb.id)
    if documents or chunks or folder_left or open_here:
        raise StorageError(
            f"knowledge base {kb.name!r} is deleted, but {documents} documents, {chunks} chunks"
            f"{' and its index folder' if folder_left else ''} are still there; remove them"
        )
    content = {
        **_head("deletion", actor),
        "what": "knowledge base",
        "knowledge_base": kb.name,
        **counts,
        "versions_kept": 0,
        "checked": {"documents": 0, "chunks": 0, "index_folder": 0, "open_here": 0},
    }
    return NewRecord("deletion", kb.name, "deleted", content)


def _held(generation: Generation, ids: Sequence[int]) -> int:
    """Count the chunks whose vectors an index still holds, asking it for them alone."""
    if not ids or not len(generation.vectors):
        return 0
    dimension = generation.manifest.dimension
    anything = np.full((1, dimension), dimension**-0.5, dtype=np.float32)  # (1, d), of length 1
    wanted = np.array(sorted(ids), dtype=np.int64)
    return len(generation.vectors.search(anything, len(wanted), wanted))


def _head(kind: str, actor: str) -> dict[str, str]:
    return {
        "schema": f"grounded-rag/{kind}/1",
        "kind": kind,
        "software": f"grounded-rag {rag.__version__}",
        "actor": actor,
    }


def _clean(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
