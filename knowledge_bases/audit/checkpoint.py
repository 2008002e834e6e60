"""Checkpoints: the log's size and root in a signed note (c2sp.org/tlog-checkpoint)."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from knowledge_bases.audit import note as notes
from knowledge_bases.audit.merkle import verify_consistency
from knowledge_bases.audit.note_keys import SigningKey, VerifierKey, exact_base64
from rag.errors import IntegrityError, UsageError

ORIGIN = "grounded-rag/"
_MAX_SIZE = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log was at one size.

    Attributes:
        origin: names the log: "grounded-rag/" and its uuid.
        size: records in it.
        root: of the Merkle tree over them, 32 bytes.
        extensions: further lines, which this project neither writes nor reads.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LogKey:
    """A key and the checkpoints that count when it has signed them.

    Attributes:
        key: the public key.
        since: smallest log size that it may sign.
        until: largest one; None while the key is in use.
    """

    key: VerifierKey
    since: int = 0
    until: int | None = None

    def covers(self, size: int) -> bool:
        """Say whether a checkpoint of this size may be signed by the key alone."""
        return self.since <= size and (self.until is None or size <= self.until)


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Checkpoints that can't all be of one log that only grew.

    Attributes:
        checkpoints: those that disagree with each other or with the log.
        reason: one line.
    """

    checkpoints: tuple[Checkpoint, ...]
    reason: str


def format(checkpoint: Checkpoint) -> str:
    """Return the text to sign.

    Raises:
        UsageError: it would not be a checkpoint's.
    """
    root = base64.b64encode(checkpoint.root).decode()
    lines = [checkpoint.origin, str(checkpoint.size), root, *checkpoint.extensions]
    text = "".join(f"{line}\n" for line in lines)
    try:
        if parse(text) == checkpoint:
            return text
    except IntegrityError as error:
        raise UsageError(str(error)) from error
    raise UsageError(f"{checkpoint} has a line break within a line")


def parse(text: str) -> Checkpoint:
    """Read the text of a checkpoint, which is the part of its note that is signed.

    Raises:
        IntegrityError: it is not a checkpoint's.
    """
    *lines, last = text.split("\n")
    if last or len(lines) < 3 or not all(lines):
        raise IntegrityError("not a checkpoint: it needs three lines: origin, size, root")
    origin, size, root, *extensions = lines
    if not re.fullmatch(r"0|[1-9][0-9]{0,18}", size) or int(size) > _MAX_SIZE:
        raise IntegrityError(f"not a checkpoint: {size[:40]!r} is not a size")
    try:
        digest = exact_base64(root)
    except ValueError as error:
        raise IntegrityError(f"not a checkpoint: the root {error}") from error
    if len(digest) != 32:
        raise IntegrityError(f"not a checkpoint: its root has {len(digest)} bytes, not 32")
    return Checkpoint(origin, int(size), digest, tuple(extensions))


def sign(checkpoint: Checkpoint, keys: Sequence[SigningKey]) -> str:
    """Return the signed note of a checkpoint.

    Raises:
        UsageError: a key is not the log's, or it can't be written as a note.
    """
    for key in keys:
        if key.name != checkpoint.origin:
            raise UsageError(f"a key of {key.name} can't sign a checkpoint of {checkpoint.origin}")
    return str(notes.sign(format(checkpoint), keys))


def read(note: str | bytes) -> Checkpoint:
    """Read a signed note without verifying it.

    Raises:
        IntegrityError: it is no signed note of a checkpoint.
    """
    return parse(notes.parse(note).text)


def verify(note: str | bytes, keys: Iterable[LogKey]) -> Checkpoint:
    """Read a signed note, if one of the keys has signed it at a size at which it may.

    Raises:
        IntegrityError: none has, or what was signed was changed since.
    """
    parsed = notes.parse(note)
    known = list(keys)
    signers = notes.verify(parsed, [key.key for key in known])
    checkpoint = parse(parsed.text)
    wrong = [key for key in signers if key.name != checkpoint.origin]
    if wrong:
        raise IntegrityError(
            f"a checkpoint of {checkpoint.origin} is signed by {wrong[0].short}, another log's key"
        )
    signed = [key for key in known if key.key in signers]
    if not any(key.covers(checkpoint.size) for key in signed):
        raise IntegrityError(
            f"the checkpoint of size {checkpoint.size} is signed by "
            + ", ".join(_out_of_range(key) for key in signed)
        )
    return checkpoint


def consistent(earlier: Checkpoint, later: Checkpoint, proof: Sequence[bytes]) -> bool:
    """Say whether a consistency proof leads from one checkpoint of a log to a later one."""
    return earlier.origin == later.origin and verify_consistency(
        earlier.size, later.size, proof, earlier.root, later.root
    )


def contradictions(
    checkpoints: Iterable[Checkpoint],
    *,
    size: int | None = None,
    root_at: Callable[[int], bytes] | None = None,
) -> list[Contradiction]:
    """Return what can't be true of one log that only ever grew.

    Two checkpoints that both are roots of the log as it is have a consistency proof between
    them, so comparing each with the log finds every pair that has none.

    Args:
        checkpoints: of one log, from whatever source, verified.
        size: records now in the log; None where only the checkpoints are at hand.
        root_at: a size of at most `size` to the log's root at it.
    """
    by_size: dict[int, dict[bytes, Checkpoint]] = {}
    for checkpoint in checkpoints:
        by_size.setdefault(checkpoint.size, {}).setdefault(checkpoint.root, checkpoint)
    found = []
    for at, roots in sorted(by_size.items()):
        signed = tuple(roots.values())
        if len(signed) > 1:
            found.append(Contradiction(signed, f"{len(signed)} roots were signed for size {at}"))
        if size is not None and at > size:
            found.append(
                Contradiction(signed, f"size {at} was signed, but the log has {size} records")
            )
        elif root_at is not None:
            root = root_at(at)
            differing = tuple(one for one in signed if one.root != root)
            if differing:
                reason = f"the log's first {at} records are not those whose root was signed"
                found.append(Contradiction(differing, reason))
    return found


def _out_of_range(key: LogKey) -> str:
    if key.until is None:
        return f"{key.key.short}, which signs from size {key.since} on"
    return f"{key.key.short}, which was retired at size {key.until}"
