"""Which answers followed each other in a conversation, and whose it is."""

import uuid

from sqlalchemy import select

from knowledge_bases.database import Database
from knowledge_bases.store.shared import now
from knowledge_bases.tables import ConversationRow, ConversationTurnRow
from rag.errors import NotFound


class Conversations:
    """Keeps the ids of answers; what was asked and answered is in the log's payloads alone."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, kb_id: int, asker_id: str) -> str:
        """Begin a conversation and return its id."""
        conversation_id = str(uuid.uuid4())
        with self._database.write() as session:
            session.add(
                ConversationRow(
                    id=conversation_id, kb_id=kb_id, asker_id=asker_id, created_at=now()
                )
            )
        return conversation_id

    def answers(self, kb_id: int, conversation_id: str, asker_id: str) -> list[str]:
        """Return the ids of its answers, oldest first.

        Raises:
            NotFound: there is none of that id, or it is of another knowledge base or asker.
        """
        with self._database.read() as session:
            row = session.get(ConversationRow, conversation_id)
            if row is None or (row.kb_id, row.asker_id) != (kb_id, asker_id):
                raise no_such_conversation(conversation_id)
            found = session.scalars(
                select(ConversationTurnRow.record_id)
                .where(ConversationTurnRow.conversation_id == conversation_id)
                .order_by(ConversationTurnRow.id)
            )
            return list(found)

    def add(self, conversation_id: str, record_id: str) -> None:
        """Note that an answer followed; a second time changes nothing."""
        with self._database.write() as session:
            own = ConversationTurnRow.conversation_id == conversation_id
            same = select(ConversationTurnRow.id).where(
                own, ConversationTurnRow.record_id == record_id
            )
            if session.scalar(same) is None:
                row = ConversationTurnRow(conversation_id=conversation_id, record_id=record_id)
                session.add(row)


def no_such_conversation(conversation_id: str) -> NotFound:
    """Return the error for a conversation that is not there, or is another's."""
    return NotFound(f"there is no conversation {conversation_id[:120]!r}")
