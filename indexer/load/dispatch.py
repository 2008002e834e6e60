"""Loads bytes of any supported format."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO

from indexer.load import (
    delimited,
    docx,
    eml,
    html,
    json_document,
    jsonl,
    markdown,
    pdf,
    pptx,
    text,
    xlsx,
)
from indexer.load.archive import Budget, members
from indexer.load.detect import detect
from indexer.load.formats import Format
from indexer.load.limits import Limits
from indexer.load.loaded import Loaded, LoadFailure
from rag.errors import BrokenFile, LimitExceeded, LoadError, RagError

MAX_DEPTH = 2
"""Messages in messages and archives in archives are followed this far."""

_LOADERS: dict[Format, Callable[[bytes, str, Limits], Loaded]] = {
    "text": text.load,
    "markdown": markdown.load,
    "html": html.load,
    "pdf": pdf.load,
    "docx": docx.load,
    "pptx": pptx.load,
    "xlsx": xlsx.load,
    "csv": delimited.load,
    "json": json_document.load,
}


def load_document(content: bytes, name: str, limits: Limits) -> Iterator[Loaded | LoadFailure]:
    """Return the documents of a file.

    A file is one document; a corpus, a message with attachments and an archive are several. What
    fails inside those comes as a ``LoadFailure`` in its place.

    Args:
        content: the file's bytes.
        name: its uri, for messages and for the uris of what it contains.
        limits: on text, pages and expansion; seconds and memory are the sandbox's part.

    Raises:
        LoadError: nothing of it can be read.
    """
    return _load_guarded(content, name, Budget(name, limits, len(content)), depth=0)


def _load_guarded(
    content: bytes, name: str, budget: Budget, depth: int
) -> Iterator[Loaded | LoadFailure]:
    try:
        yield from _load(content, name, budget, depth)
    except RagError:
        raise
    except MemoryError:
        raise LimitExceeded(
            f"{name}: needs too much memory; split it or raise RAG_LOAD_MEMORY_BYTES"
        ) from None
    except RecursionError:
        raise LimitExceeded(f"{name}: is nested too deeply; flatten it") from None
    except Exception as error:
        # Parsers raise anything on damaged input: KeyError, AttributeError, struct.error, …
        raise BrokenFile(
            f"{name}: is damaged and could not be read ({type(error).__name__}); "
            "open and save it again with the program it is from"
        ) from error


def _load(content: bytes, name: str, budget: Budget, depth: int) -> Iterator[Loaded | LoadFailure]:
    limits = budget.limits
    kind = detect(content, name)
    if kind == "zip":
        yield from _load_members(content, name, budget, depth)
        return
    if kind == "jsonl":
        documents = jsonl.load(content, name, limits)
    elif kind == "eml":
        documents = eml.load(
            content, name, limits, lambda inner, uri: _load_inner(inner, uri, budget, depth + 1)
        )
    else:
        documents = iter([_LOADERS[kind](content, name, limits)])
    for document in documents:
        if isinstance(document, Loaded) and not document.text.strip():
            raise BrokenFile(f"{name}: contains no text; nothing to read")
        yield document


def _load_members(
    content: bytes, name: str, budget: Budget, depth: int
) -> Iterator[Loaded | LoadFailure]:
    for member in members(BytesIO(content), name, budget.limits, budget):
        if isinstance(member, LoadFailure):
            yield member
            continue
        try:
            inner = b"".join(member.pieces())
        except LoadError as error:
            if budget.spent:
                raise
            yield LoadFailure(member.uri, str(error).removeprefix(f"{member.uri}: "))
            continue
        yield from _load_inner(inner, member.uri, budget, depth + 1)


def _load_inner(
    content: bytes, uri: str, budget: Budget, depth: int
) -> Iterator[Loaded | LoadFailure]:
    """Load what a container holds: named by its uri, and never the end of the container."""
    try:
        if depth > MAX_DEPTH:
            raise LimitExceeded(f"{uri}: is nested too deeply; take it out and add it on its own")
        for document in _load_guarded(content, uri, budget, depth):
            if isinstance(document, Loaded) and document.uri is None:
                document = replace(document, uri=uri)
            yield document
    except LoadError as error:
        yield LoadFailure(uri, str(error).removeprefix(f"{uri}: "))
