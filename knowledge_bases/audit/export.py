"""Writes the log as JSONL, CSV or PROV-JSON, record by record, with a manifest of what it holds."""

import csv
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TextIO

from knowledge_bases.audit.prov import NAMESPACE, prov_document
from knowledge_bases.audit.receipt import canonical

Format = Literal["jsonl", "csv", "prov"]
MANIFEST_SCHEMA = "grounded-rag/export/1"
COLUMNS = (
    "sequence",
    "id",
    "created_at",
    "kind",
    "knowledge_base",
    "status",
    "asker",
    "question",
    "answer",
    "reason",
    "probability",
    "worst_verdict",
    "documents",
    "quotes",
    "generator",
    "verifier",
    "settings_sha256",
    "index_manifest_sha256",
    "leaf_hash",
)
"""Columns of a CSV: a row for each record, empty where a kind of record has no such thing."""
_WORST_FIRST = ("contradicted", "unsupported", "supported")
_FORMULA = tuple("=+-@＝＋－＠\t\r")
_CELL_CHARS = 32_000
"""Longest cell; spreadsheets refuse or cut those above 32,767 characters."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A record on its way out.

    Attributes:
        leaf: as sealed, parsed.
        payload: None once it was erased.
        salt: of the leaf's commitment to it, hexadecimal; with the payload's canonical JSON it
            gives that commitment. None once it was erased.
    """

    leaf: Mapping[str, Any]
    leaf_hash: str
    payload: Mapping[str, Any] | None
    salt: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an export holds, to be kept beside it.

    Attributes:
        first, last: sequence numbers; None of an empty export.
        gaps: records between these that were left out, as by a filter.
        erased: records whose payload is gone.
        log_size, root: the log's tree when the export began.
        sha256: of the export's bytes.
    """

    format: Format
    records: int
    first: int | None
    last: int | None
    gaps: int
    erased: int
    log_size: int
    root: str
    sha256: str
    schema: str = MANIFEST_SCHEMA

    def canonical(self) -> bytes:
        """Return it as canonical JSON."""
        return canonical(asdict(self))


def export(
    records: Iterable[Exported], out: TextIO, format: Format, *, log_size: int, root: str
) -> Manifest:
    """Write records one by one; nothing is held in memory.

    Args:
        records: in the order of the log.
        out: opened with ``newline=""`` and as UTF-8.
        format: a JSON object a line, with the whole payload; a row a record; or one W3C PROV-JSON
            document with a bundle for each record, all of which are answers.
        log_size: of the log.
        root: of its tree at that size, as hex.

    Returns:
        the manifest.
    """
    digest, written = hashlib.sha256(), _Counted()
    lines = _Hashed(out, digest.update)
    if format == "csv":
        table = csv.writer(lines)
        table.writerow(COLUMNS)
        for record in written.each(records):
            table.writerow([safe_cell(value) for value in csv_row(record)])
    elif format == "prov":
        lines.write(f'{{"prefix":{json.dumps({"rag": NAMESPACE})},"bundle":{{')
        for number, record in enumerate(written.each(records)):
            told = canonical(prov_document(record.leaf, record.payload)).decode()
            lines.write(f'{"," if number else ""}\n"rag:{record.leaf["id"]}":{told}')
        lines.write("}}\n")
    else:
        for record in written.each(records):
            lines.write(f"{canonical(jsonl_row(record)).decode()}\n")
    return Manifest(
        format,
        written.records,
        written.first,
        written.last,
        written.gaps,
        written.erased,
        log_size,
        root,
        digest.hexdigest(),
    )


def jsonl_row(record: Exported) -> dict[str, Any]:
    """Return a record as a JSON object."""
    return {
        "leaf": dict(record.leaf),
        "leaf_hash": record.leaf_hash,
        "payload": None if record.payload is None else dict(record.payload),
        "salt": record.salt,
    }


def csv_row(record: Exported) -> list[object]:
    """Return a record in the order of `COLUMNS`."""
    leaf, payload = record.leaf, record.payload or {}
    labels = [verdict["label"] for verdict in payload.get("verdicts", ())]
    cited = payload.get("citations", ())
    values = {
        **{name: leaf[name] for name in COLUMNS[:6]},
        "asker": payload.get("asker", payload.get("actor")),
        "question": payload.get("question"),
        "answer": payload.get("text"),
        "reason": payload.get("reason"),
        "probability": payload.get("decision", {}).get("probability"),
        "worst_verdict": min(labels, key=_WORST_FIRST.index, default=None),
        "documents": "; ".join(dict.fromkeys(f"{c['document']} v{c['version']}" for c in cited)),
        "quotes": " … ".join(c["quote"] for c in cited),
        "generator": payload.get("models", {}).get("generator"),
        "verifier": payload.get("models", {}).get("verifier"),
        "settings_sha256": payload.get("settings_sha256"),
        "index_manifest_sha256": payload.get("index", {}).get("manifest_sha256"),
        "leaf_hash": record.leaf_hash,
    }
    return [values[name] for name in COLUMNS]


def safe_cell(value: object) -> object:
    """Return a cell that no spreadsheet takes for a formula, and no reader for two.

    Text that begins like a formula gets an apostrophe before it (OWASP, CSV injection); NUL and
    lone surrogates, which CSV readers refuse, become U+FFFD; what is too long is cut.

    >>> [safe_cell("=1+1"), safe_cell("1+1"), safe_cell(-1)]
    ["'=1+1", '1+1', -1]
    """
    if not isinstance(value, str):
        return json.dumps(value) if isinstance(value, list | dict | bool) else value
    text = "".join("\ufffd" if c == "\0" or "\ud800" <= c <= "\udfff" else c for c in value)
    if len(text) > _CELL_CHARS:
        text = f"{text[:_CELL_CHARS]}… ({len(text):,} characters)"
    return f"'{text}" if text.startswith(_FORMULA) else text


class _Counted:
    """Counts the records that pass."""

    def __init__(self) -> None:
        self.records = self.gaps = self.erased = 0
        self.first: int | None = None
        self.last: int | None = None

    def each(self, records: Iterable[Exported]) -> Iterable[Exported]:
        for record in records:
            sequence = int(record.leaf["sequence"])
            if self.last is None:
                self.first = sequence
            else:
                self.gaps += sequence - self.last - 1
            self.last = sequence
            self.records += 1
            self.erased += record.payload is None
            yield record


class _Hashed:
    """A text file whose bytes are hashed on the way."""

    def __init__(self, out: TextIO, update: Any) -> None:
        self._out = out
        self._update = update

    def write(self, text: str) -> int:
        self._update(text.encode())
        return self._out.write(text)
