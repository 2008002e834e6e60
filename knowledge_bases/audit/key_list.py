"""The list of a log's public keys, which its operator publishes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from knowledge_bases.audit.checkpoint import ORIGIN, LogKey
from knowledge_bases.audit.note_keys import VerifierKey
from rag.errors import IntegrityError, UsageError

SCHEMA = "grounded-rag/keys/1"


@dataclass(frozen=True, slots=True)
class ListedKey(LogKey):
    """A key as the list has it.

    Attributes:
        created_at: when it was made, ISO 8601.
    """

    created_at: str = ""


def parse_list(content: bytes | str) -> tuple[str, list[ListedKey]]:
    """Read a published list of keys.

    Returns:
        the log's uuid and its keys, oldest first.

    Raises:
        IntegrityError: it is no such list.
    """
    try:
        parsed = json.loads(content)
        if not isinstance(parsed, dict) or parsed.get("schema") != SCHEMA:
            raise ValueError(f"its schema is not {SCHEMA}")
        log_id = parsed["log"]
        keys = [_listed(entry) for entry in parsed["keys"]]
        if not keys or any(key.key.name != ORIGIN + log_id for key in keys):
            raise ValueError("its keys are not the log's")
        if json.loads(list_text(log_id, keys)) != parsed:
            raise ValueError("it has other fields than such a list")
    except (ValueError, KeyError, TypeError, RecursionError, UsageError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise IntegrityError(f"not a list of keys: {reason}") from error
    return log_id, keys


def _listed(entry: dict[str, Any]) -> ListedKey:
    since, until = entry["from"], entry["until"]
    if type(since) is not int or since < 0:
        raise ValueError(f"{since!r} is not a size")
    if until is not None and (type(until) is not int or until < since):
        raise ValueError(f"{until!r} is not a size from {since} on")
    return ListedKey(VerifierKey.parse(entry["key"]), since, until, entry["created_at"])


def list_text(log_id: str, keys: Sequence[ListedKey]) -> str:
    """Return the list of a log's keys as text, which has no secrets in it."""
    entries = [
        {"key": str(key.key), "created_at": key.created_at, "from": key.since, "until": key.until}
        for key in keys
    ]
    return json.dumps({"schema": SCHEMA, "log": log_id, "keys": entries}, indent=1) + "\n"
