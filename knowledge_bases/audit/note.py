"""Signed notes: a text with one line per signature, as C2SP prescribes (c2sp.org/signed-note)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from knowledge_bases.audit.note_keys import (
    SigningKey,
    VerifierKey,
    exact_base64,
    exact_text,
    is_key_name,
)
from rag.errors import IntegrityError, UsageError

MAX_NOTE_BYTES = 2**20
MAX_SIGNATURES = 100
"""As many as the reference implementation (golang.org/x/mod/sumdb/note) reads."""

_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_SIGNATURE_LINE = re.compile(r"— ([^ ]+) ([A-Za-z0-9+/]+={0,2})")


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line.

    Attributes:
        name: of the key.
        key_id: of the key, 4 bytes.
        value: what the key made of the text; 64 bytes where it is an Ed25519 key.
    """

    name: str
    key_id: bytes
    value: bytes

    def __str__(self) -> str:
        return f"— {self.name} {exact_text(self.key_id + self.value)}"


@dataclass(frozen=True, slots=True)
class Note:
    """A text, which ends with a newline, and its signatures, verified or not."""

    text: str
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        return self.text + "\n" + "".join(f"{signature}\n" for signature in self.signatures)


def sign(text: str, keys: Sequence[SigningKey]) -> Note:
    """Sign a text with each of some keys.

    Raises:
        UsageError: the text can't be a note's, or no key is given.
    """
    try:
        note = Note(text, tuple(_signed(text, key) for key in keys))
        if parse(str(note)) == note:
            return note
    except (IntegrityError, UnicodeError) as error:
        raise UsageError(f"this text can't be signed: {error}") from error
    raise UsageError("this text can't be signed: it doesn't end with one newline")


def parse(note: str | bytes) -> Note:
    """Take a note apart without verifying it.

    Raises:
        IntegrityError: it is no signed note.
    """
    try:
        content = note if isinstance(note, bytes) else note.encode()
        if len(content) > MAX_NOTE_BYTES:
            raise ValueError(f"more than {MAX_NOTE_BYTES} bytes")
        whole = content.decode()
        if _CONTROL.search(whole):
            raise ValueError("it has control characters")
        text, blank, lines = whole.rpartition("\n\n")
        if not text or not blank or not lines.endswith("\n"):
            raise ValueError("no text, blank line and signature lines, each ended by a newline")
        signatures = [_signature(line) for line in lines[:-1].split("\n")]
        if len(signatures) > MAX_SIGNATURES:
            raise ValueError(f"more than {MAX_SIGNATURES} signatures")
    except ValueError as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeError) else error
        raise IntegrityError(f"not a signed note: {reason}") from error
    return Note(text + "\n", tuple(signatures))


def verify(note: Note, keys: Iterable[VerifierKey]) -> tuple[VerifierKey, ...]:
    """Return the keys whose signatures the note has; signatures by other keys are ignored.

    Raises:
        IntegrityError: a signature that names one of the keys is not by it, or none names any.
    """
    known = {(key.name, key.key_id): key for key in keys}
    signers = []
    for signature in note.signatures:
        key = known.get((signature.name, signature.key_id))
        if key is None or key in signers:
            continue
        if not key.signed(note.text.encode(), signature.value):
            raise IntegrityError(
                f"the signature by {key.short} does not fit the text: one of the two was changed"
            )
        signers.append(key)
    if not signers:
        expected = ", ".join(key.short for key in known.values()) or "no key"
        found = ", ".join(f"{line.name}+{line.key_id.hex()}" for line in note.signatures)
        raise IntegrityError(f"not signed by {expected}, but by {found}")
    return tuple(signers)


def _signed(text: str, key: SigningKey) -> Signature:
    return Signature(key.name, key.verifier.key_id, key.sign(text.encode()))


def _signature(line: str) -> Signature:
    found = _SIGNATURE_LINE.fullmatch(line)
    if found is None or not is_key_name(found[1]):
        raise ValueError(f"{line[:60]!r} is not a signature line")
    content = exact_base64(found[2])
    if len(content) <= 4:
        raise ValueError(f"{line[:60]!r} has no signature")
    return Signature(found[1], content[:4], content[4:])
