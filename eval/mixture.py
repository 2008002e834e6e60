"""Questions with and without an answer, as a knowledge base of all contexts may be asked them."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from eval.qa_data import Question
from rag.training.decision import ANSWERABLE, MISLEADING, about_another
from rag.types import Filters

WITHDRAWN = "withdrawn"
ANOTHER_NAME = "another name"
UNANSWERABLE = (WITHDRAWN, ANOTHER_NAME, MISLEADING)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of one kind.

    Attributes:
        row: the question; without answers, where those it had are not to be found.
        kind: `ANSWERABLE`, or why it has no answer: the passages that hold it are not searched,
            another name or number stands in the question, or it was written to sound answered.
        withdrawn: URIs that are not searched.
    """

    row: Question
    kind: str
    withdrawn: frozenset[str] = frozenset()

    def filters(self, uris: Sequence[str]) -> Filters:
        """What to search of a knowledge base with these documents."""
        if not self.withdrawn:
            return Filters()
        return Filters(documents=tuple(uri for uri in uris if uri not in self.withdrawn))


class Mixture:
    """Makes questions without an answer of questions that have one.

    Args:
        rows: all questions of the knowledge base.
    """

    def __init__(self, rows: Sequence[Question]) -> None:
        self._contexts = {row.context_uri: row.context for row in rows}
        self._written_small = {uri: text.lower() for uri, text in self._contexts.items()}
        titled: dict[str, set[str]] = defaultdict(set)
        for row in rows:
            titled[row.title].add(row.context)
        self._titled: Mapping[str, set[str]] = titled

    def own(self, row: Question) -> Asked:
        """The question as it is."""
        return Asked(row, ANSWERABLE if row.answers else MISLEADING)

    def withdrawn(self, row: Question) -> Asked:
        """An answerable question, asked where nothing that holds its answer is searched."""
        answers = [answer.lower() for answer in row.answers]
        gone = {
            uri
            for uri, text in self._written_small.items()
            if any(answer in text for answer in answers)
        }
        unanswered = replace(row, answers=())
        return Asked(unanswered, WITHDRAWN, frozenset({*gone, row.context_uri}))

    def another_name(self, row: Question) -> Asked | None:
        """An answerable question with a name or number that its article does not hold."""
        own = self._titled[row.title]
        donors = sorted(text for text in self._contexts.values() if text not in own)
        question = about_another(row.question, sorted(own), donors, Random(row.id))
        if question is None:
            return None
        return Asked(replace(row, question=question, answers=()), ANOTHER_NAME)

    def all_of(self, row: Question) -> Iterator[Asked]:
        """A question in each kind there is of it."""
        yield self.own(row)
        if row.answers:
            yield self.withdrawn(row)
            named = self.another_name(row)
            if named is not None:
                yield named
