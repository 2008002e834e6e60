"""The extractive generator: the sentence or two of the passages that best answer the question."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from rag.calibration import Calibration, sigmoid
from rag.listening import NOBODY, Listener
from rag.protocols import Embedder, Vectors
from rag.sentences import sentence_spans, without_headings
from rag.types import Draft, Passage, Pointer, Token
from rag.words import content_words

SENTENCES_AT_MOST = 2
_ASKS_NUMBER = re.compile(
    r"\b(?:how (?:much|many|long|often|old|far|soon|high|low|large|big|tall|fast)|"
    r"what (?:percentage|number|year|date|time|age|dose|temperature|is the "
    r"(?:maximum|minimum|limit|target|number|percentage|rate|cost|price|population))|when)\b",
    re.IGNORECASE,
)
_ASKS_NAME = re.compile(
    r"\b(?:who|whom|whose|where|which (?:city|country|person))\b", re.IGNORECASE
)
_DIGIT = re.compile(r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|twelve)\b")
_CAPITALISED = re.compile(r"(?<!^)(?<![.!?] )\b[^\W\d_a-z]\w+")

FEATURES = (
    "similarity",
    "similarity_lead",
    "coverage",
    "coverage_around",
    "number_wanted_and_there",
    "number_wanted_not_there",
    "name_wanted_and_there",
    "passage_rank",
    "passage_similarity",
    "brevity",
    "is_question",
)
"""Evidence that a sentence answers a question, in the order of the calibration's weights."""


@dataclass(frozen=True, slots=True)
class _Sentence:
    passage: int
    start: int
    end: int
    text: str


class ExtractiveGenerator:
    """Ranks the passages' sentences by bi-encoder and word evidence and quotes the best.

    The weights are a logistic regression fitted on question–answer pairs ("does this sentence
    hold the answer?"), kept in the calibration file.

    Args:
        embedder: of question and sentences.
        calibration: holds the weights under "extractive".
    """

    def __init__(self, embedder: Embedder, calibration: Calibration) -> None:
        self._embedder = embedder
        self._model = calibration.model("extractive", FEATURES)
        self._digest = sha256(f"{embedder.digest} {calibration.digest}".encode()).hexdigest()

    @property
    def digest(self) -> str:
        """Name and sha256 of embedder and weights."""
        return f"extractive:{self._digest}"

    def generate(
        self, question: str, passages: Sequence[Passage], listener: Listener = NOBODY
    ) -> Draft:
        """Quote the best sentence, and its successor in the text if that is nearly as good.

        A sentence is chosen whole, so there is nothing to be heard of it before.
        """
        sentences, features = self.rank_features(question, passages)
        if not sentences:
            return Draft((), 0.0, self.digest)
        logits = features @ self._model.weights + self._model.intercept  # (n, f) @ (f,) -> (n,)
        order = np.argsort(-logits, kind="stable")
        best = int(order[0])
        chosen = [best]
        if len(sentences) > 1 and len(chosen) < SENTENCES_AT_MOST:
            second = int(order[1])
            adjacent = sentences[second].passage == sentences[best].passage and (
                abs(second - best) == 1
            )
            if adjacent and logits[best] - logits[second] < self._model.extra("second_within"):
                chosen.append(second)
        confidence = sigmoid(float(logits[best]))
        tokens: list[Token] = []
        for number in sorted(chosen):
            if tokens:
                tokens.append(Token(" ", 1.0, 0.0, None))
            tokens += _quoted(sentences[number], confidence)
        named = dict(zip(FEATURES, (float(value) for value in features[best]), strict=True))
        lead = float(logits[best] - logits[order[1]]) if len(sentences) > 1 else math.inf
        named["lead"] = min(lead, 5.0)
        return Draft(tuple(tokens), confidence, self.digest, named)

    def generate_all(self, requests: Sequence[tuple[str, Sequence[Passage]]]) -> list[Draft]:
        """Quote sentences for several questions."""
        return [self.generate(question, passages) for question, passages in requests]

    def rank_features(
        self, question: str, passages: Sequence[Passage]
    ) -> tuple[list[_Sentence], Vectors]:
        """Return the passages' sentences and their features (n, len(FEATURES))."""
        sentences = _distinct_sentences(passages)
        if not sentences:
            return [], np.zeros((0, len(FEATURES)), dtype=np.float32)
        texts = [question, *(sentence.text for sentence in sentences)]
        vectors = self._embedder.embed(texts)  # (1 + n, d)
        similarities = vectors[1:] @ vectors[0]  # (n, d) @ (d,) -> (n,)
        wanted = set(content_words(question))
        words = [set(content_words(sentence.text)) for sentence in sentences]
        asks_number = bool(_ASKS_NUMBER.search(question))
        asks_name = bool(_ASKS_NAME.search(question))
        rows = []
        for number, sentence in enumerate(sentences):
            passage = passages[sentence.passage]
            around = words[number] | set(content_words(passage.section or ""))
            around |= set(content_words(passage.document.title))
            for neighbour in (number - 1, number + 1):
                if 0 <= neighbour < len(sentences) and (
                    sentences[neighbour].passage == sentence.passage
                ):
                    around |= words[neighbour]
            new_words = " ".join(
                word for word in sentence.text.split() if not set(content_words(word)) & wanted
            )
            has_number = bool(_DIGIT.search(new_words))
            rows.append(
                (
                    similarities[number],
                    similarities[number] - similarities.max(),
                    _share(wanted, words[number]),
                    _share(wanted, around),
                    asks_number and has_number,
                    asks_number and not has_number,
                    asks_name and bool(_CAPITALISED.search(new_words)),
                    1 / (1 + sentence.passage),
                    passage.scores.get("dense", similarities.max()),
                    1 / (1 + len(words[number])),
                    sentence.text.endswith("?"),
                )
            )
        return sentences, np.array(rows, dtype=np.float32)


def _distinct_sentences(passages: Sequence[Passage]) -> list[_Sentence]:
    """Cut passages into sentences; overlapping chunks give each sentence once."""
    seen: set[tuple[int, int, int]] = set()
    sentences = []
    for index, passage in enumerate(passages):
        headings = (passage.section or "").split(" > ")
        for sentence in sentence_spans(passage.text):
            start, end = without_headings(passage.text, *sentence, headings)
            place = (passage.version_id, passage.start + start, passage.start + end)
            if place not in seen:
                seen.add(place)
                sentences.append(_Sentence(index, start, end, passage.text[start:end]))
    return sentences


def _quoted(sentence: _Sentence, probability: float) -> list[Token]:
    """Make one copied token per word, with the white space before it."""
    return [
        Token(
            match.group(),
            probability,
            1.0,
            Pointer(sentence.passage, sentence.start + match.start(), sentence.start + match.end()),
        )
        for match in re.finditer(r"\s*\S+", sentence.text)
    ]


def _share(wanted: set[str], there: set[str]) -> float:
    """Return the share of the wanted words that are there; 1 if none is wanted."""
    return len(wanted & there) / len(wanted) if wanted else 1.0
