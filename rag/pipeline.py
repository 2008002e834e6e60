"""The line a question travels, one stage a line."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rag.cite import SourceText, cite
from rag.errors import QuestionError
from rag.protocols import Decider, Generator, Reranker, Retriever, Verifier
from rag.sentences import sentence_spans
from rag.types import Answer, Citation, Claim, Draft, Filters, Passage
from rag.verify.claims import claims_of


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Retrieve, rerank, generate, cite, verify, decide; whoever asks records the answer.

    Args:
        candidates: passages that retrieval gives to the reranker.
        passages: those that the generator reads.
    """

    generator: Generator
    verifier: Verifier
    decider: Decider
    source: SourceText
    retriever: Retriever | None = None
    reranker: Reranker | None = None
    candidates: int = 50
    passages: int = 5
    max_question_chars: int = 4_000

    def ask(self, question: str, filters: Filters) -> Answer:
        """Answer a question from the knowledge base.

        Raises:
            QuestionError: the question is empty or too long.
        """
        question = checked_question(question, self.max_question_chars)
        clock = _Clock()
        found = (
            self.retriever.retrieve(question, self.candidates, filters) if self.retriever else []
        )
        clock.lap("retrieve")
        if self.reranker:
            found = self.reranker.rerank(question, found, self.passages)
            clock.lap("rerank")
        return self._answer(question, found[: self.passages], clock)

    def read(self, question: str, passages: Sequence[Passage]) -> Answer:
        """Answer a question from given passages.

        Raises:
            QuestionError: the question is empty or too long.
        """
        return self.read_all([(question, passages)])[0]

    def read_all(self, requests: Sequence[tuple[str, Sequence[Passage]]]) -> list[Answer]:
        """Answer several questions, each from its own passages, as `read` would.

        The time that an answer took to write is the mean over all.

        Raises:
            QuestionError: a question is empty or too long.
        """
        asked = [
            (checked_question(question, self.max_question_chars), list(passages))
            for question, passages in requests
        ]
        started = time.perf_counter()
        drafts = self.generator.generate_all(asked)
        each = (time.perf_counter() - started) / max(1, len(asked))
        return [
            self._checked(question, passages, draft, _Clock(generate=each))
            for (question, passages), draft in zip(asked, drafts, strict=True)
        ]

    def _answer(self, question: str, passages: list[Passage], clock: "_Clock") -> Answer:
        draft = self.generator.generate(question, passages)
        clock.lap("generate")
        return self._checked(question, passages, draft, clock)

    def _checked(
        self, question: str, passages: list[Passage], draft: Draft, clock: "_Clock"
    ) -> Answer:
        segments, citations = cite(draft, passages, self.source)
        clock.lap("cite")
        claims = claims_of(question, segments)
        verdicts = tuple(
            self.verifier.verify(claim, evidence_for(claim, citations, passages))
            for claim in claims
        )
        clock.lap("verify")
        decision = self.decider.decide(question, draft, verdicts, passages)
        clock.lap("decide")
        return Answer(
            question=question,
            status=decision.status,
            text=draft.text if decision.status == "answered" else "",
            segments=segments,
            citations=citations,
            verdicts=verdicts,
            decision=decision,
            passages=tuple(passages),
            draft=draft,
            models=self.models(),
            timings_ms=clock.laps_ms,
        )

    def models(self) -> Mapping[str, str]:
        """Return what has a say in an answer, with digests."""
        return {
            "generator": self.generator.digest,
            "verifier": self.verifier.digest,
            "decider": self.decider.digest,
        }


def checked_question(question: str, max_chars: int) -> str:
    """Return the question without surrounding white space.

    Raises:
        QuestionError: it is empty, too long, or holds characters that can't be stored.
    """
    question = question.strip()
    if not question:
        raise QuestionError("the question is empty; ask something")
    if len(question) > max_chars:
        raise QuestionError(
            f"the question has {len(question):,} characters; ask with at most {max_chars:,}"
        )
    if any(char == "\0" or "\ud800" <= char <= "\udfff" for char in question):
        raise QuestionError("the question holds NUL or broken Unicode characters; remove them")
    return question


def evidence_for(
    claim: Claim, citations: Sequence[Citation], passages: Sequence[Passage]
) -> list[str]:
    """Return each cited sentence of a claim with one neighbour on either side."""
    evidence = []
    for citation in citations:
        if citation.index in claim.citations:
            passage = passages[citation.passage]
            start, end = citation.start - passage.start, citation.end - passage.start
            spans = sentence_spans(passage.text)
            cited = [i for i, (a, b) in enumerate(spans) if a < end and b > start]
            if not cited:
                continue  # White space alone was copied.
            first, last = max(0, cited[0] - 1), min(len(spans) - 1, cited[-1] + 1)
            evidence.append(passage.text[spans[first][0] : spans[last][1]])
    return evidence


class _Clock:
    """Times the stages."""

    def __init__(self, **seconds: float) -> None:
        self.laps_ms = {stage: round(1000 * spent, 3) for stage, spent in seconds.items()}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.laps_ms[stage] = round((now - self._last) * 1000, 3)
        self._last = now
