"""Questions that follow others: what was said before, whose it was, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from knowledge_bases.store import Store
from knowledge_bases.store.log_reading import no_such_record
from rag.errors import UsageError
from rag.follow_up import Completed, Turn, completed, through
from rag.protocols import Embedder


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier turn of a conversation.

    Attributes:
        question: as asked; None where the answer's record tells.
        answer_id: of the answer's record; None where it is not known.
    """

    question: str | None
    answer_id: str | None = None


@dataclass(frozen=True, slots=True)
class Spoken:
    """A question in its conversation.

    Attributes:
        completed: how it was completed.
        turns: what it was completed from.
    """

    completed: Completed
    turns: tuple[Earlier, ...]

    @property
    def question(self) -> str:
        """The question as it is searched for and read."""
        return self.completed.question

    def as_json(self) -> dict[str, Any]:
        """Return what the receipt keeps of it."""
        own = self.completed
        return {
            "original": own.original,
            "rule": own.rule,
            "replaced": own.replaced,
            "added": own.added,
            "turns": [
                {"question": turn.question, "answer_id": turn.answer_id} for turn in self.turns
            ],
        }


def spoken(
    question: str,
    earlier: Sequence[Earlier],
    *,
    store: Store,
    embedder: Embedder,
    kb_name: str,
    asker: str,
    most_turns: int,
) -> Spoken:
    """Complete a question from the earlier turns of its conversation.

    A turn whose payload was erased says nothing.

    Args:
        question: as asked.
        earlier: oldest first.
        store: has the log.
        embedder: says how alike pieces of questions are.
        kb_name: the knowledge base asked.
        asker: who asks; the answers named must be to them.
        most_turns: how many earlier turns there may be.

    Raises:
        UsageError: there are too many turns.
        NotFound: an answer named is not there, of another knowledge base, or was another's.
    """
    if len(earlier) > most_turns:
        raise UsageError(
            f"the conversation has {len(earlier)} turns; ask with at most {most_turns}, or begin "
            "a new one"
        )
    turns, kept = [], []
    for own in earlier:
        receipt = None
        if own.answer_id is not None:
            receipt = _receipt(store, own.answer_id, kb_name, asker)
            if receipt is None and own.question is None:
                continue
        asked = receipt["question"] if receipt is not None else own.question or ""
        answer = receipt["text"] if receipt is not None else ""
        turns.append(Turn(asked, answer, complete=receipt is not None))
        kept.append(Earlier(asked, own.answer_id))
    return Spoken(completed(question, through(turns, embedder), embedder), tuple(kept))


def _receipt(store: Store, answer_id: str, kb_name: str, asker: str) -> Mapping[str, Any] | None:
    """Return the receipt of somebody's own answer; None once it is erased.

    Its question becomes part of what is asked now, so nobody may name another's.
    """
    row = store.log.get(answer_id)
    receipt: Mapping[str, Any] | None = None
    if row.kind == "answer" and row.kb_name == kb_name:
        receipt = store.log.payload(row)
        if receipt is None:
            return None
    if receipt is None or receipt["asker"] != asker:
        raise no_such_record(answer_id)
    return receipt
