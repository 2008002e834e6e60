"""Writes a bundle: one record with all that an outsider needs to verify it, in a zip."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import rfc8785

from knowledge_bases.audit import checkpoint as checkpoints
from knowledge_bases.audit.checkpoint import ORIGIN
from knowledge_bases.audit.note_keys import VerifierKey
from knowledge_bases.audit.verify_bundle import BundleError, pack, verify
from rag.errors import IntegrityError, StorageError
from rag.publish import write_file

SCHEMA = "grounded-rag/bundle/1"
TextOf = Callable[[str, int, int, int], str]
"""(document uri, version, start, end) -> those characters of the document version."""


@dataclass(frozen=True, slots=True)
class CitedText:
    """A citation with the passage it quotes from; offsets are into the document version's text.

    Attributes:
        document: uri.
        version: number of the document version.
        text_sha256: of that version's whole text.
        start, end: of the quote.
        quote: the characters between them.
        passage_start: where the passage begins.
        passage_text: the passage, as it was retrieved.
    """

    document: str
    version: int
    text_sha256: str
    start: int
    end: int
    quote: str
    passage_start: int
    passage_text: str


@dataclass(frozen=True, slots=True)
class BundleParts:
    """What goes into a bundle.

    Attributes:
        leaf: the record's leaf, the exact bytes.
        payload: its payload, the exact bytes.
        salt: of the commitment, 32 bytes.
        proof: inclusion proof of the leaf in the checkpoint's tree.
        checkpoint: the signed note.
        key: one that signed it, in use at its size.
        texts: one per citation, in order; see `cited_texts`.
    """

    leaf: bytes
    payload: bytes
    salt: bytes
    proof: Sequence[bytes]
    checkpoint: str
    key: VerifierKey
    texts: Sequence[CitedText] = ()


def write_bundle(path: Path, parts: BundleParts) -> None:
    """Write a bundle, whole or not at all.

    Raises:
        IntegrityError: it would not verify, so it is not written.
        StorageError: it can't be written.
    """
    content = bundle(parts)
    try:
        write_file(path, content)
    except OSError as error:
        raise StorageError(f"can't write {path}: {error.strerror}") from error


def bundle(parts: BundleParts) -> bytes:
    """Return a bundle's bytes, which depend on nothing but the parts.

    Raises:
        IntegrityError: it would not verify.
    """
    signed = checkpoints.read(parts.checkpoint)
    leaf = json.loads(parts.leaf)
    about = {
        "schema": SCHEMA,
        "log": signed.origin.removeprefix(ORIGIN),
        "key": str(parts.key),
        "answer_id": leaf["id"],
    }
    proof = {
        "index": leaf["sequence"],
        "size": signed.size,
        "hashes": [base64.b64encode(sibling).decode() for sibling in parts.proof],
    }
    content = pack(
        {
            "bundle.json": rfc8785.dumps(about),
            "leaf.json": parts.leaf,
            "payload.json": parts.payload,
            "salt": parts.salt.hex().encode(),
            "proof.json": rfc8785.dumps(proof),
            "checkpoint.txt": parts.checkpoint.encode(),
            **{
                f"texts/{number:03d}.json": rfc8785.dumps(asdict(text))
                for number, text in enumerate(parts.texts, start=1)
            },
        }
    )
    try:
        verify(content)
    except BundleError as error:
        raise IntegrityError(
            f"record {leaf['id']} makes no bundle that verifies: {error}"
        ) from error
    return content


def cited_texts(payload: Mapping[str, Any], text_of: TextOf) -> list[CitedText]:
    """Return the texts that a receipt's citations quote from.

    Args:
        payload: the receipt.
        text_of: reads document versions.

    Raises:
        IntegrityError: a citation lies in none of the passages that the receipt names.
    """
    return [
        _cited_text(citation, payload["passages"], text_of) for citation in payload["citations"]
    ]


def _cited_text(
    citation: Mapping[str, Any], passages: Sequence[Mapping[str, Any]], text_of: TextOf
) -> CitedText:
    document, version = citation["document"], citation["version"]
    for passage in passages:
        same = (passage["document"], passage["version"]) == (document, version)
        if same and passage["start"] <= citation["start"] and citation["end"] <= passage["end"]:
            start, end = passage["start"], passage["end"]
            return CitedText(
                document=document,
                version=version,
                text_sha256=citation["text_sha256"],
                start=citation["start"],
                end=citation["end"],
                quote=citation["quote"],
                passage_start=start,
                passage_text=text_of(document, version, start, end),
            )
    raise IntegrityError(
        f"citation {citation['index']} of {document} version {version} lies in none of the "
        "passages recorded with it; run: rag audit verify"
    )
