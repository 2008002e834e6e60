"""The Ed25519 keys of signed notes, and the texts that they are exchanged as."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from rag.errors import UsageError

_ED25519 = b"\x01"
_SECRET = "PRIVATE+KEY+"


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """The public half of a signing key; as text ``name+id+base64``, which is what one publishes.

    Attributes:
        name: who signs; without spaces or plus signs.
        public: the Ed25519 public key, 32 bytes.
    """

    name: str
    public: bytes

    @property
    def key_id(self) -> bytes:
        """The first four bytes of SHA-256(name, newline, 0x01, public key)."""
        return hashlib.sha256(f"{self.name}\n".encode() + _ED25519 + self.public).digest()[:4]

    @property
    def short(self) -> str:
        """Name and id, which is how messages speak of a key."""
        return f"{self.name}+{self.key_id.hex()}"

    def signed(self, content: bytes, signature: bytes) -> bool:
        """Say whether the key made this signature of these bytes."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, content)
        except InvalidSignature:
            return False
        return True

    def __str__(self) -> str:
        return f"{self.short}+{exact_text(_ED25519 + self.public)}"

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Read a key from its text.

        Raises:
            UsageError: it is no verifier key.
        """
        try:
            name, key_id, public = _parsed_key(text)
            Ed25519PublicKey.from_public_bytes(public)
        except ValueError as error:
            raise UsageError(f"{text[:120]!r} is not a verifier key: {error}") from error
        key = cls(name, public)
        if key.key_id.hex() != key_id:
            raise UsageError(
                f"{text[:120]!r} is not a verifier key: its id would be {key.key_id.hex()}; "
                "copy the whole line that the operator published"
            )
        return key


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The private half; as text ``PRIVATE+KEY+name+id+base64``.

    Attributes:
        name: who signs.
        seed: the Ed25519 private key, 32 bytes.
    """

    name: str
    seed: bytes = field(repr=False)

    @classmethod
    def generate(cls, name: str) -> SigningKey:
        """Return a new random key.

        Raises:
            UsageError: no key can have this name.
        """
        if not is_key_name(name):
            raise UsageError(f"{name!r} can't name a key: no spaces, no plus signs, not empty")
        return cls(name, Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> SigningKey:
        """Read a key from its text.

        Raises:
            UsageError: it is no signing key; the message doesn't repeat it.
        """
        try:
            if not text.startswith(_SECRET):
                raise ValueError
            name, key_id, seed = _parsed_key(text.removeprefix(_SECRET))
        except ValueError:  # Its message may hold a part of the key.
            raise UsageError(f"not a signing key: not {_SECRET}name+id+base64") from None
        key = cls(name, seed)
        if key.verifier.key_id.hex() != key_id:
            raise UsageError(f"not a signing key: its id is {key_id}, which its bytes don't give")
        return key

    @property
    def verifier(self) -> VerifierKey:
        """The public half."""
        private = Ed25519PrivateKey.from_private_bytes(self.seed)
        return VerifierKey(self.name, private.public_key().public_bytes_raw())

    @property
    def secret(self) -> str:
        """The text to keep."""
        return f"{_SECRET}{self.verifier.short}+{exact_text(_ED25519 + self.seed)}"

    def sign(self, content: bytes) -> bytes:
        """Return the signature of some bytes."""
        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(content)


def exact_base64(text: str) -> bytes:
    """Decode base64 that is spelled the one way an encoder spells it.

    Raises:
        ValueError: it isn't.
    """
    try:
        decoded = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"{text[:60]!r} is not base64") from error
    if exact_text(decoded) != text:
        raise ValueError(f"{text[:60]!r} is not base64 as an encoder writes it")
    return decoded


def exact_text(content: bytes) -> str:
    """Return the base64 of some bytes."""
    return base64.b64encode(content).decode()


def is_key_name(name: str) -> bool:
    """Say whether a key can have this name: not empty, no spaces, no plus signs."""
    return bool(name) and not any(
        character.isspace() or character < " " or character == "+" for character in name
    )


def _parsed_key(text: str) -> tuple[str, str, bytes]:
    """Return (name, id, 32 bytes) of ``name+id+base64``."""
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    if not is_key_name(name) or not re.fullmatch("[0-9a-f]{8}", key_id):
        raise ValueError("it is not name+id+base64")
    content = exact_base64(encoded)
    if len(content) != 33 or content[:1] != _ED25519:
        raise ValueError("it is not of an Ed25519 key")
    return name, key_id, content[1:]
