"""The only SQL: one small class per table or two, bundled as `Store`."""

from dataclasses import dataclass

from knowledge_bases.database import Database
from knowledge_bases.store.api_keys import ApiKeys
from knowledge_bases.store.changes import Changes
from knowledge_bases.store.chunks import Chunks
from knowledge_bases.store.conversations import Conversations
from knowledge_bases.store.documents import Documents
from knowledge_bases.store.health import Health
from knowledge_bases.store.idempotency import Idempotency
from knowledge_bases.store.knowledge_bases import KnowledgeBases
from knowledge_bases.store.log import Log
from knowledge_bases.store.operations import Generations, Jobs


@dataclass(frozen=True, slots=True)
class Store:
    """All reads and writes of what is kept; each method is a transaction of its own."""

    kbs: KnowledgeBases
    documents: Documents
    changes: Changes
    chunks: Chunks
    generations: Generations
    jobs: Jobs
    log: Log
    health: Health
    api_keys: ApiKeys
    conversations: Conversations
    idempotency: Idempotency

    @classmethod
    def on(cls, database: Database) -> "Store":
        """Make the store on an open database."""
        return cls(
            KnowledgeBases(database),
            Documents(database),
            Changes(database),
            Chunks(database),
            Generations(database),
            Jobs(database),
            Log(database),
            Health(database),
            ApiKeys(database),
            Conversations(database),
            Idempotency(database),
        )
