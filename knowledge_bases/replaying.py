"""Runs a recorded answer again, on what it was made from."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import rag
from indexer.generation import Generation
from knowledge_bases.answer_settings import answer_settings, settings_digest
from knowledge_bases.audit.personal_data import masked_count
from knowledge_bases.audit.receipt import answer_receipt
from knowledge_bases.audit.replay import Difference, Replay, outcome_of, readable_diff
from knowledge_bases.knowledge_base import KnowledgeBase
from knowledge_bases.runtime import runtime
from knowledge_bases.sources import Sources
from knowledge_bases.store.documents import StoredText
from rag.errors import IndexCorrupt, NotFound, UsageError
from rag.pipeline import Pipeline
from rag.retrieve import HybridRetriever
from rag.types import CONTEXT_CHARS, Filters, Passage


def replay(kb: KnowledgeBase, answer_id: str, receipt: Mapping[str, Any]) -> Replay:
    """Answer a recorded question again and compare.

    Where the index generation of then is still kept, the search is repeated on it; if it finds
    something else, that is named. The answer itself is always written from the recorded passages,
    so that a difference in the search is not taken for one in the writing.

    Args:
        kb: the knowledge base that was asked.
        answer_id: of the record.
        receipt: its payload.

    Raises:
        UsageError: the record is of no answer.
        NotFound: a recorded passage's text is no longer stored as it was.
        ModelError: a model of the settings is not there or not usable.
        DigestMismatch: it is not the one that other parts were fitted with.
        GenerationTimeout: writing took too long.
    """
    if receipt.get("kind") != "answer":
        raise UsageError(
            f"record {answer_id} is of kind {receipt.get('kind')!r}; only answers can be replayed"
        )
    passages = recorded_passages(kb, receipt["passages"])
    generation, differences = _generation(kb, receipt)
    line = _line(kb, generation)
    differences += [*_other_models(line, kb, receipt), *_other_means(kb, receipt)]
    found, question = passages, receipt["question"]
    filters = _filters(receipt["filters"])
    if generation is not None and line.retriever is not None:
        found = line.retriever.retrieve(question, line.candidates, filters)
        if line.reranker is not None:
            found = line.reranker.rerank(question, found, line.passages)
        found = found[: line.passages]
    again = replace(
        line,
        retriever=_Given(passages),
        reranker=line.reranker and _AsGiven(line.reranker.digest),
        passages=max(1, len(passages)),
    )
    answer = replace(again.ask(question, filters), passages=tuple(found))
    now = answer_receipt(
        answer,
        kb_name=receipt["knowledge_base"],
        settings=answer_settings(kb.home.settings),
        settings_digest=settings_digest(kb.home.settings),
        runtime=runtime(kb.home.settings),
        embedder=receipt["models"]["embedder"],
        generation=receipt["index"]["generation"],
        generation_digest=receipt["index"]["manifest_sha256"],
        asker=receipt["asker"],
        filters=filters,
    )
    return Replay(
        answer_id,
        outcome_of(receipt, now),
        generation is not None,
        tuple(differences),
        readable_diff(receipt, now),
    )


@dataclass(frozen=True, slots=True)
class _Given:
    """A retriever that finds the same passages whatever is asked."""

    found: Sequence[Passage]

    def retrieve(self, question: str, k: int, filters: Filters) -> list[Passage]:
        return list(self.found)


@dataclass(frozen=True, slots=True)
class _AsGiven:
    """A reranker that leaves passages in the order that another one gave them."""

    digest: str

    def rerank(self, question: str, passages: Sequence[Passage], k: int) -> list[Passage]:
        return list(passages[:k])


def _line(kb: KnowledgeBase, generation: Generation | None) -> Pipeline:
    """The line from question to answer, with the search of a generation if there is one."""
    home = kb.home
    if generation is None:
        # A retriever is wanted for its reranker to be named; what it finds is given later.
        return home.pipeline(
            source=Sources(kb.store, kb.row.id), retriever=_Given(()), knowledge_base=kb.name
        )
    source = Sources(kb.store, kb.row.id, generation.manifest.revision)
    retriever = HybridRetriever(
        home.embedder,
        generation.vectors,
        generation.lexical,
        source,
        candidates=home.settings.candidates,
        method=home.settings.fusion,
        dense_weight=home.calibration.dense_weight,
        rank_share=home.calibration.rank_share,
    )
    return home.pipeline(source=source, retriever=retriever, knowledge_base=kb.name)


def _generation(
    kb: KnowledgeBase, receipt: Mapping[str, Any]
) -> tuple[Generation | None, list[Difference]]:
    """The generation that was searched, untouched; None with the reason where it can't be."""
    number, digest = receipt["index"]["generation"], receipt["index"]["manifest_sha256"]
    then = f"generation {number} with manifest {digest[:12]}…"
    try:
        generation = kb.lifecycle.at(number)
        if generation.digest != digest:
            now = f"generation {number} with manifest {generation.digest[:12]}…"
            return None, [Difference("index", then, now)]
        generation.verify()
    except NotFound:
        return None, [Difference("index", then, None)]
    except IndexCorrupt as error:
        return None, [Difference("index", then, str(error))]
    fits = generation.manifest.embedder_sha256 == kb.home.embedder.digest
    return (generation if fits else None), []


def _other_models(
    line: Pipeline, kb: KnowledgeBase, receipt: Mapping[str, Any]
) -> Iterator[Difference]:
    """What a receipt names, the attempts not served included, and is not among what is here."""
    here = {
        "generator": [writer.generator.digest for writer in line.writers],
        "decider": [writer.decider.digest for writer in line.writers],
        "verifier": [line.verifier.digest],
        "reranker": [line.reranker.digest] if line.reranker else [],
    }
    named = [receipt["models"], *(attempt["models"] for attempt in receipt["attempts"])]
    for role, digests in here.items():
        then = list(dict.fromkeys(models[role] for models in named if role in models))
        for digest in then:
            if digest not in digests:
                yield Difference(role, digest, " or ".join(digests) or None)
        if digests and not then:
            yield Difference(role, None, " or ".join(digests))
    embedder = receipt["models"]["embedder"]
    if embedder.rpartition(" ")[2] != kb.home.embedder.digest:
        yield Difference("embedder", embedder, kb.home.embedder.digest)


def _other_means(kb: KnowledgeBase, receipt: Mapping[str, Any]) -> Iterator[Difference]:
    """Software, what it ran on, settings and a masked question."""
    software = f"grounded-rag {rag.__version__}"
    if receipt["software"] != software:
        yield Difference("software", receipt["software"], software)
    here = runtime(kb.home.settings)
    for name, was in receipt.get("runtime", {}).items():
        if was != here.get(name):
            yield Difference(name, str(was), str(here.get(name)))
    settings = kb.home.settings
    if receipt["settings_sha256"] != settings_digest(settings):
        now = answer_settings(settings)
        then = receipt.get("settings", {})
        for name in sorted(name for name in then if then[name] != now.get(name)):
            yield Difference(f"setting {name}", str(then[name]), str(now.get(name)))
        if not then:
            yield Difference("settings", receipt["settings_sha256"], settings_digest(settings))
    masked = masked_count(receipt)
    if masked:
        yield Difference("question", f"with {masked} pieces of personal data", "as stored, masked")


def recorded_passages(kb: KnowledgeBase, rows: Sequence[Mapping[str, Any]]) -> list[Passage]:
    """The passages that a receipt names, from the stored texts.

    Raises:
        NotFound: one is no longer stored as it was read.
    """
    chunks = kb.store.chunks.passages_ever(kb.row.id, [row["chunk_id"] for row in rows])
    found = [_as_recorded(row, chunks.get(row["chunk_id"])) for row in rows]
    lacking = [row for row, passage in zip(rows, found, strict=True) if passage is None]
    # The knowledge base was made anew, so that its chunks have other numbers.
    stored = kb.store.documents.stored(
        kb.row.id, [(row["document"], row["version"]) for row in lacking]
    )
    passages = []
    for row, passage in zip(rows, found, strict=True):
        if passage is None and (row["document"], row["version"]) in stored:
            passage = _as_recorded(row, _cut(row, stored[row["document"], row["version"]]))
        if passage is None:
            raise NotFound(
                f"characters {row['start']}–{row['end']} of {row['document']!r}, version "
                f"{row['version']}, are no longer stored as they were read: the document was "
                "erased, or its knowledge base was deleted"
            )
        passages.append(passage)
    return passages


def _cut(row: Mapping[str, Any], stored: StoredText) -> Passage:
    start, end = row["start"], row["end"]
    return Passage(
        chunk_id=row["chunk_id"],
        document=stored.document,
        version=stored.version,
        version_id=stored.version_id,
        start=start,
        end=end,
        text=stored.text[start:end],
        before=stored.text[max(0, start - CONTEXT_CHARS) : start],
        after=stored.text[end : end + CONTEXT_CHARS],
        section=None,
        page=None,
        text_sha256=stored.text_sha256,
        score=0.0,
    )


def _as_recorded(row: Mapping[str, Any], passage: Passage | None) -> Passage | None:
    """A passage with the scores of a receipt; None where it is not the text of then."""
    if passage is None:
        return None
    named = (passage.document.uri, passage.version, passage.start, passage.end)
    digest = hashlib.sha256(passage.text.encode()).hexdigest()
    if (*named, digest) != (
        row["document"], row["version"], row["start"], row["end"], row["text_sha256"]
    ):  # fmt: skip
        return None
    return replace(
        passage,
        score=float(row["score"]),
        scores={name: float(score) for name, score in row["scores"].items()},
        context=row["context"],
    )


def _filters(recorded: Mapping[str, Any]) -> Filters:
    since, until = recorded["since"], recorded["until"]
    return Filters(
        documents=tuple(recorded["documents"]),
        tags=tuple(recorded["tags"]),
        since=date.fromisoformat(since) if since else None,
        until=date.fromisoformat(until) if until else None,
    )
