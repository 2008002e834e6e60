"""A knowledge base's chunks and texts as retrieval and citing need them, now or as they were."""

from collections.abc import Mapping, Sequence

from knowledge_bases.store import Store
from rag.protocols import Ids
from rag.types import Filters, Passage


class Sources:
    """Chunks to passages, and passages to the texts of their versions.

    Args:
        store: the database.
        kb_id: the knowledge base.
        revision: show what was searchable at this one; None for what is now.
    """

    def __init__(self, store: Store, kb_id: int, revision: int | None = None) -> None:
        self._store = store
        self._kb_id = kb_id
        self._revision = revision

    def passages(self, chunk_ids: Sequence[int]) -> Mapping[int, Passage]:
        """Return those chunks that may be shown, by id."""
        if self._revision is None:
            return self._store.chunks.passages(self._kb_id, chunk_ids)
        return self._store.chunks.passages_at(self._kb_id, chunk_ids, self._revision)

    def allowed(self, filters: Filters) -> tuple[Sequence[int], Ids]:
        """Return the document keys and the sorted chunk ids that pass the filters."""
        return self._store.chunks.allowed(self._kb_id, filters, self._revision)

    def slice(self, passage: Passage, start: int, end: int) -> str:
        """Return characters ``[start, end)`` of the passage's document version (clipped).

        Raises:
            NotFound: the version is gone.
        """
        return self._store.documents.slice(passage.version_id, start, end)

    def place(self, passage: Passage, offset: int) -> tuple[int | None, str | None]:
        """Return (page, section) at an offset into the passage's document version."""
        page = passage.page
        for mark in self._store.documents.marks(passage.version_id):
            if mark.start > offset:
                break
            if mark.kind in ("page", "slide") and mark.label.isdecimal():
                page = int(mark.label)
        return page, passage.section
