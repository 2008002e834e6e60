"""Composes training examples: passages with distractors, windows, negatives, changed questions."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from tokenizers import Tokenizer

from rag.training.augment import rephrase_surface, swap_entity, turn_round
from rag.training.data import GoldAnswer, QuestionRow

SENTENCE_END = re.compile(r"(?<=[.!?])[\"”']?\s+(?=[\"“']?[A-Z0-9])")
OVERLAP_CANDIDATES = 24  # other contexts of a title looked at for the most similar one
LONGEST_QUESTION = 48  # tokens


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
        crop: a context is cut to a random window round the answer.
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
        return len(self.question) + max(len(passage) for passage in self.passages) + 3


@dataclass(frozen=True)
class Text:
    """A tokenised context and the token ranges of its sentences."""

    text: str
    ids: list[int]
    starts: list[int]
    ends: list[int]
    sentences: list[tuple[int, int]]
    words: frozenset[str]


class Composer:
    """Makes examples from rows; the same row and randomness give the same example.

    Args:
        rows: checked training rows.
        tokenizer: of the generator.
        reserved_id: the token for "not in these passages".
    """

    def __init__(
        self, rows: Sequence[QuestionRow], tokenizer: Tokenizer, *, reserved_id: int
    ) -> None:
        self.rows = rows
        self.tokenizer = tokenizer
        self.reserved_id = reserved_id
        contexts = list(dict.fromkeys(row.context for row in rows))
        encodings = tokenizer.encode_batch(contexts, add_special_tokens=False)
        self.texts = {
            context: _text(context, encoding.ids, encoding.offsets)
            for context, encoding in zip(contexts, encodings, strict=True)
        }
        asked = dict.fromkeys(row.context for row in rows if row.entailed is None)
        self.all_texts = [self.texts[context] for context in asked or contexts]
        groups: dict[str, dict[str, None]] = defaultdict(dict)
        for row in rows:
            groups[_group(row)][row.context] = None
        self.groups = {group: list(members) for group, members in groups.items()}

    def compose(self, index: int, rng: Random, mix: Mix) -> Example:
        """Make an example of row `index`."""
        row = self.rows[index]
        text = self.texts[row.context]
        question = row.question
        if row.entailed is not None:
            stated = self.tokenizer.encode(question, add_special_tokens=False).ids
            passage = text.ids[: mix.passage_tokens]
            return Example(stated[:LONGEST_QUESTION], [passage], None, None, not row.entailed)
        answer = None
        if row.answers:
            spans = [a for a in row.answers if a.start is not None]
            answer = rng.choice(spans or row.answers)
            draw = rng.random()
            opposite = mix.negative + mix.opposite
            removed = opposite + mix.removed
            if draw < mix.negative:
                answer, text = None, self._similar_without(row, rng)
            elif draw < opposite:
                turned = turn_round(question, rng)
                if turned is not None:
                    answer, question = None, turned
            elif draw < removed:
                rest = without_sentence(text, answer)
                if rest is not None:
                    answer, text = None, rest
            elif draw < removed + mix.swapped:
                donor = row.context if rng.random() < 0.5 else rng.choice(self.all_texts).text
                swapped = swap_entity(question, donor, rng)
                if swapped is not None:
                    answer, question = None, swapped
        question = rephrase_surface(question, rng, typo_share=mix.typo)
        asked = self.tokenizer.encode(question, add_special_tokens=False).ids[:LONGEST_QUESTION]
        room = max(16, mix.passage_tokens)
        span = None
        if answer is not None and answer.start is not None:
            span = _token_span(text, answer.start, answer.start + len(answer.text))
        passage, span = self._passage(text, span, rng, mix, room)
        passages, gold = [passage], 0
        if rng.random() < mix.several:
            for _ in range(rng.randrange(1, max(2, mix.most_passages))):
                other = self._similar_without(row, rng)
                passages.append(self._passage(other, None, rng, mix, room)[0])
            gold = rng.randrange(len(passages))
            passages[0], passages[gold] = passages[gold], passages[0]
        if answer is None:
            return Example(asked, passages, [self.reserved_id], None, True)
        if span is None:
            target = self.tokenizer.encode(answer.text, add_special_tokens=False).ids
            return Example(asked, passages, target, None, False)
        first, last = span
        return Example(asked, passages, passage[first : last + 1], (gold, first, last), False)

    def _passage(
        self, text: Text, span: tuple[int, int] | None, rng: Random, mix: Mix, room: int
    ) -> tuple[list[int], tuple[int, int] | None]:
        """Passage tokens of a context, and where the answer's tokens are in them."""
        if len(text.sentences) == 1 and rng.random() >= mix.lone_sentence:
            return self._among_sentences(text, span, rng, room)
        if len(text.ids) > 24 and rng.random() < mix.crop:
            room = min(room, rng.randrange(24, len(text.ids) + 1))
            if span is not None:
                room = max(room, min(mix.passage_tokens, span[1] + 1 - span[0]))
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
        """A single sentence put between sentences of other contexts."""
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
        ids = (before + text.ids + after)[: max(room, shift + len(text.ids))]
        return ids, moved

    def _similar_without(self, row: QuestionRow, rng: Random) -> Text:
        """A context that shares words with the question but not its answers."""
        group = self.groups[_group(row)]
        pool = rng.sample(group, min(len(group), OVERLAP_CANDIDATES))
        pool += [rng.choice(self.all_texts).text for _ in range(4)]
        asked = _words(row.question)
        scored = []
        for context in pool:
            text = self.texts[context]
            folded = text.text.lower()
            if context == row.context or any(a.text.lower() in folded for a in row.answers):
                continue
            scored.append((len(asked & text.words) / (1 + len(text.words)) ** 0.5, context))
        scored.sort(reverse=True)
        if not scored:
            return rng.choice(self.all_texts)
        return self.texts[rng.choice(scored[:3])[1]]


def without_sentence(text: Text, answer: GoldAnswer) -> Text | None:
    """A context without the sentence that answers; None where its words stand elsewhere too."""
    if answer.start is None or text.text.lower().count(answer.text.lower()) != 1:
        return None
    span = _token_span(text, answer.start, answer.start + len(answer.text))
    kept = [(a, b) for a, b in text.sentences if span is None or b <= span[0] or a > span[1]]
    if span is None or not kept:
        return None
    ids: list[int] = []
    sentences = []
    for begin, end in kept:
        sentences.append((len(ids), len(ids) + end - begin))
        ids += text.ids[begin:end]
    return replace(text, ids=ids, starts=[], ends=[], sentences=sentences)


def _group(row: QuestionRow) -> str:
    """Rows whose contexts are on the same matter."""
    if row.source == "qamr":  # "Wiki1k:wikipedia:18836:17:1": document, paragraph, sentence
        return ":".join(row.title.split(":")[:3])
    return row.source if row.source == "covidqa" else f"{row.source}:{row.title}"


def _words(text: str) -> frozenset[str]:
    return frozenset(word for word in re.findall(r"\w+", text.lower()) if len(word) > 3)


def _text(context: str, ids: list[int], offsets: Sequence[tuple[int, int]]) -> Text:
    starts, ends = [s for s, _ in offsets], [e for _, e in offsets]
    cuts = [match.end() for match in SENTENCE_END.finditer(context)] + [len(context) + 1]
    sentences, begin, cut = [], 0, 0
    for i, start in enumerate([*starts, len(context) + 1]):
        if start >= cuts[cut]:
            if i > begin:
                sentences.append((begin, i))
            begin = i
            while cut + 1 < len(cuts) and start >= cuts[cut]:
                cut += 1
    return Text(context, ids, starts, ends, sentences or [(0, len(ids))], _words(context))


def _token_span(text: Text, start: int, end: int) -> tuple[int, int] | None:
    """First and last token that overlap characters [start, end); None if no token does."""
    first = bisect_right(text.ends, start)
    last = bisect_left(text.starts, end) - 1
    return (first, last) if first <= last else None
