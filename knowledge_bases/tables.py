"""The tables; with `store.py` the only place that knows SQLAlchemy."""

import datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Date,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Key = BigInteger().with_variant(Integer, "sqlite")
"""SQLite makes only INTEGER primary keys row ids."""


class Moment(TypeDecorator[datetime.datetime]):
    """A time in UTC; SQLite returns times without their zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(
        self, value: datetime.datetime | None, dialect: Dialect
    ) -> datetime.datetime | None:
        """Attach UTC to a stored time."""
        return value.replace(tzinfo=datetime.UTC) if value and not value.tzinfo else value


class Base(DeclarativeBase):
    """Base of all tables; constraint names are fixed so that migrations can name them."""


Base.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class KnowledgeBaseRow(Base):
    """A collection of documents with one embedder and one chunking.

    ``revision`` grows by one with every change of the searchable chunks, under the row's lock.
    ``uid`` names its index folder: unlike an id or a name it is never used twice.
    """

    __tablename__ = "knowledge_bases"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    uid: Mapped[str] = mapped_column(String(32), unique=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    created_at: Mapped[datetime.datetime] = mapped_column(Moment)
    embedder: Mapped[str] = mapped_column(String(400))
    embedder_digest: Mapped[str] = mapped_column(String(64))
    dimension: Mapped[int] = mapped_column(Integer)
    chunk_tokens: Mapped[int] = mapped_column(Integer)
    chunk_overlap_tokens: Mapped[int] = mapped_column(Integer)
    revision: Mapped[int] = mapped_column(Key, default=0)


class DocumentRow(Base):
    """A document by its URI; ``deleted_at`` takes it out of every search at once.

    Attributes:
        source_path: absolute path of the file it was read from (of the archive, message or corpus
            that holds it); "upload" if it was sent over HTTP; null if nobody noted it.
        source_folder: absolute path of the folder that was given for it, or that held the file.
    """

    __tablename__ = "documents"
    __table_args__ = (UniqueConstraint("kb_id", "uri"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    kb_id: Mapped[int] = mapped_column(ForeignKey("knowledge_bases.id", ondelete="CASCADE"))
    uri: Mapped[str] = mapped_column(Text)
    title: Mapped[str] = mapped_column(Text)
    date: Mapped[datetime.date | None] = mapped_column(Date, index=True)
    source_path: Mapped[str | None] = mapped_column(Text)
    source_folder: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime.datetime] = mapped_column(Moment)
    deleted_at: Mapped[datetime.datetime | None] = mapped_column(Moment)


class DocumentTagRow(Base):
    """A tag of a document."""

    __tablename__ = "document_tags"

    document_id: Mapped[int] = mapped_column(
        ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True
    )
    tag: Mapped[str] = mapped_column(String(200), primary_key=True, index=True)


class VersionRow(Base):
    """One version of a document's text, never changed; old citations point into it."""

    __tablename__ = "versions"
    __table_args__ = (UniqueConstraint("document_id", "number"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    document_id: Mapped[int] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"))
    number: Mapped[int] = mapped_column(Integer)
    content_sha256: Mapped[str] = mapped_column(String(64))
    text_sha256: Mapped[str] = mapped_column(String(64))
    format: Mapped[str] = mapped_column(String(40))
    marks: Mapped[list[list[str | int]]] = mapped_column(JSON)
    created_at: Mapped[datetime.datetime] = mapped_column(Moment)
    # Last, so that reading the columns before it doesn't walk a long text's overflow pages.
    text: Mapped[str] = mapped_column(Text, deferred=True)


class ChunkRow(Base):
    """A chunk of a version.

    Attributes:
        revision: the knowledge base's revision that brought it.
        retired_revision: the one that took it out of search; null while it is live, that is,
            belongs to the current version of a document that is not deleted.
        input_sha256: digest of what is embedded for it, the key of its vector.
    """

    __tablename__ = "chunks"
    __table_args__ = (
        Index(None, "kb_id", "retired_revision", "revision"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    kb_id: Mapped[int] = mapped_column(ForeignKey("knowledge_bases.id", ondelete="CASCADE"))
    document_id: Mapped[int] = mapped_column(
        ForeignKey("documents.id", ondelete="CASCADE"), index=True
    )
    version_id: Mapped[int] = mapped_column(
        ForeignKey("versions.id", ondelete="CASCADE"), index=True
    )
    revision: Mapped[int] = mapped_column(Key)
    retired_revision: Mapped[int | None] = mapped_column(Key)
    start: Mapped[int] = mapped_column(Integer)
    end: Mapped[int] = mapped_column(Integer)
    page: Mapped[int | None] = mapped_column(Integer)
    section: Mapped[str | None] = mapped_column(Text)
    context: Mapped[str] = mapped_column(Text)
    before: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    after: Mapped[str] = mapped_column(Text)
    input_sha256: Mapped[str] = mapped_column(String(64))


class EmbeddingRow(Base):
    """A vector by what was embedded and by which weights; equal inputs are embedded once.

    ``vector_sha256`` is the digest of its bytes; null for those that older versions stored.
    """

    __tablename__ = "embeddings"

    model_digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    input_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    vector: Mapped[bytes] = mapped_column(LargeBinary)
    vector_sha256: Mapped[str | None] = mapped_column(String(64))


class GenerationRow(Base):
    """A published index generation; its directory is derived from the tables above."""

    __tablename__ = "generations"
    __table_args__ = (UniqueConstraint("kb_id", "number"),)

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    kb_id: Mapped[int] = mapped_column(ForeignKey("knowledge_bases.id", ondelete="CASCADE"))
    number: Mapped[int] = mapped_column(Integer)
    revision: Mapped[int] = mapped_column(Key)
    chunks: Mapped[int] = mapped_column(Integer)
    vectors_kind: Mapped[str] = mapped_column(String(40))
    manifest_sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime.datetime] = mapped_column(Moment)
    removed_at: Mapped[datetime.datetime | None] = mapped_column(Moment)


class JobRow(Base):
    """An ingest asked for over HTTP."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    kb_id: Mapped[int] = mapped_column(
        ForeignKey("knowledge_bases.id", ondelete="CASCADE"), index=True
    )
    state: Mapped[str] = mapped_column(String(20), index=True)
    created_at: Mapped[datetime.datetime] = mapped_column(Moment)
    finished_at: Mapped[datetime.datetime | None] = mapped_column(Moment)
    progress: Mapped[dict[str, object]] = mapped_column(JSON)
    error: Mapped[str | None] = mapped_column(Text)


class ApiKeyRow(Base):
    """A key of the service; its text is nowhere, only the sha256 of it.

    Attributes:
        id: the public part of the key, by which it is found, listed and revoked.
        knowledge_bases: the names that it is granted; ["*"] grants all, also those to come.
        last_used_at: to the hour.
        revocation_logged: whether the log has the record that it was revoked.
    """

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    key_sha256: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[str]] = mapped_column(JSON)
    knowledge_bases: Mapped[list[str]] = mapped_column(JSON)
    created_at: Mapped[datetime.datetime] = mapped_column(Moment)
    expires_at: Mapped[datetime.datetime | None] = mapped_column(Moment)
    revoked_at: Mapped[datetime.datetime | None] = mapped_column(Moment)
    last_used_at: Mapped[datetime.datetime | None] = mapped_column(Moment)
    revocation_logged: Mapped[bool] = mapped_column(Boolean)


class ApiSessionRow(Base):
    """Somebody who signed in with a key in a browser; it can do what the key can, as long."""

    __tablename__ = "api_sessions"

    token_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"), index=True)
    expires_at: Mapped[datetime.datetime] = mapped_column(Moment, index=True)


class IdempotencyRow(Base):
    """A request that may be sent twice but is done once; see `store.idempotency`.

    Attributes:
        key_hash: HMAC, under the home's secret, of who sent it and the key that they chose.
        fingerprint: the same of what it asked for; null while it goes on.
        resource: id or name of what it made; null while it goes on.
    """

    __tablename__ = "idempotency_keys"

    key_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    fingerprint: Mapped[str | None] = mapped_column(String(64))
    resource: Mapped[str | None] = mapped_column(String(200))
    created_at: Mapped[datetime.datetime] = mapped_column(Moment, index=True)


class AuditRow(Base):
    """One record of the log; it outlives the knowledge base it speaks of.

    Attributes:
        sequence: gap-free from 0, the leaf's index in the log.
        leaf: the canonical JSON (RFC 8785) of `knowledge_bases.audit.leaf.Leaf`, exactly the bytes
            that were hashed; the columns before it repeat it for listings.
        leaf_hash: sha256(0x00 || leaf), the leaf hash of RFC 6962, hexadecimal.
    """

    __tablename__ = "audit_records"

    sequence: Mapped[int] = mapped_column(Key, primary_key=True, autoincrement=False)
    id: Mapped[str] = mapped_column(String(36), unique=True)
    kind: Mapped[str] = mapped_column(String(40), index=True)
    kb_name: Mapped[str | None] = mapped_column(String(200), index=True)
    status: Mapped[str | None] = mapped_column(String(60))
    created_at: Mapped[datetime.datetime] = mapped_column(Moment)
    leaf_hash: Mapped[str] = mapped_column(String(64))
    leaf: Mapped[str] = mapped_column(Text)


class AuditPayloadRow(Base):
    """A record's payload, sealed; see `knowledge_bases.audit.seal`. Gone once it is erased."""

    __tablename__ = "audit_payloads"

    sequence: Mapped[int] = mapped_column(Key, primary_key=True, autoincrement=False)
    nonce: Mapped[bytes] = mapped_column(LargeBinary)
    ciphertext: Mapped[bytes] = mapped_column(LargeBinary)


class AuditSecretRow(Base):
    """The key of a record's payload and the salt of its commitment. Gone once it is erased."""

    __tablename__ = "audit_secrets"

    sequence: Mapped[int] = mapped_column(Key, primary_key=True, autoincrement=False)
    key: Mapped[bytes] = mapped_column(LargeBinary)
    salt: Mapped[bytes] = mapped_column(LargeBinary)


class AuditNodeRow(Base):
    """The hash of a complete subtree of the log's tree, of level 1 or more.

    It covers the leaves [position << level, position + 1 << level); leaf hashes are level 0.
    """

    __tablename__ = "audit_nodes"
    __table_args__ = ({"sqlite_with_rowid": False},)

    level: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hash: Mapped[bytes] = mapped_column(LargeBinary)


class AuditCitationRow(Base):
    """A document version that a record rests on; gone once the record's payload is erased.

    ``cited`` is false where it was read (its passage was before the writer) but not cited, and
    ``document_id`` empty where the record names the document by its URI alone.
    """

    __tablename__ = "audit_citations"
    __table_args__ = (Index(None, "kb_name", "document_uri", "version"),)

    sequence: Mapped[int] = mapped_column(Key, primary_key=True, autoincrement=False)
    document_uri: Mapped[str] = mapped_column(Text, primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    kb_name: Mapped[str] = mapped_column(String(200))
    document_id: Mapped[str] = mapped_column(String(40))
    cited: Mapped[bool] = mapped_column(Boolean)


class AuditSubjectRow(Base):
    """Whom a record is about, as an HMAC under the home's secret; gone once it is erased."""

    __tablename__ = "audit_subjects"

    sequence: Mapped[int] = mapped_column(Key, primary_key=True, autoincrement=False)
    subject_hash: Mapped[str] = mapped_column(String(64), primary_key=True, index=True)


class AuditVerdictRow(Base):
    """A record's verdicts in one; see `knowledge_bases.audit.worst_verdict`. Gone once erased."""

    __tablename__ = "audit_verdicts"

    sequence: Mapped[int] = mapped_column(Key, primary_key=True, autoincrement=False)
    label: Mapped[str] = mapped_column(String(20), index=True)
    disputed: Mapped[bool] = mapped_column(Boolean)


class AuditCheckpointRow(Base):
    """A signed checkpoint: ``note`` is its C2SP signed note, ``root`` the tree's at that size."""

    __tablename__ = "audit_checkpoints"

    size: Mapped[int] = mapped_column(Key, primary_key=True, autoincrement=False)
    root: Mapped[str] = mapped_column(String(64))
    note: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime.datetime] = mapped_column(Moment)


class AuditStateRow(Base):
    """The log as a whole: one row. Whoever appends locks it, where the database locks rows.

    Attributes:
        log_id: a UUID; part of every checkpoint's origin.
        legal_hold: while it is on, nothing is erased and nothing is dropped.
        retention_days: after which payloads may be dropped; null keeps them.
        last_pruned: when that was last done.
    """

    __tablename__ = "audit_state"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    log_id: Mapped[str] = mapped_column(String(36))
    legal_hold: Mapped[bool] = mapped_column(Boolean)
    retention_days: Mapped[int | None] = mapped_column(Integer)
    last_pruned: Mapped[datetime.datetime | None] = mapped_column(Moment)


class ConversationRow(Base):
    """A conversation; ``asker_id`` is the id of the key that began it, or "local"."""

    __tablename__ = "conversations"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    kb_id: Mapped[int] = mapped_column(
        ForeignKey("knowledge_bases.id", ondelete="CASCADE"), index=True
    )
    asker_id: Mapped[str] = mapped_column(String(40))
    created_at: Mapped[datetime.datetime] = mapped_column(Moment)


class ConversationTurnRow(Base):
    """An answer of a conversation, by its record's id."""

    __tablename__ = "conversation_turns"

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    conversation_id: Mapped[str] = mapped_column(
        ForeignKey("conversations.id", ondelete="CASCADE"), index=True
    )
    record_id: Mapped[str] = mapped_column(String(36))
