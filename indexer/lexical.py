"""BM25 over chunk texts with tantivy, kept in a directory."""

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import tantivy
from tantivy import Occur, Query

from indexer.terms import LIGHT_TERMS, analyzer, plain, terms_of
from rag.errors import IndexCorrupt, NotFound, StorageError, UsageError

LIGHT_WEIGHT = 0.2
"""Weight of a question or function word; tuned with the next two, see ADR 0002."""
PAIR_WEIGHT = 0.2
"""Weight of two neighbouring query terms that are neighbours in the text, too."""
PAIR_SLOP = 1
"""Terms that may stand between such neighbours."""
MAX_TERMS = 64
"""Distinct terms of a query that are looked up: the rarest ones, where there are more."""
MAX_QUERY_CHARS = 20_000
"""Characters of a query that are read."""
WRITER_BYTES = 64 * 2**20
"""Memory the writer fills before it starts a new segment."""

_ANALYZER = "english-1"  # count up when `indexer.terms` or the fields change
_LOCKS = frozenset({".tantivy-meta.lock", ".tantivy-writer.lock"})
_REBUILD = "rebuild the index"


class TantivyIndex:
    """One directory of tantivy segments.

    Searches see the last commit and may run in threads; adding, removing and committing are one
    thread's business. Tantivy creates files and replaces `meta.json` by rename but never writes to
    a file again, so that a directory made by `copy` shares files with the one it came from.
    """

    def __init__(self, directory: Path, index: tantivy.Index) -> None:
        """Use `create` or `open`."""
        self.directory = directory
        self._index = index
        self._index.register_tokenizer(_ANALYZER, analyzer())
        self._index.config_reader("manual")  # no thread that polls for other writers' commits
        self._schema = index.schema
        self._writer: tantivy.IndexWriter | None = None
        self._added: set[int] = set()
        self._removed: set[int] = set()

    @classmethod
    def create(cls, directory: Path) -> "TantivyIndex":
        """Start an empty index in a directory, which is made if need be.

        Raises:
            UsageError: the directory holds something already.
            StorageError: the disk refused it.
        """
        builder = tantivy.SchemaBuilder()
        builder.add_unsigned_field("chunk", indexed=True, fast=True)
        builder.add_unsigned_field("document", indexed=True)
        builder.add_text_field("text", tokenizer_name=_ANALYZER, index_option="position")
        try:
            directory.mkdir(parents=True, exist_ok=True)
            if any(directory.iterdir()):
                raise UsageError(f"{directory} is not empty: create the index elsewhere")
            return cls(directory, tantivy.Index(builder.build(), str(directory), reuse=False))
        except (OSError, ValueError) as error:
            raise StorageError(f"can't create a lexical index in {directory}: {error}") from error

    @classmethod
    def open(cls, directory: Path) -> "TantivyIndex":
        """Open the last commit in a directory.

        Raises:
            NotFound: there is no index.
            IndexCorrupt: it can't be read.
            StorageError: the directory is read-only; tantivy locks a file in it to open it.
        """
        if not (directory / "meta.json").is_file():
            raise NotFound(f"no lexical index in {directory}: {_REBUILD}")
        if not os.access(directory, os.W_OK):
            raise StorageError(f"{directory} is read-only: make it writable for this user")
        try:
            if f'"{_ANALYZER}"' not in (directory / "meta.json").read_text("utf-8"):
                raise IndexCorrupt(f"{directory} has other terms than this version: {_REBUILD}")
            return cls(directory, tantivy.Index.open(str(directory)))
        except (OSError, ValueError) as error:
            raise IndexCorrupt(f"can't read {directory} ({error}): {_REBUILD}") from error

    @staticmethod
    def copy(source: Path, target: Path) -> None:
        """Make ``target`` an index of its own with what ``source`` holds, sharing its files.

        Raises:
            NotFound: there is no index in ``source``.
            UsageError: ``target`` exists.
            StorageError: the disk refused it.
        """
        if not (source / "meta.json").is_file():
            raise NotFound(f"no lexical index in {source}: {_REBUILD}")
        try:
            target.mkdir(parents=True)
            for path in sorted(source.iterdir()):
                # A shared lock file would lock both; .tmp files are a killed writer's leftovers.
                if path.name not in _LOCKS and not path.name.startswith(".tmp"):
                    os.link(path, target / path.name)
        except FileExistsError as error:
            raise UsageError(f"{target} exists: copy the index elsewhere") from error
        except OSError as error:
            raise StorageError(f"can't copy the lexical index to {target}: {error}") from error

    def __len__(self) -> int:
        """Count the chunks of the last commit."""
        return self._index.searcher().num_docs

    def add(self, chunks: Sequence[tuple[int, int, str, str]]) -> None:
        """Add (chunk id, document key, heading line, text) rows; `commit` makes them findable.

        Raises:
            UsageError: a chunk id is negative or there already.
            StorageError: the disk refused it.
        """
        ids = [chunk for chunk, *_ in chunks]
        self._check_new(ids)
        writer = self._writing()
        try:
            for chunk, document, heading, text in chunks:
                row = tantivy.Document()
                row.add_unsigned("chunk", chunk)
                row.add_unsigned("document", document)
                row.add_text("text", plain(f"{heading}\n{text}" if heading else text))
                writer.add_document(row)
        except (OSError, ValueError) as error:
            raise self._failed(error) from error
        self._added.update(ids)

    def remove(self, ids: Sequence[int]) -> None:
        """Take chunk ids out; `commit` makes it so.

        Raises:
            StorageError: the disk refused it.
        """
        if len(ids):
            # Not by term: tantivy-py takes an int for a signed term, which matches no chunk.
            self._writing().delete_documents_by_query(self._chunks(ids))
            self._added.difference_update(ids)
            self._removed.update(ids)

    def commit(self) -> None:
        """Write what was added and removed, and wait until segments are merged.

        Raises:
            StorageError: the disk refused it; the last commit stays as it was.
        """
        if self._writer is None:
            return
        writer, self._writer = self._writer, None
        self._added, self._removed = set(), set()
        try:
            writer.commit()
            writer.wait_merging_threads()
            self._index.reload()
        except (OSError, ValueError) as error:
            raise self._failed(error) from error

    def search(
        self, query: str, k: int, documents: Sequence[int] | None = None
    ) -> list[tuple[int, float]]:
        """Return up to k (chunk id, BM25 score), best first, among ``documents`` if given.

        The query is words, never syntax. Chunks that share no word with it are not found.

        Raises:
            UsageError: k is below 1.
            IndexCorrupt: a file went missing or is damaged.
        """
        if k < 1:
            raise UsageError(f"k is {k}: ask for at least 1 result")
        searcher = self._index.searcher()
        terms = terms_of(query[:MAX_QUERY_CHARS])
        if not terms or not searcher.num_docs or (documents is not None and not len(documents)):
            return []
        wanted = self._any_of(terms, searcher)
        if documents is not None:
            allowed = Query.term_set_query(self._schema, "document", list(documents))
            wanted = Query.boolean_query(
                [(Occur.Must, wanted), (Occur.Must, Query.const_score_query(allowed, 0.0))]
            )
        try:
            hits = searcher.search(wanted, min(k, searcher.num_docs), count=False).hits
            chunks = searcher.fast_field_values("chunk", [address for _, address in hits])
        except (OSError, ValueError) as error:
            raise IndexCorrupt(f"can't search {self.directory} ({error}): {_REBUILD}") from error
        found = [(int(chunk or 0), score) for chunk, (score, _) in zip(chunks, hits, strict=True)]
        return sorted(found, key=lambda hit: (-hit[1], hit[0]))

    def unknown_share(self, query: str) -> float | None:
        """Return which share of a query's terms no chunk holds, light ones aside; None of none."""
        terms = set(terms_of(query[:MAX_QUERY_CHARS])) - LIGHT_TERMS
        searcher = self._index.searcher()
        unknown = sum(not searcher.doc_freq("text", term) for term in terms)
        return unknown / len(terms) if terms else None

    def held(self, ids: Sequence[int]) -> set[int]:
        """Return which of these chunk ids are in the index.

        Raises:
            IndexCorrupt: a file went missing or is damaged.
        """
        searcher = self._index.searcher()
        if not len(ids) or not searcher.num_docs:
            return set()
        try:
            hits = searcher.search(self._chunks(ids), len(ids), count=False).hits
            found = searcher.fast_field_values("chunk", [address for _, address in hits])
        except (OSError, ValueError) as error:
            raise IndexCorrupt(f"can't search {self.directory} ({error}): {_REBUILD}") from error
        return {int(chunk) for chunk in found if chunk is not None}

    def _any_of(self, terms: Sequence[str], searcher: tantivy.Searcher) -> Query:
        """Return the disjunction of a query's terms and of its neighbouring pairs of terms."""
        distinct = list(dict.fromkeys(terms))
        if len(distinct) > MAX_TERMS:
            distinct.sort(key=lambda term: searcher.doc_freq("text", term) or searcher.num_docs)
            distinct = distinct[:MAX_TERMS]
        light = frozenset() if LIGHT_TERMS.issuperset(distinct) else LIGHT_TERMS
        clauses = [
            (
                Query.term_query(self._schema, "text", term, "freq"),
                LIGHT_WEIGHT if term in light else 1.0,
            )
            for term in distinct
        ]
        kept = set(distinct)
        clauses += [
            (Query.phrase_query(self._schema, "text", [left, right], PAIR_SLOP), PAIR_WEIGHT)
            for left, right in dict.fromkeys(pairwise(terms))
            if left != right and {left, right} <= kept and not {left, right} <= light
        ][:MAX_TERMS]
        return Query.boolean_query(
            [(Occur.Should, Query.boost_query(clause, weight)) for clause, weight in clauses]
        )

    def _check_new(self, ids: Sequence[int]) -> None:
        """Refuse ids that are negative, given twice, or in the index."""
        fresh = set(ids)
        if len(fresh) != len(ids):
            raise UsageError("a chunk id is given twice: add each chunk once")
        if fresh and min(fresh) < 0:
            raise UsageError(f"chunk id {min(fresh)} is negative: ids count from 0")
        searcher = self._index.searcher()
        stored = fresh - self._removed if searcher.num_docs else set()
        hits = searcher.search(self._chunks(stored), 1, count=False).hits if stored else []
        known = searcher.fast_field_values("chunk", [address for _, address in hits])
        if clash := [*known, *(fresh & self._added)]:
            raise UsageError(f"chunk id {clash[0]} is in the index already: remove it first")

    def _chunks(self, ids: Sequence[int] | set[int]) -> Query:
        return Query.term_set_query(self._schema, "chunk", list(ids))

    def _writing(self) -> tantivy.IndexWriter:
        """Return the writer; it has one thread, so that chunks keep their order."""
        if self._writer is None:
            try:
                self._writer = self._index.writer(WRITER_BYTES, 1)
            except (OSError, ValueError) as error:
                raise self._failed(error) from error
        return self._writer

    def _failed(self, error: Exception) -> StorageError:
        return StorageError(f"can't write the lexical index in {self.directory}: {error}")
