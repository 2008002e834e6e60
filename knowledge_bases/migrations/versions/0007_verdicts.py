"""The worst verdict of each record that has any, to filter the log by."""

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

from knowledge_bases.audit.leaf import parse
from knowledge_bases.audit.seal import Sealed, unseal
from knowledge_bases.audit.worst_verdict import worst_verdict
from rag.errors import DigestMismatch

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_AT_ONCE = 500
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    verdicts = op.create_table(
        "audit_verdicts",
        sa.Column("sequence", KEY, autoincrement=False, nullable=False),
        sa.Column("label", sa.String(length=20), nullable=False),
        sa.Column("disputed", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_audit_verdicts")),
    )
    op.create_index(op.f("ix_audit_verdicts_label"), "audit_verdicts", ["label"])
    for batch in _batches():
        rows = [row for row in map(_noted, batch) if row is not None]
        if rows:
            op.bulk_insert(verdicts, rows)


def downgrade() -> None:
    op.drop_table("audit_verdicts")


def _noted(record: Any) -> dict[str, Any] | None:
    """Return the row of a record; None where nothing was judged, or its payload can't be opened."""
    try:
        commitment = parse(record.leaf.encode()).commitment
        sealed = Sealed(
            bytes(record.nonce),
            bytes(record.ciphertext),
            bytes(record.key),
            bytes(record.salt),
            commitment,
        )
        found = worst_verdict(record.kind, json.loads(unseal(sealed, record.id)))
    except (DigestMismatch, AttributeError, KeyError, TypeError, ValueError):
        return None  # Damaged: `rag audit verify` tells.
    if found is None:
        return None
    return {"sequence": record.sequence, "label": found.label, "disputed": found.disputed}


def _batches() -> Iterator[list[Any]]:
    tables = sa.MetaData()
    names = ("audit_records", "audit_payloads", "audit_secrets")
    tables.reflect(op.get_bind(), only=names)
    records, payloads, secrets = (tables.tables[name] for name in names)
    query = (
        sa.select(
            records.c.sequence,
            records.c.id,
            records.c.kind,
            records.c.leaf,
            payloads.c.nonce,
            payloads.c.ciphertext,
            secrets.c.key,
            secrets.c.salt,
        )
        .join(payloads, payloads.c.sequence == records.c.sequence)
        .join(secrets, secrets.c.sequence == records.c.sequence)
        .where(records.c.kind.in_(("answer", "check")))
        .order_by(records.c.sequence)
        .limit(_AT_ONCE)
    )
    start = -1
    while True:
        batch = list(op.get_bind().execute(query.where(records.c.sequence > start)))
        if not batch:
            return
        yield batch
        start = batch[-1].sequence
