"""Collects the checkpoints to verify a log against: the database's own, and copies kept outside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from knowledge_bases.audit import checkpoint as checkpoints
from knowledge_bases.audit.checkpoint import ORIGIN, Checkpoint, LogKey
from knowledge_bases.audit.key_list import SCHEMA, parse_list
from knowledge_bases.audit.note_keys import VerifierKey
from knowledge_bases.store.log_scan import LogScan
from rag.errors import IntegrityError, NotFound, StorageError


@dataclass(frozen=True, slots=True)
class Signed:
    """A checkpoint whose signature holds.

    Attributes:
        source: where it is kept, for messages.
    """

    source: str
    checkpoint: Checkpoint


def read_notes(paths: Sequence[Path]) -> dict[str, str]:
    """Read signed notes from files, and from all ``*.txt`` in folders and the folders in these.

    Raises:
        NotFound: there is no such file or folder, or no note in it.
        StorageError: it can't be read.
    """
    notes = {}
    for path in paths:
        files = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
        if not files:
            raise NotFound(f"{path} holds no checkpoints (*.txt)")
        for file in files:
            try:
                notes[str(file)] = file.read_text(encoding="utf-8")
            except FileNotFoundError as error:
                raise NotFound(f"there is no checkpoint {file}") from error
            except (OSError, UnicodeError) as error:
                raise StorageError(f"{file} can't be read: {error}") from error
    return notes


def read_keys(path: Path) -> list[LogKey]:
    """Read a published list of keys, or a file with one verifier key on each line.

    Raises:
        NotFound: there is no such file.
        StorageError: it can't be read.
        IntegrityError: it is a damaged list.
        UsageError: a line is no key.
    """
    try:
        content = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NotFound(f"there are no keys in {path}") from error
    except (OSError, UnicodeError) as error:
        raise StorageError(f"{path} can't be read: {error}") from error
    if SCHEMA in content:
        return list(parse_list(content)[1])
    return [LogKey(VerifierKey.parse(line)) for line in content.splitlines() if line.strip()]


def signed(
    scan: LogScan, notes: Mapping[str, str], keys: Sequence[LogKey]
) -> tuple[list[Signed], list[str]]:
    """Return the checkpoints whose signatures hold, and what is wrong with the others.

    Args:
        scan: reads the database's own.
        notes: others by where they are kept.
        keys: whose signatures count, each in its range of sizes.
    """
    log_id = scan.log_id()
    if log_id is None:
        return [], ["the log's id is missing from the database, so no checkpoint can be its own"]
    found, problems = [], []
    for row in scan.checkpoints():
        source = f"the database's checkpoint of {row.size}"
        try:
            one = _verified(row.note or "", keys, log_id)
            if (one.size, one.root.hex()) != (row.size, row.root):
                raise IntegrityError("its row says another size or root than its note")
            found.append(Signed(source, one))
        except IntegrityError as error:
            problems.append(f"{source}: {error}")
    for source, note in notes.items():
        try:
            found.append(Signed(source, _verified(note, keys, log_id)))
        except IntegrityError as error:
            problems.append(f"{source}: {error}")
    problems += [
        f"{one.reason} ({_sources(found, one.checkpoints)})"
        for one in checkpoints.contradictions(one.checkpoint for one in found)
    ]
    return found, problems


def _verified(note: str, keys: Sequence[LogKey], log_id: str) -> Checkpoint:
    try:
        one = checkpoints.verify(note, keys)
    except UnicodeError as error:
        raise IntegrityError("not a signed note: it is not UTF-8") from error
    if one.origin != ORIGIN + log_id:
        raise IntegrityError(f"it is of another log, {one.origin}; this one is {ORIGIN}{log_id}")
    return one


def _sources(found: Iterable[Signed], wanted: Sequence[Checkpoint]) -> str:
    return ", ".join(one.source for one in found if one.checkpoint in wanted)
