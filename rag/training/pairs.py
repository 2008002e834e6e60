"""Composes what the verifier learns from: labelled claims, and questions with ranked passages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from rag.training.augment import NAME, NUMBER, rephrase_surface, swap_entity, turn_round
from rag.training.claims import (
    altered_name,
    altered_number,
    golds_of,
    like,
    random_span,
    sentences,
    stated,
    window,
    wrong_answers,
)
from rag.training.data import QuestionRow
from rag.training.negatives import SINGLE_SENTENCES, Negatives
from rag.training.statements import Statement
from rag.verify.cross_encoder import CONTRADICTION, ENTAILMENT, LABELS, NEUTRAL, Pair

SUPPORTED = frozenset({ENTAILMENT})
CONTRADICTED = frozenset({CONTRADICTION})
UNRELATED = frozenset({NEUTRAL})
UNSUPPORTED = frozenset({NEUTRAL, CONTRADICTION})
PASSAGE_CHARS = 560  # about 120 tokens


@dataclass(frozen=True)
class Shares:
    """What the examples are made of; probabilities per example.

    Attributes:
        nli, claims, relevance: of examples of each task; they need not sum to 1.
        source_weights: how often an epoch visits a row of each source; 1.0 where not named.
        wrong: of claims, an answer from elsewhere in the passage.
        altered: a number or name changed.
        opposite: the question turned round.
        elsewhere: judged by a passage that does not hold the answer.
        sentence: a sentence of the passage itself, as it is or altered.
        typo: a question with typos, other case or no question mark.
        negatives: passages beside the one that answers.
        titled: a passage has its title above it, as headings stand above chunks.
    """

    nli: float = 0.65
    claims: float = 0.27
    relevance: float = 0.08
    source_weights: Mapping[str, float] = field(
        default_factory=lambda: {
            "mnli": 8.0,
            "cad-snli": 2.0,
            "snli": 0.8,
            "breaking-nli": 0.2,
            "squad2": 4.0,
            "covidqa": 2.0,
            "qamr": 0.5,
        }
    )
    wrong: float = 0.34
    altered: float = 0.12
    opposite: float = 0.04
    elsewhere: float = 0.06
    sentence: float = 0.08
    typo: float = 0.1
    negatives: int = 2
    titled: float = 0.5


@dataclass(frozen=True)
class Example:
    """One thing to learn from.

    Attributes:
        pairs: one, or for relevance a question with several passages.
        labels: those of `LABELS` that are right, as indices; empty for relevance.
        relevant: for each pair whether its passage answers; empty for entailment.
    """

    pairs: tuple[Pair, ...]
    labels: frozenset[int] = frozenset()
    relevant: tuple[bool, ...] = ()


class PairComposer:
    """Makes examples from rows; the same row and randomness give the same example.

    Args:
        rows: questions.
        statements: premises and hypotheses.
        negatives: passages that sound like a question's own.
    """

    def __init__(
        self,
        rows: Sequence[QuestionRow],
        statements: Sequence[Statement],
        negatives: Negatives,
    ) -> None:
        self.statements = list(statements)
        self.rows = list(rows)
        self.negatives = negatives
        self.ranked = [row for row in rows if row.source not in SINGLE_SENTENCES]
        asked: dict[str, list[QuestionRow]] = defaultdict(list)
        for row in rows:
            asked[row.context].append(row)
        self._asked = dict(asked)

    def nli(self, index: int) -> Example:
        """A statement with its label."""
        said = self.statements[index]
        label = frozenset({LABELS.index(said.label)})
        return Example(((said.hypothesis, said.premise),), labels=label)

    def claim(self, index: int, rng: Random, shares: Shares) -> Example:
        """A claim made of a row's question, judged by the sentences round the answer."""
        row = self.rows[index]
        question = rephrase_surface(row.question, rng, typo_share=shares.typo)
        draw = rng.random()
        made: Example | None = None
        for share, make in (
            (shares.wrong, self._wrong),
            (shares.altered, self._altered),
            (shares.opposite, self._opposite),
            (shares.elsewhere, self._elsewhere),
            (shares.sentence, self._sentence),
        ):
            if draw < share:
                made = make(row, question, rng)
                break
            draw -= share
        if made is None and row.answers:
            answer = rng.choice(row.answers)
            return _claim(
                stated(question, answer.text, rng),
                _evidence(row, answer.start, answer.text, rng),
                SUPPORTED,
            )
        return made or self._wrong(row, question, rng) or self._sentence_of(row, rng)

    def relevance(self, index: int, rng: Random, shares: Shares) -> Example:
        """A question with its passage, if that answers it, and passages that do not."""
        row = self.ranked[index]
        question = rephrase_surface(row.question, rng, typo_share=shares.typo)
        titled = rng.random() < shares.titled
        spans = [answer for answer in row.answers if answer.start is not None]
        at = rng.choice(spans).start if spans else None
        passages = [(row.title if titled else "", _passage(row.context, at, rng))]
        for title, context in self.negatives.draw(row, shares.negatives, rng):
            passages.append((title if titled else "", _passage(context, None, rng)))
        pairs = tuple((question, f"{t}\n{text}" if t else text) for t, text in passages)
        return Example(pairs, relevant=(bool(row.answers), *[False] * (len(pairs) - 1)))

    def _wrong(self, row: QuestionRow, question: str, rng: Random) -> Example | None:
        """An answer from elsewhere in the passage, by its own or the right answer's sentences."""
        golds = golds_of(row)
        others = [answer for other in self._asked[row.context] for answer in other.answers]
        found = wrong_answers(row.context, golds, others)
        alike = like(rng.choice(golds), found) if golds else found
        pool = alike if alike and rng.random() < 0.7 else found
        chosen = rng.choice(pool) if pool else random_span(row.context, golds, rng)
        if chosen is None or rng.random() < 0.15:
            chosen = random_span(row.context, golds, rng) or chosen
        if chosen is None:
            return None
        text, at = chosen
        right = [answer for answer in row.answers if answer.start is not None]
        if right and rng.random() < 0.35:
            at = rng.choice(right).start or 0
        return _claim(stated(question, text, rng), _evidence(row, at, text, rng), UNSUPPORTED)

    def _altered(self, row: QuestionRow, question: str, rng: Random) -> Example | None:
        """The right answer with another number or name, or such a question."""
        if not row.answers:
            return None
        answer = rng.choice(row.answers)
        evidence = _evidence(row, answer.start, answer.text, rng)
        numbers = [match.group() for match in NUMBER.finditer(row.context)]
        names = [match.group() for match in NAME.finditer(row.context) if match.start()]
        if rng.random() < 0.7:
            changed = altered_number(answer.text, rng, numbers)
            if changed is None:
                changed = altered_name(answer.text, names, rng)
            if changed is not None:
                return _claim(stated(question, changed, rng), evidence, CONTRADICTED)
        donor = row.context if rng.random() < 0.5 else rng.choice(self.rows).context
        swapped = altered_number(question, rng) if rng.random() < 0.5 else None
        swapped = swapped or swap_entity(question, donor, rng)
        if swapped is None:
            return None
        return _claim(stated(swapped, answer.text, rng), evidence, UNSUPPORTED)

    def _opposite(self, row: QuestionRow, question: str, rng: Random) -> Example | None:
        turned = turn_round(question, rng) if row.answers else None
        if turned is None:
            return None
        answer = rng.choice(row.answers)
        evidence = _evidence(row, answer.start, answer.text, rng)
        return _claim(stated(turned, answer.text, rng), evidence, UNSUPPORTED)

    def _elsewhere(self, row: QuestionRow, question: str, rng: Random) -> Example | None:
        """The right answer, judged by a passage that does not hold it."""
        if not row.answers:
            return None
        answer = rng.choice(row.answers)
        others = self.negatives.draw(row, 1, rng)
        if not others:
            return None
        context = others[0][1]
        spans = sentences(context)
        start, end = rng.choice(spans) if spans else (0, len(context))
        text = window(context, start, end)
        return _claim(stated(question, answer.text, rng), text, UNRELATED)

    def _sentence(self, row: QuestionRow, question: str, rng: Random) -> Example:
        return self._sentence_of(row, rng)

    def _sentence_of(self, row: QuestionRow, rng: Random) -> Example:
        """A sentence of the passage: as it is, with a number or name changed, or turned round."""
        spans = sentences(row.context) or ((0, len(row.context)),)
        start, end = rng.choice(spans)
        said = row.context[start:end]
        evidence = window(row.context, start, end)
        if rng.random() < 0.6:
            numbers = [match.group() for match in NUMBER.finditer(row.context)]
            names = [match.group() for match in NAME.finditer(row.context) if match.start()]
            changed = altered_number(said, rng, numbers) or altered_name(said, names, rng)
            if rng.random() < 0.4:
                changed = turn_round(said, rng) or changed
            if changed is not None and changed != said:
                return _claim(changed, evidence, UNSUPPORTED)
        others = self.negatives.draw(row, 1, rng) if rng.random() < 0.3 else []
        if others:
            return _claim(said, others[0][1][:PASSAGE_CHARS], UNRELATED)
        return _claim(said, evidence, SUPPORTED)


def _claim(claim: str, text: str, labels: frozenset[int]) -> Example:
    return Example(((claim, text),), labels=labels)


def _evidence(row: QuestionRow, start: int | None, answer: str, rng: Random) -> str:
    """What an answer would be judged by: its sentences with neighbours, or the whole context."""
    if start is None:
        return row.context
    neighbours = 0 if rng.random() < 0.15 else 1
    return window(row.context, start, start + len(answer), neighbours)


def _passage(context: str, at: int | None, rng: Random) -> str:
    """Whole sentences of a context, about as long as a chunk, round a character if one is given."""
    if len(context) <= PASSAGE_CHARS:
        return context
    spans = sentences(context)
    if not spans:
        return context[:PASSAGE_CHARS]
    if at is None:
        first = rng.randrange(len(spans))
    else:
        gold = max(i for i, (start, _) in enumerate(spans) if start <= at or i == 0)
        first = max(0, gold - rng.randrange(3))
    last = first
    while last + 1 < len(spans) and spans[last + 1][1] - spans[first][0] <= PASSAGE_CHARS:
        last += 1
    while first and spans[last][1] - spans[first - 1][0] <= PASSAGE_CHARS:
        first -= 1
    return context[spans[first][0] : spans[last][1]]
