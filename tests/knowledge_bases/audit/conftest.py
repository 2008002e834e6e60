"""Bundles as the log makes them, and the parts to make others from."""

from __future__ import annotations

import base64
import hashlib
import hmac
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pytest
import rfc8785

from knowledge_bases.audit import checkpoint as checkpoints
from knowledge_bases.audit.bundle import BundleParts, cited_texts
from knowledge_bases.audit.checkpoint import Checkpoint
from knowledge_bases.audit.merkle import inclusion_proof, leaf_hash, root
from knowledge_bases.audit.note_keys import SigningKey
from knowledge_bases.audit.verify_bundle import pack

LOG_ID = "2f1c8f6e-4b8e-4d53-9d2f-0c8b5a8b6f10"
TEXT = (
    "Anticoagulation guideline. 肝素 is stopped 4 hours before surgery. "
    "Warfarin is stopped 5 days before; “bridging” is no longer advised. 🙂 End."
)
PASSAGES = ((27, 88), (60, len(TEXT)))
QUOTES = ("4 hours before surgery", "5 days before")


@dataclass(frozen=True)
class Sealed:
    """A signed log of `size` leaves, of which the one at `index` is known.

    Attributes:
        payload: a value, or bytes as they are.
        leaf: fields of the leaf that are other than they should be.
    """

    log_id: str = LOG_ID
    index: int = 5
    size: int = 11
    keys: Sequence[SigningKey] = (SigningKey(f"grounded-rag/{LOG_ID}", b"k" * 32),)
    kind: str = "answer"
    payload: Any = field(default_factory=lambda: receipt())
    salt: bytes = bytes(range(0xB0, 0xD0))
    leaf: Mapping[str, Any] = field(default_factory=dict)

    def but(self, **changes: Any) -> Sealed:
        """Return another log with these fields."""
        return replace(self, **changes)

    def parts(self) -> BundleParts:
        """Return the parts of the record's bundle."""
        raw = isinstance(self.payload, bytes)
        payload = self.payload if raw else rfc8785.dumps(self.payload)
        leaf = rfc8785.dumps(
            {
                "schema": "grounded-rag/leaf/1",
                "id": str(uuid.UUID(int=5)),
                "sequence": self.index,
                "created_at": "2026-01-02T03:04:05.123456+00:00",
                "kind": self.kind,
                "knowledge_base": "handbook",
                "status": "answered",
                "commitment": hmac.new(self.salt, payload, hashlib.sha256).hexdigest(),
                "payload_bytes": len(payload),
                **self.leaf,
            }
        )
        hashes = [hashlib.sha256(bytes([number])).digest() for number in range(self.size)]
        hashes[self.index] = bytes.fromhex(leaf_hash(leaf))
        proof = inclusion_proof(
            self.index, self.size, lambda level, at: root(hashes[at << level : at + 1 << level])
        )
        signed = Checkpoint(f"grounded-rag/{self.log_id}", self.size, root(hashes))
        quoting = self.kind == "answer" and not raw
        return BundleParts(
            leaf=leaf,
            payload=payload,
            salt=self.salt,
            proof=proof,
            checkpoint=checkpoints.sign(signed, self.keys),
            key=self.keys[-1].verifier,
            texts=cited_texts(self.payload, lambda uri, version, start, end: TEXT[start:end])
            if quoting
            else (),
        )

    def bundle(self) -> bytes:
        """Return the record's bundle, whether it would verify or not."""
        parts = self.parts()
        hashes = [base64.b64encode(one).decode() for one in parts.proof]
        return pack(
            {
                "bundle.json": rfc8785.dumps(
                    {
                        "schema": "grounded-rag/bundle/1",
                        "log": self.log_id,
                        "key": str(parts.key),
                        "answer_id": str(uuid.UUID(int=5)),
                    }
                ),
                "leaf.json": parts.leaf,
                "payload.json": parts.payload,
                "salt": self.salt.hex().encode(),
                "proof.json": rfc8785.dumps(
                    {"index": self.index, "size": self.size, "hashes": hashes}
                ),
                "checkpoint.txt": parts.checkpoint.encode(),
                **{
                    f"texts/{number:03d}.json": rfc8785.dumps(asdict(text))
                    for number, text in enumerate(parts.texts, start=1)
                },
            }
        )


def receipt(**changes: Any) -> dict[str, Any]:
    """Return a receipt as answers have it, as far as a bundle speaks of it."""
    version = {"document": "guideline.txt", "version": 3}
    text_sha256 = hashlib.sha256(TEXT.encode()).hexdigest()
    return {
        "schema": "grounded-rag/receipt/1",
        "kind": "answer",
        "knowledge_base": "handbook",
        "status": "answered",
        "question": "When is heparin stopped?",
        "passages": [
            {
                **version,
                "start": start,
                "end": end,
                "score": 1e-7,
                "scores": {"dense": 0.5, "bm25": 12.0},
                "version_text_sha256": text_sha256,
                "text_sha256": hashlib.sha256(TEXT[start:end].encode()).hexdigest(),
            }
            for start, end in PASSAGES
        ],
        "citations": [
            {
                **version,
                "index": number,
                "text_sha256": text_sha256,
                "start": TEXT.index(quote),
                "end": TEXT.index(quote) + len(quote),
                "quote": quote,
            }
            for number, quote in enumerate(QUOTES, start=1)
        ],
        **changes,
    }


@pytest.fixture
def sealed() -> Sealed:
    """A log with one known answer that has two citations."""
    return Sealed()
