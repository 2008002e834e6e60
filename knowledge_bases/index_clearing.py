"""Clears indexes of what was erased: built from nothing, or removed where nobody owns them."""

from __future__ import annotations

import shutil
from pathlib import Path

from filelock import FileLock

from knowledge_bases.lifecycle import Lifecycle
from knowledge_bases.store import Store
from knowledge_bases.tables import KnowledgeBaseRow
from rag.errors import StorageError


def build_from_nothing(
    store: Store, kb: KnowledgeBaseRow, lifecycle: Lifecycle, folder: Path
) -> None:
    """Remove all index generations of a knowledge base and publish a new one.

    A generation that continues another keeps the terms and, where it is a graph, the vectors of
    chunks that were taken out. Searches that are under way end on the files that they opened.

    Args:
        store: the database.
        kb: the knowledge base.
        lifecycle: of its generations.
        folder: where they lie.

    Raises:
        StorageError: the disk refused it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "build.lock"):  # What is being built continues what must go.
            for path in sorted(folder.iterdir()):
                if path.is_dir():
                    if path.name.isdecimal():
                        store.generations.mark_removed(kb.id, int(path.name))
                    shutil.rmtree(path)
    except OSError as error:
        raise StorageError(
            f"the index in {folder} can't be removed ({error.strerror}); make it writable, then "
            "run `rag doctor`"
        ) from error
    lifecycle.catch_up()


def clear_orphans(store: Store, folder: Path) -> list[str]:
    """Remove the index folders of knowledge bases that are deleted.

    Args:
        store: the database.
        folder: where the folders of all of them lie.

    Returns:
        the names of those removed.

    Raises:
        StorageError: the disk refused it.
    """
    if not folder.is_dir():
        return []
    # In this order: a knowledge base is in the database before it has a folder.
    names = [path.name for path in folder.iterdir() if path.is_dir()]
    orphans = sorted(set(names) - {row.uid for row in store.kbs.all()})
    for name in orphans:
        try:
            shutil.rmtree(folder / name)
        except OSError as error:
            raise StorageError(
                f"the index in {folder / name} can't be removed ({error.strerror}); make it "
                "writable, then run `rag doctor`"
            ) from error
    return orphans
