"""Marks that something is being erased, so that whoever is killed over it is known of."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rag.errors import StorageError
from rag.publish import sync, write_file


class Markers:
    """A small file for each erasure under way; it holds ids, nothing that is to be erased.

    Args:
        home: the home folder.
    """

    def __init__(self, home: Path) -> None:
        self._folder = home / "erasing"

    def add(self, content: Mapping[str, Any]) -> Path:
        """Put a marker on the disk.

        Raises:
            StorageError: the disk refused it.
        """
        path = self._folder / f"{uuid.uuid4()}.json"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            sync(self._folder.parent)
            write_file(path, json.dumps(dict(content)).encode())
        except OSError as error:
            raise StorageError(f"{path} can't be written: {error.strerror}") from error
        return path

    def all(self) -> dict[Path, dict[str, Any]]:
        """Return the markers with what is in them; one that can't be read is empty."""
        found = {}
        for path in sorted(self._folder.glob("*.json")):
            try:
                content = json.loads(path.read_bytes())
            except (OSError, ValueError):
                content = {}
            found[path] = content if isinstance(content, dict) else {}
        return found
