"""Verifies one record of a grounded-rag log from a bundle, without the log or its operator.

This file stands alone: it needs Python 3.11 and the package `cryptography`, nothing else of the
project. `python verify_bundle.py FILE [--key KEY] [--json]`; exit code 0: all of it holds, 2: wrong
usage, 3: no such file, 4: something does not hold, and one line says what. The functions stand in
the order in which things are checked; docs/verifying-the-log.md describes the formats.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import re
import struct
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MAX_BYTES, MAX_TEXT_BYTES, MAX_DEPTH = 64 * 2**20, 2**20, 64
FILES = {  # In this order, with the most bytes that each may have; then texts/001.json, 002, ...
    "bundle.json": 4_096,
    "leaf.json": 4_096,
    "payload.json": 16 * 2**20,
    "salt": 64,
    "proof.json": 8_192,
    "checkpoint.txt": 2**17,
}
KINDS = (
    "answer refusal check deletion erasure review key read calibration settings retention access"
)
TYPES: dict[str, Any] = {  # Fields that may be null are text otherwise.
    "sequence payload_bytes index size version start end passage_start": int,
    "knowledge_base status": (str, type(None)),
    "hashes": list,
}
TYPE = {field: kind for fields, kind in TYPES.items() for field in fields.split()}  # Else text.
BUNDLE = "schema log key answer_id"
LEAF = "schema id sequence created_at kind knowledge_base status commitment payload_bytes"
PROOF = "index size hashes"
CITED = "document version text_sha256 start end quote"
TEXT = CITED + " passage_start passage_text"
UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{6}\+00:00"
ORIGIN = f"grounded-rag/{UUID}"
VKEY = re.compile(rf"({ORIGIN})\+([0-9a-f]{{8}})\+([A-Za-z0-9+/]{{44}})")
NOTE = re.compile(
    rf"(({ORIGIN})\n(0|[1-9][0-9]{{0,18}})\n([A-Za-z0-9+/]{{43}}=)\n)"
    r"\n((?:— [^\s\0-\x1f+]+ [A-Za-z0-9+/]+={0,2}\n){1,100})"
)
NO_BRACKETS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[^"\[\]{}]++', re.DOTALL)
LOCAL, ENTRY, END = map(struct.Struct, ("<4s5H3L2H", "<4s6H3L5H2L", "<4s4H2LH"))

TOLD = """{file} holds: {kind} {answer_id} of {created_at} is record {index} of the log {log},
its payload and {citations} quotations are those recorded, and it lies in the first {size} records,
whose root {root} is signed by
{keys}"""
OWN_KEY = "signed by the key in the bundle itself; compare {} with the one the operator published\n"


class BundleError(Exception):
    """The bundle does not hold; one line says why."""


class KeyArgumentError(BundleError):
    """The key to verify with is none."""


@dataclass(frozen=True)
class Key:
    """A public key, and the sizes of the log that it signs from and until (None: in use)."""

    vkey: str
    name: str
    key_id: bytes
    public: bytes
    since: int = 0
    until: int | None = None


@dataclass(frozen=True)
class Report:
    """What was verified; with `own_key`, only the bundle itself vouches for the key."""

    answer_id: str
    kind: str
    status: str | None
    knowledge_base: str | None
    created_at: str
    log: str
    index: int
    size: int
    root: str
    citations: int
    signed_by: tuple[str, ...]
    own_key: bool


def verify(source: str | Path | bytes, key: str | None = None) -> Report:
    """Verify a bundle.

    Args:
        source: the path of the file, or its bytes.
        key: the operator's verifier key, or the text of their list of keys (keys.json), got from
            elsewhere than the bundle; None to take the bundle's own.

    Raises:
        BundleError: something does not hold.
        OSError: the file can't be read.
    """
    trusted = [] if key is None else _trusted_keys(key)
    files = unpack(source if isinstance(source, bytes) else _read(Path(source)))
    about = _object("bundle.json", files, BUNDLE, "grounded-rag/bundle/1")
    leaf, payload = _check_payload(files)
    _require(leaf["id"] == about["answer_id"], "bundle.json and leaf.json name different records")
    size, root = _check_proof(files, leaf)
    signers = _check_checkpoint(files["checkpoint.txt"], about, size, root, trusted)
    citations = _check_texts(files, payload if leaf["kind"] == "answer" else {})
    return Report(
        answer_id=leaf["id"],
        **{name: leaf[name] for name in ("kind", "status", "knowledge_base", "created_at")},
        log=about["log"],
        index=leaf["sequence"],
        size=size,
        root=root.hex(),
        citations=citations,
        signed_by=signers,
        own_key=not trusted,
    )


def _read(path: Path) -> bytes:
    _require(path.is_file() or not path.exists(), "not a file")
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return the one zip that these files make: stored, of 1980-01-01, mode 0644, no extras."""
    local, directory = bytearray(), bytearray()
    for name, content in files.items():
        path, offset = name.encode(), len(local)
        # Version 2.0, no flags, stored, 0:00 on 1980-01-01, CRC, size twice, length of the name.
        common = (20, 0, 0, 0, 33, zlib.crc32(content), len(content), len(content), len(path), 0)
        mode = 0o100644 << 16
        local += LOCAL.pack(b"PK\3\4", *common) + path + content
        directory += ENTRY.pack(b"PK\1\2", 3 << 8 | 20, *common, 0, 0, 0, mode, offset) + path
    count = len(files)
    end = END.pack(b"PK\5\6", 0, 0, count, count, len(directory), len(local), 0)
    return bytes(local + directory + end)


def unpack(content: bytes) -> dict[str, bytes]:
    """Return the files of a bundle, if its bytes are just those that `pack` makes of them.

    Raises:
        BundleError: they are not.
    """
    _require(content.startswith(b"PK\3\4"), "it does not begin as a zip file does")
    _require(len(content) <= MAX_BYTES, f"it has more than {MAX_BYTES} bytes")
    files: dict[str, bytes] = {}
    offset = 0
    while content.startswith(b"PK\3\4", offset):
        _require(offset + LOCAL.size <= len(content), "it is cut off")
        _, _, _, method, _, _, crc, _, size, length, _ = LOCAL.unpack_from(content, offset)
        start = offset + LOCAL.size + length
        name = content[offset + LOCAL.size : start].decode("ascii", "backslashreplace")
        known = name in FILES or re.fullmatch(r"texts/[0-9]{3,9}\.json", name)
        _require(known, f"it holds {name[:80]!r}, which is no part of a bundle")
        _require(name not in files, f"it holds {name!r} twice")
        after = f"texts/{len(files) - len(FILES) + 1:03d}.json"
        expected = [*FILES, after][min(len(files), len(FILES))]
        _require(name == expected, f"it holds {name!r} where {expected!r} belongs")
        _require(method == 0, f"{name} is compressed; a bundle's files are stored as they are")
        limit = FILES.get(name, MAX_TEXT_BYTES)
        _require(size <= limit, f"{name} has {size} bytes, more than {limit}")
        offset = start + size
        _require(offset <= len(content), f"{name} is cut off")
        files[name] = content[start:offset]
        _require(zlib.crc32(files[name]) == crc, f"{name} was changed: its CRC-32 does not fit")
    missing = ", ".join(name for name in FILES if name not in files)
    _require(not missing, f"{missing}: missing, or not at byte {offset}, where it belongs")
    again = pack(files)
    pairs = enumerate(zip(again, content, strict=False))
    changed = next((place for place, (one, other) in pairs if one != other), None)
    what = "the type, date, name or place of a file was changed"
    _require(changed is None, f"byte {changed} of the zip is not as in a bundle: {what}")
    _require(again == content, "it is cut off, or goes on after its end")
    return files


def _json(name: str, content: bytes) -> Any:
    """Parse JSON that can be read in one way only."""

    def fail(what: str) -> NoReturn:
        raise BundleError(f"{name} {what}")

    def number(text: str) -> float:
        if len(text) > 40:
            fail(f"has a number of {len(text)} characters")
        return float(text) if set(text) & set(".eE") else int(text)

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            fail("names a member of an object twice")
        return dict(pairs)

    def constant(text: str) -> NoReturn:
        fail(f"has {text}, which is not JSON")

    try:
        text = content.decode()
        brackets = NO_BRACKETS.sub("", text).replace("{", "[").replace("}", "]")
        for _ in range(MAX_DEPTH):
            brackets = brackets.replace("[]", "")  # The innermost pairs.
        if brackets:
            fail(f"is nested more than {MAX_DEPTH} deep, or its brackets do not pair")
        decoder = json.JSONDecoder(
            parse_int=number, parse_float=number, parse_constant=constant, object_pairs_hook=members
        )
        return decoder.decode(text)
    except UnicodeDecodeError:
        fail("is not UTF-8")
    except (ValueError, RecursionError) as error:
        fail(f"is not JSON: {error}")


def _object(name: str, files: Mapping[str, bytes], fields: str, schema: str = "") -> dict[str, Any]:
    """Parse an object of just these fields, spelled in the canonical way (RFC 8785)."""
    found = _json(name, files[name])
    right = isinstance(found, dict) and found.keys() == set(fields.split())
    _require(right, f"{name} is not an object with the fields {fields}")
    for field, value in found.items():
        right = isinstance(value, TYPE.get(field, str)) and not isinstance(value, bool)
        _require(right, f"{name}: {field} is of a wrong type")
    _require(schema in ("", found.get("schema")), f"{name} is not of the schema {schema}")
    # Of texts and whole numbers, this is what RFC 8785 prescribes.
    text = json.dumps(found, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    _require(text.encode(errors="replace") == files[name], f"{name} is not canonical JSON")
    return dict(found)


def _check_payload(files: Mapping[str, bytes]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return leaf and payload, if the leaf commits to the payload."""
    leaf = _object("leaf.json", files, LEAF, "grounded-rag/leaf/1")
    kind, content, salt = leaf["kind"], files["payload.json"], files["salt"]
    _require(re.fullmatch(UUID, leaf["id"]), "leaf.json: its id is not a UUID")
    _require(re.fullmatch(TIME, leaf["created_at"]), "leaf.json: created_at is not a time in UTC")
    _require(kind in KINDS.split(), f"leaf.json is of an unknown kind: {kind[:80]!r}")
    _require(re.fullmatch(b"[0-9a-f]{64}", salt), "salt is not 64 hexadecimal digits")
    commitment = hmac.new(bytes.fromhex(salt.decode()), content, hashlib.sha256).hexdigest()
    _require(commitment == leaf["commitment"], "payload.json is not what leaf.json commits to")
    _require(len(content) == leaf["payload_bytes"], "leaf.json gives payload.json another length")
    payload = _json("payload.json", content)
    schema = f"grounded-rag/{'receipt' if kind == 'answer' else kind}/1"
    right = isinstance(payload, dict) and payload.get("schema") == schema
    _require(right, f"payload.json is not an object of the schema {schema}")
    for field in ("kind", "status", "knowledge_base") if kind == "answer" else ():
        same = payload.get(field) == leaf[field]
        _require(same, f"payload.json and leaf.json differ in {field}")
    return leaf, payload


def _check_proof(files: Mapping[str, bytes], leaf: Mapping[str, Any]) -> tuple[int, bytes]:
    """Return size and root of the tree that the proof leads to (RFC 9162, section 2.1.3.2)."""
    proof = _object("proof.json", files, PROOF)
    index, size, hashes = proof["index"], proof["size"], proof["hashes"]
    _require(index == leaf["sequence"], "proof.json is of another record")
    _require(0 <= index < size < 2**63, "proof.json is of no place in a log")
    _require(len(hashes) <= 63, f"proof.json has {len(hashes)} hashes; no log needs so many")
    node, last, found = index, size - 1, hashlib.sha256(b"\0" + files["leaf.json"]).digest()
    for text in hashes:
        sibling = _base64("proof.json", text)
        _require(len(sibling) == 32 and last, "proof.json has a hash too long or too many")
        right = node % 2 or node == last
        pair = sibling + found if right else found + sibling
        found = hashlib.sha256(b"\1" + pair).digest()
        while right and node and not node % 2:
            node, last = node >> 1, last >> 1
        node, last = node >> 1, last >> 1
    _require(last == 0, "proof.json has fewer hashes than a log of this size needs")
    return size, found


def _check_checkpoint(
    content: bytes, about: Mapping[str, Any], size: int, root: bytes, trusted: Sequence[Key]
) -> tuple[str, ...]:
    """Return the keys that signed this size and root (c2sp.org/tlog-checkpoint)."""
    note = NOTE.fullmatch(content.decode(errors="ignore"))
    if note is None or note[0].encode() != content:
        raise BundleError("checkpoint.txt is not a signed checkpoint of a grounded-rag log")
    body, origin, signed_size, signed_root, lines = note.groups()
    own = _key(about["key"])
    _require(origin == f"grounded-rag/{about['log']}", "checkpoint.txt is of another log")
    for key in (own, *trusted):
        _require(key.name == origin, f"{key.vkey} is not a key of {origin}")
    _require(int(signed_size) == size, "checkpoint.txt and proof.json differ in the log's size")
    same = _base64("checkpoint.txt", signed_root) == root
    _require(same, "the proof does not lead from leaf.json to the root in checkpoint.txt")
    signers = set()
    for _, name, encoded in (line.split(" ") for line in lines[:-1].split("\n")):
        value = _base64("checkpoint.txt", encoded)
        for key in (own, *trusted):
            if (name, value[:4]) == (key.name, key.key_id):  # Signatures by others are ignored.
                try:
                    public = Ed25519PublicKey.from_public_bytes(key.public)
                    public.verify(value[4:], body.encode())
                except InvalidSignature:
                    raise BundleError(f"the signature by {key.vkey} does not hold") from None
                signers.add(key.vkey)
    _require(own.vkey in signers, f"checkpoint.txt is not signed by the bundle's key {own.vkey}")
    accepted = [key for key in trusted or [own] if key.vkey in signers]
    given = ", ".join(key.vkey for key in trusted)
    _require(accepted, f"signed by {own.vkey}, not by the key given: {given}")
    in_use = [k for k in accepted if k.since <= size and (k.until is None or size <= k.until)]
    ranges = "; ".join(f"{key.vkey} signs from {key.since} until {key.until}" for key in accepted)
    _require(in_use, f"its key had expired or was not yet in use at log size {size}: {ranges}")
    return tuple(key.vkey for key in in_use)


def _check_texts(files: Mapping[str, bytes], payload: Mapping[str, Any]) -> int:
    """Check that each citation quotes a recorded passage; return how many there are."""
    names = [name for name in files if name not in FILES]
    citations, passages = payload.get("citations", []), payload.get("passages", [])
    for rows in (citations, passages):
        right = isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
        _require(right, "payload.json: its citations or passages are no list of objects")
    counts = f"{len(names)} texts for {len(citations)} citations"
    _require(len(names) == len(citations), f"it holds {counts}")
    for name, citation in zip(names, citations, strict=True):
        text = _object(name, files, TEXT)
        for field in CITED.split():
            same = citation.get(field) == text[field]
            _require(same, f"{name} and payload.json differ in {field}")
        first, passage = text["passage_start"], text["passage_text"]
        quoted = 0 <= first <= text["start"] < text["end"] <= first + len(passage)
        quoted = quoted and passage[text["start"] - first : text["end"] - first] == text["quote"]
        _require(quoted, f"{name}: the quote is not at its place in the passage")
        recorded = {
            "document": text["document"],
            "version": text["version"],
            "version_text_sha256": text["text_sha256"],
            "start": first,
            "end": first + len(passage),
            "text_sha256": hashlib.sha256(passage.encode()).hexdigest(),
        }
        found = any(recorded.items() <= row.items() for row in passages)
        _require(found, f"{name}: its passage is not among those recorded in payload.json")
    return len(names)


def _trusted_keys(text: str) -> list[Key]:
    """Read one verifier key, or a list of keys as the operator publishes it."""
    try:
        if not text.lstrip().startswith("{"):
            return [_key(text.strip())]
        rows = _json("the list of keys", text.encode())["keys"]
        keys = [_key(row["key"], int(row["from"]), row["until"]) for row in rows]
        _require(
            keys and all(key.until is None or key.until >= 0 for key in keys), "it has no keys"
        )
        return keys
    except (BundleError, LookupError, TypeError, ValueError) as error:
        raise KeyArgumentError(f"no verifier key and no list of keys: {error}") from error


def _key(vkey: str, since: int = 0, until: int | None = None) -> Key:
    found = VKEY.fullmatch(vkey)
    if found is None:
        raise BundleError(f"{vkey[:200]!r} is not a verifier key")
    content = base64.b64decode(found[3])
    key_id = hashlib.sha256(found[1].encode() + b"\n" + content).digest()[:4]
    right = content[0] == 1 and key_id.hex() == found[2]
    _require(right, f"{vkey} is not a verifier key: its id does not fit")
    return Key(vkey, found[1], key_id, content[1:], since, until)


def _base64(name: str, text: Any) -> bytes:
    """Decode base64 that is spelled the one way an encoder spells it."""
    try:
        content = base64.b64decode(text, validate=True)
        _require(base64.b64encode(content) == text.encode(), f"{name}: {text[:80]!r} is odd base64")
    except (ValueError, TypeError, AttributeError):
        raise BundleError(f"{name}: {str(text)[:80]!r} is not base64") from None
    return content


def _require(holds: object, reason: str) -> None:
    if not holds:
        raise BundleError(reason)


def _key_argument(given: str | None) -> str | None:
    if given is None or VKEY.fullmatch(given):
        return given
    try:
        return Path(given).read_text(encoding="utf-8")
    except (OSError, ValueError):
        raise KeyArgumentError(f"{given!r}: not a verifier key, nor a file with keys") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify a file and return the exit code."""
    parser = argparse.ArgumentParser(description="Verifies a bundle of a grounded-rag log.")
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--key", help="the operator's verifier key, or a file with their keys.json")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    code = 0
    try:
        result = {"ok": True, **asdict(verify(options.file, _key_argument(options.key)))}
    except BundleError as error:
        code = 2 if isinstance(error, KeyArgumentError) else 4
        result = {"ok": False, "reason": str(error)}
    except (OSError, ValueError) as error:
        code = 3 if isinstance(error, FileNotFoundError) else 2
        result = {"ok": False, "reason": getattr(error, "strerror", None) or str(error)}
    if options.json:
        print(json.dumps(result))
    elif code:
        print(f"{options.file}: {result['reason']}", file=sys.stderr)
    else:
        print(TOLD.format(file=options.file, keys=" and ".join(result["signed_by"]), **result))
        print(OWN_KEY.format(result["signed_by"][0]) if result["own_key"] else "", end="")
    return code


if __name__ == "__main__":
    sys.exit(main())
