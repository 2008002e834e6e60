"""Seals a record's payload under a key of its own, so that deleting the key erases it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from knowledge_bases.audit.leaf import commitment
from rag.errors import DigestMismatch

KEY_BYTES = 32
SALT_BYTES = 32
NONCE_BYTES = 12
"""NIST SP 800-38D, section 5.2.1.1; a key seals one payload only, so nonces can't repeat."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed payload: what is kept of it, and the two secrets that are kept apart.

    Attributes:
        nonce, ciphertext: AES-256-GCM, the tag at the end.
        key: the payload's own.
        salt: the commitment's.
        commitment: of the payload under the salt, hexadecimal; goes into the leaf.
    """

    nonce: bytes
    ciphertext: bytes
    key: bytes
    salt: bytes
    commitment: str


def seal(payload: bytes, record_id: str) -> Sealed:
    """Seal a payload for a record.

    Args:
        payload: its canonical bytes.
        record_id: bound to the ciphertext, which opens for no other record.
    """
    key, salt, nonce = os.urandom(KEY_BYTES), os.urandom(SALT_BYTES), os.urandom(NONCE_BYTES)
    ciphertext = AESGCM(key).encrypt(nonce, payload, record_id.encode())
    return Sealed(nonce, ciphertext, key, salt, commitment(salt, payload))


def unseal(sealed: Sealed, record_id: str) -> bytes:
    """Return the payload's bytes.

    Args:
        sealed: with the commitment that the record's leaf holds.
        record_id: the record's.

    Raises:
        DigestMismatch: it was changed, belongs to another record, or is not what the leaf commits
            to.
    """
    try:
        payload = AESGCM(sealed.key).decrypt(sealed.nonce, sealed.ciphertext, record_id.encode())
    except (InvalidTag, ValueError) as error:
        raise DigestMismatch(
            f"the payload of record {record_id} was changed: it can't be decrypted"
        ) from error
    if commitment(sealed.salt, payload) != sealed.commitment:
        raise DigestMismatch(
            f"the payload of record {record_id} is not the one that its leaf commits to"
        )
    return payload
