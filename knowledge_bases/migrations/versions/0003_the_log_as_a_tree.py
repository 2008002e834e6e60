"""The log as a Merkle tree over leaves, with sealed payloads; older records are sealed, too.

A payload is exactly the receipt that was stored, so that sha256(0x00 || payload) is still the leaf
hash that was given out for it; the new leaf hash is of the new leaf.
"""

import datetime
import json
import uuid
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import context, op

from knowledge_bases.audit import merkle
from knowledge_bases.audit.leaf import Leaf
from knowledge_bases.audit.receipt import rests_on
from knowledge_bases.audit.seal import seal
from knowledge_bases.audit.subjects import subject_hash, subject_secret
from rag.errors import IntegrityError

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_AT_ONCE = 500
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "audit_payloads",
        sa.Column("sequence", KEY, autoincrement=False, nullable=False),
        sa.Column("nonce", sa.LargeBinary(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_audit_payloads")),
    )
    op.create_table(
        "audit_secrets",
        sa.Column("sequence", KEY, autoincrement=False, nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_audit_secrets")),
    )
    op.create_table(
        "audit_nodes",
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "position", name=op.f("pk_audit_nodes")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "audit_citations",
        sa.Column("sequence", KEY, autoincrement=False, nullable=False),
        sa.Column("document_uri", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kb_name", sa.String(length=200), nullable=False),
        sa.Column("document_id", sa.String(length=40), nullable=False),
        sa.Column("cited", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint(
            "sequence", "document_uri", "version", name=op.f("pk_audit_citations")
        ),
    )
    op.create_index(
        op.f("ix_audit_citations_kb_name_document_uri_version"),
        "audit_citations",
        ["kb_name", "document_uri", "version"],
    )
    op.create_table(
        "audit_subjects",
        sa.Column("sequence", KEY, autoincrement=False, nullable=False),
        sa.Column("subject_hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("sequence", "subject_hash", name=op.f("pk_audit_subjects")),
    )
    op.create_index(op.f("ix_audit_subjects_subject_hash"), "audit_subjects", ["subject_hash"])
    op.create_table(
        "audit_checkpoints",
        sa.Column("size", KEY, autoincrement=False, nullable=False),
        sa.Column("root", sa.String(length=64), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("size", name=op.f("pk_audit_checkpoints")),
    )
    state = op.create_table(
        "audit_state",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("log_id", sa.String(length=36), nullable=False),
        sa.Column("legal_hold", sa.Boolean(), nullable=False),
        sa.Column("retention_days", sa.Integer(), nullable=True),
        sa.Column("last_pruned", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_state")),
    )
    op.bulk_insert(state, [{"id": 1, "log_id": str(uuid.uuid4()), "legal_hold": False}])

    op.rename_table("audit_records", "audit_records_0002")
    # Indexes and constraints keep their names when their table is renamed.
    op.drop_index("ix_audit_records_kb_name", "audit_records_0002")
    if op.get_bind().dialect.name != "sqlite":
        for name in ("pk_audit_records", "uq_audit_records_id"):
            op.execute(f"ALTER TABLE audit_records_0002 RENAME CONSTRAINT {name} TO {name}_0002")
    op.create_table(
        "audit_records",
        sa.Column("sequence", KEY, autoincrement=False, nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("kb_name", sa.String(length=200), nullable=True),
        sa.Column("status", sa.String(length=60), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("leaf_hash", sa.String(length=64), nullable=False),
        sa.Column("leaf", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_audit_records")),
        sa.UniqueConstraint("id", name=op.f("uq_audit_records_id")),
    )
    op.create_index(op.f("ix_audit_records_kb_name"), "audit_records", ["kb_name"])
    op.create_index(op.f("ix_audit_records_kind"), "audit_records", ["kind"])
    _seal_older_records()
    op.drop_table("audit_records_0002")


def downgrade() -> None:
    raise NotImplementedError("sealed records can't be unsealed; restore a backup instead")


def _seal_older_records() -> None:
    tables = sa.MetaData()
    tables.reflect(op.get_bind())
    secret = b""
    size = 0
    for batch in _batches(tables.tables["audit_records_0002"]):
        secret = secret or subject_secret(context.config.attributes["home"], make=True)
        rows: dict[str, list[dict[str, Any]]] = {}
        hashes = []
        for sequence, old in enumerate(batch, start=size):
            if old.sequence != sequence:
                raise IntegrityError(
                    f"record {sequence} of the log is missing: `rag doctor` of the version before "
                    "says more; restore a backup"
                )
            hashes.append(_seal(old, secret, rows))
        nodes = merkle.new_nodes(size, hashes, _reader(tables))
        rows["audit_nodes"] = [
            {"level": level, "position": position, "hash": found}
            for level, position, found in nodes
        ]
        for name, own in rows.items():
            if own:
                op.bulk_insert(tables.tables[name], own)
        size += len(batch)


def _seal(old: sa.Row[Any], secret: bytes, rows: dict[str, list[dict[str, Any]]]) -> bytes:
    """Add a record's rows and return its leaf hash."""
    payload = old.receipt.encode()
    if merkle.leaf_hash(payload) != old.leaf_hash:
        raise IntegrityError(
            f"record {old.sequence} of the log was changed: `rag doctor` of the version before "
            "says more; restore a backup"
        )
    receipt = json.loads(payload)
    sealed = seal(payload, old.id)
    created_at = datetime.datetime.fromisoformat(receipt["created_at"])
    leaf = Leaf(
        old.id,
        old.sequence,
        created_at,
        old.kind,
        old.kb_name,
        old.status,
        sealed.commitment,
        len(payload),
    )
    found = leaf.hash()
    new: dict[str, list[dict[str, Any]]] = {
        "audit_records": [
            {
                "id": old.id,
                "kind": old.kind,
                "kb_name": old.kb_name,
                "status": old.status,
                "created_at": created_at,
                "leaf_hash": found,
                "leaf": leaf.canonical().decode(),
            }
        ],
        "audit_payloads": [{"nonce": sealed.nonce, "ciphertext": sealed.ciphertext}],
        "audit_secrets": [{"key": sealed.key, "salt": sealed.salt}],
        "audit_citations": [
            {
                "kb_name": old.kb_name,
                "document_uri": cited.document_uri,
                "document_id": cited.document_id,
                "version": cited.version,
                "cited": cited.cited,
            }
            for cited in rests_on(receipt)
        ],
        "audit_subjects": [{"subject_hash": subject_hash(secret, receipt["asker"])}],
    }
    for name, own in new.items():
        rows.setdefault(name, []).extend({"sequence": old.sequence, **row} for row in own)
    return bytes.fromhex(found)


def _batches(old: sa.Table) -> Iterator[list[sa.Row[Any]]]:
    start = -1
    while True:
        query = sa.select(old).where(old.c.sequence > start).order_by(old.c.sequence)
        batch = list(op.get_bind().execute(query.limit(_AT_ONCE)))
        if not batch:
            return
        yield batch
        start = batch[-1].sequence


def _reader(tables: sa.MetaData) -> merkle.Nodes:
    nodes, records = tables.tables["audit_nodes"], tables.tables["audit_records"]

    def read(level: int, position: int) -> bytes:
        if level == 0:
            query = sa.select(records.c.leaf_hash).where(records.c.sequence == position)
            return bytes.fromhex(op.get_bind().execute(query).scalar_one())
        query = sa.select(nodes.c.hash).where(nodes.c.level == level, nodes.c.position == position)
        return bytes(op.get_bind().execute(query).scalar_one())

    return read
