"""Examines a home folder: models, database, indexes, log, disk."""

import shutil
from collections.abc import Iterator

from indexer.vectors import describe_backend
from knowledge_bases.doctor_log import examine_log
from knowledge_bases.finding import Finding, State, findings
from knowledge_bases.home import Home
from rag.errors import RagError
from rag.models import resolve

__all__ = ["Finding", "examine"]

_LOW_DISK_BYTES = 2**30


def examine(home: Home, *, quick: bool = False) -> Iterator[Finding]:
    """Yield findings, one or more per check; erasures that were cut short are finished.

    Args:
        home: the open home folder.
        quick: leave out what reads every byte (the generator's weights, texts against digests,
            index files, the log).
    """
    settings = home.settings
    try:
        files = resolve(settings.embedder)
        yield Finding("embedder", "ok", f"{settings.embedder}, sha256 {files.digest[:16]}…")
        yield Finding("calibration", "ok", f"sha256 {home.calibration.digest[:16]}…")
        if not quick:
            digests = [writer.generator.digest for writer in home.writers.of()]
            kinds = (digest.partition(":") for digest in digests)
            named = ", then ".join(f"{kind}, sha256 {sha256[:16]}…" for kind, _, sha256 in kinds)
            yield Finding("generator", "ok", named)
            yield Finding("verifier", "ok", home.verifier.digest)
            ranks = home.reranker
            yield Finding("reranker", "ok", "none" if ranks is None else ranks.digest)
    except RagError as error:
        yield Finding("models", "problem", str(error))
    backend = describe_backend(0, settings)
    yield Finding(
        "dense index",
        "ok",
        f"{backend.engine} {backend.version}, {backend.gpus} GPUs, on the {backend.device}; exact "
        f"below {settings.exact_below:,} chunks, HNSW from there on",
    )
    health = home.store.health
    yield from findings("database", health.file_problems(), "its file is sound")
    for row in home.store.kbs.all():
        base = home.open(row.name)
        counts = base.counts()
        check = f"kb {row.name}"
        problems = list(health.chunk_problems(row.id))
        try:
            if not quick:
                problems += health.version_problems(row.id)
                problems += health.vector_problems(row.id)
                problems += base.lifecycle.problems()
        except RagError as error:
            problems.append(str(error))
        summary = f"{counts['documents']:,} documents, {counts['chunks']:,} chunks, index sound"
        yield from findings(check, problems, summary)
    yield from examine_log(home, quick=quick)
    free = shutil.disk_usage(settings.home).free
    state: State = "note" if free < _LOW_DISK_BYTES else "ok"
    yield Finding("disk", state, f"{free / 2**30:.1f} GiB free")
