"""rag search, ask, read, check: questions and claims."""

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from api.commands.shared import (
    HomeOption,
    JsonOption,
    KbArgument,
    emit,
    opened,
    printer,
)
from api.output import check_output
from rag.errors import GenerationTimeout, QuestionError, TextError, UsageError
from rag.types import Filters

if TYPE_CHECKING:
    from api.commands.batches import Result

BatchOption = Annotated[
    Path | None, typer.Option("--batch", metavar="IN.jsonl", help="Rows to work through.")
]
OutOption = Annotated[Path | None, typer.Option("--out", metavar="OUT.jsonl", help="Results.")]
DocumentOption = Annotated[
    list[str] | None, typer.Option("--document", help="Search only this URI (repeatable).")
]
TagOption = Annotated[
    list[str] | None, typer.Option("--tag", help="Search only documents with a tag (repeatable).")
]
Day = Annotated[
    datetime.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Document date, inclusive.")
]


def search(
    name: KbArgument,
    query: str,
    k: Annotated[int, typer.Option("--k", help="How many hits.")] = 10,
    document: DocumentOption = None,
    tag: TagOption = None,
    since: Day = None,
    until: Day = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the passages that match a query best."""
    from api.schemas import Hit, SearchResult

    with opened(home) as found:
        passages = found.open(name).search(
            query, k=k, filters=_filters(document, tag, since, until)
        )
    result = SearchResult(hits=[Hit.of(passage) for passage in passages])
    if as_json:
        emit(result)
        return
    out = printer()
    for rank, hit in enumerate(result.hits, start=1):
        page = f", page {hit.page}" if hit.page else ""
        place = page + (f", {hit.section}" if hit.section else "")
        out.print(
            f"[bold]{rank}.[/bold] {escape(hit.document.uri)} v{hit.version} "
            f"[{hit.start}, {hit.end}){escape(place)}  score {hit.score:.3f}"
        )
        out.print(f"   {escape(' '.join(hit.text.split())[:300])}\n")
    if not result.hits:
        out.print("nothing found")


def ask(
    name: KbArgument,
    question: Annotated[str | None, typer.Argument()] = None,
    batch: BatchOption = None,
    out: OutOption = None,
    document: DocumentOption = None,
    tag: TagOption = None,
    since: Day = None,
    until: Day = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a question, or a file of questions, from the documents."""
    from api.batch import QuestionRow
    from api.commands.batches import rows_of, work_through
    from api.render import show_answer
    from api.schemas import Answer

    filters = _filters(document, tag, since, until)
    _check_files(batch, out)
    with opened(home) as found:
        base = found.open(name)
        if batch is None:
            if question is None or out is not None:
                raise UsageError("give one question, or --batch IN.jsonl with --out OUT.jsonl")
            answer = Answer.recorded(base.ask(question, filters=filters))
            if as_json:
                emit(answer)
            else:
                show_answer(printer(), answer)
            return
        if question is not None:
            raise UsageError("give a question or --batch, not both")
        rows = rows_of(batch, QuestionRow)
        base.require_documents(filters.documents)

        def answers() -> Iterator["Result"]:
            for row in rows:
                try:
                    yield row.id, Answer.recorded(base.ask(row.question, filters=filters))
                except (QuestionError, GenerationTimeout) as error:
                    yield row.id, error

        work_through(
            answers(),
            _required(out),
            len(rows),
            "asking",
            as_json=as_json,
            counted="answered abstained",
        )


def read(
    batch: Annotated[Path, typer.Option("--batch", metavar="IN.jsonl")],
    out: Annotated[Path, typer.Option("--out", metavar="OUT.jsonl")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer questions from the passages given with each; nothing is stored."""
    from api.batch import ReadRow
    from api.commands.batches import rows_of, work_through
    from api.reading import read_rows
    from api.schemas import ReadAnswer
    from rag.cite import PassageText
    from rag.types import Answer

    _check_files(batch, out)
    with opened(home, create=True) as found:
        rows = rows_of(batch, ReadRow)
        read = read_rows(found.pipeline(source=PassageText()), rows)
        work_through(
            (
                (row.id, ReadAnswer.of(answer) if isinstance(answer, Answer) else answer)
                for row, answer in read
            ),
            out,
            len(rows),
            "reading",
            as_json=as_json,
            counted="answered abstained",
        )


def check(
    claim: Annotated[str | None, typer.Argument(help="A claim to check.")] = None,
    evidence: Annotated[
        list[str] | None, typer.Option("--evidence", help="Text to check it against (repeatable).")
    ] = None,
    question: Annotated[
        str | None, typer.Option(help="What the claim answers, where that is a few words.")
    ] = None,
    batch: BatchOption = None,
    out: OutOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge claims by the evidence given with them, whoever wrote them."""
    from api.batch import CheckRow
    from api.commands.batches import rows_of, work_through
    from api.render import show_check
    from api.verdicts import Check
    from rag.verify.check import check_text

    _check_files(batch, out)
    with opened(home, create=True) as found:
        most = found.settings.max_evidence_chars
        if batch is None:
            if claim is None or not evidence:
                raise UsageError("give a claim with --evidence TEXT, or --batch with --out")
            verdict = Check.of(
                check_text(found.verifier, claim, evidence, question, max_evidence_chars=most)
            )
            if as_json:
                emit(verdict)
            else:
                show_check(printer(), verdict)
            return
        if claim is not None or evidence or question is not None:
            raise UsageError("give a claim or --batch, not both; its rows have their own evidence")
        rows = rows_of(batch, CheckRow)
        verifier = found.verifier

        def verdicts() -> Iterator["Result"]:
            for row in rows:
                try:
                    judged = check_text(
                        verifier, row.claim, row.evidence, row.question, max_evidence_chars=most
                    )
                    yield row.id, Check.of(judged)
                except (QuestionError, TextError) as error:
                    yield row.id, error

        work_through(verdicts(), _required(out), len(rows), "checking", as_json=as_json, counted="")


def _check_files(batch: Path | None, out: Path | None) -> None:
    if out is not None:
        check_output(out, batch)


def _filters(
    documents: list[str] | None,
    tags: list[str] | None,
    since: datetime.datetime | None,
    until: datetime.datetime | None,
) -> Filters:
    return Filters(
        tuple(documents or ()),
        tuple(tags or ()),
        since.date() if since else None,
        until.date() if until else None,
    )


def _required(out: Path | None) -> Path:
    if out is None:
        raise UsageError("--batch needs --out OUT.jsonl")
    return out
