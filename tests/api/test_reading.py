"""Checks that batch rows are read together, and that a bad row costs only itself."""

from io import StringIO

import pytest
from rich.console import Console

from api.batch import ReadRow
from api.reading import ROWS_TOGETHER, read_rows
from api.render import show_answer
from api.schemas import Answer, ReadAnswer, Receipt
from api.verdicts import Claim, Disagreement
from rag.errors import GenerationTimeout, QuestionError
from rag.pipeline import Pipeline, Writer
from rag.types import Decision, Draft, Token


class Echo:
    """Says the question back; notes how many came at once."""

    digest = "echo:0"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def generate(self, question, passages):
        return self.generate_all([(question, passages)])[0]

    def generate_all(self, requests):
        self.batches.append(len(requests))
        if any(question == "slow" for question, _ in requests):
            raise GenerationTimeout("too slow")
        return [
            Draft(
                (Token(f"{question} {len(passages)}", 1.0, 0.0, None),),
                1.0,
                self.digest,
                read_as="slip" if question == "slipp" else None,
            )
            for question, passages in requests
        ]


class Yes:
    digest = "yes:0"
    model_sha256 = None

    def for_question(self):
        return self

    def verify(self, claims, evidence):
        raise AssertionError("not wanted here")

    def disagreements(self, claims, texts):
        return [None] * len(claims)

    def decide(self, question, draft, verdicts, passages):
        return Decision("answered", 1.0, 0.0, None)


@pytest.fixture
def pipeline(monkeypatch) -> Pipeline:
    monkeypatch.setattr("rag.pipeline.claims_of", lambda question, segments: ())
    return Pipeline(writers=(Writer(Echo(), Yes()),), verifier=Yes(), source=None)


def rows(*questions: str) -> list[ReadRow]:
    return [ReadRow(id=i, question=q, passages=["a", "b"]) for i, q in enumerate(questions)]


def test_rows_are_answered_together_in_their_order(pipeline) -> None:
    asked = rows(*(f"q{i}" for i in range(ROWS_TOGETHER + 3)))
    found = list(read_rows(pipeline, asked))
    assert [row.id for row, _ in found] == [row.id for row in asked]
    assert [answer.text for _, answer in found] == [f"{row.question} 2" for row in asked]
    assert pipeline.writers[0].generator.batches == [ROWS_TOGETHER, 3]


@pytest.mark.parametrize(("bad", "error"), [("  ", QuestionError), ("slow", GenerationTimeout)])
def test_a_bad_row_costs_only_itself(pipeline, bad: str, error: type[Exception]) -> None:
    found = [answer for _, answer in read_rows(pipeline, rows("a", bad, "b"))]
    assert isinstance(found[1], error)
    assert [found[0].text, found[2].text] == ["a 2", "b 2"]


def test_the_asker_sees_what_was_read(pipeline) -> None:
    shown = [ReadAnswer.of(answer) for _, answer in read_rows(pipeline, rows("slipp", "a"))]
    assert [answer.read_as for answer in shown] == ["slip", None]


def test_an_answer_says_what_was_read(pipeline) -> None:
    receipt = Receipt(leaf_hash="0" * 64, log_size=1)
    for question, said in (("slipp", "read as: slip\n"), ("a", "")):
        (found,) = pipeline.read_all([(question, [])])
        answer = Answer(answer_id="x", question="a", receipt=receipt, **Answer.fields_of(found))
        out = Console(file=StringIO(), width=200)
        show_answer(out, answer)
        printed = out.file.getvalue()
        assert printed.startswith(said)
        assert ("read as" in printed) is bool(said)


def test_of_several_claims_each_verdict_names_its_claim(pipeline) -> None:
    other = Disagreement(
        passage=1, document="b.txt", version=2, start=3, end=9, text="No.", p_contradicted=0.9
    )
    claims = [
        Claim(
            text=text,
            verdict="supported",
            p_supported=0.9,
            p_contradicted=0.0,
            evidence=[1],
            guards=[],
            disagreement=found,
        )
        for text, found in (("One [b]is[/b] so.", other), ("Two " + "is so " * 20, None))
    ]
    (found,) = pipeline.read_all([("a", [])])
    fields = {**Answer.fields_of(found), "claims": claims, "confidence": 0.5}
    receipt = Receipt(leaf_hash="0" * 64, log_size=1)
    out = Console(file=StringIO(), width=200)
    show_answer(out, Answer(answer_id="x", question="a", receipt=receipt, **fields))
    assert out.file.getvalue().splitlines()[1:-1] == [
        "  supported (probability 0.90): One [b]is[/b] so.",
        "    another passage says otherwise: b.txt v2, characters 3–9: No.",
        f"  supported (probability 0.90): {('Two ' + 'is so ' * 20)[:60].rstrip()}…",
        "  confidence 0.50",
    ]
