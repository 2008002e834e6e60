"""The line a question travels, one stage a line."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rag.asked import check_given, checked_question, spaced
from rag.cite import SourceText, cite
from rag.decide import second_evidence
from rag.errors import GenerationTimeout
from rag.listening import NOBODY, Listener
from rag.protocols import Decider, Generator, Reranker, Retriever, Verifier
from rag.sentences import sentence_spans
from rag.types import (
    Answer,
    Attempt,
    Citation,
    Claim,
    Disagreement,
    Draft,
    Filters,
    Passage,
    Segment,
    Verdict,
)
from rag.verify.claims import claims_of, whole_answer

Asked = tuple[str, list[Passage]]
"""A question and the passages to answer it from."""


@dataclass(frozen=True, slots=True)
class Writer:
    """A generator, and what decides which of its answers are served.

    Attributes:
        decider: on answers from what a search found.
        reading_decider: on answers from given passages; None for the same.
        alone_decider: on answers that follow no other writer's draft; None for the same.
    """

    generator: Generator
    decider: Decider
    reading_decider: Decider | None = None
    alone_decider: Decider | None = None

    def alone(self) -> "Writer":
        """The same as the first that writes."""
        return replace(self, decider=self.alone_decider or self.decider)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Retrieve, rerank, generate, cite, verify, decide; whoever asks records the answer.

    Args:
        writers: tried in their order until an answer is served; where none is, the abstention is
            that of the first. Given passages are read by the first alone: what decides on the
            others' answers weighs how a search found the passages.
        candidates: passages that retrieval gives to the reranker.
        passages: those that the generator reads.
        max_question_chars: longest question.
        max_passage_chars: most characters of the passages given with one question; None for any.
    """

    writers: tuple[Writer, ...]
    verifier: Verifier
    source: SourceText
    retriever: Retriever | None = None
    reranker: Reranker | None = None
    candidates: int = 50
    passages: int = 5
    max_question_chars: int = 4_000
    max_passage_chars: int | None = None

    def ask(self, question: str, filters: Filters, listener: Listener = NOBODY) -> Answer:
        """Answer a question from the knowledge base.

        Raises:
            QuestionError: the question holds no words or is too long.
            GenerationTimeout: a writer took too long, and no other's answer is served.
            Stopped: the listener doesn't want it any more.
        """
        clock = _Clock(listener)
        asked = self._found(question, filters, clock)
        return self._answers(self.writers, [asked], [clock])[0]

    def trials(self, question: str, filters: Filters) -> list[Answer]:
        """The answer of each writer, also where an earlier one's would be served.

        Raises:
            QuestionError: the question holds no words or is too long.
            GenerationTimeout: a writer took too long.
        """
        clock = _Clock()
        asked = self._found(question, filters, clock)
        tried, late = self._tried(self.writers, [asked], [clock], all_of_them=True)
        if late:
            raise late[0]
        return tried[0]

    def read(self, question: str, passages: Sequence[Passage]) -> Answer:
        """Answer a question from given passages.

        Raises:
            QuestionError: the question holds no words or is too long.
            TextError: the passages are too long, or hold characters that can't be stored.
            GenerationTimeout: writing took too long.
        """
        return self.read_all([(question, passages)])[0]

    def read_all(self, requests: Sequence[tuple[str, Sequence[Passage]]]) -> list[Answer]:
        """Answer several questions, each from its own passages, as `read` would.

        The time that an answer took to write is the mean over all.

        Raises:
            QuestionError: a question holds no words or is too long.
            TextError: passages are too long, or hold characters that can't be stored.
            GenerationTimeout: writing took too long.
        """
        for _, passages in requests:
            check_given([one.text for one in passages], "passages", self.max_passage_chars)
        asked = [
            (checked_question(question, self.max_question_chars), list(passages))
            for question, passages in requests
        ]
        first = self.writers[0]
        reader = replace(first, decider=first.reading_decider or first.decider)
        return self._answers([reader], asked, [_Clock() for _ in asked])

    def _found(self, question: str, filters: Filters, clock: "_Clock") -> Asked:
        """The question, checked, with the passages that are read."""
        question = checked_question(question, self.max_question_chars)
        found = (
            self.retriever.retrieve(question, self.candidates, filters) if self.retriever else []
        )
        clock.lap("retrieve")
        if self.reranker:
            found = self.reranker.rerank(question, found, self.passages)
            clock.lap("rerank")
        clock.listener.found(found[: self.passages])
        return question, found[: self.passages]

    def _answers(
        self, writers: Sequence[Writer], asked: Sequence[Asked], clocks: Sequence["_Clock"]
    ) -> list[Answer]:
        tried, late = self._tried(writers, asked, clocks)
        answers = [
            self._compared(_chosen(own), clock) for own, clock in zip(tried, clocks, strict=True)
        ]
        for i, error in late.items():
            if not answers[i].text:  # That nothing was written says nothing about the passages.
                raise error
        return answers

    def _tried(
        self,
        writers: Sequence[Writer],
        asked: Sequence[Asked],
        clocks: Sequence["_Clock"],
        *,
        all_of_them: bool = False,
    ) -> tuple[list[list[Answer]], dict[int, GenerationTimeout]]:
        """Each question's answers in the order of the writers, and who took too long to write.

        Args:
            writers: the later ones are asked where the earlier ones' answers are withheld.
            asked: questions with their passages.
            clocks: one for each.
            all_of_them: later writers are asked in any case.
        """
        tried: list[list[Answer]] = [[] for _ in asked]
        late: dict[int, GenerationTimeout] = {}
        verifiers = [self.verifier.for_question() for _ in asked]
        for writer in writers:
            waiting = [
                i
                for i, own in enumerate(tried)
                if all_of_them or not own or own[-1].status == "abstained"
            ]
            if not waiting:
                break
            drafts = self._drafts(writer, [asked[i] for i in waiting], [clocks[i] for i in waiting])
            for i, draft in zip(waiting, drafts, strict=True):
                if isinstance(draft, GenerationTimeout):
                    late.setdefault(i, draft)
                    draft = Draft((), 0.0, writer.generator.digest)
                first = tried[i][0].draft if tried[i] and i not in late else None
                own = writer if first is not None else writer.alone()
                checked = self._checked(*asked[i], draft, own, verifiers[i], clocks[i], first)
                tried[i].append(checked)
        return tried, late

    def _drafts(
        self, writer: Writer, asked: Sequence[Asked], clocks: Sequence["_Clock"]
    ) -> list[Draft | GenerationTimeout]:
        """What a writer drafts; one that took too long alone is its error."""
        started = time.perf_counter()
        drafts: list[Draft | GenerationTimeout] = []
        try:
            if len(asked) == 1 and clocks[0].listener is not NOBODY:
                drafts.append(writer.generator.generate(*asked[0], clocks[0].listener))
            else:
                drafts += writer.generator.generate_all(asked)
        except GenerationTimeout as error:
            if len(asked) > 1:  # Which one is for the caller to find out.
                raise
            drafts = [error]
        each = (time.perf_counter() - started) / max(1, len(asked))
        for clock in clocks:
            clock.add("generate", each)
        return drafts

    def _checked(
        self,
        question: str,
        passages: list[Passage],
        draft: Draft,
        writer: Writer,
        verifier: Verifier,
        clock: "_Clock",
        first: Draft | None,
    ) -> Answer:
        clock.start()
        segments, citations = cite(draft, passages, self.source)
        clock.lap("cite")
        verdicts, whole = judged(verifier, question, segments, citations, passages)
        clock.lap("verify")
        clock.listener.judged(segments, citations, verdicts, passages)
        earlier = second_evidence(first, draft) if first is not None else {}
        draft = replace(draft, features={**draft.features, **verified(whole), **earlier})
        decision = writer.decider.decide(question, draft, verdicts, passages)
        if not passages and self.retriever is None and decision.status == "abstained":
            decision = replace(decision, reason="no passages were given")
        clock.lap("decide")
        if decision.status == "abstained":
            clock.listener.withheld(decision.reason)
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
            models=self._models(writer),
            timings_ms=clock.laps_ms,
        )

    def _compared(self, answer: Answer, clock: "_Clock") -> Answer:
        """An answer with what else was found that says otherwise, if it is served."""
        if answer.status == "abstained":
            return answer
        clock.start()
        verdicts = compared(self.verifier, answer.verdicts, answer.citations, answer.passages)
        clock.lap("verify")
        return replace(answer, verdicts=verdicts, timings_ms=clock.laps_ms)

    def _models(self, writer: Writer) -> Mapping[str, str]:
        """What has a say in an answer, with digests."""
        ranks = {} if self.reranker is None else {"reranker": self.reranker.digest}
        return {
            "generator": writer.generator.digest,
            "verifier": self.verifier.digest,
            "decider": writer.decider.digest,
            **ranks,
        }


def judged(
    verifier: Verifier,
    question: str,
    segments: Sequence[Segment],
    citations: Sequence[Citation],
    passages: Sequence[Passage],
) -> tuple[tuple[Verdict, ...], Verdict | None]:
    """The verdict on each claim of an answer, and on all of it as an answer to the question."""
    claims = claims_of(question, segments)
    if not claims:
        return (), None
    whole = whole_answer(question, segments)
    asked = [*claims, whole] if claims != (whole,) else [whole]
    verdicts = verifier.verify(asked, [evidence_for(claim, citations, passages) for claim in asked])
    return tuple(verdicts[: len(claims)]), verdicts[-1]


def compared(
    verifier: Verifier,
    verdicts: Sequence[Verdict],
    citations: Sequence[Citation],
    passages: Sequence[Passage],
) -> tuple[Verdict, ...]:
    """Verdicts with what a passage that is not cited says otherwise."""
    cited = {citation.passage for citation in citations}
    others = [i for i in range(len(passages)) if i not in cited]
    found = verifier.disagreements(
        [verdict.claim for verdict in verdicts], [spaced(passages[i].text) for i in others]
    )
    return tuple(
        replace(verdict, disagreement=_placed(own, others))
        for verdict, own in zip(verdicts, found, strict=True)
    )


def verified(whole: Verdict | None) -> dict[str, float]:
    """Evidence from an answer's verdict, as log-odds; nothing where no model judged."""
    if whole is None or whole.p_supported is None or whole.p_contradicted is None:
        return {}
    found = {"entailed": _log_odds(whole.p_supported), "refuted": _log_odds(whole.p_contradicted)}
    return found if whole.relevance is None else {**found, "relevant": whole.relevance}


def _placed(found: Disagreement | None, others: Sequence[int]) -> Disagreement | None:
    """A disagreement that names the passage by its index among all."""
    return None if found is None else replace(found, passage=others[found.passage])


def _log_odds(probability: float) -> float:
    bounded = min(max(probability, 1e-4), 1 - 1e-4)
    return round(math.log(bounded / (1 - bounded)), 6)


def _chosen(tried: Sequence[Answer]) -> Answer:
    """The last answer if it is served, else the first abstention; with it what else was tried."""
    chosen = tried[-1] if tried[-1].status == "answered" else tried[0]
    others = tuple(
        Attempt(other.draft, other.verdicts, other.decision, other.models)
        for other in tried
        if other is not chosen
    )
    return replace(chosen, attempts=others)


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
            evidence.append(spaced(passage.text[spans[first][0] : spans[last][1]]))
    return evidence


class _Clock:
    """Times the stages; one that runs again adds up, and ends a question nobody wants any more."""

    def __init__(self, listener: Listener = NOBODY) -> None:
        self.listener = listener
        self.laps_ms: dict[str, float] = {}
        self.start()

    def start(self) -> None:
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.add(stage, now - self._last)
        self._last = now
        self.listener.go_on()

    def add(self, stage: str, seconds: float) -> None:
        self.laps_ms[stage] = round(self.laps_ms.get(stage, 0.0) + 1000 * seconds, 3)
