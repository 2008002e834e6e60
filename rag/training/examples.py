"""Composes training examples: passages with distractors, windows, negatives, changed questions."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from tokenizers import Tokenizer

from rag.generate.windows import windows
from rag.training.augment import rephrase_surface, swap_entity, turn_round
from rag.training.data import QuestionRow, holds_answer
from rag.training.texts import (
    Text,
    long_words,
    richest_window,
    token_span,
    tokenised,
    without_sentence,
)
from rag.words import whole

OVERLAP_CANDIDATES = 24  # other contexts of a title looked at for the most similar one
LONGEST_QUESTION = 48  # tokens
FRAMING = 3  # most tokens round a question and a passage


@dataclass(frozen=True)
class Mix:
    """Shares of what examples are made of; probabilities per example.

    Attributes:
        source_weights: how often an epoch visits a row of each source; 1.0 where not named.
        passage_tokens: longest passage.
        typo: a question with typos, other case or no question mark.
        negative: an answerable question gets a similar passage without the answer.
        removed: the sentence with the answer is taken out of an answerable question's context.
        swapped: an answerable question asks about another name or number.
        opposite: an answerable question asks for the opposite.
        crop: a context is cut to a random window round the answer; never that of a written answer,
            whose evidence may be anywhere.
        several: more than one passage.
        most_passages: the largest number then.
        lone_sentence: a single-sentence context stays alone.
    """

    source_weights: Mapping[str, float] = field(
        default_factory=lambda: {
            "squad2": 4.0,
            "policyqa": 0.6,
            "covidqa": 2.0,
            "breaking-nli": 0.3,  # nearly all of it contradictions
        }
    )
    passage_tokens: int = 224
    typo: float = 0.12
    negative: float = 0.10
    removed: float = 0.08
    swapped: float = 0.10
    opposite: float = 0.05
    crop: float = 0.35
    several: float = 0.12
    most_passages: int = 4
    lone_sentence: float = 0.25


@dataclass(frozen=True)
class Example:
    """Token ids of one example.

    Attributes:
        question: question tokens.
        passages: tokens of each passage.
        target: answer tokens without the end; the reserved token alone if there is no answer;
            None if only `absent` is to be learned.
        span: (passage, first token, last token) of a copied answer; None otherwise.
        absent: the passages hold no answer.
    """

    question: list[int]
    passages: list[list[int]]
    target: list[int] | None
    span: tuple[int, int, int] | None
    absent: bool

    @property
    def longest(self) -> int:
        """Tokens of the longest encoder row, framing included."""
        return len(self.question) + max(len(passage) for passage in self.passages) + FRAMING


class Composer:
    """Makes examples from rows; the same row and randomness give the same example.

    Args:
        rows: checked training rows; left out are those whose context has no tokens, and entailed
            statements whose premise does not fit: cut, it may not say so any more.
        tokenizer: of the generator.
        reserved_id: the token for "not in these passages".
        hidden: framing tokens, left out where a text spells them out.
        max_positions: longest encoder row, in tokens; None for no limit.
    """

    def __init__(
        self,
        rows: Sequence[QuestionRow],
        tokenizer: Tokenizer,
        *,
        reserved_id: int,
        hidden: Collection[int] = (),
        max_positions: int | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.reserved_id = reserved_id
        self.hidden = frozenset(hidden)
        self.longest_row = max_positions or sys.maxsize
        contexts = list(dict.fromkeys(row.context for row in rows))
        self.texts = {}
        for found in windows(tokenizer, contexts, sys.maxsize, hidden=self.hidden):
            context = contexts[found.passage]
            self.texts[context] = tokenised(context, found.ids, found.offsets)
        self.rows = [row for row in rows if self._usable(row)]
        asked = dict.fromkeys(row.context for row in self.rows if row.entailed is None)
        self.all_texts = [self.texts[context] for context in asked or self.texts]
        groups: dict[str, dict[str, None]] = defaultdict(dict)
        for row in self.rows:
            groups[_group(row)][row.context] = None
        self.groups = {group: list(members) for group, members in groups.items()}

    def compose(self, index: int, rng: Random, mix: Mix) -> Example:
        """Make an example of row `index`."""
        row = self.rows[index]
        if row.entailed is not None:
            return self._statement(row, mix)
        text = self.texts[row.context]
        question = row.question
        answer = None
        if row.answers:
            spans = [a for a in row.answers if a.start is not None]
            answer = rng.choice(spans or row.answers)
            draw = rng.random()
            opposite = mix.negative + mix.opposite
            removed = opposite + mix.removed
            if draw < mix.negative:
                similar = self._similar_without(row, rng)
                if similar is not None:
                    answer, text = None, similar
            elif draw < opposite:
                turned = turn_round(question, rng)
                if turned is not None:
                    answer, question = None, turned
            elif draw < removed:
                rest = without_sentence(text, row.answers)
                if rest is not None:
                    answer, text = None, rest
            elif draw < removed + mix.swapped:
                donor = row.context if rng.random() < 0.5 else rng.choice(self.all_texts).text
                swapped = swap_entity(question, donor, rng)
                if swapped is not None:
                    answer, question = None, swapped
        question = rephrase_surface(question, rng, typo_share=mix.typo)
        asked = self._asked(question)
        room = self._room(asked, mix)
        span = evidence = None
        if answer is not None and answer.start is not None:
            span = token_span(text, answer.start, answer.start + len(answer.text))
        if answer is not None and span is None:
            evidence = long_words(f"{row.question} {answer.text}")
        passage, span = self._passage(text, span, rng, mix, room, evidence)
        passages, gold = [passage], 0
        if rng.random() < mix.several:
            for _ in range(rng.randrange(1, max(2, mix.most_passages))):
                other = self._similar_without(row, rng)
                if other is not None:
                    passages.append(self._passage(other, None, rng, mix, room)[0])
            gold = rng.randrange(len(passages))
            passages[0], passages[gold] = passages[gold], passages[0]
        if answer is None:
            return Example(asked, passages, [self.reserved_id], None, True)
        if span is None:
            return Example(asked, passages, self.ids(answer.text), None, False)
        first, last = span
        return Example(asked, passages, passage[first : last + 1], (gold, first, last), False)

    def ids(self, text: str) -> list[int]:
        """A question's or an answer's tokens."""
        ids = self.tokenizer.encode(whole(text), add_special_tokens=False).ids
        return [token for token in ids if token not in self.hidden]

    def _asked(self, question: str) -> list[int]:
        return self.ids(question)[: min(LONGEST_QUESTION, self.longest_row // 4)]

    def _usable(self, row: QuestionRow) -> bool:
        if row.context not in self.texts:
            return False
        needed = len(self.texts[row.context].ids)
        if not row.entailed or needed + LONGEST_QUESTION + FRAMING <= self.longest_row:
            return True
        return needed <= self._most(self._asked(row.question))

    def _most(self, asked: Sequence[int]) -> int:
        """Passage tokens that the model can read beside a question."""
        return max(1, self.longest_row - len(asked) - FRAMING)

    def _room(self, asked: Sequence[int], mix: Mix) -> int:
        return min(max(16, mix.passage_tokens), self._most(asked))

    def _statement(self, row: QuestionRow, mix: Mix) -> Example:
        stated = self._asked(row.question)
        premise = self.texts[row.context].ids
        if not row.entailed:  # What a text does not say its beginning does not say either.
            premise = premise[: self._room(stated, mix)]
        return Example(stated, [premise], None, None, not row.entailed)

    def _passage(
        self,
        text: Text,
        span: tuple[int, int] | None,
        rng: Random,
        mix: Mix,
        room: int,
        evidence: frozenset[str] | None = None,
    ) -> tuple[list[int], tuple[int, int] | None]:
        """Passage tokens of a context, and where the answer's tokens are in them.

        Args:
            text: the context.
            span: the answer's first and last token; None if it is not copied.
            rng: randomness.
            mix: shares.
            room: longest passage, in tokens.
            evidence: words of question and answer where the answer is written.
        """
        fits = len(text.ids) <= room
        if fits and len(text.sentences) == 1 and rng.random() >= mix.lone_sentence:
            return self._among_sentences(text, span, rng, room)
        if evidence is not None:
            begin = 0 if fits else richest_window(text, evidence, room)
            return text.ids[begin : begin + room], None
        if len(text.ids) > 24 and rng.random() < mix.crop:
            needed = 0 if span is None else span[1] + 1 - span[0]
            room = min(room, max(needed, rng.randrange(24, len(text.ids) + 1)))
        if len(text.ids) <= room:
            return text.ids, span
        low, high = 0, len(text.ids) - room
        if span is not None:
            high = min(high, span[0])  # an answer longer than the window loses its end
            low = min(high, max(0, span[1] + 1 - room))
        begin = rng.randint(low, high)
        inside = span and (span[0] - begin, min(span[1] - begin, room - 1))
        return text.ids[begin : begin + room], inside or None

    def _among_sentences(
        self, text: Text, span: tuple[int, int] | None, rng: Random, room: int
    ) -> tuple[list[int], tuple[int, int] | None]:
        """A single sentence, no longer than the room, put between sentences of other contexts."""
        before: list[int] = []
        after: list[int] = []
        left = room - len(text.ids)
        for _ in range(rng.randrange(1, 4)):
            other = rng.choice(self.all_texts)
            i = rng.randrange(len(other.sentences))
            j = min(len(other.sentences), i + rng.randrange(1, 4))
            piece = other.ids[other.sentences[i][0] : other.sentences[j - 1][1]]
            if len(piece) > left:
                continue
            left -= len(piece)
            if rng.random() < 0.5:
                before = piece + before
            else:
                after = after + piece
        shift = len(before)
        moved = None if span is None else (span[0] + shift, span[1] + shift)
        return before + text.ids + after, moved

    def _similar_without(self, row: QuestionRow, rng: Random) -> Text | None:
        """A context that shares words with the question but not its answers; None without one."""
        group = self.groups[_group(row)]
        pool = rng.sample(group, min(len(group), OVERLAP_CANDIDATES))
        pool += [rng.choice(self.all_texts).text for _ in range(4)]
        asked = long_words(row.question)
        scored = []
        for context in pool:
            if context == row.context or holds_answer(context, row.answers):
                continue
            words = self.texts[context].words
            scored.append((len(asked & words) / (1 + len(words)) ** 0.5, context))
        scored.sort(reverse=True)
        return self.texts[rng.choice(scored[:3])[1]] if scored else None


def _group(row: QuestionRow) -> str:
    """Rows whose contexts are on the same matter."""
    if row.source == "qamr":  # "Wiki1k:wikipedia:18836:17:1": document, paragraph, sentence
        return ":".join(row.title.split(":")[:3])
    return row.source if row.source == "covidqa" else f"{row.source}:{row.title}"
