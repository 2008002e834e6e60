"""Judges claims by entailment, sentence by sentence; guards can only lower the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rag.types import Claim, Disagreement, EvidenceSpan, Verdict, VerdictLabel
from rag.verify import guards
from rag.verify.cross_encoder import CONTRADICTION, ENTAILMENT, Pair
from rag.verify.premises import (
    MOST_PREMISES,
    Premise,
    likeliest,
    premises,
    shared,
    together,
)
from rag.verify.remembered import Remembered
from rag.verify.saved import Verdicts
from rag.verify.scorer import Scores

ELSEWHERE = 6
"""Sentences of the other passages that are asked whether they say otherwise."""
ELSEWHERE_SHARE = 0.3
"""Share of the claim's words that such a sentence must have: else it is about something else."""
CLAIM_TOKENS = 80
"""About so many tokens of a claim are judged at once; a longer one is as good as its worst part."""
QUESTION_TOKENS = CLAIM_TOKENS // 2
"""About so many tokens of a question are read: a part that is all question would be no claim."""
SAME = 0.1
"""Sentences whose windows overlap are entailed nearly alike: among those the claim's words tell."""


class Scorer(Protocol):
    """A cross-encoder with an entailment head."""

    digest: str
    sha256: str

    def score(self, pairs: Sequence[Pair]) -> Scores:
        """Judge pairs of claim and text."""


@dataclass(slots=True)
class _Pairs:
    """Pairs to score, each once."""

    places: dict[Pair, int] = field(default_factory=dict)

    def add(self, pair: Pair) -> int:
        return self.places.setdefault(pair, len(self.places))


@dataclass(frozen=True, slots=True)
class _Asked:
    """Where in the scored pairs a claim's are.

    Attributes:
        quoted: the premise that says the claim word for word; then nothing is scored.
        parts: for each part of the claim, its pair with each premise.
        joined: premises that have its words only together; none or several.
        together: for each part, its pair with those as one text; one or none.
        relevance: of its question, if it has one, with each evidence text.
    """

    premises: list[Premise]
    quoted: Premise | None
    parts: list[list[int]]
    joined: list[Premise]
    together: list[list[int]]
    relevance: list[int]


class NliVerifier:
    """Judges with a cross-encoder's entailment head.

    A claim is scored against each sentence of its evidence, with a neighbour on either side, and
    against the few that have its words only together; the best counts (Laban et al., 2022: whole
    documents in one call do worse than word overlap).

    Args:
        scorer: the cross-encoder.
        verdicts: from which probabilities a claim is supported or contradicted.
    """

    def __init__(self, scorer: Scorer, verdicts: Verdicts) -> None:
        self._scorer = scorer
        self._verdicts = verdicts
        self.digest = f"{scorer.digest}+guards:{guards.rules_digest()}"
        self.model_sha256: str | None = scorer.sha256

    def for_question(self) -> NliVerifier:
        """The same for one question's drafts: a pair that several of them ask is scored once."""
        return NliVerifier(Remembered(self._scorer), self._verdicts)

    def verify(self, claims: Sequence[Claim], evidence: Sequence[Sequence[str]]) -> list[Verdict]:
        """Judge claims in one pass.

        Args:
            claims: with their question where they are no statement without it.
            evidence: for each claim, the texts that it must follow from.
        """
        pairs = _Pairs()
        asked = [
            self._asked(claim, texts, pairs) for claim, texts in zip(claims, evidence, strict=True)
        ]
        scores = self._scorer.score(list(pairs.places))
        return [
            self._verdict(claim, texts, own, scores)
            for claim, texts, own in zip(claims, evidence, asked, strict=True)
        ]

    def disagreements(
        self, claims: Sequence[Claim], texts: Sequence[str]
    ) -> list[Disagreement | None]:
        """Say for each claim what a text surely denies, of the sentences that share its words.

        Args:
            claims: as for `verify`.
            texts: on the same matter, none of them a claim's evidence.
        """
        pairs = _Pairs()
        sentences = premises(texts)
        asked = [
            likeliest(stated(claim), sentences, ELSEWHERE, least=ELSEWHERE_SHARE)
            for claim in claims
        ]
        places = [
            [pairs.add((parts_of(stated(claim))[0], premise.text)) for premise in own]
            for claim, own in zip(claims, asked, strict=True)
        ]
        scores = self._scorer.score(list(pairs.places))
        return [
            None if scores.labels is None else self._denied(claim, own, scores.labels[at])
            for claim, own, at in zip(claims, asked, places, strict=True)
        ]

    def _asked(self, claim: Claim, texts: Sequence[str], pairs: _Pairs) -> _Asked:
        statement = stated(claim)
        chosen = likeliest(statement, premises(texts), MOST_PREMISES)
        quoted = next((premise for premise in chosen if says(premise, claim)), None)
        if quoted is not None:
            return _Asked(chosen, quoted, [], [], [], [])
        pieces = parts_of(statement)
        parts = [[pairs.add((piece, premise.text)) for premise in chosen] for piece in pieces]
        joined = together(statement, chosen)
        text = "\n".join(premise.sentence.text for premise in joined)
        spread = [[pairs.add((piece, text))] if joined else [] for piece in pieces]
        relevance = (
            [pairs.add((claim.question, premise.text)) for premise in chosen]
            if claim.question
            else []
        )
        return _Asked(chosen, None, parts, joined, spread, relevance)

    def _verdict(
        self, claim: Claim, texts: Sequence[str], asked: _Asked, scores: Scores
    ) -> Verdict:
        missed = guards.check(claim.text, texts)
        if asked.quoted is not None:
            said: VerdictLabel = "unsupported" if missed else "supported"
            return Verdict(claim, said, 1.0, 0.0, missed, asked.quoted.sentence)
        if not asked.premises or scores.labels is None:
            return Verdict(claim, "unsupported", 0.0, 0.0, missed, None)
        entailed = scores.labels[asked.parts, ENTAILMENT]  # (parts, premises)
        against = scores.labels[asked.parts, CONTRADICTION]
        best = entailed.max(1)  # (parts, premises) -> (parts,)
        pointed = asked.premises, entailed.mean(0)
        if asked.joined:
            spread = scores.labels[asked.together, ENTAILMENT].max(1)
            if spread.min() > best.min():
                pointed = asked.joined, np.zeros(len(asked.joined), dtype=np.float32)
            best = np.maximum(best, spread)
        supported = float(best.min())
        # What one sentence bears out another can't refute.
        contradicted = min(float(against.max()), 1.0 - supported)
        label: VerdictLabel = "unsupported"
        span = pointed[0][_place(claim, *pointed)].sentence
        if supported >= self._verdicts.supported:
            label = "unsupported" if missed else "supported"
        elif contradicted >= self._verdicts.contradicted:
            label = "contradicted"
            span = asked.premises[_place(claim, asked.premises, against.max(0))].sentence
        relevance = None
        if asked.relevance and scores.relevance is not None:
            relevance = float(scores.relevance[asked.relevance].max())
        return Verdict(
            claim,
            label,
            round(supported, 6),
            round(contradicted, 6),
            missed,
            span,
            relevance,
        )

    def _denied(
        self, claim: Claim, sentences: Sequence[Premise], labels: NDArray[np.float32]
    ) -> Disagreement | None:
        """What surely denies a claim, in the sentence with most of its words.

        Args:
            claim: that something is said against.
            sentences: that were asked.
            labels: (sentences, 3), what the model says of the claim with each.
        """
        against = labels[:, CONTRADICTION]
        sure = [
            i
            for i, premise in enumerate(sentences)
            if against[i] >= self._verdicts.contradicted and not says(premise, claim)
        ]
        if not sure:
            return None
        # Of several the one that speaks of the same thing: a sentence on another drug denies too.
        shares = shared(stated(claim), sentences)
        worst = max(sure, key=lambda i: (shares[i], float(against[i])))
        span: EvidenceSpan = sentences[worst].sentence
        return Disagreement(span.evidence, span.start, span.end, span.text, float(against[worst]))


def says(premise: Premise, claim: Claim) -> bool:
    """Whether a premise's sentence is the claim, word for word: that needs no model's belief.

    Only whole sentences count: part of one may be denied by the rest, and a short answer's words
    may answer something else.
    """
    if claim.question is not None:
        return False
    said, wanted = (
        " ".join(text.casefold().split()).rstrip(".!")
        for text in (premise.sentence.text, claim.text)
    )
    return said == wanted != ""


def _place(claim: Claim, candidates: Sequence[Premise], scores: NDArray[np.float32]) -> int:
    """Which sentence a verdict points at: of the best-scored ones that with most of the words."""
    shares = shared(stated(claim), candidates)
    best = float(scores.max())
    return max(
        (i for i in range(len(candidates)) if scores[i] >= best - SAME),
        key=lambda i: (shares[i], float(scores[i])),
    )


def stated(claim: Claim) -> str:
    """What the model judges: a short answer with its question, else the claim alone.

    Of a long question the beginning and the end count.
    """
    if not claim.question:
        return claim.text
    asked = parts_of(claim.question, QUESTION_TOKENS)
    if len(asked) == 1:
        return f"{claim.question} {claim.text}"
    half = QUESTION_TOKENS // 2
    ends = parts_of(claim.question, half)[0], parts_of(claim.question[::-1], half)[0][::-1]
    return f"{ends[0]} {ends[1]} {claim.text}"


def parts_of(statement: str, most: int = CLAIM_TOKENS) -> list[str]:
    """A statement, cut where it is longer than the model reads, or than so many tokens.

    A word is about one token for four letters, in scripts other than Latin one a letter; words
    longer than a part, of scripts without spaces, are cut too.
    """
    words = [word[at : at + most] for word in statement.split() for at in range(0, len(word), most)]
    parts: list[list[str]] = [[]]
    tokens = 0.0
    for word in words:
        cost = max(1.0, len(word) / 4) if word.isascii() else float(len(word))
        if parts[-1] and tokens + cost > most:
            parts.append([])
            tokens = 0.0
        parts[-1].append(word)
        tokens += cost
    return [" ".join(part) for part in parts]
